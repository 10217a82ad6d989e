"""The queue as a source: custom events that are due become deliveries.

The rules:
- the table `queued` is the durable copy, so a delivery needs no row before it is sent; the event leaves the table in the commit that
  settles its last delivery. What a former life had under way is looked up by id before it is offered, as with the WAL;
- an event that no trigger wants leaves too, and that is told;
- what was queued before a trigger was taken away is matched with it too: a former life may have sent it;
- asleep, it is woken by whoever queues, and the one timer rings for the next event that is due. Where much is queued it is awake, and
  nobody notifies (`sources.awake`); where transactions can be prepared nobody ever does, and it looks every `UNTOLD` seconds;
- before it sleeps it first tells so, then looks, and goes on looking until the transactions that may have taken it to be awake have
  ended.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from cdcd import failpoints
from cdcd.changelog.horizon import Horizon, Writer
from cdcd.clock import Clock
from cdcd.errors import StoreUnavailable
from cdcd.event import Delivery, Event, Queued
from cdcd.lifecycle import Failed, Tasks
from cdcd.sources.awake import Awake
from cdcd.sources.occurring import Parsed, deliveries_of, too_large
from cdcd.store.inbox import Due, Inbox, dequeue
from cdcd.store.reads import Reads
from cdcd.store.writer import Effect
from cdcd.triggers.ids import event_delivery_id
from cdcd.triggers.matcher import Index, Match, TriggerSet
from cdcd.triggers.occurrence import Occurrence
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()

LOOK_EVERY = 60.0  # seconds; for a notification that was lost, and a clock that was set
UNTOLD = 0.2  # seconds, where nobody notifies
SOONEST, LATEST = 0.005, 0.25  # seconds between looks while it is awake, or a transaction is open that may not notify
FLOOR_EVERY = 1000  # events that are taken, until it is asked up to where there can be none any more
BUSY = 0.5  # seconds until an event that somebody is cancelling or moving is looked at again
SHORTEST_WAIT, LONGEST_WAIT = 0.2, 10.0  # seconds until a store that is away is asked again
MOST_TOLD = 1000  # types without a trigger that are told
LARGEST = 16 * 1024 * 1024  # bytes of data: the default of limits.payload


class Pipeline(Protocol):
    """Where deliveries go (the engine)."""

    def offer(self, deliveries: Sequence[Delivery]) -> None: ...

    async def room(self) -> None: ...


class Committer(Protocol):
    """Who writes what leaves the queue (the recorder): see `Accompanied`."""

    def position_moved(self) -> None: ...


class _Held:
    """An event that is read and has deliveries that are not settled yet (their Checkpoint)."""

    __slots__ = ("_id", "_settled", "_unsettled")

    def __init__(self, identity: str, unsettled: int, settled: Callable[[str], None]) -> None:
        self._id = identity
        self._unsettled = unsettled
        self._settled = settled

    def settle(self) -> None:
        self._unsettled -= 1
        if not self._unsettled:
            self._settled(self._id)


@dataclass(slots=True, frozen=True)
class Owing:
    """What triggers that are gone are owed: of the events up to `number` those that are for now or were due at `due` (microseconds since
    the Unix epoch). `done` ends when there is none left."""

    triggers: TriggerSet
    number: int
    due: int
    done: "asyncio.Future[None]"

    def has(self, queued: Queued) -> bool:
        """Whether it is one of these."""
        return queued.number <= self.number and (queued.at_once or queued.due <= self.due)


class QueueSource:
    """A part; see the module. `matched`, when given, is told which deliveries an event became."""

    name = "source.queue"

    def __init__(
        self,
        project: str,
        index: Index,
        pipeline: Pipeline,
        committer: Committer,
        inbox: Inbox,
        listener: Inbox,
        reads: Reads,
        clock: Clock,
        failed: Failed,
        matched: Callable[[Queued, Sequence[Delivery]], None] | None = None,
        *,
        largest: int = LARGEST,
        look_every: float = LOOK_EVERY,
    ) -> None:
        """`inbox`, `listener` and `reads` are connections of its own. `largest`: bytes of data (`limits.payload`)."""
        self._project = project
        self._index = index
        self._pipeline = pipeline
        self._committer = committer
        self._inbox = inbox
        self._listener = listener
        self._reads = reads
        self._clock = clock
        self._matched = matched
        self._largest = largest
        self._look_every = look_every
        self._tasks = Tasks(self.name, failed)
        self._woken = asyncio.Event()
        self._started = False
        self._unwanted: set[str] = set()
        self._held: set[str] = set()  # ids: read, and still in the store's queue
        self._settled: list[str] = []  # of these, to be taken from it
        self._leaving: list[str] = []  # in the commit that is under way
        self._awake = Awake()
        self._notifies: bool | None = None  # whether whoever queues may notify; None: not asked on this connection
        self._told = False  # they are known to: nobody else holds the lock that keeps them from it
        self._open: set[str] = set()  # transactions that may have taken it to be awake
        self._horizon = Horizon()  # up to which number nothing more can appear
        self._floor = 0  # and nothing is there that is not held
        self._taken = 0  # events since it was raised last
        self._looked_at = 0.0  # wall-clock seconds
        self._look_due = math.inf  # when it looks next at the latest, by the event loop's clock
        self._look_up = True  # whether a former life may have recorded deliveries of what is read
        self._owing: deque[Owing] = deque()  # oldest first

    async def start(self) -> None:
        """Begin; what is due already goes first."""
        if not self._started:
            self._started = True
            self._tasks.spawn(self._listen(), "listen")
            self._tasks.spawn(self._run(), "read")

    async def stop(self) -> None:
        """Read no more. What is not settled until the end is read again after the next start."""
        await self._tasks.cancel()
        await self._inbox.close()
        await self._listener.close()
        await self._reads.close()

    @property
    def late(self) -> float:
        """Seconds by which a look at the queue is overdue, or that one has taken so far."""
        return max(0.0, asyncio.get_running_loop().time() - self._look_due)

    @property
    def under_way(self) -> int:
        """Events that are read and not settled."""
        return len(self._held)

    def take_over(self, index: Index, largest: int) -> None:
        """What is due from now on is matched by other triggers."""
        self._index, self._largest = index, largest
        self._unwanted.clear()

    def owing(self, triggers: Iterable[Trigger], number: int) -> "asyncio.Future[None]":
        """What is due now, of the events up to `number`, is matched by these triggers too, which are gone. Ends when that has been read."""
        due, done = int(self._clock.now() * 1_000_000), asyncio.get_running_loop().create_future()
        owing = Owing(TriggerSet(tuple(triggers)), number, due, done)
        if self._owing or owing.triggers.triggers:
            self._owing.append(owing)
            self.wake()
        else:
            done.set_result(None)
        return done

    def wake(self) -> None:
        """Something was queued."""
        self._woken.set()

    async def _listen(self) -> None:
        wait = SHORTEST_WAIT
        while True:
            try:
                async for _ in self._listener.wakes():
                    wait = SHORTEST_WAIT
                    self.wake()
            except StoreUnavailable:  # `_run` meets the same trouble and tells it
                await self._listener.close()
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)

    async def _run(self) -> None:
        wait, pause = SHORTEST_WAIT, SOONEST
        loop = asyncio.get_running_loop()
        while True:
            self._woken.clear()
            self._look_due = loop.time()
            try:
                due = await self._take()
                failpoints.hit("queue.taken")
                await self._offer(due)
                await self._leave_behind(due)
                if due.events:
                    self._awake.found(loop.time())
                    pause = SOONEST
                again = await self._wake_or_sleep(loop.time())
            except StoreUnavailable as error:
                log.warning("queue.unreachable", error=str(error), retry_in=wait)
                self._awake, self._notifies, self._told = Awake(), None, False
                self._horizon, self._floor = Horizon(), 0
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
                continue
            wait = SHORTEST_WAIT
            if due.events:
                failpoints.hit("queue.offered")
                await self._pipeline.room()
            elif not again:
                self._look_up = False
                await self._rest(due.next_due, pause)
                pause = min(pause * 1.5, LATEST)

    async def _leave_behind(self, due: Due) -> None:
        """What triggers that are gone are owed has been read when there is none of it but what is on its way."""
        while self._owing and not any(self._owing[0].has(queued) for queued in due.events):
            first = self._owing[0]
            if first.triggers.triggers and await self._inbox.left(first.number, first.due, list(self._held)):
                return
            self._owing.popleft()
            if not first.done.done():
                first.done.set_result(None)

    async def _take(self) -> Due:
        if self._taken >= FLOOR_EVERY:
            self._taken = 0
            written = await self._inbox.written()
            writers = await self._inbox.writers()
            self._horizon.look(written, [Writer(session, prepared) for session, prepared in writers])
        self._looked_at = self._clock.now()
        due = await self._inbox.take(self._looked_at, self._largest, list(self._held), self._floor)
        self._taken += len(due.events)
        if due.last or not due.events:
            self._floor = max(self._floor, min(self._horizon.readable, due.last or self._horizon.readable))
        return due

    async def _wake_or_sleep(self, now: float) -> bool:
        """Be awake where much is queued; True when it must be looked once more, since nobody may have notified."""
        if self._notifies is None:
            self._notifies = await self._inbox.notifies()
        if not self._notifies:
            self._awake.held = self._awake.crowded(now) or (self._awake.held and not self._awake.quiet(now))
            return False
        if self._awake.crowded(now):
            self._awake.held = await self._inbox.stay_awake()
            if self._awake.held:
                self._open = set()  # it looks anyhow, and asks anew before it sleeps
        elif self._awake.quiet(now) or not (self._told or self._awake.held):
            if not self._awake.held and not await self._inbox.stay_awake():
                return False  # a session that a network swallowed may still hold it for a while
            self._awake.held, self._told = False, True
            await self._inbox.sleep()
            self._open = await self._running()
            return True
        elif self._open:
            open_ = self._open & await self._running()
            ended, self._open = open_ != self._open, open_
            return ended
        return False

    async def _running(self) -> set[str]:
        return {session for session, _ in await self._inbox.writers() if session is not None}

    async def _rest(self, next_due: float | None, pause: float) -> None:
        """Until something is queued or due. `pause`: seconds, while a transaction is open that may not notify."""
        if self._open:
            seconds = pause
        elif self._awake.held:
            seconds = SOONEST
        else:
            seconds = self._look_every if self._told else min(UNTOLD, self._look_every)
        if next_due is not None:
            left = max(0.0, next_due - self._clock.now())
            seconds = min(seconds, left if next_due > self._looked_at else BUSY)
        self._look_due = asyncio.get_running_loop().time() + seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    async def _offer(self, due: Due) -> None:
        made = [(queued, self.match(queued, due.oversize.get(queued.id, 0))) for queued in due.events]
        known: set[str] = set()
        if self._look_up and any(deliveries for _, deliveries in made):
            known = await self._reads.known([(each.id, each.event.time) for _, deliveries in made for each in deliveries])
        offered: list[Delivery] = []
        for queued, deliveries in made:
            self._held.add(queued.id)
            if self._matched is not None:
                self._matched(queued, deliveries)
            fresh = [delivery for delivery in deliveries if delivery.id not in known]
            if fresh:
                held = _Held(queued.id, len(fresh), self._settled.append)
                for delivery in fresh:
                    delivery.checkpoint = held
                offered += fresh
            else:
                self._settled.append(queued.id)
        if self._settled:
            self._committer.position_moved()
        if offered:
            self._pipeline.offer(offered)

    # The recorder's side (Accompanied)

    def effects_to_record(self) -> Sequence[Effect]:
        """What is settled leaves the queue."""
        if not self._settled:
            return ()
        self._leaving = self._settled.copy()
        self._settled.clear()
        return (dequeue(self._leaving),)

    def effects_recorded(self) -> None:
        """It has left."""
        self._held.difference_update(self._leaving)
        self._leaving = []

    def match(self, queued: Queued, oversize: int = 0) -> list[Delivery]:
        """One delivery for each trigger that wants the event. `oversize`: bytes of data that were not read."""
        matches = self._matches(self._index.custom, queued, oversize)
        for owing in self._owing:
            if owing.has(queued):  # a trigger that is back decides by what it says now
                present = {trigger.name for trigger in self._index.custom.triggers} | {trigger.name for trigger, _ in matches}
                matches += [each for each in self._matches(owing.triggers, queued, oversize) if each[0].name not in present]
        if not matches and not self._index.wanted(queued.type):
            self._tell_unwanted(queued.type)
        event = Event(
            queued.type, queued.source, queued.subject, queued.key or "", queued.due, queued.data, 0, queued.extensions
        )
        return deliveries_of(matches, event, partial(self._identify, queued))

    def _matches(self, triggers: TriggerSet, queued: Queued, oversize: int) -> list[Match]:
        if oversize:
            error = too_large(oversize, self._largest)
            return [(trigger, error) for trigger in triggers.by_type.get(queued.type, ())]
        return triggers.match(occurrence_of(queued))

    def _identify(self, queued: Queued, trigger: str) -> str:
        return event_delivery_id(self._project, queued.id, trigger, queued.due)

    def _tell_unwanted(self, kind: str) -> None:
        if kind not in self._unwanted and len(self._unwanted) < MOST_TOLD:
            self._unwanted.add(kind)
            log.warning("queue.unwanted", type=kind, hint="no enabled trigger has this type; what is queued of it is dropped")


def occurrence_of(queued: Queued) -> Occurrence:
    """A custom event as expressions see it."""
    attributes = {"source": queued.source, "subject": queued.subject, "key": queued.key or ""}
    return Occurrence(queued.type, queued.key, queued.due, attributes, {"data": Parsed(queued.data)})
