"""What a form for trying begins with: the last event without what is put in again, else one that the condition would like."""

import json
from typing import Any

import pytest

from cdcd.config.model import Kind, Schedule, TriggerConfig, Webhook
from cdcd.server.console.prefilling import LARGEST, filled, reshaped, rewritten


def config(*types: str, kind: Kind = Kind.DATABASE, **more: Any) -> TriggerConfig:
    tables = more.pop("tables", ("public.users",) if kind is Kind.DATABASE else ())
    webhook = Webhook("https://x.example", "https://x.example")
    return TriggerConfig("t", frozenset(types), "main" if tables else "", tables, webhook, kind, **more)


def data(fill: Any) -> Any:
    return json.loads(fill.data)


def test_the_last_delivery_without_what_is_put_in_again() -> None:
    event = {"db": "main", "schema": "public", "col": "users", "find": {"id": 1}, "doc": {"id": 1}, "txid": 7, "lsn": "0/1"}
    fill = filled(config("DB_INSERT", "DB_DELETE"), last=("an-id", "DB_INSERT", json.dumps(event).encode()))
    assert (fill.type, fill.types, fill.from_delivery, fill.on) == ("DB_INSERT", ("DB_INSERT", "DB_DELETE"), "an-id", "sample")
    assert data(fill) == {"doc": {"id": 1}}
    assert (fill.rows, fill.tables) == (True, ("public.users",))

    several = config("DB_INSERT", tables=("public.users", "shop.*"))
    fill = filled(several, last=("an-id", "DB_INSERT", json.dumps(event).encode()))
    assert data(fill) == {"doc": {"id": 1}, "schema": "public", "col": "users"}
    assert fill.tables == ("public.users",)


def test_the_last_delivery_of_another_type_or_kind_or_too_large() -> None:
    old = ("an-id", "DB_UPDATE", b'{"doc": {"id": 1}, "before": {"id": 1}}')
    fill = filled(config("DB_INSERT"), last=old)
    assert (fill.type, fill.types) == ("DB_UPDATE", ("DB_INSERT", "DB_UPDATE"))
    assert filled(config("PAID", kind=Kind.CUSTOM), last=old).from_delivery == ""
    large = ("an-id", "PAID", json.dumps("x" * LARGEST).encode())
    assert filled(config("PAID", kind=Kind.CUSTOM), last=large).from_delivery == ""
    words = ("an-id", "PAID", b'"words"')
    assert data(filled(config("PAID", kind=Kind.CUSTOM), last=words)) == "words"


def test_without_one_the_condition_holds_for_what_is_made_up() -> None:
    when = 'new.total > 10.5 && (new.state == "paid" || old.count <= 3) && new.known != null && new.on == true'
    used = [("new", name) for name in ("total", "state", "known", "on")] + [("old", "count")]
    fill = filled(config("DB_UPDATE", columns=frozenset({"note"})), used, when)
    assert data(fill)["doc"] == {"id": 1, "note": None, "count": 3, "known": None, "on": True, "state": "paid", "total": 11.5}
    assert data(fill)["before"]["count"] == 3
    assert data(filled(config("DB_DELETE"), used, when)).keys() == {"before"}
    assert data(filled(config("DB_TRUNCATE"))) == {}
    fill = filled(config("PAID", kind=Kind.CUSTOM), [("data", "total")], "data.total < 100")
    assert data(fill) == {"total": 99}
    assert fill.rows is False


def test_files_and_schedules() -> None:
    stored = config("FILE_CREATE", kind=Kind.STORAGE, storage="uploads")
    assert data(filled(stored, [("file", "size")], "file.size > 5"))["size"] == 6
    last = ("an-id", "FILE_CREATE", b'{"store": "uploads", "path": "a.jpg", "size": 1}')
    assert data(filled(stored, last=last)) == {"path": "a.jpg", "size": 1}
    assert data(filled(config("SCHEDULE", kind=Kind.SCHEDULE, schedule=Schedule("* * * * *", "UTC")))) == {}


@pytest.mark.parametrize("depth", [300, 2000])
def test_what_is_nested_without_end_is_not_begun_with(depth: int) -> None:
    deep = f'{{"doc": {"[" * depth}{"]" * depth}}}'
    fill = filled(config("DB_INSERT"), last=("an-id", "DB_INSERT", deep.encode()))
    assert (data(fill), fill.from_delivery) == ({"doc": {"id": 1}}, "")
    assert rewritten("DB_DELETE", deep) == deep
    assert rewritten("DB_DELETE", "{no JSON") == "{no JSON"


def test_one_that_is_to_be_tried_on_a_delivery() -> None:
    fill = filled(config("DB_INSERT"), delivery="an-id")
    assert (fill.on, fill.delivery) == ("delivery", "an-id")


@pytest.mark.parametrize(
    ("type_", "given", "wanted"),
    [
        ("DB_DELETE", {"doc": {"id": 1}, "col": "x"}, {"before": {"id": 1}, "col": "x"}),
        ("DB_DELETE", {"doc": {"id": 2}, "before": {"id": 1}}, {"before": {"id": 1}}),
        ("DB_INSERT", {"before": {"id": 1}, "changed": ["id"]}, {"doc": {"id": 1}}),
        ("DB_UPDATE", {"doc": {"id": 1}}, {"doc": {"id": 1}, "before": {"id": 1}}),
        ("DB_TRUNCATE", {"doc": {"id": 1}, "col": "x"}, {"col": "x"}),
        ("DB_INSERT", {"other": 1}, {"other": 1}),
        ("DB_INSERT", [1], [1]),
        ("PAID", {"doc": 1}, {"doc": 1}),
    ],
)
def test_the_same_row_for_another_type(type_: str, given: Any, wanted: Any) -> None:
    assert reshaped(type_, given) == wanted
