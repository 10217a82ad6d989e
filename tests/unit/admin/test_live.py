"""One look for all who watch, what happened between two, and what is known of the time in which nobody watched."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from cdcd.admin.live import KEPT, STEP, Live, between, following, past
from cdcd.admin.snapshot import DatabaseState, Durations, Moment, Rates, Snapshot, StoreState, TriggerState
from cdcd.delivery.meter import BOUNDS

NONE = (0,) * (len(BOUNDS) + 1)


def snapshot(
    at: float = 1000.0, delivered: int = 0, *, history: Sequence[Moment] = (), started: float = 1.0, **more: Any
) -> Snapshot:
    trigger = TriggerState("t", "http://x", delivered, 0, 0, Rates(), 0, 0, 2, None, "", Durations(), 0, 0.0, 0)
    store = StoreState(True, "", 0, 0, 0, 0, 0.0, None, None)
    values: dict[str, Any] = {
        **{"project": "p", "at": at, "started_at": started, "ready": True, "troubles": [], "rates": Rates()},
        **{"latency": Durations(), "latency_buckets": NONE, "latency_sum": 0.0, "in_flight": 3, "memory": 0, "memory_bytes": 0},
        **{"loop_lag": None, "triggers": [trigger], "endpoints": [], "databases": [], "store": store, "history": history},
    }
    return Snapshot(**{**values, **more})


# Between two


def test_what_happened_between_two_looks() -> None:
    before, after = snapshot(1000.0, 10), snapshot(1004.0, 30)
    taken = list(NONE)
    taken[3] = 20  # between 5 and 10 ms
    held = DatabaseState("main", "replication", True, "", 1, 1, 1, None, 0, held=4096)
    after = replace(
        after,
        latency_buckets=taken,
        store=StoreState(True, "", 0, 0, 5, 20, 0.5, 4.0, 0.1),
        databases=[held, DatabaseState("log", "triggers", True, "", 1, 1, 1, None, 0)],
    )
    sample = between(before, after)
    assert (sample.at, sample.delivered, sample.failed, sample.backlog, sample.in_flight) == (1004.0, 5.0, 0.0, 2, 3)
    assert sample.p50 == pytest.approx(0.0075)
    assert sample.commit == pytest.approx(0.1)
    assert sample.held == {"main": 4096}


def test_where_nothing_was_delivered_there_is_no_latency() -> None:
    sample = between(snapshot(1000.0, 10), snapshot(1002.0, 10))
    assert (sample.delivered, sample.p50, sample.p99, sample.commit) == (0.0, None, None, None)


def test_a_trigger_that_left_takes_nothing_away() -> None:
    assert between(snapshot(1000.0, 10), replace(snapshot(1002.0), triggers=[])).delivered == 0.0


# What nobody watched


def test_the_past_is_what_was_counted_anyway() -> None:
    history = [Moment(900.0, 5.0, 2.0, 0.0, 0.0, 0.1, 0.2), Moment(905.0, 5.0, 4.0, 1.0, 0.5, 0.3, 0.4)]
    samples = past(snapshot(950.0, history=history), 890.0)
    assert {after.at - before.at for before, after in itertools.pairwise(samples)} == {STEP}
    assert (samples[0].at, samples[-1].at) == (890.0, 950.0)
    during = [sample for sample in samples if 900.0 <= sample.at <= 905.0]
    assert [(sample.delivered, sample.p50) for sample in during] == [(2.0, 0.1)]
    # The second went on until nothing ended any more: all of it was within its five seconds.
    assert [(each.delivered, each.failed) for each in samples if 905.0 < each.at <= 910.0] == [(4.0, 1.0)] * 2
    assert [(each.delivered, each.p50) for each in samples if each.at > 910.0] == [(0.0, None)] * 10
    # How it stood is known of now alone.
    assert {sample.backlog for sample in samples[:-1]} == {None}
    assert (samples[-1].backlog, samples[-1].in_flight) == (2, 3)


def test_the_past_begins_with_the_start() -> None:
    assert [sample.at for sample in past(snapshot(1000.0, started=991.0), 0.0)] == [992.0, 996.0, 1000.0]
    assert [sample.at for sample in past(snapshot(1000.0, started=999.9), 0.0)] == [1000.0]


def test_a_slice_that_is_longer_or_has_hardly_begun_tells_the_same_rate() -> None:
    # 7 seconds: 14 deliveries, told as 14 in 5 seconds. Then one just now.
    history = [Moment(990.0, 5.0, 14 / 5, 0.0, 0.0, 0.1, 0.2), Moment(997.0, 5.0, 1 / 5, 0.0, 0.0, 0.3, 0.4)]
    samples = past(snapshot(997.5, history=history), 990.0)
    assert [sample.delivered for sample in samples] == [pytest.approx(14 / 7.5)] * 2


# Those who watch


class Looks:
    """Counts looks; each is two seconds after the one before."""

    def __init__(self) -> None:
        self.count = 0

    async def look(self) -> Snapshot:
        self.count += 1
        await asyncio.sleep(0)
        return snapshot(1000.0 + 2 * self.count, 10 * self.count)


async def test_all_who_watch_share_one_look() -> None:
    looks = Looks()
    live = Live(looks.look, every=0.01)
    seen: list[list[float]] = [[], [], []]

    async def watch(mine: list[float]) -> None:
        async with following(live) as turns:
            async for turn in turns:
                mine.extend(sample.at for sample in turn.samples)
                if len(mine) > 120:
                    return

    await asyncio.wait_for(asyncio.gather(*(watch(mine) for mine in seen)), 30.0)
    assert len({tuple(mine[-20:]) for mine in seen}) == 1
    assert looks.count < 60  # each for themselves: 135


async def test_nothing_is_looked_at_when_nobody_watches() -> None:
    looks = Looks()
    live = Live(looks.look, every=0.001)
    async with following(live) as turns:
        for _ in range(3):
            await anext(turns)
    before = looks.count
    await asyncio.sleep(0.01)
    assert looks.count == before


async def test_who_comes_later_sees_the_last_minutes_and_no_more() -> None:
    looks = Looks()
    live = Live(looks.look, every=0.0)
    async with following(live) as turns:
        for _ in range(int(KEPT) + 5):
            await anext(turns)
        async with following(live) as later:
            first = await anext(later)
            assert first.samples[-1].at - KEPT <= first.samples[0].at
            assert len(first.samples) > KEPT / 2 - 3
            assert [sample.at for sample in first.samples] == sorted(sample.at for sample in first.samples)


async def test_what_was_seen_before_a_pause_is_still_there_and_the_pause_is_filled() -> None:
    looks = Looks()
    live = Live(looks.look, every=0.0)
    async with following(live) as turns:
        last = await anext(turns)
        for _ in range(3):
            last = await anext(turns)
    looks.count += 50  # a hundred seconds in which nobody watched
    async with following(live) as turns:
        first = await anext(turns)
    times = [sample.at for sample in first.samples]
    assert last.samples[-1].at in times
    assert max(after - before for before, after in itertools.pairwise(times)) <= STEP + 2
    assert times[-1] == first.snapshot.at


async def test_a_look_that_fails_is_told_and_the_next_who_watches_begins_anew() -> None:
    looks = Looks()

    async def failing() -> Snapshot:
        if looks.count == 2:
            looks.count += 1
            raise RuntimeError("no")
        return await looks.look()

    live = Live(failing, every=0.0)
    async with following(live) as turns:
        await anext(turns)
        await anext(turns)
        with pytest.raises(RuntimeError):
            await anext(turns)
    async with following(live) as turns:
        assert (await anext(turns)).samples
        assert (await anext(turns)).samples
