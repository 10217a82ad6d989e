"""Expressions in values: types are kept, digits are kept, and what cannot be sent is an error that quotes no value."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.config.model import Kind, TriggerConfig, Webhook
from cdcd.errors import ConfigError, EventError
from cdcd.event import Delivery, Event
from cdcd.triggers.exact import read, write
from cdcd.triggers.stored import stored
from cdcd.triggers.templated import LONGEST_CLAIMS, Templates
from cdcd.triggers.trigger import Trigger, compile_trigger, mistakes_of

ROW = b"""{"db": "main", "schema": "public", "col": "orders", "find": {"id": 7},
 "doc": {"id": 7, "total": 9.50, "huge": 123456789012345678901234567890, "exact": 123456789012345678901234567890.12,
  "name": "\xc3\x84nne", "note": null, "paid": true, "tags": ["a", "b"], "lines": [{"sku": "x-1"}], "odd name": "o",
  "most": 9223372036854775807, "more": 9223372036854775808, "half": "\\ud800"},
 "before": {"id": 7, "total": 8.25}, "beforeKind": "full", "txid": 7345, "lsn": "1/100"}"""
ID = "01a20990-957b-8f2c-9d41-7be03c55a1d2"
TIME = 1_700_000_000_123_456


def config(
    payload: Any = None, kind: Kind = Kind.DATABASE, types: tuple[str, ...] = ("DB_UPDATE",), **more: Any
) -> TriggerConfig:
    webhook = more.pop("webhook", Webhook("http://127.0.0.1:9/", "http://127.0.0.1:9"))
    return TriggerConfig("t", frozenset(types), "main", ("public.orders",), webhook, kind, payload=payload, **more)


def templates(made: Trigger) -> Templates:
    assert made.templates is not None
    return made.templates


def delivery(data: bytes = ROW, type: str = "DB_UPDATE") -> Delivery:
    return Delivery(ID, "t", Event(type, "cdcd/shop/main", "public.orders/7", "7", TIME, data), None)


def body(payload: Any, data: bytes = ROW, kind: Kind = Kind.DATABASE, type: str = "DB_UPDATE") -> str:
    made = templates(compile_trigger(config(payload, kind, (type,))))
    return made.body(stored(delivery(data, type), kind)).decode()


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("${ new.id }", "7"),
        ("${new.total}", "9.50"),
        ("${ new.huge }", "123456789012345678901234567890"),
        ("${ new.exact }", "123456789012345678901234567890.12"),
        ("${ new.more }", "9223372036854775808"),
        ("${ new.most + 0 }", "9223372036854775807"),
        ("${ new.note }", "null"),
        ("${ new.paid }", "true"),
        ("${ new.tags }", '["a","b"]'),
        ("${ new.lines[0].sku }", '"x-1"'),
        ('${ new["odd name"] }', '"o"'),
        ("${ new.half }", r'"\ud800"'),
        ("${ new.total * 2.0 }", "19.0"),
        ("${ new.total > old.total }", "true"),
        ("${ {'a': [new.id, {'b': new.paid}]} }", '{"a":[7,{"b":true}]}'),
        ("${ {1: 2, true: 3}.size() > 0 }", "true"),
        ("${ new.tags.map(t, t + '!') }", '["a!","b!"]'),
        ("${ event.id }", f'"{ID}"'),
        ("${ event.time }", '"2023-11-14T22:13:20.123456Z"'),
        ("${ event.subject + event.source + event.table + event.schema + event.database }",
         '"public.orders/7cdcd/shop/mainorderspublicmain"'),
        ("${ event.key }", '"7"'),
        ("${ event.txid }", "7345"),
        ("${ type }", '"DB_UPDATE"'),
        ("${ duration('90s') }", '"90s"'),
        ("${ duration('1500ms') }", '"1.5s"'),
        ("${ b'abc' }", '"YWJj"'),
        ("${ has(new.nothing) }", "false"),
        ("Order ${ new.id } of ${ new.name }: ${ new.total }, ${ new.tags }", '"Order 7 of Änne: 9.50, [\\"a\\",\\"b\\"]"'),
        (" ${ new.id }", '" 7"'),
        ("$${ new.id }", '"${ new.id }"'),
        ("${ '}' + \"}\" }", '"}}"'),
        ("", '""'),
        ({"a": ["${ new.id }", {"b": "x${ new.id }", "c": None}], "d": 1.5, "e": 2**70, "f": True},
         '{"a":[7,{"b":"x7","c":null}],"d":1.5,"e":1180591620717411303424,"f":true}'),
        ([], "[]"),
    ],
)  # fmt: skip
def test_the_type_of_a_value_is_kept(payload: Any, expected: str) -> None:
    assert body(payload) == expected


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ("${ new.nothing }", "new.nothing is not in this DB_UPDATE"),
        ("${ new.lines[0].price }", "a key or an index is missing"),
        ("${ new.lines[4] }", "a key or an index is missing"),
        ("x ${ new.note }", "`new.note` gave null, which has no text"),
        ("${ new.note + 'x' }", "new.note is null"),
        ("${ new.huge > 1 }", "new.huge holds a whole number beyond 64 bits"),
        ("${ new.more + 1 }", "new.more holds a whole number beyond 64 bits"),
        ("${ new.most + 1 }", "no value (division by zero or overflow)"),
        ("${ new.total / 0.0 }", "gave a number that is not finite"),
        ("${ new.id / 0 }", "division by zero"),
        ("${ new.name + 1 }", "the types of its operands do not fit together"),
        ("${ new.half + 'x' }", "was given what it cannot take"),
    ],
)
def test_what_cannot_be_sent_is_told_without_quoting_a_value(payload: str, words: str) -> None:
    made = templates(compile_trigger(config(payload)))
    with pytest.raises(EventError) as caught:
        made.body(stored(delivery(), Kind.DATABASE))
    assert words in str(caught.value)
    assert "trigger t: " in str(caught.value)
    for value in ("1234567890", "Änne", "9.5"):
        assert value not in caught.value.explain()


def test_other_kinds_see_their_own_roots() -> None:
    assert body("${ data }", b'{"a": 1.10}', Kind.CUSTOM, "PAID") == '{"a":1.10}'
    assert body("${ data }", b"[1, 2]", Kind.CUSTOM, "PAID") == "[1,2]"
    assert body("${ data.user['x'].y }", b'{"user": {"x": {"y": []}}}', Kind.CUSTOM, "PAID") == "[]"
    assert (
        body("at ${ data.scheduled }", b'{"schedule": "* * * * *", "scheduled": "now"}', Kind.SCHEDULE, "SCHEDULE")
        == '"at now"'
    )
    file = b'{"store": "up", "path": "a/b.txt", "size": 3, "type": "file", "before": {"size": 2}}'
    text = "${ event.store }: ${ file.path }, ${ file.size - old.size }"
    assert body(text, file, Kind.STORAGE, "FILE_UPDATE") == '"up: a/b.txt, 1"'


def test_an_insert_has_no_old_row_and_a_delete_no_new_one() -> None:
    assert body("${ old }", b'{"doc": {"id": 1}}', type="DB_INSERT") == "null"
    assert body("${ old == null }", b'{"doc": {"id": 1}}', type="DB_INSERT") == "true"
    assert body("${ new }", b'{"before": {"id": 1}}', type="DB_DELETE") == "null"


def test_data_that_is_nested_too_deeply_is_refused_before_cel_sees_it() -> None:
    for levels in (201, 5_000, 200_000):
        with pytest.raises(EventError, match="nested more than 200 levels"):
            body("${ data.x }", b'{"x":' + b"[" * levels + b"]" * levels + b"}", Kind.CUSTOM, "PAID")
    deep = b'{"x":' + b"[" * 150 + b"]" * 150 + b"}"
    assert body("${ data }", deep, Kind.CUSTOM, "PAID").encode() == deep


@pytest.mark.parametrize("data", [b"{", b"", b'{"x": NaN}', b'{"x": "\xff"}'])
def test_data_that_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(EventError, match="its data is not JSON"):
        body("${ data.x }", data, Kind.CUSTOM, "PAID")


def test_a_map_of_cel_is_written_in_the_order_of_its_names() -> None:
    data = b'{"z": 1, "a": {"c": 2, "b": 3}}'
    assert body("${ data }", data, Kind.CUSTOM, "PAID") == data.decode().replace(" ", "")  # as it is stored
    for _ in range(20):
        assert (
            body("${ {'d': data, 'c': 1, 2: 3} }", data, Kind.CUSTOM, "PAID") == '{"2":3,"c":1,"d":{"a":{"b":3,"c":2},"z":1}}'
        )


def test_a_map_with_one_name_twice_is_refused() -> None:
    with pytest.raises(EventError, match="two members of one name"):
        body("${ {data.a: 1, string(data.a): 2} }", b'{"a": 1}', Kind.CUSTOM, "PAID")


def test_claims_have_a_size() -> None:
    made = templates(compile_trigger(config(claims={"tenant": "${ new.name }", "all": ["${ new.id }"]})))
    assert json.loads(made.members(stored(delivery(), Kind.DATABASE))) == {"tenant": "Änne", "all": [7]}
    long = templates(compile_trigger(config(claims={"x": "${ new.a }"})))
    with pytest.raises(EventError, match=f"over the {LONGEST_CLAIMS}"):
        long.members(stored(delivery(b'{"doc": {"a": "' + b"y" * LONGEST_CLAIMS + b'"}}'), Kind.DATABASE))


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "a\x7f", "\ud800"])
def test_a_header_cannot_be_ended_by_a_value(value: str) -> None:
    hook = Webhook("http://127.0.0.1:9/", "http://127.0.0.1:9", (("X-A", "v ${ new.a }"),))
    made = templates(compile_trigger(config(webhook=hook)))
    facts = stored(delivery(json.dumps({"doc": {"a": value}}).encode()), Kind.DATABASE)
    ((name, text),) = made.headers
    with pytest.raises(EventError, match=r"webhook.headers.X-A has"):
        made.header(name, text, facts)


def test_a_header_may_have_tabs_and_other_alphabets() -> None:
    hook = Webhook("http://127.0.0.1:9/", "http://127.0.0.1:9", (("X-A", "${ new.a }"),))
    made = templates(compile_trigger(config(webhook=hook)))
    ((name, text),) = made.headers
    assert made.header(name, text, stored(delivery(b'{"doc": {"a": " \xc3\x84\\tb "}}'), Kind.DATABASE)) == "Ä\tb"


@pytest.mark.parametrize(
    ("payload", "option", "words"),
    [
        ("${ nwe.id }", "payload", "there is no 'nwe'"),
        ({"a": [1, {"b": "x ${ new.id + }"}]}, "payload.a[2].b", "at character"),
        ({"a": "${}"}, "payload.a", "there is no expression"),
        ({"a": "${ event.nope }"}, "payload.a", "event has no 'nope'"),
        ({"a": "${ 1 + 'x' }"}, "payload.a", "the types of its operands do not fit together"),
        ({"a${new.id}": 1}, "payload.a${new.id}", "not in names"),
        ([float("inf")], "payload[1]", "not a finite number"),
        ("${ foo(new.id) }", "payload", "there is no function 'foo'"),
    ],
)
def test_mistakes_are_found_at_load_with_their_place(payload: Any, option: str, words: str) -> None:
    ((where, what),) = mistakes_of(config(payload))
    assert where == option
    assert what.startswith(f"triggers.t.{option}: ")
    assert words in what
    with pytest.raises(ConfigError):
        compile_trigger(config(payload))


def test_a_row_that_is_never_there_is_a_mistake() -> None:
    types = ("DB_INSERT", "DB_DELETE")
    assert [where for where, _ in mistakes_of(config(["${ new.id }", "${ old['x'] }"], types=types))] == [
        "payload[1]",
        "payload[2]",
    ]
    assert mistakes_of(config("${ has(new.id) ? new.id : old.id }", types=types)) == []
    assert mistakes_of(config('${ type == "DB_DELETE" ? old.id : new.id }', types=types)) == []


def test_a_trigger_without_templates_has_none() -> None:
    assert compile_trigger(config()).templates is None
    literal = Webhook("http://127.0.0.1:9/", "http://127.0.0.1:9", (("X-A", "$${b}"),))
    assert compile_trigger(config(webhook=literal)).templates is None


def test_columns_of_templates_count_as_used() -> None:
    made = compile_trigger(config({"a": "${ new.id }", "b": "${ old.total + 1.0 }"}))
    assert made.columns_used == {("new", "id"), ("old", "total")}
    assert [option for option, _ in made.expressions] == ["payload.a", "payload.b"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_JSON)
def test_what_is_read_is_written_again(value: Any) -> None:
    text = json.dumps(value, separators=(",", ":")).encode()
    assert json.loads(write(read(text))) == value


@given(st.from_regex(r"\A-?(0|[1-9][0-9]{0,60})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?\Z"))
def test_every_number_keeps_its_digits(text: str) -> None:
    assert write(read(text.encode())).decode() == ("0" if text == "-0" else text)
