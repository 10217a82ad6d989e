"""Hints from the kernel: the only module that knows watchdog.

On Linux inotify is read here, through watchdog's bindings: its observer hides what matters (an overflow, a watch that could not be
added). Elsewhere watchdog's own observer gives the hints, which cannot tell when a writer has closed a file.

inotify(7) is the source for what its events mean. What follows from them:
- a watch is of an inode: it goes on under its old path after a move, so watches are dropped by whoever finds the directory gone;
- two paths of one directory (followed links) share a watch;
- the queue may overflow, and watches may run out: both are told, and looking takes the place of listening.
"""

import asyncio
import ctypes
import errno
import os
import struct
import sys
import threading
from collections.abc import Callable
from typing import Protocol

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver

from cdcd.sources.files.hints import Hint, Hints

_HEAD = struct.Struct("iIII")
LINUX: bool = sys.platform == "linux"
_READ = 256 * 1024


class Watcher(Protocol):
    """Notes hints in the event loop. `unwatched` are directories that could not be watched, with why."""

    unwatched: dict[str, str]

    def add(self, directory: str) -> None:
        """Watch a directory; again changes nothing. Called from a thread."""
        ...

    def forget(self, directory: str) -> None:
        """A directory is gone from this path."""
        ...

    def close(self) -> None: ...


def watcher(root: str, recursive: bool, follow: bool, hints: Hints, wake: Callable[[], None]) -> Watcher:
    """The best there is for this platform. `wake` is called after hints were noted. Raises OSError."""
    if LINUX:
        return Inotify(root, follow, hints, wake)
    from watchdog.observers import Observer

    return Observed(Observer(), root, recursive, hints, wake)


class Inotify:
    """See Watcher."""

    def __init__(self, root: str, follow: bool, hints: Hints, wake: Callable[[], None]) -> None:
        from watchdog.observers import inotify_c as c

        self._c, self._bits = c, c.InotifyConstants
        bits = self._bits
        self._mask = c.Mask(
            bits.IN_CLOSE_WRITE | bits.IN_MOVED_FROM | bits.IN_MOVED_TO | bits.IN_CREATE | bits.IN_DELETE | bits.IN_ATTRIB
            | bits.IN_ONLYDIR | bits.IN_EXCL_UNLINK | (0 if follow else bits.IN_DONT_FOLLOW)
        )  # fmt: skip
        self._root = root
        self._hints, self._wake = hints, wake
        self.unwatched: dict[str, str] = {}
        self._lock = threading.Lock()
        self._paths: dict[int, list[str]] = {}
        self._watches: dict[str, int] = {}
        self._fd = c.inotify_init()
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        os.set_inheritable(self._fd, False)
        os.set_blocking(self._fd, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def add(self, directory: str) -> None:
        bits, path = self._bits, os.fsencode(f"{self._root}/{directory}" if directory else self._root)
        mask = self._mask
        if not directory:
            mask = self._c.Mask((mask | bits.IN_DELETE_SELF | bits.IN_MOVE_SELF) & ~bits.IN_DONT_FOLLOW)
        with self._lock:
            if self._fd < 0:
                return
            watch = self._c.inotify_add_watch(self._fd, path, mask)
            if watch < 0:
                code = ctypes.get_errno()
                if code not in (errno.ENOENT, errno.ENOTDIR):  # gone again: whoever reads it sees that too
                    self.unwatched[directory] = errno.errorcode.get(code, "?")
                return
            self.unwatched.pop(directory, None)
            known = self._watches.get(directory)
            if known == watch:
                return
            if known is not None:
                self._drop(directory, known)
            self._watches[directory] = watch
            self._paths.setdefault(watch, []).append(directory)

    def forget(self, directory: str) -> None:
        with self._lock:
            self.unwatched.pop(directory, None)
            watch = self._watches.pop(directory, None)
            if watch is not None:
                self._drop(directory, watch)

    def _drop(self, directory: str, watch: int) -> None:
        paths = self._paths.get(watch, [])
        if directory in paths:
            paths.remove(directory)
        if not paths and self._paths.pop(watch, None) is not None:
            self._c.inotify_rm_watch(self._fd, self._c.WatchDescriptor(watch))  # fails when the kernel was first

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                self._loop.remove_reader(self._fd)
                os.close(self._fd)
                self._fd = -1

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ)
        except (BlockingIOError, InterruptedError):
            return
        at, end, bits = 0, len(data), self._bits
        while at < end:
            watch, mask, _, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            raw = data[at : at + length]
            at += length
            if mask & bits.IN_Q_OVERFLOW:
                self._hints.all("overflow")
                continue
            with self._lock:
                paths = self._paths.get(watch, ())
                if mask & bits.IN_IGNORED:
                    self._paths.pop(watch, None)
                    for path in paths:
                        self._watches.pop(path, None)
                    continue
            if mask & (bits.IN_DELETE_SELF | bits.IN_MOVE_SELF | bits.IN_UNMOUNT):
                self._hints.unmounted |= bool(mask & bits.IN_UNMOUNT)
                for path in paths:
                    if path:
                        self._hints.note(path, Hint.NOW)
                    else:
                        self._hints.root = True
                continue
            if raw:
                name = os.fsdecode(raw.rstrip(b"\0"))
                hint = self._hint(mask)
                if hint is not None:
                    for path in paths:
                        self._hints.note(f"{path}/{name}" if path else name, hint)
        if self._hints:
            self._wake()

    def _hint(self, mask: int) -> Hint | None:
        bits = self._bits
        if mask & bits.IN_ISDIR:
            if mask & (bits.IN_CREATE | bits.IN_MOVED_TO):
                return Hint.WHOLE
            return Hint.NOW if mask & (bits.IN_DELETE | bits.IN_MOVED_FROM) else None
        if mask & bits.IN_CREATE:
            return Hint.CREATED
        return Hint.FOUND if mask & bits.IN_ATTRIB else Hint.NOW


class Observed(FileSystemEventHandler):
    """See Watcher: any of watchdog's observers, which watches below its root by itself."""

    def __init__(self, observer: BaseObserver, root: str, recursive: bool, hints: Hints, wake: Callable[[], None]) -> None:
        self._observer = observer
        self._root = os.path.realpath(root)
        self._hints, self._wake = hints, wake
        self._loop = asyncio.get_running_loop()
        self.unwatched: dict[str, str] = {}
        observer.schedule(self, self._root, recursive=recursive)
        observer.start()

    def add(self, directory: str) -> None:
        """It is watched with the root."""

    def forget(self, directory: str) -> None:
        """It is watched with the root."""

    def close(self) -> None:
        self._observer.stop()
        self._observer.join()

    def dispatch(self, event: FileSystemEvent) -> None:
        """Called by the observer, in a thread of its own."""
        kind, is_directory = event.event_type, event.is_directory
        if kind in ("opened", "closed_no_write"):
            return
        noted: list[tuple[str, Hint]] = []
        for place in (event.src_path, event.dest_path):
            path = os.fsdecode(place)
            if not path:
                continue
            if path == self._root:
                noted.append(("", Hint.LIST))
            elif path.startswith(self._root + "/"):
                if is_directory:
                    hint = Hint.LIST if kind == "modified" else Hint.WHOLE
                else:
                    hint = Hint.NOW if kind in ("deleted", "closed") else Hint.FOUND
                noted.append((path[len(self._root) + 1 :], hint))
        if noted:
            try:
                self._loop.call_soon_threadsafe(self._note, noted)
            except RuntimeError:  # the loop has ended first
                return

    def _note(self, noted: list[tuple[str, Hint]]) -> None:
        for path, hint in noted:
            if path == "":
                self._hints.root = True
            self._hints.note(path, hint)
        self._wake()
