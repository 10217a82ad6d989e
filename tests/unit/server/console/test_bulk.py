"""What a form asks for many deliveries, and how an operation is told."""

from typing import Any
from urllib.parse import parse_qsl

import pytest

from cdcd.admin.deliveries import Filter, Status
from cdcd.admin.operations import Operation, Order
from cdcd.server.console.bulk import Written
from cdcd.server.console.operations import standing_of, told
from cdcd.server.problems import Problem

NOW = 1_795_500_000.0
STAYS = "2026-11-24T06:00:00.000Z"


def written(query: str, now: float = NOW) -> Written:
    return Written.of(parse_qsl(query, keep_blank_values=True), now)


def test_what_is_asked_for_ends_now_and_stays() -> None:
    page = written("action=retry&status=failed&since=1h")
    assert page.until_now
    assert page.order() == Order("retry", Filter(status=(Status.FAILED,), since=NOW - 3600, until=NOW))
    form = written(f"action=retry&once=x&csrf=y&{page.asked.query}", NOW + 600)  # what the page's form sends later
    assert form.order() == page.order()
    assert (form.once, form.until_now) == ("x", False)
    assert written("action=retry&until=2026-11-24T05:00").order().wanted.until == NOW - 3600


def test_options_are_those_of_the_action() -> None:
    more = "&rate=20&to=https://x.example/&today=on"
    assert written("action=replay" + more).order() == Order("replay", Filter(until=NOW), 20.0, "https://x.example/", True)
    assert written("action=retry" + more).order() == Order("retry", Filter(until=NOW), 20.0)
    assert written("action=cancel" + more).order() == Order("cancel", Filter(until=NOW))
    assert written("rate=&to=").order() == Order("retry", Filter(until=NOW))


@pytest.mark.parametrize(
    ("query", "reasons"),
    [
        ("rate=many", ["the rate must be a number"]),
        ("status=x&since=y&rate=z", ["status must be", "since must be", "the rate must be"]),
        ("action=replay&to=http://x/" + "y" * 2000, ["the URL has more than 2000 characters"]),
    ],
)
def test_every_reason_is_told_and_what_was_typed_is_kept(query: str, reasons: list[str]) -> None:
    page = written(query)
    with pytest.raises(Problem) as caught:
        page.order()
    assert caught.value.status == 422
    assert len(caught.value.reasons) == len(reasons)
    assert all(told.detail.startswith(wanted) for told, wanted in zip(caught.value.reasons, reasons, strict=True))
    given = dict(parse_qsl(query))
    assert (page.rate, page.to) == (given.get("rate", ""), given.get("to", ""))


def test_an_action_that_there_is_not() -> None:
    with pytest.raises(Problem) as caught:
        written("action=delete")
    assert caught.value.status == 404


def operation(action: str = "retry", wanted: Any = None, **more: Any) -> Operation:
    found = {"started": int((NOW - 10) * 1e6), **more}
    return Operation("i", action, {"status": ["failed"]} if wanted is None else wanted, {}, "ops", **found)


def test_one_that_runs() -> None:
    shown = told(operation(total=1000, done=200, skipped=40, failed=10), NOW)
    assert (shown.title, shown.meant) == ("Retry of 1\u202f000 deliveries", "Failed deliveries")
    assert shown.counts == "200 done, 40 left out, 10 not possible of 1\u202f000"
    assert (shown.dealt_with, shown.rate, shown.left) == (250, 25, 30)
    assert shown.is_running


def test_one_of_which_nobody_knows_how_long() -> None:
    shown = told(operation(total=10_000, exact=False, done=10), NOW)
    assert (shown.title, shown.left) == ("Retry of at least 10\u202f000 deliveries", None)
    assert shown.counts == "10 done of at least 10\u202f000"
    assert told(operation(total=10), NOW).left is None  # nothing is done yet
    assert told(operation(total=10, done=20), NOW).left == 0


def test_one_that_is_over() -> None:
    shown = told(operation("replay", total=1, done=1, state="done", ended=int((NOW - 5) * 1e6)), NOW)
    assert (shown.title, shown.counts, shown.rate, shown.left) == ("Replay of 1 delivery", "1 done", 0.2, None)


def test_what_is_amiss() -> None:
    first = "01a23146-d9ed-800d-9b85-ceb6b2566b55"
    shown = told(operation(total=2, done=1, failed=1, state="done", remark=f"{first}: connection refused"), NOW)
    assert (shown.look, shown.remark) == (("warn", "alert"), (first, "connection refused"))
    waits = "waits for the backlog of a: 2000 deliveries"
    assert told(operation(remark=waits), NOW).remark == ("", waits)
    assert told(operation(state="done"), NOW).look == ("ok", "check")


@pytest.mark.parametrize(
    ("action", "wanted", "title", "delivery", "trigger"),
    [
        ("retry", {"id": "7"}, "Retry", "7", ""),
        ("send", {"id": "7"}, "Send elsewhere", "7", ""),
        ("pause", {"trigger": ["a"]}, "Pause: a", "", "a"),
        ("resume", {"trigger": ["a"]}, "Resume: a", "", "a"),
    ],
)
def test_what_is_done_at_once(action: str, wanted: Any, title: str, delivery: str, trigger: str) -> None:
    shown = told(operation(action, wanted, state="done", total=1, done=1), NOW)
    assert (shown.title, shown.delivery, shown.trigger, shown.meant) == (title, delivery, trigger, "")


def test_where_its_deliveries_are_found() -> None:
    wanted = {"status": ["failed"], "trigger": ["a"], "error": "503", "until": NOW}
    assert standing_of(operation(wanted=wanted)) == Filter(trigger=("a",), until=NOW)
