"""How a delivery stands, in words; its way from commit to answer, however many attempts there were; when its page tells anything new."""

from dataclasses import replace
from typing import Any

import pytest

from cdcd.admin.deliveries import Detail, Found, Place, Tried
from cdcd.admin.explaining import Explanation, steps_of
from cdcd.server.console import telling

COMMIT = 1_764_000_000_000_000


def found(
    *attempts: Tried, place: Place | None = None, url: str | None = None, paused: bool = False, **changed: Any
) -> Explanation:
    members: dict[str, Any] = {
        **{"id": "i", "time": COMMIT, "type": "DB_INSERT", "source": "cdcd/shop/main", "subject": "public.orders/1"},
        **{
            "trigger": "orders",
            "key": "1",
            "status": "staged" if place else "processed",
            "attempts": len(attempts),
            "remark": "",
        },
        **{"created": COMMIT + 9_000, "settled": None if place else COMMIT + 10**9, "extensions": {}},
    }
    detail = Detail(Found(**(members | changed)), 0, b"{}", attempts, place, url)
    steps = steps_of(detail, paused=paused)
    return Explanation(detail, steps, None, "", (), "", (), (), (), paused)


def tried(number: int, status: int = 503, error: str = "answered 503 Service Unavailable", response: str = "") -> Tried:
    return Tried(number, COMMIT + number * 1_000_000, 3.0, status, response, error)


def place(**more: Any) -> Place:
    return replace(Place("1", COMMIT + 5_000_000, 1, "answered 503", 0, 0, None), **more)


OK = tried(1, 200, "")
VERDICTS = [
    (found(OK), "ok", "Delivered"),
    (found(tried(1), tried(2), status="failed", remark="busy"), "bad", "Failed after 2 attempts"),
    (found(tried(1), status="failed", remark="busy"), "bad", "Failed after 1 attempt"),
    (found(status="failed", remark="too large"), "bad", "Failed, and was never sent"),
    (found(tried(1), status="cancelled", remark="by alice"), "", "Cancelled after 1 attempt"),
    (found(tried(1), place=place()), "warn", "Waits for attempt 2 of at most 4"),
    (found(tried(1), place=place(attempts=7, earlier=5)), "warn", "Waits for attempt 3 of at most 4"),
    (found(tried(1), place=place(attempts=7)), "warn", "Waits for attempt 8"),
    (found(place=place(attempts=0, error="")), "warn", "Waits for its first attempt"),
    (found(place=place(before=3, first="j", due=None)), "warn", "Waits behind 3 of its lane"),
    (found(place=place(before=1000, first="j", due=None)), "warn", "Waits behind 1,000 or more of its lane"),
    (found(place=place(), paused=True), "warn", "Waits: its trigger is paused"),
    (found(status="staged", settled=None), "warn", "It is being moved just now"),
]


@pytest.mark.parametrize(("explanation", "look", "title"), VERDICTS, ids=[title for _, _, title in VERDICTS])
def test_how_it_stands(explanation: Explanation, look: str, title: str) -> None:
    verdict = telling.verdict(explanation, 4)
    assert (verdict.look, verdict.title) == (look, title)


def test_what_it_waits_for_and_why_it_ended() -> None:
    waiting = telling.verdict(found(tried(1), place=place()), None)
    assert (waiting.title, waiting.due, waiting.words) == (
        "Waits for attempt 2",
        COMMIT + 5_000_000,
        "The last attempt: answered 503",
    )
    behind = telling.verdict(found(place=place(before=1, first="j", due=None)), 4)
    assert (behind.behind, behind.due) == ("j", None)
    assert telling.verdict(found(status="failed", remark="busy"), 4).words == "busy"


@pytest.mark.parametrize(
    ("number", "words"), [(1, "first"), (3, "third"), (4, "4th"), (11, "11th"), (21, "21st"), (102, "102nd"), (113, "113th")]
)
def test_which_attempt_it_was(number: int, words: str) -> None:
    assert telling.verdict(found(OK, attempts=number), None).words == f"At the {words} attempt"


def test_what_may_be_done() -> None:
    assert telling.doable(found(OK).detail) == telling.Doable("Send it again", sure=True)
    assert telling.doable(found(tried(1), status="failed").detail) == telling.Doable("Retry")
    assert telling.doable(found(status="cancelled").detail) == telling.Doable("Retry")
    assert telling.doable(found(place=place()).detail) == telling.Doable("Try it now", cancel=True)
    behind = telling.doable(found(place=place(before=1)).detail)
    assert (behind.retry, behind.cancel) == ("", True)
    elsewhere = telling.doable(found(OK, url="http://other/").detail)
    assert (elsewhere.retry, elsewhere.cancel) == ("", False)
    assert "http://other/" in elsewhere.why_not


def test_the_way_of_one_that_failed_once() -> None:
    way = telling.way(found(tried(1, response="busy" * 10_000), tried(2, 200, ""), created=COMMIT + 1_100_000))
    assert [moment.step.name for moment in way.last] == ["happened", "matched", "attempt", "staged", "attempt", "recorded"]
    assert (way.first, way.before, way.left_out) == ((), (), 0)
    first, second = (moment for moment in way.last if moment.tried is not None)
    assert (first.status, first.error, first.since, first.is_cut) == ("503 Service Unavailable", "", 1.0, True)
    assert (second.status, second.is_cut) == ("200 OK", False)
    assert len(first.answer) == telling.LONGEST_ANSWER


def test_what_the_status_does_not_say_is_told() -> None:
    attempts = tried(1, 0, "connection refused"), tried(2, 599, "answered 599"), tried(3, 200, "the answer broke off")
    way = telling.way(found(*attempts))
    told = [(moment.status, moment.error) for moment in way.last if moment.tried is not None]
    assert told == [("no answer", "connection refused"), ("599", ""), ("200 OK", "the answer broke off")]


def test_of_many_attempts_the_last_are_seen_and_the_oldest_left_out() -> None:
    for count, before, left_out in ((6, 0, 0), (7, 1, 0), (100, 94, 0), (101, 94, 1), (1000, 94, 900)):
        way = telling.way(found(*(tried(number) for number in range(1, count + 1)), status="failed"))
        seen = [
            moment.tried.number for part in (way.first, way.before, way.last) for moment in part if moment.tried is not None
        ]
        assert seen == list(range(left_out + 1, count + 1))
        assert (sum(moment.tried is not None for moment in way.before), way.left_out) == (before, left_out)


def test_the_mark_changes_with_what_is_told() -> None:
    one = found(tried(1), place=place())
    assert telling.mark(one) == telling.mark(found(tried(1), place=place()))
    for other in (
        found(tried(1), tried(2), place=place()),
        found(tried(1), place=place(before=2)),
        found(tried(1), place=place(due=1)),
        found(tried(1), place=place(), paused=True),
        found(tried(1)),
    ):
        assert telling.mark(one) != telling.mark(other)
