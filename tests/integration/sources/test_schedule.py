"""Schedules on a real store and engine: they fire on time, each tick once, and what was missed as the trigger says."""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from cdcd.config.model import Kind, Missed, Schedule, TriggerConfig, Webhook
from cdcd.lifecycle import Failed
from cdcd.sources.schedule import ScheduleSource
from cdcd.store.schedules import Schedules
from cdcd.triggers.trigger import compile_trigger
from tests.endpoint import Endpoint
from tests.integration.delivery.running import SCHEMA, Running, engine
from tests.postgres import Database

EVERY_SECOND = "* * * * * *"
EVERY_MINUTE = "* * * * *"


@dataclass
class Shifted:
    """The machine's clock, set forward or back by `offset` seconds."""

    offset: float = 0.0

    def now(self) -> float:
        return time.time() + self.offset

    def monotonic(self) -> float:
        return time.monotonic()

    @classmethod
    def half_past(cls) -> "Shifted":
        """It stands at the 20th second of some minute, so that no tick of a minute comes in between."""
        return cls(20 - time.time() % 60)


@contextlib.asynccontextmanager
async def scheduled(
    it: Running, *schedules: Schedule, clock: Shifted | None = None, when: str = "", look_every: float = 60.0
) -> AsyncIterator[None]:
    """A source with the triggers `a`, `b`, ... in the order of `schedules`."""
    webhook = Webhook("http://127.0.0.1/", "http://127.0.0.1:80")  # the engine's triggers of these names say where to
    triggers = [
        compile_trigger(
            TriggerConfig(
                chr(97 + n), frozenset({"SCHEDULE"}), "", (), webhook, kind=Kind.SCHEDULE, schedule=schedule, when=when
            )
        )
        for n, schedule in enumerate(schedules)
    ]

    def failed(part: str, error: BaseException) -> None:
        it.failures.append(error)

    told: Failed = failed
    source = ScheduleSource(
        "shop",
        triggers,
        it.engine,
        Schedules(it.database.dsn, SCHEMA),
        clock or Shifted(),
        told,
        look_every=look_every,
    )
    await source.start()
    try:
        yield
    finally:
        await source.stop()


def last_tick(it: Running, trigger: str = "a") -> float | None:
    rows = it.rows(f"SELECT extract(epoch FROM last_tick)::float8 FROM schedules WHERE trigger = '{trigger}'")
    return float(rows[0][0]) if rows else None


async def begun(it: Running, schedule: Schedule, seconds_ago: float, clock: Shifted) -> None:
    """As a daemon that went down so long ago has left it."""
    async with scheduled(it, schedule, clock=clock):
        await it.until(lambda: last_tick(it) is not None)
    it.rows(f"UPDATE schedules SET last_tick = to_timestamp({clock.now() - seconds_ago}) RETURNING 1")


def data(endpoint: Endpoint) -> list[Any]:
    return [request.event["data"] for request in endpoint.requests]


async def test_it_ticks_on_time_and_once(database: Database) -> None:
    """The first tick is the one after the beginning; a restart repeats none."""
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}}) as it:
        schedule = Schedule(EVERY_SECOND, "Europe/Berlin")
        began = time.time()
        for _ in range(2):
            have = len(endpoint.requests)
            async with scheduled(it, schedule):
                await endpoint.wait_for(have + 2)
        await it.until(lambda: set(it.statuses()) == {"processed"})
        times = [datetime.fromisoformat(request.event["time"]) for request in endpoint.requests]
        assert len(set(times)) == len(set(endpoint.ids())) == len(times)
        assert times == sorted(times)
        assert all(moment.timestamp() > began for moment in times)
        late = sorted(request.at - moment.timestamp() for request, moment in zip(endpoint.requests, times, strict=True))
        assert 0.0 <= late[0] < 2.0
        event = endpoint.requests[0].event
        assert (event["type"], event["source"], event["subject"]) == ("SCHEDULE", "cdcd/shop/schedule", "a")
        assert event["data"]["schedule"] == EVERY_SECOND
        assert event["data"]["timezone"] == "Europe/Berlin"
        assert event["data"]["missed"] == 0
        assert datetime.fromisoformat(event["data"]["scheduled"]) == times[0].astimezone(UTC)


@pytest.mark.parametrize(("missed", "events"), [(Missed.ONCE, [9]), (Missed.ALL, [0] * 10), (Missed.SKIP, [])])
async def test_what_was_missed(database: Database, missed: Missed, events: list[int]) -> None:
    """Ten minutes down: one delivery that says so, one each, or none; a third start has missed nothing."""
    clock = Shifted.half_past()
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}}) as it:
        await begun(it, Schedule(EVERY_MINUTE, missed=missed), 600, clock)
        newest = int(clock.now()) // 60 * 60
        for _ in range(2):
            async with scheduled(it, Schedule(EVERY_MINUTE, missed=missed), clock=clock):
                await it.until(
                    lambda: last_tick(it) == newest and it.statuses() == ({"processed": len(events)} if events else {})
                )
        assert [each["missed"] for each in data(endpoint)] == events
        assert not events or datetime.fromisoformat(data(endpoint)[-1]["scheduled"]).timestamp() == newest


async def test_a_changed_line_begins_now_and_one_that_went_is_forgotten(database: Database) -> None:
    clock = Shifted.half_past()
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}, "b": {}}) as it:
        await begun(it, Schedule(EVERY_MINUTE), 600, clock)
        async with scheduled(it, Schedule("*/2 * * * *"), Schedule(EVERY_MINUTE), clock=clock):
            await it.until(lambda: last_tick(it, "b") is not None)
            assert last_tick(it) == last_tick(it, "b")
        async with scheduled(it, Schedule("*/2 * * * *"), clock=clock):
            await it.until(lambda: last_tick(it, "b") is None)
        assert endpoint.requests == []


async def test_a_condition_that_does_not_hold_and_one_that_raises(database: Database) -> None:
    """The tick is dealt with all the same; what raises is recorded."""
    clock = Shifted.half_past()
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}}) as it:
        schedule = Schedule(EVERY_MINUTE)
        await begun(it, schedule, 120, clock)
        async with scheduled(it, schedule, clock=clock, when="data.missed > 5"):
            await it.until(lambda: (last_tick(it) or 0) > clock.now() - 60)
        await begun(it, schedule, 120, clock)
        async with scheduled(it, schedule, clock=clock, when="data.missed"):
            await it.until(lambda: it.statuses() == {"failed": 1})
        assert endpoint.requests == []


async def test_a_clock_that_is_set(database: Database) -> None:
    """Forward: what was passed over is missed. Back a little: no tick comes twice. Back by far: it begins again."""
    clock = Shifted.half_past()
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}}) as it:
        async with scheduled(it, Schedule(EVERY_MINUTE), clock=clock, look_every=0.02):
            await it.until(lambda: last_tick(it) is not None)
            clock.offset += 300
            await endpoint.wait_for(1)
            assert data(endpoint)[0]["missed"] == 4
            ahead = last_tick(it)
            clock.offset -= 300
            clock.offset += 240
            clock.offset -= 5 * 3600
            await it.until(lambda: it.find("schedule.begun_again"))
            await it.until(lambda: last_tick(it) != ahead)
            clock.offset += 60
            await endpoint.wait_for(2)
        assert len(set(endpoint.ids())) == 2


async def test_a_stale_tick_is_skipped_also_while_it_runs(database: Database) -> None:
    """The machine slept for ten minutes, and the tick was due five minutes ago."""
    clock = Shifted.half_past()
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}}) as it:
        tick = int(clock.now() + 300) // 60 * 60
        schedule = Schedule(f"{tick // 60 % 60} * * * *", missed=Missed.SKIP)
        async with scheduled(it, schedule, clock=clock, look_every=0.02):
            await it.until(lambda: last_tick(it) is not None)
            clock.offset += 600
            await it.until(lambda: last_tick(it) == tick)
        assert it.statuses() == {}
        assert endpoint.requests == []


async def test_a_store_that_was_away_at_the_start(database: Database) -> None:
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}}) as it:
        database.postgres.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS false')
        try:
            async with scheduled(it, Schedule(EVERY_SECOND)):
                await it.until(lambda: it.find("schedule.unreachable"))
                database.postgres.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS true')
                await endpoint.wait_for(1)
        finally:
            database.postgres.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS true')
