"""What an attempt means for its delivery: the table of `cdcd.delivery.outcome`, row by row."""

import pytest

from cdcd.config.model import Backoff, Retries
from cdcd.delivery.outcome import classify, retry_after
from cdcd.event import Attempt, Delivered, GiveUp, Outcome, Retry

NOW = 1_700_000_000.0
POLICY = Retries(max=3, backoff=Backoff.FIXED, first=2.0, max_interval=600.0, jitter=0.0, max_age=3600.0)


def attempt(status: int, error: str = "", after: float | None = None, refused: bool = False) -> Attempt:
    return Attempt(1, NOW - 1, 0.1, status, "whatever the body says", error, after, refused)


def outcome(made: Attempt, policy: Retries = POLICY, attempts: int = 1, age: float = 1.0, random: float = 0.5) -> Outcome:
    return classify(made, policy, attempts, NOW - age, NOW, lambda: random)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_any_2xx_is_delivered_even_at_the_last_attempt_and_beyond_max_age(status: int) -> None:
    assert outcome(attempt(status), attempts=99, age=1e9) == Delivered()


@pytest.mark.parametrize("status", [0, 100, 300, 302, 307, 400, 401, 404, 408, 425, 429, 500, 502, 503, 504, 599])
def test_everything_else_is_tried_again_then_given_up(status: int) -> None:
    made = attempt(status, "the words")
    assert outcome(made, attempts=3) == Retry(NOW + 2.0, "the words")
    assert outcome(made, attempts=4) == GiveUp("the words (attempt 4 of 4)")


def test_410_gives_up_at_once() -> None:
    assert outcome(attempt(410, "answered 410 Gone")) == GiveUp("answered 410 Gone: the endpoint wants no more of these")


def test_what_cdcd_refused_gives_up_at_once() -> None:
    assert outcome(attempt(0, "refused to connect", refused=True)) == GiveUp("refused to connect")


def test_no_retry_gives_up_at_once() -> None:
    policy = Retries(no_retry=frozenset({400}))
    assert isinstance(outcome(attempt(400, "answered 400"), policy), GiveUp)
    assert isinstance(outcome(attempt(401, "answered 401"), policy), Retry)


def test_no_retries_at_all() -> None:
    assert isinstance(outcome(attempt(500, "e"), Retries(max=0)), GiveUp)


def test_max_age_ends_it_and_the_last_attempt_is_made_at_its_end() -> None:
    assert outcome(attempt(500, "e"), age=3599.0) == Retry(NOW + 1.0, "e")
    assert isinstance(outcome(attempt(500, "e"), age=3600.0), GiveUp)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        (0.0, 2.0),  # never under the policy's first wait
        (30.0, 30.0),
        (600.0, 600.0),
        (601.0, 600.0),  # never over max_interval
        (1e9, 600.0),
        (float("inf"), 600.0),
    ],
)
def test_retry_after_is_honoured_within_bounds(asked: float, seconds: float) -> None:
    assert outcome(attempt(429, "e", asked)) == Retry(NOW + seconds, "e")


def test_retry_after_never_goes_beyond_max_age_nor_the_last_attempt() -> None:
    assert outcome(attempt(503, "e", 1e9), age=3500.0) == Retry(NOW + 100.0, "e")
    assert isinstance(outcome(attempt(503, "e", 10.0), attempts=4), GiveUp)
    assert isinstance(outcome(attempt(503, "e", 10.0), age=1e9), GiveUp)


def test_retry_after_is_spread_to_later_only() -> None:
    policy = Retries(jitter=0.5, max_interval=1000.0)
    assert outcome(attempt(429, "e", 100.0), policy, random=0.0) == Retry(NOW + 100.0, "e")
    assert outcome(attempt(429, "e", 100.0), policy, random=0.5) == Retry(NOW + 125.0, "e")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 120 ", 120.0),
        ("1.5", 1.5),
        ("1000000000", 1e9),
        ("999999999999999999", 999999999999999999.0),
        ("-5", None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("٣", None),
        ("9" * 400, None),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:50", 30.0),
        ("Tuesday, 14-Nov-23 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 1990 22:13:20 GMT", 0.0),
        ("Tue, 14 Nov 9999 22:13:20 GMT", 251_664_537_600.0),
        ("Tue, 99 Nov 2023 22:13:20 GMT", None),
    ],
)
def test_reads_retry_after(text: str, seconds: float | None) -> None:
    got = retry_after(text, NOW)
    assert got is None if seconds is None else got == pytest.approx(seconds, rel=1e-3)
