"""The files source on a real directory and a real event store, with a stage that keeps what it is given.

async with watched(database, root) as it:                  # looked at for the first time
    (root / "a").write_text("x")
    await it.told("FILE_CREATE a")
async with watched(database, root) as it: ...              # a restart
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import structlog
from structlog.testing import capture_logs

from cdcd.clock import SystemClock
from cdcd.config.model import Kind, Storage, TriggerConfig, Webhook
from cdcd.event import Delivery
from cdcd.lifecycle import Supervisor
from cdcd.sources.files.source import FilesSource
from cdcd.store.migrate import migrate
from cdcd.store.recorder import Recorder
from cdcd.store.trees import Trees
from cdcd.store.writer import Effect
from cdcd.triggers.trigger import compile_trigger
from tests import postgres

EVERY = frozenset({"FILE_CREATE", "FILE_UPDATE", "FILE_DELETE"})
PATIENCE = 20.0
NO_LIMIT = 1_000_000
SCHEMA = "cdcd"


@dataclass
class Stage:
    """Makes the effects durable, and keeps the deliveries. After `commits` with deliveries nothing is durable any more, as if the
    process had been killed; `full` is set then."""

    recorder: Recorder
    commits: int = NO_LIMIT
    full: asyncio.Event = field(default_factory=asyncio.Event)
    deliveries: list[Delivery] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def stage(self, deliveries: Sequence[Delivery], effects: Sequence[Effect] = ()) -> None:
        if deliveries:
            self.commits -= 1
        if self.commits < 0:
            self.full.set()
            await asyncio.Event().wait()
        await self.recorder.submit([], effects)
        self.deliveries += deliveries
        self.changed.set()


@dataclass
class Watched:
    """A running source, what it told and what it logged."""

    source: FilesSource
    stage: Stage
    logs: list[Any]

    @property
    def events(self) -> list[str]:
        """What was told, as `TYPE path`."""
        return [f"{delivery.event.type} {delivery.event.subject}" for delivery in self.stage.deliveries]

    def data(self, event: str) -> dict[str, Any]:
        """The data of the newest such event."""
        found: dict[str, Any] = orjson.loads(
            next(d for d in reversed(self.stage.deliveries) if f"{d.event.type} {d.event.subject}" == event).event.data
        )
        return found

    async def told(self, *events: str) -> None:
        """Wait until all of these were told; they are all that was told since the last time, each once."""
        async with asyncio.timeout(PATIENCE):
            while Counter(events) - Counter(self.events):
                self.stage.changed.clear()
                try:
                    await self.stage.changed.wait()
                except asyncio.CancelledError as error:
                    error.add_note(f"told: {self.events}, wanted: {events}")
                    raise
        assert Counter(self.events) == Counter(events)
        self.stage.deliveries.clear()

    async def all(self, count: int) -> None:
        """Wait until so many were told."""
        async with asyncio.timeout(PATIENCE):
            while len(self.stage.deliveries) < count:
                self.stage.changed.clear()
                await self.stage.changed.wait()

    async def kept(self, count: int) -> None:
        """Wait until the tree has so many entries."""
        await until(lambda: self.source.tree.count == count)

    async def nothing(self, root: Path) -> None:
        """Nothing was told: a marker that is made now is the first thing that is."""
        marker = root / "marker"
        marker.write_text("x")
        await self.told("FILE_CREATE marker")
        marker.unlink()
        await self.told("FILE_DELETE marker")

    async def logged(self, event: str) -> dict[str, Any]:
        """Wait until this was logged."""
        await until(lambda: any(line["event"] == event for line in self.logs))
        line: dict[str, Any] = next(line for line in reversed(self.logs) if line["event"] == event)
        return line


async def until(test: Callable[[], bool]) -> None:
    """Wait for what nothing tells: a line of the log, an entry of the tree."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if test():
                return
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def watched(
    database: postgres.Database, root: Path, *, when: str = "", wait: str = "", types: frozenset[str] = EVERY, **more: Any
) -> AsyncIterator[Watched]:
    """`wait` is the log event to wait for first: by default that everything was looked at, or nothing where `commits` (see Stage)
    is given. `more` is the store's, or the source's."""
    await migrate(database.dsn, SCHEMA, "shop")
    for_source = {name: more.pop(name) for name in ("watch", "list_every", "glance_every") if name in more}
    more.setdefault("settle", 0.2)
    limit = more.pop("commits", NO_LIMIT)
    store = Storage("uploads", root, **more)
    trigger = TriggerConfig(
        "files", types, "", (), Webhook("http://a/", "http://a"), kind=Kind.STORAGE, storage="uploads", when=when
    )
    supervisor = Supervisor()
    recorder = Recorder(database.dsn, SCHEMA, "shop", SystemClock(), supervisor.failed, [], lambda _: None)
    stage = Stage(recorder, limit)
    source = FilesSource(
        "shop",
        store,
        (compile_trigger(trigger),),
        stage,
        Trees(database.dsn, SCHEMA),
        SystemClock(),
        supervisor.failed,
        **for_source,
    )
    structlog.configure(cache_logger_on_first_use=False)
    with capture_logs() as logs:
        await recorder.start()
        await source.start()
        it = Watched(source, stage, logs)
        try:
            if wait:
                await it.logged(wait)
            elif limit == NO_LIMIT:
                await until(lambda: any(line["event"] in ("files.first_look", "files.looked") for line in logs))
            yield it
        finally:
            await source.stop()
            await recorder.stop()
    await supervisor.run([], _stopped(supervisor))


def _stopped(supervisor: Supervisor) -> Any:
    async def ready() -> None:
        supervisor.stop()

    return ready
