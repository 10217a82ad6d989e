"""Keeps the store's partitions: makes the next days' ahead, drops whole days that are past retention.

The rule: nothing that is still staged is dropped, and no row is deleted one by one, save the few in the default partition whose
time is too far from today for a partition of their own, and the ids that were given to custom events. Every lock is asked for
briefly; what cannot be had is left to the next run, because a report that reads the tables for an hour must not stop deliveries.
"""

import asyncio
from dataclasses import dataclass, field

import structlog

from cdcd.clock import Clock
from cdcd.errors import StoreRefused, StoreUnavailable
from cdcd.lifecycle import Failed, Tasks
from cdcd.store.arrays import timestamps
from cdcd.store.connection import LockBusy, RowRefused, Session

log = structlog.get_logger()

AHEAD = 2  # days after today
EVERY = 3600.0  # seconds
PRUNED_AT_ONCE = 5000  # rows, so that no transaction is long
AGAIN = 60.0  # seconds, when the store was unavailable
_DAY = 86400.0


@dataclass(slots=True)
class Kept:
    """What one run did, as days since 1970-01-01. `busy`: a lock was not to be had for these; tried again soon.

    `refused`: what the server said of days that an operator must look at; tried again in the next run.
    """

    made: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    staged: list[int] = field(default_factory=list)
    busy: list[int] = field(default_factory=list)
    refused: dict[int, StoreRefused | RowRefused] = field(default_factory=dict)


class Retention:
    """The part that keeps partitions. `retention` is in seconds; an event's whole day is kept until it is past."""

    name = "retention"

    def __init__(self, dsn: str, schema: str, retention: float, clock: Clock, failed: Failed) -> None:
        self._session = Session(dsn, schema)
        self._retention = retention
        self._clock = clock
        self._tasks = Tasks(self.name, failed)

    def take_over(self, retention: float) -> None:
        """What is older than this goes, from the next run on."""
        self._retention = retention

    async def start(self) -> None:
        """Return when today's partitions were looked after, or when the store is unavailable and will be tried again."""
        if len(self._tasks) == 0:
            wait = await self._turn()
            self._tasks.spawn(self._run(wait), "keep")

    async def stop(self) -> None:
        """Return when nothing is under way."""
        await self._tasks.cancel()
        await self._session.close()

    async def run_once(self, now: float) -> Kept:
        """Make the partitions of today and `AHEAD` days more, move rows out of the default ones, drop days past retention."""
        kept = Kept()
        today, oldest = int(now // _DAY), int((now - self._retention) // _DAY)
        past = timestamps([int(oldest * _DAY * 1_000_000)])
        present = await self._days("days")
        strays = {day for day in await self._days("default_days") if oldest <= day <= today + AHEAD}
        for day in sorted((set(range(today, today + AHEAD + 1)) | strays) - present):
            await self._one("make_day", day, kept.made, kept.made, kept)
        for day in sorted(day for day in present if day < oldest):
            await self._one("drop_day", day, kept.dropped, kept.staged, kept)
        await self._session.execute("prune_default_invocations", past)
        await self._session.execute("prune_default_events", past)
        await self._session.execute("prune_operations", past)
        await self._session.execute("prune_redirected", past)
        while await self._session.execute("prune_queued_ids", past, PRUNED_AT_ONCE) == PRUNED_AT_ONCE:
            pass
        return kept

    async def _run(self, wait: float) -> None:
        while True:
            await asyncio.sleep(wait)
            wait = await self._turn()

    async def _turn(self) -> float:
        """One run; seconds until the next."""
        now = self._clock.now()
        try:
            kept = await self.run_once(now)
        except StoreUnavailable as error:
            log.warning("retention.postponed", error=str(error))
            return AGAIN
        if kept.dropped or kept.staged or kept.busy:
            log.info("retention.ran", made=kept.made, dropped=kept.dropped, staged=kept.staged, busy=kept.busy)
        for day, refused in kept.refused.items():
            log.error("retention.refused", day=day, error=str(refused), hint=refused.hint)
        return AGAIN if kept.busy else min(EVERY, _DAY - now % _DAY + 1)

    async def _days(self, statement: str) -> set[int]:
        return {int(day) for (day,) in await self._session.fetch(statement)}

    async def _one(self, statement: str, day: int, done: list[int], not_done: list[int], kept: Kept) -> None:
        """One day. What is refused for it alone must not keep the other days from being looked after."""
        try:
            [(did,)] = await self._session.fetch(statement, day)
        except LockBusy:
            kept.busy.append(day)
        except (StoreRefused, RowRefused) as error:
            kept.refused[day] = error
        else:
            (done if did else not_done).append(day)
