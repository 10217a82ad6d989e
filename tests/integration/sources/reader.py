"""A database source (of either capture) on a real server, with a pipeline that keeps what it is offered, and a real event store.

async with reader(database, {"items": trigger("items")}) as it:
    database.execute("INSERT INTO items VALUES (1)")
    (delivery,) = await it.offered(1)
    await it.settle()                                  # record it in the store, as the recorder does
async with reader(database, ..., name=it.name): ...    # the same project again: a restart
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import structlog
from structlog.testing import capture_logs

from cdcd.clock import SystemClock
from cdcd.config.model import Capture, Config, Database, Eventing, TriggerConfig, Webhook
from cdcd.event import Attempt, Delivery, Record, Status
from cdcd.lifecycle import Supervisor
from cdcd.sources.changelog import ChangelogSource
from cdcd.sources.replication import ReplicationSource
from cdcd.store.migrate import migrate
from cdcd.store.reads import Reads
from cdcd.store.recorder import Recorder
from cdcd.triggers.matcher import Index
from cdcd.triggers.trigger import Trigger, compile_trigger
from tests import postgres

PATIENCE = 30.0
EVERY = ("DB_INSERT", "DB_UPDATE", "DB_DELETE")
SCHEMA = "cdcd"
_names = itertools.count(1)


def trigger(*tables: str, types: Iterable[str] = EVERY, **more: Any) -> TriggerConfig:
    return TriggerConfig("", frozenset(types), "main", tables, Webhook("http://a/", "http://a"), **more)


@dataclass
class Pipeline:
    """Keeps what it is offered. `full` as the test says."""

    deliveries: list[Delivery] = field(default_factory=list)
    full: bool = False
    waited: int = 0
    relieved: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    emptied: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        self.deliveries += deliveries
        self.changed.set()

    async def room(self) -> None:
        self.waited += 1
        self.changed.set()
        while self.full:
            await self.emptied.wait()

    def relieve(self) -> None:
        self.relieved += 1

    def make_room(self) -> None:
        self.full = False
        self.emptied.set()


@dataclass
class Reader:
    """A running source and what it said."""

    name: str
    database: postgres.Database
    config: Config
    pipeline: Pipeline
    recorder: Recorder
    source: Any  # ReplicationSource or ChangelogSource
    logs: list[Any]
    failures: list[BaseException]

    @property
    def slot(self) -> str:
        return self.config.databases["main"].slot

    @property
    def publication(self) -> str:
        return self.config.databases["main"].publication

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Return when `condition` holds: looked at whenever the pipeline gets something, and now and then for what nobody tells."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    assert not self.failures, self.failures
                    self.pipeline.changed.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self.pipeline.changed.wait(), 0.02)
        except TimeoutError:
            events = [entry["event"] for entry in self.logs][-20:]
            raise AssertionError(
                f"not within {PATIENCE} s: {what}; offered {len(self.pipeline.deliveries)}, logs {events}"
            ) from None

    async def offered(self, count: int) -> list[Delivery]:
        """The deliveries, once so many were offered."""
        await self.until(lambda: len(self.pipeline.deliveries) >= count, f"{count} deliveries")
        return self.pipeline.deliveries

    async def logged(self, event: str, **fields: Any) -> Mapping[str, Any]:
        """The log line, once it is there."""
        await self.until(lambda: self.find(event, **fields), f"log {event} {fields}")
        return self.find(event, **fields)[-1]

    def find(self, event: str, **fields: Any) -> list[Mapping[str, Any]]:
        return [e for e in self.logs if e["event"] == event and all(e.get(name) == value for name, value in fields.items())]

    async def settle(self, status: Status = Status.PROCESSED) -> None:
        """Record every delivery offered so far, and wait for the commit."""
        taken, self.pipeline.deliveries = self.pipeline.deliveries, []
        for delivery in taken:
            attempt = Attempt(1, 0.0, 0.0, 200, "ok") if status is Status.PROCESSED else None
            self.recorder.record(Record(delivery, status, False, attempt))
        await self.until(lambda: self.recorder.queued[0] == 0, "a commit")

    def ask(self, query: str) -> Any:
        """The first value of a query."""
        return self.database.execute(query)[0][0]

    def confirmed(self) -> str:
        text: str = self.ask(f"SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{self.slot}'")
        return text

    def positions(self) -> list[tuple[Any, ...]]:
        return self.database.execute(f"SELECT settled, recorded FROM {SCHEMA}.positions ORDER BY seq")

    async def disconnect(self) -> None:
        """End the walsender, as a broken network does."""
        if self.config.databases["main"].capture is Capture.TRIGGERS:
            query = (
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'cdcd' AND datname = %s"
            )
            await asyncio.to_thread(self.database.postgres.execute, query, [self.database.name])
            return
        mine = f"FROM pg_replication_slots WHERE slot_name = '{self.slot}'"
        await asyncio.to_thread(self.database.execute, f"SELECT pg_terminate_backend(active_pid, 5000) {mine}")


def docs(deliveries: Iterable[Delivery], column: str = "id") -> list[Any]:
    """One column of the new rows."""
    return [orjson.loads(delivery.event.data)["doc"][column] for delivery in deliveries]


@contextlib.asynccontextmanager
async def reader(
    database: postgres.Database,
    triggers: Mapping[str, TriggerConfig],
    *,
    name: str = "",
    url: str = "",
    store: postgres.Database | None = None,
    start: bool = True,
    watch_interval: float = 30.0,
    reads_url: str = "",
    capture: Capture = Capture.REPLICATION,
    **more: Any,
) -> AsyncIterator[Reader]:
    """A source of `database` (by `url`), with its event store in it (or in `store`)."""
    name = name or f"p{next(_names)}"
    main = Database("main", url or database.dsn, capture, f"cdcd_{name}_main", f"cdcd_{name}_main")
    own = store is None
    config = Config(name, (), {"main": main}, Eventing("main" if own else None, SCHEMA, 604800, Path()), {})
    dsn = database.dsn if store is None else store.dsn
    await migrate(dsn, SCHEMA, name)
    compiled: list[Trigger] = [compile_trigger(_named(each, of)) for each, of in triggers.items()]
    failures: list[BaseException] = []
    supervisor = Supervisor()
    supervisor.failed = lambda part, error: failures.append(error)  # type: ignore[method-assign]
    pipeline = Pipeline()
    recorder = Recorder(dsn, SCHEMA, name, SystemClock(), supervisor.failed, [], lambda records: None, deadline=5.0)
    structlog.reset_defaults()
    with capture_logs() as logs:
        kind = ChangelogSource if capture is Capture.TRIGGERS else ReplicationSource
        source = kind(
            config,
            main,
            compiled,
            Index(compiled, [("main", SCHEMA)] if own or capture is Capture.TRIGGERS else []),
            pipeline,
            recorder,
            Reads(reads_url or dsn, SCHEMA),
            supervisor,
            watch_interval=watch_interval,
            **more,
        )
        recorder.tracked.append(source)
        it = Reader(name, database, config, pipeline, recorder, source, logs, failures)
        await recorder.start()
        try:
            if start:
                await source.start()
            yield it
        finally:
            await source.stop()
            await recorder.stop()
            await source.end()
    assert not failures, failures


def _named(name: str, config: TriggerConfig) -> TriggerConfig:
    return replace(config, name=name)
