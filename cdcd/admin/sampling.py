"""Asks the databases and the store what memory does not know, in the background, every few seconds and only while somebody watches.

The rules:
- nobody who asks waits for a server, but for a moment the first of them: he gets what is known, with its time;
- when nobody has asked for `WATCHED` seconds it ends, and its connections are closed;
- what cannot be asked now is left out; that it cannot be reached is told by others.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from cdcd.config.model import Capture, Database
from cdcd.errors import CdcdError
from cdcd.lifecycle import Failed, Tasks
from cdcd.replication import slot
from cdcd.replication.refusal import translated as refusals
from cdcd.replication.walsender import Connection
from cdcd.sources.opening import connect
from cdcd.sources.translate import translated
from cdcd.store.sampling import QueueSize, StoreSample

log = structlog.get_logger()

EVERY = 5.0  # seconds
WATCHED = 30.0
ANSWER = 10.0  # seconds that a server may take
FIRST = 1.0  # seconds that the first who asks waits, at most
SPAN = 60.0  # seconds over which growth is measured


@dataclass(slots=True, frozen=True)
class SlotSample:
    """A slot at a moment (wall-clock seconds): `written` is how far the server has (an LSN), `held` bytes of WAL that the slot keeps,
    `budget` how many it may (None: any), `status` the slot's or `missing`."""

    at: float
    written: int
    held: int
    budget: int | None
    status: str
    active: bool


@dataclass(slots=True)
class Samples:
    """What was found last. `slots`: of each database those of about the last minute, the newest last."""

    slots: dict[str, list[SlotSample]] = field(default_factory=dict)
    oldest: Mapping[str, float] = field(default_factory=dict)
    queue: QueueSize | None = None
    loop_lag: float | None = None


def growth(samples: Sequence[SlotSample]) -> float | None:
    """By how many bytes a second the WAL that is held grows; None when it is not known yet."""
    if len(samples) < 2:
        return None
    first, last = samples[0], samples[-1]
    return (last.held - first.held) / max(last.at - first.at, 0.001)


class Sampler:
    """A part; see the module. `backlogged` tells which triggers have a backlog; `databases` are those that are captured."""

    name = "overview"

    def __init__(
        self,
        databases: Callable[[], Sequence[Database]],
        store: StoreSample,
        backlogged: Callable[[], Sequence[str]],
        failed: Failed,
    ) -> None:
        self.found = Samples()
        self._databases = databases
        self._store = store
        self._backlogged = backlogged
        self._tasks = Tasks(self.name, failed)
        self._asked_at = 0.0
        self._first = asyncio.Event()
        self._running = False
        self._stopped = False
        self._connections: dict[str, Connection] = {}

    async def start(self) -> None:
        """Nothing runs until somebody asks."""

    async def stop(self) -> None:
        """Ask no more."""
        self._stopped = True
        await self._tasks.cancel()
        await self._close()

    async def watched(self, patience: float = FIRST) -> Samples:
        """What is known; somebody watches. The first who asks waits so many seconds for it at most."""
        self._asked_at = time.monotonic()
        if not self._running and not self._stopped:
            self._running = True
            self._first.clear()
            self._tasks.spawn(self._run(), "sample")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._first.wait()
        return self.found

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while time.monotonic() - self._asked_at < WATCHED:
                await asyncio.gather(self._sample_store(), *(self._sample(database) for database in self._databases()))
                self._first.set()
                due = loop.time() + EVERY
                await asyncio.sleep(EVERY)
                self.found.loop_lag = max(0.0, loop.time() - due)
        finally:
            self._running = False
            self.found = Samples()  # it would be old when somebody asks again
            await self._close()

    async def _close(self) -> None:
        connections, self._connections = list(self._connections.values()), {}
        for connection in connections:
            await connection.close()
        await self._store.close()

    async def _sample_store(self) -> None:
        try:
            async with asyncio.timeout(ANSWER):
                self.found.oldest = await self._store.oldest(self._backlogged())
                self.found.queue = await self._store.queue()
        except (CdcdError, TimeoutError) as error:
            log.debug("overview.unsampled", part="store", error=str(error))
            await self._store.close()

    async def _sample(self, database: Database) -> None:
        if database.capture is Capture.TRIGGERS:
            return
        try:
            async with asyncio.timeout(ANSWER):
                with translated(database), refusals():
                    connection = self._connections.get(database.name)
                    if connection is None or connection.closed:
                        connection = self._connections[database.name] = await connect(
                            database, application_name="cdcd overview"
                        )
                    sample = await _look(connection, database)
        except (CdcdError, TimeoutError) as error:
            log.debug("overview.unsampled", part=database.name, error=str(error))
            if (broken := self._connections.pop(database.name, None)) is not None:
                await broken.close()
        else:
            kept = self.found.slots.setdefault(database.name, [])
            kept.append(sample)
            while len(kept) > 2 and kept[1].at <= sample.at - SPAN:
                del kept[0]


async def _look(connection: Connection, database: Database) -> SlotSample:
    state = await slot.inspect(connection, database.slot)
    written = await slot.flushed_lsn(connection)
    if state is None:
        return SlotSample(time.time(), written, 0, None, "missing", active=False)
    allowed = await slot.allowed_bytes(connection)
    budget = min((size for size in (allowed, database.wal_budget) if size is not None), default=None)
    status = "lost" if state.lost else state.wal_status or ""
    return SlotSample(time.time(), written, state.retained_bytes, budget, status, active=state.active_pid is not None)
