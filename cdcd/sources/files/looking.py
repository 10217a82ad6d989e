"""Looks at the files themselves and finds what differs from the kept tree. Runs in a thread; never on the event loop.

The rules:
- a directory is watched before it is read, so that nothing can appear in between unnoticed;
- what cannot be read is never taken for gone, nor what lies in a file system that is not mounted (`mounts`);
- a file that is looked at in the very tick of its last write is looked at again, since a later write in that tick would leave no trace;
- symbolic links are not looked at unless they are followed, and then no directory is entered below itself.
"""

# Paths are text here: a Path for each of a million files costs more than looking at it.
# ruff: noqa: PTH114, PTH116

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from cdcd.clock import Clock
from cdcd.config.globs import parse_glob
from cdcd.config.model import Storage
from cdcd.sources.files.hints import Hint, Wait
from cdcd.sources.files.mounts import GONE, UNKNOWN, Mounts
from cdcd.sources.files.tree import PLAIN, Difference, Tree, is_dir, pack, same, same_elsewhere, unpack

TICK = 0.012  # seconds: the coarsest step of a local file system's clock (HZ=100)
UNCLOSED = 60.0  # seconds that a file must stand still whose creation was seen, and whose close was not
CHUNK = 1 << 20

Identity = tuple[int, int]
"""Device and inode of a directory."""


class RootGone(Exception):
    """The store's own directory cannot be read: why, or nothing when it is not there."""


class Stopped(Exception):
    """The daemon stops; what was found is found again."""


@dataclass(slots=True)
class Looked:
    """What a look found. `again` are paths that changed while they were looked at. `unreadable`: path and why.

    Of mounts: those that are new, those that are the same tree on another device (None: no mount any more), those that are not there,
    with what is there instead, and those that are there again.
    """

    differences: dict[str, Difference] = field(default_factory=dict)
    waits: dict[str, Wait] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    mounted: dict[str, int] = field(default_factory=dict)
    renumbered: dict[str, int | None] = field(default_factory=dict)
    away: dict[str, int] = field(default_factory=dict)
    back: set[str] = field(default_factory=set)

    def leave_out(self, directory: str) -> None:
        """Nothing was found at and below it."""
        below = directory + "/"
        for paths in (self.differences, self.waits, self.mounted):
            for path in [path for path in paths if path == directory or path.startswith(below)]:
                del paths[path]
        self.again = [path for path in self.again if path != directory and not path.startswith(below)]
        self.back.discard(directory)


class Looker:
    """One store's eyes. `watch` is called before a directory is read. `trusted`: numbers of inodes are those of the kept tree's
    device. Not for use by two threads at a time; the tree must not change meanwhile."""

    def __init__(self, store: Storage, tree: Tree, clock: Clock) -> None:
        self._store = store
        self._root = str(store.path)
        self._tree = tree
        self._clock = clock
        self._ignore = [parse_glob(text) for text in store.ignore]
        self._stat = os.stat if store.follow_symlinks else os.lstat
        self.mounts = Mounts(store, tree)
        self.watch: Callable[[str], None] = _unwatched
        self.trusted = True
        self.stopping = False
        self._earlier: Mapping[str, Wait] = {}
        self._found = Looked()
        self._unchanged: list[str] = []  # found as it was kept, after something else

    def root(self) -> Identity | None:
        """What the store's directory is now; None when it is not there. Raises OSError when that cannot be told, or it cannot be
        listed."""
        try:
            found = os.stat(self._root)
            entry = pack(found)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if entry is None or not is_dir(entry):
            return None
        os.scandir(self._root).close()
        return (found.st_dev, found.st_ino)

    def look(self, hints: Iterable[tuple[str, Hint]], waits: Mapping[str, Wait], everything: bool = False) -> Looked:
        """`waits` are the files that have to stand still. Raises RootGone, Stopped."""
        self._found, self._earlier, self._unchanged = Looked(), waits, []
        if everything:
            self._scan("", deep=True)
        for path, hint in hints:
            if path == "" or hint is Hint.LIST:
                if path == "" or self._tree.holds(path):
                    self._scan(path, deep=hint is Hint.WHOLE)
            else:
                self._at(path, hint)
        self._leave_out_away()
        self._leave_out_torn()
        self._moved()
        return self._found

    def _leave_out_torn(self) -> None:
        """What was found in a directory that was found gone in the same look is looked at again: it was there for a moment, or both
        are. Kept without its directory it would never be found gone."""
        found, differences = self._found, self._found.differences
        torn: dict[str, str] = {"": ""}  # of a directory the one above it, or itself, that is not there
        for path in [*(path for path, difference in differences.items() if difference.new is not None), *self._unchanged]:
            chain, place = [], path.rpartition("/")[0]
            while place not in torn:
                chain.append(place)
                place = place.rpartition("/")[0]
            above = torn[place]
            for each in reversed(chain):
                difference = differences.get(each)
                new = difference.new if difference is not None else None
                there = self._tree.holds(each) if difference is None else new is not None and is_dir(new)
                above = torn[each] = above or ("" if there else each)
            if above:
                old = self._tree.get(path)
                differences[path] = Difference(path, old, None, self._passed_over(path))
                if old is None:
                    del differences[path]
                found.again.append(above)

    def _leave_out_away(self) -> None:
        """What was found below a mount that is not there now says nothing, also when it went while it was looked at."""
        found = self._found
        for path, device in self.mounts.kept.items():
            if path in found.renumbered:
                continue
            if path not in found.away:
                if path in found.unreadable:
                    found.away[path] = UNKNOWN
                elif any(each == path or each.startswith(path + "/") for each in found.differences):
                    now = self.mounts.seen(path)
                    if now not in (device, GONE):
                        found.away[path] = now
            if path in found.away:
                found.leave_out(path)

    def _is_there(self, path: str, device: int, around: int) -> bool:
        """Whether a directory, found on `device` in one that is on `around`, may be looked into."""
        kept, found = self.mounts.kept.get(path), self._found
        if kept is None:
            if device != around:
                found.mounted[path] = device
            return True
        if kept != device:
            if not self.mounts.recognises(self.mounts.known(path)):
                found.away[path] = device
                return False
            found.renumbered[path] = device if device != around else None
        if path in self.mounts.away:
            found.back.add(path)
        return True

    def _moved(self) -> None:
        """A file that was settled elsewhere and has come from there need not stand still."""
        found = self._found
        if not found.waits:
            return
        gone = {d.old[:PLAIN]: d.old for d in found.differences.values() if d.old is not None and d.new is None}
        for path, wait in list(found.waits.items()):
            old = gone.get(wait.entry)
            if old is not None:
                del found.waits[path]
                found.differences[path] = Difference(path, self._tree.get(path), old)

    def take(self) -> tuple[list[tuple[str, bytes]], Looked]:
        """Everything as it is, for a store that is new; and what could not be read of it, and its mounts."""
        self._found, self._earlier = Looked(), {}
        taken: list[tuple[str, bytes]] = []
        self._scan("", deep=True, taken=taken)
        return taken, self._found

    def _at(self, path: str, hint: Hint) -> None:
        """Look at one path."""
        parent = path.rpartition("/")[0]
        if (parent and not self._store.recursive) or self._passed_over(path):
            return
        if parent and not self._tree.holds(parent):
            if parent not in self._found.differences:
                self._at(parent, Hint.WHOLE)  # and with it this path
            elif (above := self._found.differences[parent].new) is not None and is_dir(above):
                self._entry(path, hint, None)
            return
        self._entry(path, hint, self._tree.get(path))

    def _entry(self, path: str, hint: Hint, old: bytes | None) -> None:
        try:
            found = self._stat(self._full(path))
        except (FileNotFoundError, NotADirectoryError):
            self._gone(path)
            return
        except OSError as error:
            self._found.unreadable[path] = error.strerror or "?"
            return
        entry = pack(found)
        if entry is None:
            self._gone(path)
        elif is_dir(entry):
            if not self._is_there(path, found.st_dev, self._around(path, found.st_dev)):
                return
            self._compare(path, old, entry, hint)
            if self._store.recursive and (hint is Hint.WHOLE or old is None or not same(old, entry)):
                if self._closed(path) or (self._store.follow_symlinks and self._loops(path, (found.st_dev, found.st_ino))):
                    return
                self._scan(path, deep=True)
        else:
            if hint is Hint.CREATED and (found.st_nlink > 1 or os.path.islink(self._full(path))):
                hint = Hint.FOUND  # a link to what is there already: nobody closes it
            self._compare(path, old, entry, Hint.NOW if hint is Hint.WHOLE else hint)

    def _scan(self, top: str, *, deep: bool, taken: list[tuple[str, bytes]] | None = None) -> None:
        """Look at what lies in a directory, and in those below it: all of them (`deep`), or those that are new."""
        stack: list[tuple[str, int | None]] = [(top, None)]  # with its device, where that is known
        follow, recursive, ignore = self._store.follow_symlinks, self._store.recursive, bool(self._ignore)
        kept = self.mounts.kept
        above = self._above(top) if follow else {}
        names_of, compare = self._tree.names, self._compare
        while stack:
            if self.stopping:
                raise Stopped
            directory, device = stack.pop()
            self.watch(directory)
            known = names_of(directory) if taken is None else {}
            head = directory + "/" if directory else ""
            seen: list[str] = []
            matched = 0
            try:
                if device is None:
                    device = os.stat(self._full(directory)).st_dev
                with os.scandir(self._full(directory)) as entries:
                    for found in entries:
                        name = found.name
                        path = head + name
                        if ignore and self._passed_over(path):
                            continue
                        old = known.get(name)
                        try:
                            status = found.stat(follow_symlinks=follow)
                        except (FileNotFoundError, NotADirectoryError):
                            continue
                        except OSError as error:
                            self._found.unreadable[path] = error.strerror or "?"
                            seen.append(name)
                            matched += old is not None
                            continue
                        entry = pack(status)
                        if entry is None:
                            continue
                        seen.append(name)
                        if old is not None:
                            matched += 1
                        if entry[0] == 0:
                            if entry == old:
                                continue
                        elif (status.st_dev != device or path in kept) and not self._is_there(path, status.st_dev, device):
                            continue
                        if entry == old:
                            pass
                        elif taken is not None:
                            taken.append((path, entry))
                        else:
                            compare(path, old, entry, Hint.FOUND)
                        if entry[0] == 1 and recursive and (deep or old is None or old[0] != 1) and not self._closed(path):
                            if follow:
                                identity = (status.st_dev, status.st_ino)
                                if identity in above[directory]:
                                    continue
                                above[path] = above[directory] | {identity}
                            stack.append((path, status.st_dev))
            except (FileNotFoundError, NotADirectoryError) as error:
                if not directory:
                    raise RootGone from error
                self._found.again.append(directory)
                continue
            except OSError as error:
                if not directory:
                    raise RootGone(error.strerror or "?") from error
                self._found.unreadable[directory] = error.strerror or "?"
                continue
            if matched < len(known):
                for name in known.keys() - set(seen):
                    self._gone(head + name)

    def _compare(self, path: str, old: bytes | None, entry: bytes, hint: Hint) -> None:
        quiet = False
        if old is not None:
            if same(old, entry):
                if self._found.differences.pop(path, None) is not None:
                    self._unchanged.append(path)
                return
            quiet = same_elsewhere(old, entry) and (not self.trusted or self._elsewhere(path))
        if quiet:
            assert old is not None
            entry += old[PLAIN:]
        elif not is_dir(entry):
            if old is not None and is_dir(old):
                self._gone(path)  # also when the file in its place has to wait
            wait = self._wait(path, entry, hint)
            if wait is None and self._store.hash:
                digest = self._digest(path, entry)
                if digest is None:
                    now = self._clock.monotonic()
                    wait = Wait(Hint.NOW, entry, now, now + TICK)
                else:
                    entry += digest
            if wait is not None:
                self._found.waits[path] = wait
                return
        self._found.differences[path] = Difference(path, old, entry, quiet)

    def _elsewhere(self, path: str) -> bool:
        """Whether it is on another device than when it was kept."""
        return any(path == mount or path.startswith(mount + "/") for mount in self._found.renumbered)

    def _wait(self, path: str, entry: bytes, hint: Hint) -> Wait | None:
        """Until when a file has to stand still; None when it did."""
        now, earlier = self._clock.monotonic(), self._earlier.get(path)
        age = self._clock.now() - unpack(entry).mtime / 1e9
        since = earlier.since if earlier is not None and (earlier.entry == entry or hint is Hint.NOW is earlier.hint) else now
        if hint is Hint.NOW:
            if 0 <= age < TICK and now - since < self._store.settle:
                return Wait(hint, entry, since, now + TICK)
            return None
        needed = max(self._store.settle, UNCLOSED) if hint is Hint.CREATED else self._store.settle
        left = needed - max(age, now - since)
        return Wait(hint, entry, since, now + left) if left > 0 else None

    def _gone(self, path: str) -> None:
        old = self._tree.get(path)
        if old is None:
            self._found.differences.pop(path, None)
            return
        quiet = self._passed_over(path)
        if is_dir(old):
            for below, entry in self._tree.below(path):
                self._found.differences[below] = Difference(below, entry, None, quiet)
        self._found.differences[path] = Difference(path, old, None, quiet)

    def _digest(self, path: str, entry: bytes) -> bytes | None:
        """SHA-256 of the content; nothing when it cannot be read; None when it changed meanwhile."""
        digest = sha256()
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if self._store.follow_symlinks else os.O_NOFOLLOW)
        try:
            file = os.open(self._full(path), flags)
            try:
                if pack(os.fstat(file)) != entry:  # something else is there now, a pipe perhaps
                    return None
                while chunk := os.read(file, CHUNK):
                    if self.stopping:
                        raise Stopped
                    digest.update(chunk)
                return digest.digest() if pack(os.fstat(file)) == entry else None
            finally:
                os.close(file)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link has taken its place
                return None
            self._found.unreadable[path] = error.strerror or "?"
            return b""

    def _above(self, top: str) -> dict[str, frozenset[Identity]]:
        """The identities of a directory and those above it, within the store."""
        identities = set()
        path = top
        while True:
            try:
                found = os.stat(self._full(path))
            except OSError:
                break
            identities.add((found.st_dev, found.st_ino))
            if not path:
                break
            path = path.rpartition("/")[0]
        return {top: frozenset(identities)}

    def _around(self, path: str, device: int) -> int:
        """The device of the directory that a directory on `device` lies in."""
        try:
            return os.stat(self._full(path.rpartition("/")[0])).st_dev
        except OSError:  # gone meanwhile
            return device

    def _loops(self, path: str, identity: Identity) -> bool:
        """Whether a directory lies, by a link, below itself."""
        parent = path.rpartition("/")[0]
        return identity in self._above(parent)[parent]

    def _passed_over(self, path: str) -> bool:
        return any(pattern.fullmatch(path) is not None for pattern in self._ignore)

    def _closed(self, directory: str) -> bool:
        """Whether everything in a directory is ignored."""
        return bool(self._ignore) and self._passed_over(directory + "/")

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root


def _unwatched(_: str) -> None:
    return None
