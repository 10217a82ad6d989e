"""The recorder: the only writer of the event store.

The rule: a group is whatever gathered while the last commit ran (no timer), it is committed whole together with the sources'
positions, and it is written again until it is committed. So a failed write delays, and never loses nor sends anything again.

One task (`write`) owns the connection and takes from the queue; `record` appends to it from the same event loop.
"""

import asyncio
import contextlib
import math
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from cdcd import failpoints
from cdcd.clock import Clock
from cdcd.errors import StoreRefused, StoreUnavailable, TransientError
from cdcd.event import Position, Record, Status, Tracked
from cdcd.lifecycle import Failed, Tasks
from cdcd.store.connection import RowRefused
from cdcd.store.inbox import enqueue
from cdcd.store.ownership import Ownership
from cdcd.store.writer import Effect, Writer

log = structlog.get_logger()

GROUP_RECORDS = 2000
GROUP_BYTES = 16 * 1024 * 1024
COMPACT_EVERY = 10_000  # groups
LOOK_EVERY = 5.0  # seconds between looks at an idle store
FIRST_WAIT, LONGEST_WAIT = 0.05, 2.0  # seconds between tries
UNWRITABLE = (struct.error, OverflowError, ValueError)  # what `arrays` raises for a value without a wire form


class Accompanied(Protocol):
    """A source with statements of its own in the commits that settle its deliveries (the queue: what leaves it)."""

    def effects_to_record(self) -> Sequence[Effect]:
        """What goes into the commit of everything settled so far."""
        ...

    def effects_recorded(self) -> None:
        """What was given last is committed."""
        ...

    def wake(self) -> None:
        """Records have queued events, which are there now."""
        ...


@dataclass(slots=True, eq=False)
class _Unit:
    """What must be in one commit: records, further statements, and who waits for it."""

    records: Sequence[Record]
    effects: Sequence[Effect]
    done: asyncio.Future[None]


class Recorder:
    """Makes records durable, in order, in groups. See the module's rule.

    `tracked` and `accompanied` may be extended before the first record. `on_recorded` and `Tracked.position_recorded` are called after the
    commit, in the event loop; they must not raise. `on_state` is told the trouble when writing begins to fail or fails
    differently, and None when it is over. `on_unstorable` is shown a record that becomes `failed` for data that the store refuses,
    before it is written. `patience` bounds, in seconds, how long `start` waits for a store that is unavailable
    or owned by another daemon; `deadline` how long `stop` may flush.
    """

    name = "recorder"

    def __init__(
        self,
        dsn: str,
        schema: str,
        project: str,
        clock: Clock,
        failed: Failed,
        tracked: list[Tracked],
        on_recorded: Callable[[list[Record]], None],
        on_state: Callable[[TransientError | None], None] | None = None,
        *,
        on_unstorable: Callable[[Record], None] | None = None,
        patience: float = math.inf,
        deadline: float = 10.0,
    ) -> None:
        self.tracked = tracked
        self.accompanied: list[Accompanied] = []
        self.deadline = deadline
        self.groups = 0
        self.recorded = 0
        self.commit_seconds = 0.0  # that all groups took together
        self.committing_since: float | None = None  # monotonic seconds
        self.trouble_since = 0.0  # monotonic seconds
        self._clock = clock
        self._patience = patience
        self._on_recorded = on_recorded
        self._on_state = on_state
        self._on_unstorable = on_unstorable or _nothing
        self._writer = Writer(dsn, schema, Ownership(schema, project))
        self._tasks = Tasks(self.name, failed)
        self._task: asyncio.Task[None] | None = None
        self._queue: deque[Record | _Unit] = deque()
        self._waiting = self._writing = 0
        self._bytes = 0
        self._wake = asyncio.Event()
        self._stopping = False
        self._poisoned = False  # whether the store ever refused the data of a staged delivery
        self._trouble: TransientError | None = None

    @property
    def queued(self) -> tuple[int, int]:
        """Records that are not durable yet: how many, and their deliveries' bytes."""
        return self._waiting + self._writing, self._bytes

    @property
    def waiting(self) -> int:
        """Records that are in no group yet. A group's number is bounded by itself: counted as waiting, it would stop the source for
        as long as its commit runs."""
        return self._waiting

    @property
    def trouble(self) -> TransientError | None:
        """Why nothing can be written at the moment; None when all is well."""
        return self._trouble

    def record(self, record: Record) -> None:
        """Make `record` durable soon; `on_recorded` tells when it is."""
        self._queue.append(record)
        self._waiting += 1
        self._bytes += record.delivery.size
        self._wake.set()

    def submit(self, records: Sequence[Record], effects: Sequence[Effect] = ()) -> asyncio.Future[None]:
        """Make all of these durable in one commit, in their turn behind what was given before. The future ends when they are;
        cancelling it changes nothing. (A row that the server refuses splits a commit; the effects then go with the last part.)"""
        unit = _Unit(records, effects, asyncio.get_running_loop().create_future())
        self._queue.append(unit)
        self._waiting += len(records)
        self._bytes += sum(record.delivery.size for record in records)
        self._wake.set()
        return unit.done

    def position_moved(self) -> None:
        """A source's position has moved without a delivery: ask for it and commit it."""
        self._wake.set()

    async def start(self) -> None:
        """Return when this daemon owns the store. Waits `patience` for it; StoreRefused comes at once."""
        if self._task is not None:
            return
        began, tries = self._clock.monotonic(), 0
        while True:
            try:
                await self._writer.open()
                break
            except StoreUnavailable as error:
                self._tell(error)
                if self._clock.monotonic() - began >= self._patience:
                    raise
            tries += 1
            await asyncio.sleep(_wait(tries))
        self._tell(None)
        self._stopping = False
        self._task = self._tasks.spawn(self._run(), "write")

    async def stop(self) -> None:
        """Commit everything queued, within `deadline` seconds, and give up the store."""
        self._stopping = True
        self._wake.set()
        task, self._task = self._task, None
        if task is not None:
            done, _ = await asyncio.wait({task}, timeout=self.deadline)
            if not done:
                log.error("recorder.unflushed", records=self.queued[0], trouble=str(self._trouble or ""))
        await self._tasks.cancel()
        await self._writer.close()

    async def _run(self) -> None:
        while True:
            if not self._queue and not self._stopping and not await self._woken():
                continue
            self._wake.clear()
            last = self._stopping
            records, units = self._take()
            for record in records:
                if not record.was_staged and (checkpoint := record.delivery.checkpoint) is not None:
                    checkpoint.settle()
            moved = [(source, position) for source in self.tracked if (position := source.position_to_record()) is not None]
            effects = [effect for unit in units for effect in unit.effects]
            for each in self.accompanied:
                effects += each.effects_to_record()
            if records or moved or units or effects:
                failpoints.hit("recorder.before_commit")
                began = self.committing_since = self._clock.monotonic()
                await self._commit(records, [position for _, position in moved], effects)
                self.commit_seconds += self._clock.monotonic() - began
                self.committing_since = None
                failpoints.hit("recorder.committed")
                for source, position in moved:
                    source.position_recorded(position)
                followed = any(record.follows for record in records)
                for each in self.accompanied:
                    each.effects_recorded()
                    if followed:
                        each.wake()
                if records:
                    self._on_recorded(records)
                for unit in units:
                    if not unit.done.done():
                        unit.done.set_result(None)
            if last and not self._queue:
                return

    async def _woken(self) -> bool:
        """Wait for something to write. Meanwhile see that the store is still there and ours: after a restart of its server the
        lock must be taken again before another daemon takes it, also when nothing happens."""
        try:
            async with asyncio.timeout(LOOK_EVERY):
                await self._wake.wait()
        except TimeoutError:
            try:
                await self._writer.keep()
            except StoreUnavailable as error:
                self._tell(error)
            else:
                self._tell(None)
            return False
        return True

    def _take(self) -> tuple[list[Record], list[_Unit]]:
        queue, size = self._queue, 0
        taken: list[Record] = []
        units: list[_Unit] = []
        while queue and len(taken) < GROUP_RECORDS and size < GROUP_BYTES:
            item = queue.popleft()
            if isinstance(item, Record):
                size += item.delivery.size
                taken.append(item)
            else:
                units.append(item)
                for record in item.records:
                    size += record.delivery.size
                    taken.append(record)
        self._waiting -= len(taken)
        self._writing = len(taken)
        return taken, units

    async def _commit(self, records: list[Record], positions: list[Position], effects: list[Effect]) -> None:
        """Write the group until it is committed. A row that the server refuses is found by halving; the others go on."""
        size = sum(record.delivery.size for record in records)
        todo: deque[tuple[Sequence[Record], Sequence[Position], Sequence[Effect]]] = deque([(records, positions, effects)])
        tries = 0
        while todo:
            part, part_positions, part_effects = todo[0]
            if self._poisoned:
                _fail_unstorable(part, self._on_unstorable)
            follows = [event for record in part if record.follows for event in record.follows]
            carried = [*part_effects, enqueue(follows)] if follows else part_effects
            try:
                await self._writer.write(part, part_positions, self._clock.now(), carried)
            except StoreUnavailable as error:
                self._tell(error)
                tries += 1
                await asyncio.sleep(_wait(tries))
            except (RowRefused, *UNWRITABLE) as error:
                todo.popleft()
                if len(part) > 1:
                    middle = len(part) // 2
                    todo.extendleft([(part[middle:], part_positions, part_effects), (part[:middle], (), ())])
                elif part and (part_positions or part_effects):  # is it the record, or what came with it?
                    todo.extendleft([((), part_positions, part_effects), (part, (), ())])
                elif part:
                    _reduce(part[0], error, self._on_unstorable)
                    self._poisoned |= part[0].delivery.unstorable
                    todo.appendleft((part, part_positions, part_effects))
                else:
                    asked = ", ".join(effect.statement for effect in part_effects) or "a position"
                    raise StoreRefused(f"the event store refuses what a source asks for ({asked}): {error}") from error
            else:
                todo.popleft()
                tries = 0
                self._tell(None)
        self._bytes -= size
        self._writing = 0
        self.recorded += len(records)
        self.groups += 1
        if self.groups % COMPACT_EVERY == 0:
            with contextlib.suppress(StoreUnavailable):  # the next group meets the same trouble and tells it
                await self._writer.compact()

    def _tell(self, trouble: TransientError | None) -> None:
        if trouble is None and self._trouble is None:
            return
        changed = str(trouble) != str(self._trouble)
        if self._trouble is None:
            self.trouble_since = self._clock.monotonic()
        self._trouble = trouble
        if not changed:
            return
        if trouble is None:
            log.info("store.available")
        else:
            log.warning("store.unavailable", error=str(trouble), hint=trouble.hint, queued=self.queued[0])
        if self._on_state is not None:
            self._on_state(trouble)


def _nothing(_: Record) -> None:
    """What is done with an unstorable record when nobody asked."""


def _reduce(record: Record, error: Exception, on_unstorable: Callable[[Record], None]) -> None:
    """Leave out of `record` what the server (or the encoding) refuses: the payload, then the attempt. Its reason says so.

    A delivery that cannot be staged whole is `failed`; one that the endpoint took stays `processed`.
    """
    delivery = record.delivery
    if delivery.event.data and not delivery.unstorable and not record.was_staged:
        delivery.unstorable = True  # its data stays in memory: an attempt may be under way, and budgets count it
        under_way = record.status is Status.STAGED and not delivery.gone  # then its attempt's end decides what follows
        if record.status is Status.STAGED:
            record.status = Status.FAILED
        if record.status is Status.FAILED and not under_way:
            record.follows = ()  # they repeat the data
            on_unstorable(record)
    elif record.attempt is not None:
        record.attempt = None
    elif record.follows:
        record.follows = ()
    else:
        raise StoreRefused(f"the event store refuses the delivery {delivery.id} whatever is left out: {error}") from error
    log.error("record.refused", id=delivery.id, trigger=delivery.trigger)
    record.reason = f"not stored whole: {error}" + (f"; {record.reason}" if record.reason else "")


def _fail_unstorable(records: Sequence[Record], on_unstorable: Callable[[Record], None]) -> None:
    """What could not be stored cannot be tried again from the store."""
    for record in records:
        if record.delivery.unstorable and record.status is Status.STAGED:
            record.status = Status.FAILED
            record.reason = f"{record.reason or 'not sent'}; it cannot be tried again"
            on_unstorable(record)


def _wait(tries: int) -> float:
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tries - 1, 10))
