"""The meter: what ended within a span, quantiles, and what it costs."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.delivery.meter import ANSWERS, BOUNDS, KEPT, REFUSED, SLICE, Histogram, Meter, quantile


class Of:
    """A trigger and an endpoint, as far as they are measured."""

    def __init__(self, name: str = "t") -> None:
        self.name = name
        self.delivered = self.failed = self.retried = 0
        self.latency = Histogram()
        self.answers = [0] * len(ANSWERS)
        self.durations = Histogram()


def delivered(meter: Meter, of: Of, now: float, latency: float = 0.004) -> None:
    """As the dispatcher does it: it measures, then counts."""
    meter.attempted(of, of, 2, 0.002, latency, now)
    of.delivered += 1


def test_what_ended_within_the_last_minute() -> None:
    of = Of()
    meter = Meter({"t": of})
    for second in range(600):
        for _ in range(10):
            delivered(meter, of, 1000.0 + second)
    last = meter.within(60.0, 1600.0)
    assert last.delivered / last.at == pytest.approx(10, rel=0.1)
    assert sum(last.latency) == last.delivered
    each = meter.of(of, meter.mark(60.0, 1600.0), 60.0, 1600.0)
    assert sum(each.latency) == each.delivered
    assert meter.of(of, meter.mark(60.0, 1600.0), 60.0, 1600.0, latency=False).delivered == each.delivered
    assert each.delivered / each.at == pytest.approx(10, rel=0.1)
    assert meter.counted(1600.0).delivered == 6000


def test_a_pause_is_no_work() -> None:
    of = Of()
    meter = Meter({"t": of})
    for _ in range(100):
        delivered(meter, of, 10.0)
    assert meter.within(60.0, 12.0).delivered == 100
    assert meter.within(60.0, 100.0).delivered == 0
    delivered(meter, of, 200.0)
    last = meter.within(60.0, 201.0)
    assert (last.delivered, last.at) == (1, 60.0)
    assert meter.of(of, meter.mark(60.0, 201.0), 60.0, 201.0).delivered == 1
    assert meter.of(of, meter.mark(60.0, 900.0), 60.0, 900.0).delivered == 0


def test_a_trigger_that_comes_later() -> None:
    first, second = Of("a"), Of("b")
    queues = {"a": first}
    meter = Meter(queues)
    delivered(meter, first, 10.0)
    queues["b"] = second
    for _ in range(3):
        delivered(meter, second, 12.0)
    mark = meter.mark(60.0, 13.0)
    assert [meter.of(of, mark, 60.0, 13.0).delivered for of in (first, second)] == [1, 3]


def test_slices_are_few_and_whole() -> None:
    of = Of()
    meter = Meter({"t": of})
    for number in range(10 * KEPT):
        delivered(meter, of, number * SLICE)
    slices = meter.slices(10 * KEPT * SLICE)
    assert len(slices) == KEPT
    assert all(first.at < second.at for first, second in pairwise(slices))
    assert {counted.delivered for counted in slices} == {1}


def test_attempts_by_kind_of_answer() -> None:
    of = Of()
    meter = Meter({"t": of})
    for answer in (0, 2, 2, 4, 5, REFUSED):
        meter.attempted(of, of, answer, 0.1, None, 0.0)
    assert (of.answers[0], of.answers[2], of.answers[REFUSED]) == (1, 2, 1)
    assert sum(of.durations.counts) == 5  # what was not sent took no time
    assert sum(of.latency.counts) == 0


def test_quantiles() -> None:
    histogram = Histogram()
    assert quantile(histogram.counts, 0.5) is None
    for number in range(1000):
        histogram.add(number / 1000)
    assert quantile(histogram.counts, 0.5) == pytest.approx(0.5, abs=0.01)
    assert quantile(histogram.counts, 0.99) == pytest.approx(0.99, abs=0.02)
    histogram.add(10 * BOUNDS[-1])
    assert quantile(histogram.counts, 1.0) == BOUNDS[-1]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_a_quantile_lies_in_the_bucket_of_what_it_is_of(durations: list[float]) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    half = sorted(durations)[(len(durations) - 1) // 2]
    found = quantile(histogram.counts, 0.5)
    assert found is not None
    edges = (0.0, *BOUNDS)
    low, high = max(edge for edge in edges if edge <= found), min((edge for edge in edges if edge >= found), default=BOUNDS[-1])
    assert low <= min(half, BOUNDS[-1]) <= high or half in (low, high) or low == high


def test_it_costs_next_to_nothing() -> None:
    """Under a microsecond an event where nothing else runs (`process_time`: others on the machine do not count)."""
    of = Of()
    meter = Meter({"t": of})
    best = 1.0
    for _ in range(5):
        begun = time.process_time()
        for number in range(20_000):
            meter.attempted(of, of, 2, 0.002, 0.004, number / 1e4)
        best = min(best, (time.process_time() - begun) / 20_000)
    assert best < 5e-6  # five times what it is, for slow machines under coverage
