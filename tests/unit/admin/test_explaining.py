"""The steps of a delivery, from what the event log keeps of it."""

from typing import Any

from cdcd.admin.deliveries import Detail, Found, Place, Tried
from cdcd.admin.explaining import steps_of

COMMIT = 1_764_000_000_000_000


def detail(*attempts: Tried, place: Place | None = None, **changed: Any) -> Detail:
    members: dict[str, Any] = {
        "id": "i",
        "time": COMMIT,
        "type": "DB_INSERT",
        "source": "cdcd/shop/main",
        "subject": "public.orders/1",
        "trigger": "orders",
        "key": "1",
        "status": "processed",
        "attempts": len(attempts),
        "remark": "",
        "created": COMMIT + 9_000,
        "settled": COMMIT + 9_000,
        "extensions": {},
    }
    members |= changed
    return Detail(Found(**members), 0, b"{}", attempts, place, None)


def tried(number: int, at: int, status: int = 200, error: str = "") -> Tried:
    return Tried(number, COMMIT + at, 3.0, status, "", error)


def names(found: Detail, **more: Any) -> list[str]:
    return [step.name for step in steps_of(found, **more)]


def test_one_that_was_delivered_at_once() -> None:
    found = steps_of(detail(tried(1, 2_000)))
    assert [(step.name, None if step.at is None else step.at - COMMIT) for step in found] == [
        ("happened", 0),
        ("matched", None),
        ("attempt", 2_000),
        ("answered", 5_000),
        ("recorded", 9_000),
    ]


def test_one_that_failed_first_was_staged_after_its_attempt() -> None:
    found = detail(tried(1, 2_000, 503, "busy"), tried(2, 1_000_000), created=COMMIT + 6_000, settled=COMMIT + 1_004_000)
    assert names(found) == ["happened", "matched", "attempt", "staged", "attempt", "answered", "recorded"]


def test_one_that_was_staged_before_it_was_sent() -> None:
    found = detail(tried(1, 2_000_000), created=COMMIT + 1_000, settled=COMMIT + 2_010_000)
    assert names(found) == ["happened", "matched", "staged", "attempt", "answered", "recorded"]


def test_one_that_waits_tells_for_what() -> None:
    waits = {"status": "staged", "settled": None}
    behind = steps_of(detail(place=Place("k", None, 0, "", 0, 2, "first"), **waits))
    assert behind[-1].words == "it waits behind 2 of its lane with the key k; first comes first"
    due = steps_of(detail(tried(1, 0, 500, "oops"), place=Place("k", COMMIT + 5, 1, "oops", 0, 0, None), **waits), paused=True)
    assert [(step.name, step.words) for step in due[-2:]] == [
        ("waiting", "it waits: the trigger orders is paused"),
        ("due", "attempt 2 is due, since: oops"),
    ]
