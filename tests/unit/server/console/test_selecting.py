"""Which triggers a list shows: words and states are what its address says, the order is sensible, and pages are bounded."""

from dataclasses import replace
from typing import Any

import pytest

from cdcd.admin.snapshot import Durations, Rates
from cdcd.admin.triggers import IDLE, Listed, State
from cdcd.config.model import Kind, Schedule, TriggerConfig, Webhook
from cdcd.server.console.selecting import SHOWN, SORTS, Selection, selected, selection, types, wants


def config(name: str, url: str = "https://hooks.example.com", **more: Any) -> TriggerConfig:
    given = {"types": frozenset({"DB_INSERT"}), "database": "main", "tables": (f"public.{name}",), **more}
    return TriggerConfig(name=name, webhook=Webhook(f"{url}/x", url), **given)


def listed(name: str, state: State = State.ACTIVE, *, backlog: int = 0, **more: Any) -> Listed:
    numbers = replace(IDLE, name=name, **more)
    return Listed(name, state, None if state is State.GONE else config(name), numbers, backlog)


def names(triggers: list[Listed], wanted: Selection) -> list[str]:
    return [each.name for each in selected(triggers, wanted).rows]


def test_an_address_is_read_and_written_back() -> None:
    wanted = selection([("q", " mail "), ("state", "paused"), ("state", "gone"), ("sort", "backlog"), ("page", "3")])
    assert wanted == Selection("mail", frozenset({State.PAUSED, State.GONE}), "backlog", 3)
    assert wanted.address(page=3) == "/console/triggers?q=mail&state=gone&state=paused&sort=backlog&page=3"
    assert wanted.address(sort="name") == "/console/triggers?q=mail&state=gone&state=paused&sort=name"
    assert Selection().address() == "/console/triggers"


def test_what_an_address_cannot_mean_is_left_out() -> None:
    pairs = [("state", "nonsense"), ("sort", "colour"), ("page", "0"), ("page", "-1"), ("page", "9" * 30), ("other", "x")]
    assert selection(pairs) == Selection()


def test_first_what_somebody_must_look_at() -> None:
    triggers = [
        listed("off", State.DISABLED),
        listed("b"),
        listed("a"),
        listed("resting", State.PAUSED),
        listed("left", State.GONE, backlog=1),
        listed("down", State.CIRCUIT_OPEN),
    ]
    assert names(triggers, Selection()) == ["down", "left", "resting", "a", "b", "off"]
    assert names(triggers, Selection(sort="name")) == ["a", "b", "down", "left", "off", "resting"]


@pytest.mark.parametrize("sort", ["rate", "p50", "p99", "backlog"])
def test_numbers_are_sorted_from_the_largest(sort: str) -> None:
    small = listed("a", backlog=1, rates=Rates(1.0), latency=Durations(1, 0.1, 0.1, 0.1))
    large = listed("b", backlog=2, rates=Rates(2.0), latency=Durations(1, 0.2, 0.2, 0.2))
    none = listed("c")
    assert names([none, small, large], Selection(sort=sort)) == ["b", "a", "c"]


def test_success_is_sorted_from_the_worst_and_who_has_none_comes_last() -> None:
    triggers = [listed("none"), listed("good", delivered=1), listed("half", delivered=1, failed=1)]
    assert names(triggers, Selection(sort="success")) == ["half", "good", "none"]
    assert set(SORTS) >= {"state", "name", "success"}


@pytest.mark.parametrize(
    ("words", "found"),
    [("MAIL", ["mail"]), ("public.mail insert", ["mail"]), ("hooks", ["mail", "other"]), ("gone", ["left"]), ("nothing", [])],
)
def test_all_words_must_be_in_it(words: str, found: list[str]) -> None:
    triggers = [listed("mail"), listed("other"), listed("left", State.GONE)]
    assert names(triggers, Selection(words, sort="name")) == found


def test_the_counts_are_of_what_has_the_words_whatever_the_state() -> None:
    triggers = [listed("a1"), listed("a2", State.PAUSED), listed("b")]
    page = selected(triggers, Selection("a", frozenset({State.PAUSED})))
    assert [each.name for each in page.rows] == ["a2"]
    # "active" and the endpoint have an a too
    assert page.counts == {State.ACTIVE: 2, State.PAUSED: 1}


def test_a_thousand_come_in_pages() -> None:
    triggers = [listed(f"t{number:04}") for number in range(1000)]
    first = selected(triggers, Selection())
    assert (len(first.rows), first.found, first.pages, first.first) == (SHOWN, 1000, 10, 1)
    last = selected(triggers, Selection(page=99))
    assert (last.page, last.first, last.rows[-1].name) == (10, 901, "t0999")
    assert selected([], Selection(page=3)).page == 1


def test_types_and_what_they_are_of() -> None:
    every = config("a", types=frozenset({"DB_DELETE", "DB_TRUNCATE", "DB_UPDATE", "DB_INSERT"}))
    assert types(every) == ["DB_INSERT", "DB_UPDATE", "DB_DELETE", "DB_TRUNCATE"]
    assert types(config("b", types=frozenset({"PAID", "ADDED"}))) == ["ADDED", "PAID"]
    assert wants(every) == ["public.a"]
    assert wants(config("c", tables=(), paths=("*.jpg",), kind=Kind.STORAGE)) == ["*.jpg"]
    assert wants(config("d", tables=(), kind=Kind.SCHEDULE, schedule=Schedule("0 6 * * *", "Europe/Berlin"))) == [
        "0 6 * * * Europe/Berlin"
    ]
