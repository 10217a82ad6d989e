"""The files of one store as a source.

The rules:
- what the kept tree and a look differ in is what happened; the tree moves on in the commit that stages the deliveries of it;
- nothing is concluded about a store whose directory is not there or cannot be read, nor about a file system that is not mounted
  (`mounts`): it is waited for, and then all of it is looked at;
- what was noted while one look ran is the next look; when nothing is noted nothing runs, but for a glance at the directory itself
  every few seconds and a look at everything now and then, for what no notification tells.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import structlog

from cdcd.clock import Clock
from cdcd.config.model import Existing, Storage
from cdcd.errors import StoreUnavailable
from cdcd.event import Delivery
from cdcd.lifecycle import Failed, Tasks
from cdcd.sources.files.hints import Hint, Hints, Wait
from cdcd.sources.files.looking import Identity, Looked, Looker, RootGone
from cdcd.sources.files.matching import Matching
from cdcd.sources.files.settling import commits, renamed, resume
from cdcd.sources.files.tree import Difference, Tree, is_dir, moves
from cdcd.sources.files.watching import Watcher, watcher
from cdcd.store.trees import ACCEPTED, Trees, emptied, kept, mounted, moving, seen
from cdcd.store.writer import Effect
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()
_T = TypeVar("_T")

GATHER = 0.02  # seconds: halves of a rename come together, and what a temporary file was for is done
BATCH = 500  # differences that are matched and staged in one commit
KEEP = 10_000  # entries that are kept in one commit when nothing is staged
GLANCE = 5.0  # seconds between glances at the directory itself and at its mounts
LIST_EVERY = 10.0  # seconds between looks at directories that could not be watched
LOOK_EVERY = 600.0  # seconds between looks at everything; longer when a look takes long
SHARE = 100  # a look at everything, or at what is not watched, takes at most this part of the time
SHORTEST_WAIT, LONGEST_WAIT = 0.5, 15.0  # seconds until a directory or a store that is away is asked for again


class Stage(Protocol):
    """Where deliveries go (the engine)."""

    async def stage(self, deliveries: Sequence[Delivery], effects: Sequence[Effect] = ()) -> None: ...


class FilesSource:
    """A part; see the module. `looks` counts looks at everything, `tree` is what was settled, `missing` says why the store's directory
    cannot be looked at."""

    def __init__(
        self,
        project: str,
        store: Storage,
        triggers: tuple[Trigger, ...],
        stage: Stage,
        trees: Trees,
        clock: Clock,
        failed: Failed,
        watch: Callable[[str, bool, bool, Hints, Callable[[], None]], Watcher] = watcher,
        list_every: float = LIST_EVERY,
        glance_every: float = GLANCE,
    ) -> None:
        """`trees` is a connection of its own. `list_every` is seconds between looks at what could not be watched, `glance_every`
        between glances at the directory itself and its mounts."""
        self.name = f"source.{store.name}"
        self.tree = Tree()
        self.looks = 0
        self.store = store
        self.begun = asyncio.Event()  # what happens from now on is noticed
        self._project = project
        self._matching = Matching(project, store.name, triggers)
        self._stage = stage
        self._trees = trees
        self._clock = clock
        self._make_watcher = watch
        self._list_every = list_every
        self._glance_every = glance_every
        self._log = log.bind(store=store.name, path=str(store.path))
        self._tasks = Tasks(self.name, failed)
        self._started = False
        self._hints = Hints()
        self._woken = asyncio.Event()
        self._waits: dict[str, Wait] = {}
        self._looker = Looker(store, self.tree, clock)
        self._watcher: Watcher | None = None
        self._root: Identity | None = None
        self._stored: dict[str, int] = {}  # mounts, as the store has them
        self._moving: dict[str, str] = {}  # renames that a crash has left half kept
        self.missing = ""
        self._told: set[str] = set()  # paths that could not be read
        self._told_unwatched = False
        self._running: asyncio.Future[object] | None = None

    async def start(self) -> None:
        """Begin; a directory that is not there is waited for in the background."""
        if not self._started:
            self._started = True
            self._tasks.spawn(self._run(), "look")

    def take_over(self, triggers: tuple[Trigger, ...]) -> None:
        """What is found from now on is matched by these."""
        self._matching = Matching(self._project, self.store.name, triggers)

    async def stop(self) -> None:
        """What was seen and is not staged yet is seen again after the next start."""
        self._looker.stopping = True
        await self._tasks.cancel()
        if self._running is not None:
            with contextlib.suppress(Exception):  # it looks a moment longer than it is waited for
                await self._running
        self._unwatch()
        await self._trees.close()

    async def _run(self) -> None:
        known = await self._load()
        wait, looks = SHORTEST_WAIT, self.looks
        while True:
            self._root = await self._there(known)
            device = self._root[0]
            self._looker.trusted = known == device
            if not self._watch():
                continue
            try:
                if known is None:
                    known = await self._first(device)
                else:
                    self._hints.all("start")
                self.begun.set()
                known = await self._follow(known, device)
            except RootGone as error:
                why = str(error)
                if why and self.looks == looks:  # it is there, and looking at it fails
                    self._tell_missing(why)
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, LONGEST_WAIT)
                else:
                    wait, looks = SHORTEST_WAIT, self.looks
            finally:
                self._unwatch()

    async def _load(self) -> int | None:
        """The kept tree. The device it was on, None for a store that is new."""
        wait, known = SHORTEST_WAIT, None
        while True:
            try:
                known = await self._trees.known(self.store.name)
                if known is not None:
                    async for page in self._trees.entries(self.store.name):
                        await self._in_thread(self._load_page, page)
                break
            except StoreUnavailable as error:
                self._log.warning("files.store_unreachable", error=str(error), retry_in=wait)
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
        await self._trees.close()
        if known is None:
            return None
        self._stored = {os.fsdecode(path): device for path, device in known.mounts.items()}
        self._moving = {os.fsdecode(old): os.fsdecode(new) for old, new in known.moving.items()}
        if known.root != os.fsencode(self.store.path):
            self._log.info("files.moved", before=os.fsdecode(known.root))
            return ACCEPTED
        self._looker.mounts.kept = dict(self._stored)
        return known.device

    def _load_page(self, page: list[tuple[bytes, bytes]]) -> None:
        self.tree.load((os.fsdecode(path), entry) for path, entry in page)

    async def _there(self, known: int | None) -> Identity:
        """Wait until the store's directory is there."""
        wait, looker = SHORTEST_WAIT, self._looker
        files: list[tuple[str, bytes]] | None = None
        while True:
            try:
                root = await self._in_thread(looker.root)
                if root is None:
                    self._tell_missing("it is not there")
                elif known in (None, ACCEPTED, root[0]):
                    return root
                else:
                    if files is None:
                        files = await self._in_thread(looker.mounts.known, "")
                    if await self._in_thread(looker.mounts.recognises, files):
                        return root
                    self._tell_missing(
                        "it is on another device than before and most of its files are not there: "
                        "its file system seems not to be mounted",
                        f"mount it; or, if they are gone, stop cdcd, run `cdcd setup --accept-files {self.store.name}` and start it",
                    )
            except OSError as error:
                self._tell_missing(error.strerror or str(error))
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    def _tell_missing(self, why: str, hint: str = "make it, or let cdcd's user read it") -> None:
        """Once for each reason, until it is looked at again."""
        if why != self.missing:
            self.missing = why
            self._log.warning("files.root_missing", error=why, hint=f"{hint}; nothing in it counts as deleted meanwhile")

    def _tell_back(self) -> None:
        if self.missing:
            self.missing = ""
            self._log.info("files.root_back")

    def _watch(self) -> bool:
        self._hints, self._waits = Hints(), {}
        store = self.store
        try:
            self._watcher = self._make_watcher(
                str(store.path), store.recursive, store.follow_symlinks, self._hints, self._woken.set
            )
        except FileNotFoundError:
            return False
        except OSError as error:
            if not self._told_unwatched:
                self._told_unwatched = True
                self._log.error(
                    "files.unwatched", directories=1, error=str(error),
                    hint="raise fs.inotify.max_user_instances; until then the store is looked at every few seconds",
                )  # fmt: skip
            self._watcher = _Blind(self.store.recursive)
        self._looker.watch = self._watcher.add
        return True

    def _unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        self._looker.watch = _nothing

    async def _first(self, device: int) -> int:
        """A store that is new: take it as it is, or begin with nothing so that all of it is reported."""
        store, root = self.store, os.fsencode(self.store.path)
        if store.existing is Existing.IGNORE:
            await self._stage.stage((), (emptied(store.name),))  # of a first look that was broken off
            taken, looked = await self._in_thread(self._looker.take)
            for start in range(0, len(taken), KEEP):
                part = taken[start : start + KEEP]
                await self._stage.stage((), kept(store.name, {os.fsencode(path): entry for path, entry in part}))
            await self._in_thread(self.tree.load, taken)
            self._tell(looked)
            self._tell_back()
            self._looker.mounts.kept = looked.mounted
        else:
            self._hints.all("new")
        await self._stage.stage((), (seen(store.name, root, device),))
        await self._keep_mounts()
        self._log.info("files.first_look", existing=store.existing.value, entries=self.tree.count)
        self._looker.trusted = True
        return device

    async def _follow(self, known: int, device: int) -> int:
        """Look where something may have happened, until the store's directory is another one; the device it was on."""
        look_at = list_at = self._clock.monotonic() + LOOK_EVERY
        first = True
        while True:
            watching = self._watcher
            assert watching is not None
            if not first:
                await self._gathered(min(look_at, list_at) if watching.unwatched else look_at)
            now = self._clock.monotonic()
            hints = self._hints.take()
            if now >= look_at:
                hints.all("time")
            elif hints.everything == "overflow":
                self._log.warning(
                    "files.overflow", hint="all is looked at; raise fs.inotify.max_queued_events if this is often"
                )
            noted = {path: hint for path, hint in hints.paths.items() if not self._awaits_close(path, hint)}
            if not hints.everything:
                if watching.unwatched and now >= list_at:
                    noted.update(dict.fromkeys(watching.unwatched, Hint.LIST))
                for path, wait in self._waits.items():
                    if wait.due <= now:
                        noted.setdefault(path, wait.hint)
            looked = Looked()
            if noted or hints.everything:
                looked = await self._in_thread(self._looker.look, noted.items(), self._waits, bool(hints.everything))
            took = self._clock.monotonic() - now
            if (
                hints.root or await self._in_thread(self._identity) != self._root
            ):  # the number of its inode may be the same again
                self._log.info("files.root_changed")
                return known
            if self._hints.unmounted:  # what was found may be what lay below
                self._hints.all("unmounted")
                continue
            if hints.everything:
                self._waits.clear()
            for path in noted:
                self._waits.pop(path, None)
            self._waits.update(looked.waits)
            for path in looked.again:
                self._hints.note(path, Hint.NOW)
                self._woken.set()
            await self._settle_all(looked)
            self._tell(looked)
            if hints.everything:
                if self._moving:
                    await self._stage.stage((), (moving(self.store.name, {}),))
                    self._moving = {}
                self.looks += 1
                self._tell_back()
                look_at = now + max(LOOK_EVERY, SHARE * took)
                if hints.everything != "time":
                    self._log.info(
                        "files.looked", why=hints.everything, entries=self.tree.count, changed=len(looked.differences)
                    )
                await self._stage.stage((), (seen(self.store.name, os.fsencode(self.store.path), device),))
                known, self._looker.trusted = device, True
            if now >= list_at or first:
                list_at = now + max(self._list_every, SHARE * took)
            first = False
            if self._looker.mounts.kept:
                for path in await self._in_thread(self._looker.mounts.changed):
                    self._hints.note(path, Hint.WHOLE)
                    self._woken.set()

    def _awaits_close(self, path: str, hint: Hint) -> bool:
        """A change of the attributes of a file that is still written says nothing."""
        wait = self._waits.get(path)
        return hint is Hint.FOUND and wait is not None and wait.hint is Hint.CREATED

    async def _gathered(self, latest: float) -> None:
        """Until something was noted, some file is due, it is time for a glance, or `latest` (monotonic)."""
        now = self._clock.monotonic()
        due = min((wait.due for wait in self._waits.values()), default=latest)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(due, latest, now + self._glance_every) - now)):
                await self._woken.wait()
        if self._woken.is_set():
            await asyncio.sleep(GATHER)
            self._woken.clear()

    def _identity(self) -> Identity | None:
        try:
            return self._looker.root()
        except OSError:
            return None

    async def _settle_all(self, looked: Looked) -> None:
        """A mount is kept before what lies in it, and its device is believed to be another one after that."""
        mounts = self._looker.mounts
        mounts.kept |= looked.mounted
        await self._keep_mounts()
        await self._settle(looked.differences.values())
        for path, device in looked.renumbered.items():
            mounts.kept.pop(path)
            if device is not None:
                mounts.kept[path] = device
        for path in [path for path in mounts.kept if not self.tree.holds(path)]:
            del mounts.kept[path]
        await self._keep_mounts()
        for path, instead in looked.away.items():
            if path not in mounts.away:
                self._log.warning(
                    "files.unmounted", name=path.encode(errors="replace").decode(),
                    hint="mount it, or remove the directory if its files are gone; nothing in it counts as deleted meanwhile",
                )  # fmt: skip
            mounts.away[path] = instead
        for path in [path for path in mounts.away if path in looked.back or path not in mounts.kept]:
            del mounts.away[path]
            if path in looked.back:
                self._log.info("files.mounted", name=path.encode(errors="replace").decode())

    async def _keep_mounts(self) -> None:
        kept = self._looker.mounts.kept
        if kept != self._stored:
            paths = {os.fsencode(path): device for path, device in kept.items()}
            await self._stage.stage((), (mounted(self.store.name, paths),))
            self._stored = dict(kept)

    async def _settle(self, differences: Iterable[Difference]) -> None:
        """Stage what triggers want of it and keep the tree, in order and in one commit each."""
        todo = list(differences)
        if not todo:
            return
        large = len(todo) > BATCH
        moved = await self._in_thread(moves, todo) if large else moves(todo)
        if self._moving:
            resume(todo, moved, self._moving, self.tree)
        renames = renamed(todo, moved) if large else {}
        parts = commits(todo, moved, BATCH)
        for number, part in enumerate(parts, 1):
            deliveries = self._matching.match(part, moved, int(self._clock.now() * 1_000_000))
            effects = kept(self.store.name, {os.fsencode(difference.path): difference.new for difference in part})
            if renames and number in (1, len(parts)):
                unfinished = self._moving if number == len(parts) else self._moving | renames
                effects.append(moving(self.store.name, {os.fsencode(old): os.fsencode(new) for old, new in unfinished.items()}))
            await self._stage.stage(deliveries, effects)
            for difference in part:
                old = difference.old
                if old is not None and is_dir(old) and (difference.new is None or not is_dir(difference.new)):
                    self._forget(difference.path)
                self.tree.put(difference.path, difference.new)

    def _forget(self, directory: str) -> None:
        if self._watcher is not None:
            self._watcher.forget(directory)

    def _tell(self, looked: Looked) -> None:
        """Say once what cannot be watched and what cannot be read."""
        assert self._watcher is not None
        unwatched = self._watcher.unwatched
        if unwatched and not self._told_unwatched:
            self._log.error(
                "files.unwatched", directories=len(unwatched), error=next(iter(unwatched.values())),
                hint="raise fs.inotify.max_user_watches; until then these are looked at every few seconds",
            )  # fmt: skip
        self._told_unwatched = bool(unwatched)
        for path, why in looked.unreadable.items():
            if path not in self._told:
                self._told.add(path)
                self._log.warning("files.unreadable", name=path.encode(errors="replace").decode(), error=why)

    async def _in_thread(self, work: Callable[..., _T], *arguments: object) -> _T:
        """Like asyncio.to_thread, and `stop` waits for it."""
        running = asyncio.get_running_loop().run_in_executor(None, work, *arguments)
        self._running = running  # type: ignore[assignment]
        return await asyncio.shield(running)


class _Blind:
    """See Watcher: where nothing can be watched."""

    def __init__(self, recursive: bool) -> None:
        self.unwatched: dict[str, str] = {}

    def add(self, directory: str) -> None:
        self.unwatched[directory] = "no inotify instance"

    def forget(self, directory: str) -> None:
        self.unwatched.pop(directory, None)

    def close(self) -> None:
        self.unwatched.clear()


def _nothing(_: str) -> None:
    return None
