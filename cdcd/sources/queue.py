"""The queue as a source: custom events that are due become deliveries.

The rules:
- an event leaves the queue in the commit that stages its deliveries, so it is matched once, whatever happens between;
- an event that no trigger wants leaves too, and that is told;
- nothing polls: whoever queues wakes the daemon, and the one timer rings for the next event that is due.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import structlog

from cdcd import failpoints
from cdcd.clock import Clock
from cdcd.errors import StoreUnavailable
from cdcd.event import Delivery, Event, Queued
from cdcd.lifecycle import Failed, Tasks
from cdcd.sources.occurring import Parsed, deliveries_of, too_large
from cdcd.store.inbox import Due, Inbox, dequeue
from cdcd.store.writer import Effect
from cdcd.triggers.ids import event_delivery_id
from cdcd.triggers.matcher import Index, Match
from cdcd.triggers.occurrence import Occurrence

log = structlog.get_logger()

LOOK_EVERY = 60.0  # seconds; for a notification that was lost, and a clock that was set
SHORTEST_WAIT, LONGEST_WAIT = 0.2, 10.0  # seconds until a store that is away is asked again
MOST_TOLD = 1000  # types without a trigger that are told
LARGEST = 16 * 1024 * 1024  # bytes of data: the default of limits.payload


class Stage(Protocol):
    """Where deliveries go (the engine)."""

    async def stage(self, deliveries: Sequence[Delivery], effects: Sequence[Effect] = ()) -> None: ...


class QueueSource:
    """A part; see the module. `matched`, when given, is told which deliveries an event became."""

    name = "source.queue"

    def __init__(
        self,
        project: str,
        index: Index,
        stage: Stage,
        inbox: Inbox,
        listener: Inbox,
        clock: Clock,
        failed: Failed,
        matched: Callable[[Queued, Sequence[Delivery]], None] | None = None,
        *,
        largest: int = LARGEST,
        look_every: float = LOOK_EVERY,
    ) -> None:
        """`inbox` and `listener` are connections of its own. `largest`: bytes of data (`limits.payload`)."""
        self._project = project
        self._index = index
        self._stage = stage
        self._inbox = inbox
        self._listener = listener
        self._clock = clock
        self._matched = matched
        self._largest = largest
        self._look_every = look_every
        self._tasks = Tasks(self.name, failed)
        self._woken = asyncio.Event()
        self._started = False
        self._unwanted: set[str] = set()

    async def start(self) -> None:
        """Begin; what is due already goes first."""
        if not self._started:
            self._started = True
            self._tasks.spawn(self._listen(), "listen")
            self._tasks.spawn(self._run(), "read")

    async def stop(self) -> None:
        """What was read and is not staged yet is read again after the next start."""
        await self._tasks.cancel()
        await self._inbox.close()
        await self._listener.close()

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
        wait = SHORTEST_WAIT
        while True:
            self._woken.clear()
            try:
                due = await self._inbox.take(self._clock.now(), self._largest)
            except StoreUnavailable as error:
                log.warning("queue.unreachable", error=str(error), retry_in=wait)
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
                continue
            wait = SHORTEST_WAIT
            if due.events:
                failpoints.hit("queue.taken")
                await self._take(due)
                failpoints.hit("queue.staged")
            else:
                await self._rest(due.next_due)

    async def _rest(self, next_due: float | None) -> None:
        """Until something is queued or due."""
        seconds = self._look_every if next_due is None else min(self._look_every, max(0.0, next_due - self._clock.now()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    async def _take(self, due: Due) -> None:
        deliveries: list[Delivery] = []
        for queued in due.events:
            made = self.match(queued, due.oversize.get(queued.id, 0))
            deliveries += made
            if self._matched is not None:
                self._matched(queued, made)
        await self._stage.stage(deliveries, (dequeue(due.events),))

    def match(self, queued: Queued, oversize: int = 0) -> list[Delivery]:
        """One delivery for each trigger that wants the event. `oversize`: bytes of data that were not read."""
        matches: list[Match]
        if oversize:
            error = too_large(oversize, self._largest)
            matches = [(trigger, error) for trigger in self._index.custom.by_type.get(queued.type, ())]
        else:
            matches = self._index.custom.match(occurrence_of(queued))
        if not matches and not self._index.wanted(queued.type):
            self._tell_unwanted(queued.type)
        event = Event(
            queued.type, queued.source, queued.subject, queued.key or "", queued.due, queued.data, 0, queued.extensions
        )
        return deliveries_of(matches, event, partial(self._identify, queued))

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
