"""What the overview says of a snapshot: how grave it is, where to go, what comes first; and how sources and schedules are written."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from cdcd.admin.live import Sample, Turn
from cdcd.admin.snapshot import DatabaseState, Durations, EndpointState, Rates, TriggerState, Trouble
from cdcd.admin.ticking import Scheduled
from cdcd.config.model import Schedule
from cdcd.delivery.meter import ANSWERS
from cdcd.server.console.overview import answers, busiest, by_need, links, state_of, told, verdict
from cdcd.server.console.samples import encoded
from cdcd.server.console.schedules import in_zone, soonest
from cdcd.server.console.sources import positions, share_of, trouble_of, wrong
from cdcd.upkeep.finding import Section
from tests.unit.admin.test_live import snapshot


def trouble(code: str, where: str = "trigger t", **more: Any) -> Trouble:
    return Trouble(code, "w", where, "f", 900.0, **more)


def trigger(name: str, endpoint: str = "http://x", *, rate: float = 0.0, **more: Any) -> TriggerState:
    plain = TriggerState(name, endpoint, 0, 0, 0, Rates(rate), 0, 0, 0, None, "", Durations(), 0, 0.0, 0)
    return replace(plain, **more)


def endpoint(origin: str, *triggers: str, circuit: str = "closed", backlog: int = 0, **kinds: int) -> EndpointState:
    down = None if circuit == "closed" else 900.0
    counts = {**dict.fromkeys(ANSWERS, 0), **{name.lstrip("_"): count for name, count in kinds.items()}}
    return EndpointState(origin, circuit, None, down, 0, 8, backlog, triggers, counts, Durations(), (), 0.0)


# The verdict


@pytest.mark.parametrize(
    ("troubles", "ready", "grave", "words"),
    [
        ([], True, "ok", "All is well"),
        ([], False, "warn", "cdcd is starting, or stopping"),
        ([trouble("trigger.failing")], True, "warn", "One thing is not well"),
        ([trouble("trigger.failing"), trouble("endpoint.down")], True, "warn", "2 things are not well"),
        ([trouble("slot.lost")], True, "bad", "One thing is not well"),
        ([trouble("store.stuck", stands_still=True)], True, "bad", "One thing is not well: deliveries stand still"),
        ([trouble("store.unavailable", not_ready=True)], True, "bad", "One thing is not well: no events are taken"),
    ],
)
def test_the_verdict(troubles: list[Trouble], ready: bool, grave: str, words: str) -> None:
    assert verdict(replace(snapshot(), troubles=troubles, ready=ready)) == (grave, words)


@pytest.mark.parametrize(
    ("code", "where", "addresses"),
    [
        ("trigger.failing", "trigger a b", ["/console/events?status=failed&trigger=a%20b", "/console/triggers/a%20b"]),
        ("trigger.behind", "trigger t", ["/console/events?status=staged&trigger=t", "/console/triggers/t"]),
        (
            "endpoint.down",
            "endpoint http://x",
            ["/console/events?status=staged&trigger=t&trigger=u", *map("/console/triggers/{}".format, "tu")],
        ),
        ("slot.lost", "database main", ["/console/databases#database-main"]),
        ("storage.missing", "storage up", ["/console/databases#storage-up"]),
        ("store.unavailable", "store", ["/console/databases#store"]),
        ("queue.stuck", "queue", ["/console/databases#queue"]),
        ("canary.late", "canary", ["/console/databases#canary"]),
        ("loop.blocked", "daemon", []),
    ],
)
def test_every_trouble_leads_to_the_page_that_helps(code: str, where: str, addresses: Sequence[str]) -> None:
    seen = replace(snapshot(), endpoints=[endpoint("http://x", "t", "u")])
    assert [link.href for link in links(trouble(code, where), seen)] == addresses


def test_how_a_trouble_is_told() -> None:
    seen = snapshot(1000.0)
    assert told(trouble("endpoint.down"), seen).since == 900.0
    assert told(trouble("trigger.failing"), seen).since is None  # of the last minutes
    assert told(replace(trouble("slot.lost"), since=999.0), seen).since is None  # seen just now, which says nothing
    assert told(replace(trouble("x"), what="w" * 5000), seen).what == "w" * 400 + "…"


# What comes first


def test_endpoints_that_fail_come_first_and_the_canarys_own_is_not_shown() -> None:
    every = [
        endpoint("http://idle", "a"),
        endpoint("http://busy", "b", backlog=9),
        endpoint("http://own", "cdcd.canary"),
        endpoint("http://down", "c", circuit="open"),
    ]
    assert [each.origin for each in by_need(replace(snapshot(), endpoints=every))] == [
        "http://down",
        "http://busy",
        "http://idle",
    ]


def test_triggers_in_trouble_come_first_then_the_busiest() -> None:
    triggers = [
        trigger("idle"),
        trigger("slow", rate=1.0),
        trigger("fast", rate=9.0),
        trigger("fails", failed_lately=1),
        trigger("stuck", "http://down", backlog=3),
        trigger("spared", "http://down"),
        trigger("cdcd.canary", rate=99.0),
    ]
    seen = replace(snapshot(), triggers=triggers, endpoints=[endpoint("http://down", "stuck", circuit="open")])
    assert [each.name for each in busiest(seen)] == ["stuck", "fails", "fast", "slow", "idle", "spared"]
    assert [state_of(each, seen)[2] for each in busiest(seen)[:3]] == ["circuit open", "failing", "active"]
    assert state_of(replace(triggers[0], paused=True), seen)[2] == "paused"


def test_answers_by_kind() -> None:
    assert answers(endpoint("http://x", "t")) == []
    assert answers(endpoint("http://x", "t", _5xx=2, _2xx=7, none=1)) == [
        ("2xx", 7, ""),
        ("5xx", 2, "error"),
        ("no answer", 1, "error"),
    ]


# The samples


def test_samples_as_the_charts_read_them() -> None:
    sample = Sample(1000.12345, 1.23456, 0.0, 0.0, 0.01, None, 3, 1, 0.002, {"main": 5})
    shown = {
        **{"t": 1000.123, "delivered": 1.235, "failed": 0.0, "retried": 0.0, "p50": 0.01, "p99": None},
        **{"backlog": 3, "in_flight": 1, "commit": 0.002, "held": {"main": 5}},
    }
    assert orjson.loads(encoded(Turn(snapshot(), (sample,)), "sample")) == shown
    assert orjson.loads(encoded(Turn(snapshot(), (sample,)), "history")) == [shown]


# Databases


def test_positions_are_lsns_or_numbers_of_changes() -> None:
    state = DatabaseState("main", "replication", True, "", 0x1_0000_00FF, 0x1_0000_0000, 0, None, 0)
    assert [each.value for each in positions(state)] == ["1/FF", "1/0", "–"]
    assert [each.value for each in positions(replace(state, capture="triggers", received=12345, settled=9))] == [
        "12\u202f345",
        "9",
        "–",
    ]


def test_the_share_of_its_budget() -> None:
    state = DatabaseState("main", "replication", True, "", 1, 1, 1, None, 0)
    assert share_of(state) is None
    assert share_of(replace(state, held=5)) is None
    assert share_of(replace(state, held=5, budget=10)) == 0.5
    assert share_of(replace(state, held=50, budget=10)) == 1.0


def test_what_is_the_matter_with_a_part() -> None:
    seen = replace(snapshot(), troubles=[trouble("a", "store"), trouble("b", "store")])
    assert trouble_of(seen, "store") == seen.troubles[0]
    assert trouble_of(seen, "queue") is None


def test_what_is_wrong_comes_with_the_gravest_first() -> None:
    section = Section("database main")
    section.ok("a", "well")
    section.warning("b", "may hurt")
    section.unknown("c", "not seen")
    section.mistake("d", "will not work")
    assert [one.code for one in wrong(section)] == ["d", "c", "b"]


# Schedules


def test_the_next_to_fire_comes_first_and_what_is_off_last() -> None:
    def one(name: str, *ticks: int) -> Scheduled:
        return Scheduled(name, Schedule("* * * * *"), bool(ticks), ticks, (), ())

    assert [each.trigger for each in soonest([one("off"), one("late", 900), one("b", 60), one("a", 60)])] == [
        "a",
        "b",
        "late",
        "off",
    ]


@pytest.mark.parametrize(
    ("written", "shown"),
    [("2026-12-01T03:00:00Z", "Tue 2026-12-01 03:00"), ("2026-07-05T23:59:00+02:00", "Sun 2026-07-05 23:59")],
)
def test_times_are_shown_as_their_zone_has_them(written: str, shown: str) -> None:
    assert in_zone(written) == shown
