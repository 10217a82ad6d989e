"""What is noted of the triggers that count, and what is left of those that are gone."""

from dataclasses import replace

from structlog.testing import capture_logs

from cdcd.config.types import CANARY
from cdcd.reloading.noting import gone, in_force
from cdcd.reloading.parts import Rules
from cdcd.store.in_force import QUEUE, InForce
from cdcd.triggers.trigger import compile_trigger
from tests.unit.reloading.test_plan import CONFIG, DAILY, FILES, PAID, ROWS, triggers


def test_each_by_where_its_events_come_from() -> None:
    """Files and schedules stage first; the canary is nobody's."""
    every = [compile_trigger(each) for each in (ROWS, PAID, FILES, DAILY, replace(PAID, name=CANARY))]
    noted = in_force(every, ["main", "other"])
    assert [(each.name, each.source) for each in noted] == [
        ("rows", "main"),
        ("paid", QUEUE),
        ("paid", "main"),
        ("paid", "other"),
    ]
    assert len({each.definition for each in noted}) == 2


def test_those_that_are_there_decide_themselves() -> None:
    """Also one that has its events from elsewhere now."""
    noted = in_force([compile_trigger(each) for each in (ROWS, PAID)], ["main"])
    rules = Rules.of(
        replace(CONFIG, triggers=triggers(replace(ROWS, database="other"))), [compile_trigger(replace(ROWS, database="other"))]
    )
    left = gone(noted, rules)
    assert {source: [each.name for each in those] for source, those in left.items()} == {QUEUE: ["paid"], "main": ["paid"]}


def test_one_that_is_disabled_is_gone() -> None:
    off = replace(ROWS, enabled=False)
    rules = Rules.of(replace(CONFIG, triggers=triggers(off)), [compile_trigger(off)])
    assert list(gone(in_force([compile_trigger(ROWS)], ["main"]), rules)) == ["main"]


def test_what_cannot_be_read_is_told() -> None:
    rules = Rules.of(replace(CONFIG, triggers={}), [])
    with capture_logs() as logs:
        assert gone([InForce("old", "main", '{"shape": "of another version"}')], rules) == {}
    (told,) = logs
    assert (told["event"], told["trigger"], told["log_level"]) == ("trigger.unreadable", "old", "warning")
