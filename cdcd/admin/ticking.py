"""Schedules as an operator sees them: when they fire next, what came of the last times; and letting one fire now."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Protocol

import orjson
import structlog

from cdcd.admin.deliveries import Deliveries, Filter, Found
from cdcd.clock import Clock
from cdcd.config.model import Config, Schedule, TriggerConfig
from cdcd.config.types import SCHEDULE_TYPE
from cdcd.errors import CdcdError
from cdcd.event import Delivery, Event
from cdcd.sources.occurring import Parsed, deliveries_of
from cdcd.sources.ticks import Ticks
from cdcd.triggers.ids import event_delivery_id
from cdcd.triggers.matcher import TriggerSet
from cdcd.triggers.occurrence import Occurrence
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()

NEXT, LAST = 5, 5


class NoSchedule(CdcdError):
    """There is no trigger of this name that has a schedule."""


class NotNow(CdcdError):
    """It cannot fire now: it is disabled, or its condition says no."""


class Stage(Protocol):
    """Where deliveries go (the engine), and which triggers it delivers for."""

    async def stage(self, deliveries: Sequence[Delivery]) -> None: ...

    def trigger(self, name: str) -> Trigger | None: ...


@dataclass(slots=True, frozen=True)
class Scheduled:
    """A schedule. `next` are ticks (seconds since the Unix epoch), none while it is disabled; `written` the same in its time zone; `last`
    its last deliveries, the newest first."""

    trigger: str
    schedule: Schedule
    enabled: bool
    next: Sequence[int]
    written: Sequence[str]
    last: Sequence[Found]


class Ticking:
    """`config` gives the configuration in force."""

    def __init__(self, config: Callable[[], Config], deliveries: Deliveries, stage: Stage, clock: Clock) -> None:
        self._config = config
        self._deliveries = deliveries
        self._stage = stage
        self._clock = clock

    @property
    def names(self) -> Sequence[str]:
        """The triggers that have a schedule, by name."""
        return sorted(name for name, each in self._config().triggers.items() if each.schedule is not None)

    def coming(self, names: Sequence[str] | None = None) -> Sequence[Scheduled]:
        """All of them or these, without their last deliveries: nothing is asked for it."""
        triggers, now = self._config().triggers, int(self._clock.now())
        found = (triggers.get(name) for name in (self.names if names is None else names))
        return [_coming(each, each.schedule, now) for each in found if each is not None and each.schedule is not None]

    async def list(self, names: Sequence[str] | None = None) -> Sequence[Scheduled]:
        """All of them or these. Raises StoreUnavailable."""
        return await asyncio.gather(*(self._with_last(each) for each in self.coming(names)))

    async def _with_last(self, coming: Scheduled) -> Scheduled:
        last = await self._deliveries.list(Filter(trigger=(coming.trigger,)), limit=LAST)
        return replace(coming, last=last.items)

    async def run(self, name: str, who: str) -> str:
        """Let it fire now, beside its schedule; the id of the delivery, which is durable then. Its event says `manual`. Raises NoSchedule,
        NotNow, StoreUnavailable."""
        config = self._config().triggers.get(name)
        if config is None or config.schedule is None:
            raise NoSchedule(f"no trigger {name} has a schedule")
        trigger = self._stage.trigger(name)
        if trigger is None:
            raise NotNow(f"the trigger {name} is disabled")
        project, moment = self._config().project, int(self._clock.now() * 1_000_000)
        source = f"cdcd/{project}/schedule"
        data = {
            "schedule": config.schedule.cron,
            "timezone": config.schedule.timezone,
            "scheduled": Ticks(config.schedule).written(moment // 1_000_000),
            "missed": 0,
            "manual": True,
        }
        event = Event(SCHEDULE_TYPE, source, name, name, moment, orjson.dumps(data))
        attributes = {"source": source, "subject": name, "key": name}
        occurrence = Occurrence(SCHEDULE_TYPE, name, moment, attributes, {"data": Parsed(event.data)})
        made = deliveries_of(
            TriggerSet((trigger,)).match(occurrence),
            event,
            lambda each: event_delivery_id(project, f"schedule {each} by hand", each, moment),
        )
        if not made:
            raise NotNow(
                f"the condition of {name} says no at {datetime.fromtimestamp(moment / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC"
            )
        await self._stage.stage(made)
        log.info("schedule.run", trigger=name, delivery=made[0].id, who=who)
        return made[0].id


def _coming(trigger: TriggerConfig, schedule: Schedule, now: int) -> Scheduled:
    ticks = Ticks(schedule)
    coming = [*islice(ticks.after(now), NEXT)] if trigger.enabled else []
    return Scheduled(trigger.name, schedule, trigger.enabled, coming, [ticks.written(at) for at in coming], ())
