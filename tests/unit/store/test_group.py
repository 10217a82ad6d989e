"""Folding: whatever a group says of a delivery becomes one fate, and each fate one kind of write."""

import pytest

from cdcd.event import Attempt, Delivery, Event, Record, Status
from cdcd.store.group import DAY, Group, days, fold, live_only, remark


def record(identity: str, status: Status, was_staged: bool, number: int = 0, reason: str = "", due_at: float = 0.0) -> Record:
    event = Event("DB_INSERT", "s", "t/1", "1", 5 * DAY + 1, b"{}")
    made = Attempt(number, 0.0, 0.0, 200, "") if number else None
    return Record(Delivery(identity, "trigger", event, "1"), status, was_staged, made, due_at, reason)


STAGED, DONE, FAILED = Status.STAGED, Status.PROCESSED, Status.FAILED

CASES = [
    ("a live success", [("a", DONE, False, 1)], "final", 1),
    ("parked unsent", [("a", STAGED, False, 0)], "staged", 0),
    ("failed once, parked", [("a", STAGED, False, 1)], "staged", 1),
    ("tried again in vain", [("a", STAGED, True, 3)], "restaged", 3),
    ("done at last", [("a", DONE, True, 4)], "finished", 4),
    ("parked and done within the group", [("a", STAGED, False, 1), ("a", DONE, True, 2)], "final", 2),
    ("parked and tried within the group", [("a", STAGED, False, 0), ("a", STAGED, True, 1)], "staged", 1),
    ("tried and given up within the group", [("a", STAGED, True, 2), ("a", FAILED, True, 3)], "finished", 3),
    ("the whole life", [("a", STAGED, False, 1), ("a", STAGED, True, 2), ("a", FAILED, True, 0)], "final", 2),
]


@pytest.mark.parametrize(("story", "records", "kind", "attempts"), CASES, ids=[case[0] for case in CASES])
def test_fold(story: str, records: list[tuple[str, Status, bool, int]], kind: str, attempts: int) -> None:
    group = fold([record(*one) for one in records])
    kinds = {name: getattr(group, name) for name in ("final", "staged", "restaged", "finished")}
    assert {name for name, fates in kinds.items() if fates} == {kind}
    [fate] = kinds[kind]
    assert (fate.status, fate.attempts) == (records[-1][1], attempts)
    assert [made.number for _, made in group.tried] == [number for *_, number in records if number]


def test_the_last_word_counts_and_order_is_kept() -> None:
    group: Group = fold(
        [
            record("a", STAGED, False, 1, "first", 10.0),
            record("b", STAGED, False, 0, "", 20.0),
            record("a", STAGED, True, 2, "second", 30.0),
        ]
    )
    assert [(fate.delivery.id, fate.due_at, fate.reason) for fate in group.staged] == [("a", 30.0, "second"), ("b", 20.0, "")]


@pytest.mark.parametrize(
    ("records", "live"),
    [
        ([], True),
        ([("a", DONE, False), ("b", FAILED, False)], True),
        ([("a", DONE, False), ("b", STAGED, False)], False),
        ([("a", DONE, True)], False),
    ],
)
def test_live_only(records: list[tuple[str, Status, bool]], live: bool) -> None:
    assert live_only([record(*one) for one in records]) is live


def test_days_are_utc_days_since_the_epoch() -> None:
    assert days([record("a", DONE, False)]) == {5}


def test_what_was_not_processed_always_says_why() -> None:
    assert remark(record("a", DONE, False)) is None
    assert remark(record("a", DONE, False, reason="kept without its payload")) == "kept without its payload"
    assert remark(record("a", FAILED, False, reason="410")) == "410"
    assert remark(record("a", FAILED, False)) == "no reason was given"
    unsendable = record("a", FAILED, False)
    unsendable.delivery.error = "too large"
    assert remark(unsendable) == "too large"
