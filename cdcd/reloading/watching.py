"""`reload: watch`: the configuration is read again when its files have changed.

The rules:
- the files are looked at once a second, by name, time and size: that sees what editors, `git pull` and mounted ConfigMaps do alike, on any
  file system, and with `reload: manual` nothing runs;
- what has changed must have stood still from one look to the next, so that nothing half-written is read; where it says what it said
  before, nothing is done;
- what could not be taken over because something did not answer is tried again; what was refused is not, until it is changed.
"""

import asyncio
from collections.abc import Callable
from glob import glob
from hashlib import sha256
from pathlib import Path

import structlog

from cdcd.config.model import Config, Reload
from cdcd.errors import CdcdError, TransientError
from cdcd.lifecycle import Failed, Tasks
from cdcd.reloading.reloader import Reloader

log = structlog.get_logger()

LOOK_EVERY = 1.0  # seconds
TRY_AGAIN = 30.0  # seconds until what did not answer is asked again

State = tuple[tuple[str, int, int, int], ...]
"""Name, time of the last change, size and inode of each file."""


class Watching:
    """A part; see the module."""

    name = "reload.watch"

    def __init__(
        self, reloader: Reloader, config: Callable[[], Config], failed: Failed, *, look_every: float = LOOK_EVERY
    ) -> None:
        """`config` gives the one in force."""
        self._reloader = reloader
        self._config = config
        self._tasks = Tasks(self.name, failed)
        self._look_every = look_every
        self._known = b""  # what the files said when they were read last
        reloader.begins.append(self._begins)
        reloader.ended.append(lambda _: self._arm())
        self._known = content(config())

    async def start(self) -> None:
        """Watch, if the configuration says so."""
        self._arm()

    async def stop(self) -> None:
        """Watch no more."""
        await self._tasks.cancel()

    def _begins(self) -> None:
        self._known = content(self._config())

    def _arm(self) -> None:
        if self._config().reload is Reload.WATCH and not len(self._tasks):
            self._tasks.spawn(self._run(), "look")

    async def _run(self) -> None:
        before = await asyncio.to_thread(state, self._config())
        settled = before
        if await asyncio.to_thread(content, self._config()) != self._known:
            settled = ()  # changed between being read and now
        again = 0.0
        loop = asyncio.get_running_loop()
        while self._config().reload is Reload.WATCH:
            await asyncio.sleep(self._look_every)
            now = await asyncio.to_thread(state, self._config())
            due = bool(again) and loop.time() >= again
            if now == before and (now != settled or due):
                settled, again = now, 0.0
                if due or await asyncio.to_thread(content, self._config()) != self._known:
                    try:
                        await self._reloader.reload("watch")
                    except TransientError:
                        again = loop.time() + TRY_AGAIN
                    except CdcdError as error:  # the log has it already
                        log.debug("reload.watching", problem=str(error))
            before = now


def files(config: Config) -> list[str]:
    """The configuration file and those that it includes, as they are now."""
    included = [name for pattern in config.include for name in sorted(glob(pattern, recursive=True))]  # noqa: PTH207  # Path.glob refuses absolute patterns
    return list(dict.fromkeys((str(config.path), *included)))


def state(config: Config) -> State:
    """How the files look. One that is away is left out."""
    found = []
    for name in files(config):
        try:
            entry = Path(name).stat()
        except OSError:
            continue
        found.append((name, entry.st_mtime_ns, entry.st_size, entry.st_ino))
    return tuple(found)


def content(config: Config) -> bytes:
    """What the files say."""
    found = sha256()
    for name in files(config):
        try:
            found.update(name.encode(errors="surrogateescape") + b"\0" + Path(name).read_bytes() + b"\0")
        except OSError:
            found.update(b"\1")
    return found.digest()
