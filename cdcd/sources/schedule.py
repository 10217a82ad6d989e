"""Schedules as a source: each tick of a SCHEDULE trigger becomes a delivery.

The rules:
- a tick is dealt with once: the commit that stages its delivery notes it, and its id comes from the tick;
- a schedule that is new, was changed, or comes back after it was off, begins now;
- ticks that passed while nobody looked (cdcd was down, the store away, the machine asleep) are `missed`: one delivery for all of
  them, none, or one each, as the trigger says;
- nothing polls: one timer rings for the next tick, and at least once a minute, since a clock may be set.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import islice, takewhile
from typing import Protocol

import orjson
import structlog

from cdcd import failpoints
from cdcd.clock import Clock
from cdcd.config.model import Missed
from cdcd.config.types import SCHEDULE_TYPE
from cdcd.errors import StoreUnavailable
from cdcd.event import Delivery, Event
from cdcd.lifecycle import Failed, Tasks
from cdcd.sources.occurring import Parsed, deliveries_of
from cdcd.sources.ticks import Ticks
from cdcd.store.schedules import Schedules, Ticked, forget_all_but, ticked
from cdcd.store.writer import Effect
from cdcd.triggers.ids import event_delivery_id
from cdcd.triggers.matcher import TriggerSet
from cdcd.triggers.occurrence import Occurrence
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()

LOOK_EVERY = 60.0  # seconds
LATE = 120  # seconds: a tick that passed longer ago was missed, also while cdcd ran (the store away, the machine asleep)
TOO_FAR = 3 * 3600  # seconds: a last tick that lies further ahead was noted by a clock that was wrong, as cron takes it
SHORTEST_WAIT, LONGEST_WAIT = 0.2, 10.0  # seconds until a store that is away is asked again
BATCH = 500  # ticks that are staged in one commit, or counted before others get their turn


class Stage(Protocol):
    """Where deliveries go (the engine)."""

    async def stage(self, deliveries: Sequence[Delivery], effects: Sequence[Effect] = ()) -> None: ...


class _Scheduled:
    """One trigger: its ticks, and the newest of them that was dealt with."""

    def __init__(self, trigger: Trigger, last: int) -> None:
        assert trigger.config.schedule is not None
        self.trigger = trigger
        self.triggers = TriggerSet((trigger,))
        self.schedule = trigger.config.schedule
        self.ticks = Ticks(self.schedule)
        self.move(last)

    def move(self, last: int) -> None:
        """Everything up to `last` is dealt with."""
        self.last = last
        self.next = self.ticks.next(last)

    @property
    def ticked(self) -> Ticked:
        return Ticked(self.trigger.name, self.schedule.cron, self.schedule.timezone, self.last)


class ScheduleSource:
    """A part; see the module."""

    name = "source.schedule"

    def __init__(
        self,
        project: str,
        triggers: Sequence[Trigger],
        stage: Stage,
        schedules: Schedules,
        clock: Clock,
        failed: Failed,
        *,
        look_every: float = LOOK_EVERY,
    ) -> None:
        """`triggers` are the enabled ones of type SCHEDULE; `schedules` is a connection of its own."""
        self._project = project
        self._source = f"cdcd/{project}/schedule"
        self._triggers = triggers
        self._stage = stage
        self._schedules = schedules
        self._clock = clock
        self._look_every = look_every
        self._tasks = Tasks(self.name, failed)
        self._started = False
        self._up_since = 0

    async def start(self) -> None:
        """Begin; what was missed goes first."""
        if not self._started:
            self._started = True
            self._up_since = int(self._clock.now())
            self._tasks.spawn(self._run(), "tick")

    async def stop(self) -> None:
        """A tick that is not staged yet was missed, for the next start."""
        await self._tasks.cancel()
        await self._schedules.close()

    async def _run(self) -> None:
        scheduled = await self._begin()
        while scheduled:
            now = self._clock.now()
            for each in scheduled:
                if each.last > now + TOO_FAR:
                    log.warning(
                        "schedule.begun_again", trigger=each.trigger.name, hint="its last tick lies ahead: a clock was set back"
                    )
                    await self._note(each, int(now))
                elif each.next is not None and each.next <= now:
                    await self._tick(each, int(now))
            upcoming = min((each.next for each in scheduled if each.next is not None), default=None)
            now = self._clock.now()
            wait = self._look_every if upcoming is None else min(self._look_every, max(0.0, upcoming - now))
            await asyncio.sleep(wait)

    async def _begin(self) -> list[_Scheduled]:
        known = await self._known()
        now = self._up_since
        scheduled, fresh = [], []
        for trigger in self._triggers:
            schedule = trigger.config.schedule
            assert schedule is not None
            before = known.get(trigger.name)
            if before is not None and (before.cron, before.timezone) == (schedule.cron, schedule.timezone):
                scheduled.append(_Scheduled(trigger, before.last))
            else:
                begun = _Scheduled(trigger, now)
                scheduled.append(begun)
                fresh.append(begun.ticked)
        names = [trigger.name for trigger in self._triggers]
        if fresh or known.keys() - set(names):
            await self._stage.stage((), (ticked(fresh), forget_all_but(names)))
        return scheduled

    async def _known(self) -> dict[str, Ticked]:
        wait = SHORTEST_WAIT
        while True:
            try:
                return await self._schedules.read()
            except StoreUnavailable as error:
                log.warning("schedule.unreachable", error=str(error), retry_in=wait)
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
            finally:
                await self._schedules.close()  # it is read once

    async def _tick(self, each: _Scheduled, now: int) -> None:
        """Deal with every tick up to `now`."""
        if each.schedule.missed is Missed.ALL:
            while ticks := list(islice(takewhile(lambda tick: tick <= now, each.ticks.after(each.last)), BATCH)):
                await self._note(each, ticks[-1], [self._delivery(each, tick, 0) for tick in ticks])
            return
        count, newest = 0, each.last
        for tick in takewhile(lambda tick: tick <= now, each.ticks.after(each.last)):
            count, newest = count + 1, tick
            if count % BATCH == 0:
                await asyncio.sleep(0)
        if each.schedule.missed is Missed.SKIP and newest <= max(self._up_since, now - LATE):
            log.info("schedule.skipped", trigger=each.trigger.name, ticks=count)
            await self._note(each, newest)
        else:
            await self._note(each, newest, [self._delivery(each, newest, count - 1)])

    async def _note(self, each: _Scheduled, last: int, deliveries: Sequence[list[Delivery]] = ()) -> None:
        each.move(last)
        failpoints.hit("schedule.ticked")
        await self._stage.stage([delivery for made in deliveries for delivery in made], (ticked([each.ticked]),))
        failpoints.hit("schedule.staged")

    def _delivery(self, each: _Scheduled, tick: int, missed: int) -> list[Delivery]:
        """The delivery of one tick; none when the trigger's condition says so. `missed`: ticks before it that it stands for."""
        name = each.trigger.name
        data = {
            "schedule": each.schedule.cron,
            "timezone": each.schedule.timezone,
            "scheduled": each.ticks.written(tick),
            "missed": missed,
        }
        event = Event(SCHEDULE_TYPE, self._source, name, name, tick * 1_000_000, orjson.dumps(data))
        attributes = {"source": self._source, "subject": name, "key": name}
        occurrence = Occurrence(SCHEDULE_TYPE, name, event.time, attributes, {"data": Parsed(event.data)})
        return deliveries_of(each.triggers.match(occurrence), event, partial(self._identify, event))

    def _identify(self, event: Event, trigger: str) -> str:
        return event_delivery_id(self._project, f"schedule {trigger}", trigger, event.time)
