"""A store in a test's database, and the records of an imaginary shop to put into it."""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from cdcd.clock import SystemClock
from cdcd.errors import TransientError
from cdcd.event import Attempt, Delivery, Event, Position, Record, Status
from cdcd.store.migrate import migrate
from cdcd.store.recorder import Recorder
from tests.postgres import Database

SCHEMA = "cdcd Shop"  # needs quoting
PROJECT = "shop"


def new_id(at: float | None = None) -> str:
    """A UUIDv8 that begins with the time, as the sources make them."""
    stamp = int((at or time.time()) * 1000).to_bytes(6, "big")
    return str(uuid.UUID(bytes=stamp + b"\x80" + os.urandom(1) + b"\x80" + os.urandom(7)))


@dataclass
class Checkpoint:
    """Counts how often it is settled."""

    settled: int = 0

    def settle(self) -> None:
        self.settled += 1


def delivery(
    lane: str | None = None, trigger: str = "welcome", at: float | None = None, data: bytes = b'{"doc": {"id": 1},  "x": 1}'
) -> Delivery:
    """A delivery of an event that happened at `at` (now)."""
    moment = at or time.time()
    event = Event("DB_INSERT", "cdcd/shop/main", "public.users/1", lane or "1", int(moment * 1_000_000), data, 42)
    return Delivery(new_id(moment), trigger, event, lane, Checkpoint())


def attempt(number: int = 1, status: int = 200, error: str = "", response: str = "ok") -> Attempt:
    return Attempt(number, time.time(), 0.005, status, response, error)


def final(of: Delivery, status: Status = Status.PROCESSED, number: int = 1, reason: str = "") -> Record:
    """`of` has become final by its attempt `number`; 0 for none."""
    was_staged, of.staged = of.staged, False
    of.attempts = max(of.attempts, number)
    return Record(of, status, was_staged, attempt(number) if number else None, reason=reason)


def staged(of: Delivery, due_at: float = 0.0, number: int = 0, reason: str = "") -> Record:
    """`of` goes to the backlog, or stays there."""
    was_staged, of.staged = of.staged, True
    of.attempts = max(of.attempts, number)
    return Record(of, Status.STAGED, was_staged, attempt(number, 503, "503") if number else None, due_at, reason)


@dataclass
class Source:
    """A tracked source whose position moves when the test says so."""

    position: Position | None = None
    recorded: list[Position] = field(default_factory=list)
    told: Callable[[], None] = lambda: None

    def position_to_record(self) -> Position | None:
        position, self.position = self.position, None
        return position

    def position_recorded(self, position: Position) -> None:
        self.recorded.append(position)
        self.told()


@dataclass
class Shop:
    """A running recorder and what it said."""

    database: Database
    recorder: Recorder
    source: Source
    recorded: list[Record] = field(default_factory=list)
    states: list[TransientError | None] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    _waiters: list[asyncio.Event] = field(default_factory=list)

    def notify(self) -> None:
        for waiter in self._waiters:
            waiter.set()

    async def until(self, condition: Callable[[], bool], timeout: float = 20) -> None:
        """Return when `condition` holds; it is looked at whenever the recorder tells something."""
        waiter = asyncio.Event()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    await waiter.wait()
                    waiter.clear()
        finally:
            self._waiters.remove(waiter)

    async def write(self, *records: Record) -> None:
        """Record these as one group and wait for their commit."""
        wanted = len(self.recorded) + len(records)
        for record in records:
            self.recorder.record(record)
        await self.until(lambda: len(self.recorded) >= wanted or bool(self.failures))
        if self.failures:
            raise self.failures[0]

    def rows(self, query: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Rows of a query on the store's schema."""
        with self.database.connect() as connection:
            connection.execute(f"SET search_path = \"{SCHEMA}\"; SET timezone = 'UTC'")
            return connection.execute(query, params).fetchall()

    def execute(self, query: str) -> None:
        with self.database.connect() as connection:
            connection.execute(f"SET search_path = \"{SCHEMA}\"; SET timezone = 'UTC'")
            connection.execute(query)


@asynccontextmanager
async def shop(database: Database, *, dsn: str | None = None, start: bool = True, patience: float = 0) -> AsyncIterator[Shop]:
    """A migrated store and a started recorder, stopped afterwards."""
    await migrate(database.dsn, SCHEMA, PROJECT)
    source = Source()

    def recorded(records: list[Record]) -> None:
        it.recorded += records
        it.notify()

    def state(trouble: TransientError | None) -> None:
        it.states.append(trouble)
        it.notify()

    def failed(part: str, error: BaseException) -> None:
        it.failures.append(error)
        it.notify()

    recorder = Recorder(
        dsn or database.dsn, SCHEMA, PROJECT, SystemClock(), failed, [source], recorded, state, patience=patience
    )
    it = Shop(database, recorder, source)
    source.told = it.notify
    try:
        if start:
            await recorder.start()
        yield it
    finally:
        recorder.deadline = min(recorder.deadline, 5.0)
        await recorder.stop()
