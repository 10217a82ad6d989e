"""The index, and which deliveries a change makes."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdcd.config.model import Order, TriggerConfig, Webhook
from cdcd.errors import ConfigError, EventError, ExpressionError
from cdcd.triggers.matcher import Index, TriggerSet
from cdcd.triggers.trigger import Trigger, compile_trigger
from tests.unit.triggers.rows import PlainChange

BASE = TriggerConfig(
    name="t",
    types=frozenset({"DB_INSERT", "DB_UPDATE", "DB_DELETE"}),
    database="main",
    tables=("users",),
    webhook=Webhook("http://a/", "http://a:80"),
    where="c.yaml:5:3",
    places={"when": "c.yaml:9:11", "key": "c.yaml:10:10"},
)


def trigger(**options: Any) -> Trigger:
    return compile_trigger(replace(BASE, **options))


def matches(change: PlainChange, *triggers: Trigger) -> list[tuple[str, object]]:
    return [(matched.name, lane) for matched, lane in TriggerSet(triggers).match(change)]


def test_the_index_finds_by_database_and_table() -> None:
    index = Index([trigger(name="a"), trigger(name="b", tables=("sales.*", "*")), trigger(name="c", database="other")])

    def names(database: str, schema: str, table: str) -> list[str]:
        found = index.lookup(database, schema, table)
        return [] if found is None else [one.name for one in found.triggers]

    assert names("main", "public", "users") == ["a", "b"]
    assert names("main", "sales", "orders") == ["b"]
    assert names("other", "public", "users") == ["c"]
    assert names("main", "other", "users") == []
    assert index.lookup("main", "public", "users") is index.lookup("main", "public", "users")


def test_disabled_triggers_and_own_tables_match_nothing() -> None:
    index = Index([trigger(tables=("*.*",)), trigger(name="off", tables=("users",), enabled=False)], own=[("main", "cdcd")])
    assert index.lookup("main", "cdcd", "event_logs") is None
    found = index.lookup("main", "public", "users")
    assert found is not None
    assert [one.name for one in found.triggers] == ["t"]


def test_types() -> None:
    inserts = trigger(types=frozenset({"DB_INSERT"}))
    assert matches(PlainChange("DB_INSERT"), inserts) == [("t", "1")]
    assert matches(PlainChange("DB_UPDATE"), inserts) == []
    assert TriggerSet((inserts,)).by_type.get("DB_UPDATE") is None


@pytest.mark.parametrize(
    ("known", "fires"),
    [({"a": True}, True), ({"a": False, "b": False}, False), ({"a": False, "b": True}, True), ({"a": False}, True), ({}, True)],
)
def test_columns_hold_an_update_back_only_when_none_of_them_changed(known: dict[str, bool], fires: bool) -> None:
    watching = trigger(columns=frozenset({"a", "b"}))
    assert bool(matches(PlainChange("DB_UPDATE", known=known), watching)) is fires
    assert matches(PlainChange("DB_INSERT", known=known), watching)
    assert matches(PlainChange("DB_DELETE", known=known), watching)


def test_lanes() -> None:
    change = PlainChange("DB_UPDATE", {"customer": 7}, key="42")
    assert matches(
        change,
        trigger(name="own"),
        trigger(name="none", order=Order.NONE),
        trigger(name="all", order=Order.ALL),
        trigger(name="key", key='type == "DB_DELETE" ? old.customer : new.customer'),
    ) == [("own", "42"), ("none", None), ("all", ""), ("key", "7")]


def test_conditions() -> None:
    change = PlainChange("DB_UPDATE", {"amount": 7})
    assert matches(change, trigger(name="a", when="new.amount > 5"), trigger(name="b", when="new.amount > 8")) == [("a", "1")]


def test_a_failing_expression_is_a_match_that_carries_why_and_the_rest_goes_on() -> None:
    change = PlainChange("DB_UPDATE", {"amount": None})
    found = matches(
        change,
        trigger(name="when", when="new.amount > 5"),
        trigger(name="key", key="new.amount + 1", types=frozenset({"DB_UPDATE"})),
        trigger(name="fine"),
    )
    assert [name for name, _ in found] == ["when", "key", "fine"]
    assert isinstance(found[0][1], ExpressionError)
    assert isinstance(found[1][1], ExpressionError)
    assert found[2][1] == "1"


def test_mistakes_of_expressions_come_together_with_their_places() -> None:
    with pytest.raises(ConfigError) as caught:
        trigger(when="new.a >", key="nwe.a")
    assert [mistake.split(" (")[0] for mistake in caught.value.mistakes] == [
        "c.yaml:9:11: triggers.t.when: at character 8: mismatched input 'the end'",
        "c.yaml:10:10: triggers.t.key: there is no 'nwe'; did you mean 'new'?",
    ]


@pytest.mark.parametrize(
    ("key", "types", "wrong"),
    [
        ("new.a", {"DB_DELETE"}, True),
        ("new.a", {"DB_INSERT", "DB_DELETE"}, True),
        ("old.a", {"DB_INSERT"}, True),
        ("new.a", {"DB_INSERT", "DB_UPDATE"}, False),
        ("old.a", {"DB_DELETE", "DB_UPDATE"}, False),
        ("has(new.a) ? new.a : old.a", {"DB_INSERT", "DB_DELETE"}, False),
        ("event.table", {"DB_INSERT", "DB_DELETE"}, False),
    ],
)
def test_a_key_that_some_type_cannot_have_is_a_mistake(key: str, types: set[str], wrong: bool) -> None:
    if wrong:
        with pytest.raises(ConfigError, match=r"there is no (new|old) row"):
            trigger(key=key, types=frozenset(types))
    else:
        assert trigger(key=key, types=frozenset(types)).key is not None


def test_what_a_trigger_uses() -> None:
    assert trigger(when="new.a > 1", key="string(old.b) + string(new.c)").columns_used == {
        ("new", "a"),
        ("old", "b"),
        ("new", "c"),
    }


UPDATES = frozenset({"DB_UPDATE"})
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.sampled_from(["\ud800", 2**70, 10**400])
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
KEYS = (
    "new.doc",
    "[new.doc, old.doc]",
    '{1: new.doc, "x": 2}',
    "{true: new.doc, 1: 2}",
    "new",
    "new.doc + 1",
    "new.doc.a.b",
    'b"x" + new.doc',
    "timestamp(new.doc)",
    "string(new.doc)",
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES, st.sampled_from(KEYS))
def test_whatever_a_value_and_an_expression_are_matching_raises_nothing(value: object, key: str) -> None:
    change = PlainChange(new_row={"doc": value}, old_row={"doc": value})
    [(_, lane)] = matches(change, trigger(key=key, types=UPDATES))
    assert isinstance(lane, str | EventError)
    for _, found in matches(change, trigger(when=key, types=UPDATES)):
        assert isinstance(found, str | EventError)


def test_a_map_whose_keys_cannot_be_sorted_is_no_lane() -> None:
    [(_, lane)] = matches(PlainChange(new_row={"a": "s3cret"}), trigger(key='{1: new.a, "x": new.a}', types=UPDATES))
    assert isinstance(lane, ExpressionError)
    assert "cannot be written as text" in str(lane)
    assert "s3cret" not in lane.explain()


@pytest.mark.parametrize("raised", [RuntimeError("s3cret"), RecursionError("s3cret"), OverflowError("s3cret")])
def test_what_a_row_raises_on_its_own_is_the_event_s_fault(raised: Exception) -> None:
    class Broken(PlainChange):
        def new(self, column: str) -> object:
            raise raised

    [(_, lane)] = matches(Broken(), trigger(when="new.a == 1"))
    assert isinstance(lane, ExpressionError)
    assert "s3cret" not in lane.explain()
