"""The wait between attempts is a function of the policy, the attempt's number and a random number."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.config.model import Backoff, Retries
from cdcd.delivery import retry

LOW: Callable[[], float] = lambda: 0.0  # noqa: E731
MIDDLE: Callable[[], float] = lambda: 0.5  # noqa: E731
HIGH: Callable[[], float] = lambda: 0.999_999  # noqa: E731

EXPONENTIAL = Retries(first=1.0, factor=5.0, max_interval=3600.0, jitter=0.2)
LINEAR = Retries(backoff=Backoff.LINEAR, first=10.0, max_interval=35.0, jitter=0.0)
FIXED = Retries(backoff=Backoff.FIXED, first=7.0, jitter=0.5)


@pytest.mark.parametrize(
    ("policy", "attempt", "random", "seconds"),
    [
        (EXPONENTIAL, 1, MIDDLE, 1.0),
        (EXPONENTIAL, 2, MIDDLE, 5.0),
        (EXPONENTIAL, 3, MIDDLE, 25.0),
        (EXPONENTIAL, 3, LOW, 20.0),
        (EXPONENTIAL, 3, HIGH, 30.0),
        (EXPONENTIAL, 7, MIDDLE, 3600.0),
        (EXPONENTIAL, 7, HIGH, 3600.0),  # the spread does not exceed max_interval
        (EXPONENTIAL, 7, LOW, 2880.0),
        (EXPONENTIAL, 5000, MIDDLE, 3600.0),  # no overflow
        (LINEAR, 1, LOW, 10.0),
        (LINEAR, 3, LOW, 30.0),
        (LINEAR, 4, LOW, 35.0),
        (FIXED, 1, MIDDLE, 7.0),
        (FIXED, 9, MIDDLE, 7.0),
        (FIXED, 9, LOW, 3.5),
    ],
)
def test_table(policy: Retries, attempt: int, random: Callable[[], float], seconds: float) -> None:
    assert retry.wait(policy, attempt, random) == pytest.approx(seconds, rel=1e-4)


@given(
    st.sampled_from(Backoff),
    st.floats(0, 1e6),
    st.floats(1, 100),
    st.floats(0, 1e6),
    st.floats(0, 1),
    st.integers(1, 100_000),
    st.floats(0, 1, exclude_max=True),
)
def test_is_never_negative_nor_over_the_cap(
    backoff: Backoff, first: float, factor: float, cap: float, jitter: float, attempt: int, number: float
) -> None:
    policy = Retries(backoff=backoff, first=first, factor=factor, max_interval=cap, jitter=jitter)
    assert 0.0 <= retry.wait(policy, attempt, lambda: number) <= cap
