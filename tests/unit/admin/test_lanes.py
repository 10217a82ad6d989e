"""A stored delivery gets the lanes that it had when it was matched; what today's trigger says of it."""

from dataclasses import replace
from typing import Any

import pytest

from cdcd.admin.lanes import put_in_lane, wanted_today
from cdcd.config.model import Kind, Order, TriggerConfig, Webhook
from cdcd.event import Delivery, Event, Queued
from cdcd.replication.messages import Delete, Insert, Relation, Update
from cdcd.sources.occurring import deliveries_of
from cdcd.sources.queue import occurrence_of
from cdcd.triggers.matcher import TriggerSet
from cdcd.triggers.trigger import Trigger, compile_trigger
from tests.unit.sources.rows import relation, row
from tests.unit.sources.test_matching import BASE, Desk

EVERY = frozenset({"DB_INSERT", "DB_UPDATE", "DB_DELETE"})
PAIR = relation(("id", "code", "name"), ("id", "code"))
OPTIONS: list[dict[str, Any]] = [
    {},
    {"order": Order.NONE},
    {"order": Order.ALL},
    {"key": 'type == "DB_DELETE" ? string(old.id) : new.name'},
    {"key": "event.subject"},
    {"key": "event.key"},
]
LONG = "x" * 500


def stored(delivery: Delivery) -> Delivery:
    """As it comes back from the store."""
    return Delivery(delivery.id, delivery.trigger, delivery.event, None)


def trigger(number: int) -> Trigger:
    return compile_trigger(replace(BASE, types=EVERY, name=f"t{number}", **OPTIONS[number]))


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (relation(("id", "name")), lambda of: Insert(of, row("1", "a"))),
        (relation(("id", "name")), lambda of: Update(of, None, None, row("1", "a"))),
        (relation(("id", "name")), lambda of: Update(of, "key", row("1", None), row("2", "a"))),
        (relation(("id", "name")), lambda of: Delete(of, "key", row("1", None))),
        (relation(("code", "name"), ("code",)), lambda of: Update(of, "key", row("a/b", None), row("c,d", "a"))),
        (relation(("id", "name")), lambda of: Insert(of, row("1", LONG))),
        (PAIR, lambda of: Insert(of, row("1", "x", "a"))),
        (PAIR, lambda of: Update(of, "key", row("1", "x", None), row("1", "y", "a"))),
        (PAIR, lambda of: Delete(of, "key", row("1", "x", None))),
        (relation(("name",), ()), lambda of: Insert(of, row("a"))),
    ],
)
def test_a_row_has_the_lanes_that_it_had(of: Relation, message: Any) -> None:
    desk = Desk(*({"types": EVERY, **each} for each in OPTIONS), relation=of)
    found = [delivery for delivery in desk.match(message(of)) if not delivery.error]
    assert len(found) >= 3
    for delivery in found:
        again = stored(delivery)
        assert put_in_lane(again, trigger(int(delivery.trigger[1:]))) == ""
        assert (again.lane, again.also) == (delivery.lane, delivery.also), delivery.trigger


@pytest.mark.parametrize("key", [None, "k", "long " * 100])
@pytest.mark.parametrize("option", [{}, {"key": "string(data.n)"}, {"order": Order.NONE}, {"order": Order.ALL}])
def test_so_has_a_custom_event(key: str | None, option: dict[str, Any]) -> None:
    config = TriggerConfig("t", frozenset({"PAID"}), "", (), Webhook("http://a/", "http://a"), kind=Kind.CUSTOM, **option)
    wanting = compile_trigger(config)
    queued = Queued("id", "PAID", "cdcd/shop/queue", 0, b'{"n": 7}', key=key)
    event = Event(queued.type, queued.source, "", key or "", 0, queued.data)
    (delivery,) = deliveries_of(TriggerSet((wanting,)).match(occurrence_of(queued)), event, lambda name: name)
    again = stored(delivery)
    assert put_in_lane(again, wanting) == ""
    assert again.lane == delivery.lane


def test_a_key_that_raises_says_so() -> None:
    delivery = stored(Desk({}).insert("1", "a")[0])
    wrong = compile_trigger(replace(BASE, key="new.gone"))
    assert "new.gone" in put_in_lane(delivery, wrong)
    assert delivery.lane is None


def test_what_the_trigger_wants_today() -> None:
    delivery = stored(Desk({}).insert("1", "a")[0])
    assert wanted_today(delivery, compile_trigger(BASE)) == ""
    assert wanted_today(delivery, compile_trigger(replace(BASE, when='new.name == "a"'))) == ""
    assert wanted_today(delivery, compile_trigger(replace(BASE, when='new.name == "b"'))) == "its condition says no"
    assert "DB_INSERT" in wanted_today(delivery, compile_trigger(replace(BASE, types=frozenset({"DB_DELETE"}))))
