"""Judgements: why a trigger wants an event or does not. They must never disagree with the matcher."""

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.config.model import Kind, Order, TriggerConfig, Webhook
from cdcd.errors import EventError
from cdcd.event import Delivery, Event
from cdcd.triggers.judging import MOST_VALUES, Judgement, Scene, judge, remembered
from cdcd.triggers.matcher import TriggerSet
from cdcd.triggers.trigger import compile_trigger
from tests.unit.triggers.rows import PlainChange

WEBHOOK = Webhook("http://127.0.0.1:1/", "http://127.0.0.1:1")
ORDERS = TriggerConfig("orders", frozenset({"DB_INSERT", "DB_UPDATE"}), "main", ("public.orders",), WEBHOOK)
HERE = Scene(Kind.DATABASE, "main", ("public", "orders"))


def judged(change: PlainChange, scene: Scene = HERE, **options: Any) -> Judgement:
    return judge(compile_trigger(replace(ORDERS, **options)), change, scene)


def said_no(judgement: Judgement) -> list[str]:
    return [check.name for check in judgement.checks if check.holds is False]


def test_every_check_can_say_no() -> None:
    change = PlainChange("DB_UPDATE", {"total": 5}, known={"total": True, "note": False})
    assert judged(change).fires
    assert said_no(judged(change, enabled=False)) == ["enabled"]
    assert said_no(judged(change, database="other")) == ["source"]
    assert said_no(judged(change, tables=("public.users",))) == ["table"]
    assert said_no(judged(change, types=frozenset({"DB_DELETE"}))) == ["type"]
    assert said_no(judged(change, columns=frozenset({"note"}))) == ["columns"]
    assert said_no(judged(change, when="new.total > 5")) == ["when"]
    assert said_no(judged(change, kind=Kind.CUSTOM, types=frozenset({"paid"}), tables=())) == ["source", "type"]


def test_the_condition_that_said_no_is_told_with_what_it_saw() -> None:
    found = judged(PlainChange("DB_UPDATE", {"total": 5, "status": "open"}), when='new.total > 1 && new.status == "paid"')
    assert found.why == '`when` is false: `new.status == "paid"` (new.status = "open")'


def test_what_raises_fires_and_fails() -> None:
    found = judged(PlainChange("DB_UPDATE", {}), when="new.total > 1")
    assert found.fires
    assert "new.total is not in this DB_UPDATE" in found.problem
    assert found.why.startswith("it fires, and fails: ")


def test_a_disabled_trigger_tells_whether_it_would_fire_otherwise() -> None:
    found = judged(PlainChange("DB_UPDATE", {"total": 5}), enabled=False, when="new.total > 1")
    assert [(check.name, check.holds) for check in found.checks] == [
        ("enabled", False),
        ("source", True),
        ("table", True),
        ("type", True),
        ("when", True),
    ]


@pytest.mark.parametrize(("many", "fits"), [(MOST_VALUES - 10, True), (MOST_VALUES, False)])
def test_what_has_very_many_values_is_not_judged(many: int, fits: bool) -> None:
    data = {"db": "main", "schema": "public", "col": "orders", "doc": {"id": 1, "total": [0] * many}}
    event = Event("DB_INSERT", "cdcd/shop/main", "public.orders/1", "1", 0, orjson.dumps(data))
    with nullcontext() if fits else pytest.raises(EventError, match="too many to be looked at"):
        remembered(Delivery("i", "orders", event, None), Kind.DATABASE)


def test_a_recorded_update_tells_what_changed() -> None:
    data = {
        "db": "main",
        "schema": "public",
        "col": "orders",
        "doc": {"id": 1, "total": 5},
        "changed": ["total"],
        "unchanged": ["note"],
    }
    event = Event("DB_UPDATE", "cdcd/shop/main", "public.orders/1", "1", 0, orjson.dumps(data))
    facts, scene = remembered(Delivery("i", "orders", event, None), Kind.DATABASE)
    assert scene == HERE
    assert [facts.changed(column) for column in ("total", "note", "id")] == [True, False, False]
    found = judge(compile_trigger(replace(ORDERS, columns=frozenset({"id"}))), facts, scene)
    assert found.why == "none of its columns changed (id)"
    assert judge(compile_trigger(ORDERS), facts, scene).lane == "public.orders/1"


rows = st.dictionaries(st.sampled_from(["a", "b"]), st.one_of(st.none(), st.integers(0, 2)))


@given(
    st.sampled_from(["DB_INSERT", "DB_UPDATE", "DB_DELETE"]),
    rows,
    st.dictionaries(st.sampled_from(["a", "b"]), st.booleans()),
    st.sampled_from(["", "new.a == 1", "new.a == 1 && new.b > 0", "new.a", 'type == "DB_INSERT" || new.b == 2']),
    st.sampled_from(["", "new.a", "string(new.b)"]),
    st.sampled_from([frozenset(), frozenset({"a"}), frozenset({"a", "b"})]),
    st.sampled_from(list(Order)),
)
def test_a_judgement_agrees_with_the_matcher(
    kind: str, row: dict[str, object], known: dict[str, bool], when: str, key: str, columns: frozenset[str], order: Order
) -> None:
    change = PlainChange(kind, row, known=known)
    trigger = compile_trigger(replace(ORDERS, when=when, key=key if order is Order.KEY else "", columns=columns, order=order))
    matches = TriggerSet((trigger,)).match(change)
    found = judge(trigger, change, HERE)
    assert found.fires is bool(matches)
    if matches:
        wanted = matches[0][1]
        assert (found.problem == "") is not isinstance(wanted, Exception)
        if not isinstance(wanted, Exception):
            assert found.lane == wanted
