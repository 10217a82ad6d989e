"""What each kind of change becomes: subject, data, and what a trigger may ask of it."""

from datetime import UTC, datetime

import orjson
import pytest

from cdcd.errors import ValueNotJson
from cdcd.replication.tuples import Tuple
from cdcd.replication.values import TypeInfo
from tests.unit.sources.rows import U, data, delete, insert, relation, row, table, update

FULL = relation(identity="f")


def test_an_insert() -> None:
    """The whole data, as an endpoint gets it."""
    change = insert(table(), "42", "a", None)
    assert orjson.loads(change.data()) == {
        "db": "main",
        "schema": "public",
        "col": "products",
        "find": {"id": 42},
        "doc": {"id": 42, "name": "a", "big": None},
        "txid": 7345,
        "lsn": "1/100",
    }
    assert (change.type, change.subject, change.old_subject) == ("DB_INSERT", "public.products/42", None)


def test_an_update_without_the_old_row() -> None:
    change = update(table(), row("1", "a", U))
    assert data(change) == {
        "find": {"id": 1},
        "doc": {"id": 1, "name": "a"},
        "before": None,
        "beforeKind": None,
        "changed": None,
        "unchanged": ["big"],
    }
    assert change.subject == "public.products/1"
    assert [change.changed(name) for name in ("id", "name", "big", "none")] == [False, None, False, None]
    with pytest.raises(KeyError):
        change.new("big")
    with pytest.raises(KeyError):
        change.old("id")
    assert (change.new_columns(), change.old_columns()) == (("id", "name"), ())


def test_an_update_that_changed_the_key() -> None:
    """`find` is the key by which a receiver knows the row until now; the subject is the new one."""
    change = update(table(), row("2", "a", "b"), row("1", None, None), "key")
    assert data(change) == {
        "find": {"id": 1},
        "doc": {"id": 2, "name": "a", "big": "b"},
        "before": {"id": 1},
        "beforeKind": "key",
        "changed": None,
        "unchanged": [],
    }
    assert (change.subject, change.old_subject) == ("public.products/2", "public.products/1")
    assert (change.new("id"), change.old("id")) == (2, 1)
    with pytest.raises(KeyError):
        change.old("name")
    assert change.old_columns() == ("id",)
    assert [change.changed(name) for name in ("id", "name")] == [True, None]


def test_an_update_with_the_whole_old_row() -> None:
    """Under FULL a value that was not sent is the old one, and what changed is known."""
    of = table(FULL, ["id"])
    change = update(of, row("1", "b", U), row("1", "a", "long"), "full")
    assert data(change) == {
        "find": {"id": 1},
        "doc": {"id": 1, "name": "b", "big": "long"},
        "before": {"id": 1, "name": "a", "big": "long"},
        "beforeKind": "full",
        "changed": ["name"],
        "unchanged": [],
    }
    assert (change.subject, change.old_subject) == ("public.products/1", None)
    assert [change.changed(name) for name in ("id", "name", "big")] == [False, True, False]
    assert (change.new("big"), change.old("big")) == ("long", "long")
    assert change.new_columns() == change.old_columns() == ("id", "name", "big")


def test_a_key_changed_under_full() -> None:
    change = update(table(FULL, ["id"]), row("2", "a", None), row("1", "a", None), "full")
    assert (change.subject, change.old_subject) == ("public.products/2", "public.products/1")
    assert data(change)["find"] == {"id": 1}
    assert data(change)["changed"] == ["id"]


def test_a_key_that_is_stored_out_of_line() -> None:
    """A large key that did not change is not sent with the new row; the server sends it as the old key."""
    of = table(relation(("code", "name"), ("code",)))
    change = update(of, row(U, "a"), row("k" * 2000, None), "key")
    assert (change.subject, change.old_subject) == (f"public.products/{'k' * 2000}", None)
    assert change.new("code") == "k" * 2000
    assert data(change)["doc"] == {"code": "k" * 2000, "name": "a"}
    assert data(change)["unchanged"] == []
    assert change.changed("code") is False


def test_deletes() -> None:
    by_key = delete(table(), row("1", None, None))
    assert data(by_key) == {"find": {"id": 1}, "before": {"id": 1}, "beforeKind": "key"}
    assert (by_key.type, by_key.subject, by_key.new_columns()) == ("DB_DELETE", "public.products/1", ())
    with pytest.raises(KeyError):
        by_key.new("id")
    assert by_key.changed("id") is None
    whole = delete(table(FULL, ["id"]), row("1", "a", None), "full")
    assert data(whole) == {"find": {"id": 1}, "before": {"id": 1, "name": "a", "big": None}, "beforeKind": "full"}
    assert whole.old("big") is None


def test_a_table_without_any_key() -> None:
    """Its rows share one lane. Under FULL a row is found by all that it was."""
    bare = table(relation(key=(), identity="n"))
    change = insert(bare, "1", "a", None)
    assert (change.subject, data(change)["find"]) == ("public.products", {})
    full = delete(table(FULL), row("1", "a", None), "full")
    assert (full.subject, data(full)["find"]) == ("public.products", {"id": 1, "name": "a", "big": None})


def test_composite_keys() -> None:
    of = table(relation(("code", "id", "name"), ("code", "id")))
    change = update(of, row("x", "2", "a"), row("x", "1", None), "key")
    assert (change.subject, change.old_subject) == ("public.products/x,2", "public.products/x,1")
    assert data(change)["find"] == {"code": "x", "id": 1}


def test_the_primary_key_stands_in_only_where_the_identity_has_no_key() -> None:
    assert table(relation(key=("id",), identity="i"), ["name"]).key == (0,)
    assert table(FULL, ["name", "id"]).key == (1, 0)
    assert table(relation(key=(), identity="n"), ["id"]).key == (0,)
    assert table(FULL, ["id", "renamed since"]).key == ()


def test_a_partition_with_another_identity_than_its_root() -> None:
    """What is null in an old key was not sent: it is neither a key nor a value."""
    root_full = table(FULL, ["id"])
    change = delete(root_full, row("1", None, None))
    assert data(change) == {"find": {"id": 1}, "before": {"id": 1}, "beforeKind": "key"}
    by_another = delete(table(), row(None, "a", None))
    assert (by_another.subject, by_another.old_columns()) == ("public.products", ("name",))
    assert data(by_another) == {"find": {"name": "a"}, "before": {"name": "a"}, "beforeKind": "key"}
    with pytest.raises(KeyError):
        by_another.old("id")


def test_bytes_that_are_not_utf8() -> None:
    """As part of a key they are replaced; as a value they have no JSON form, which names the column and no value."""
    of = table(relation(("code", "name"), ("code",)))
    assert insert(of, b"a\xff", "n").subject == "public.products/a\ufffd"
    with pytest.raises(ValueNotJson, match=r"public\.products: .*column 'name'") as caught:
        insert(of, "a", b"secret\xff").data()
    assert "secret" not in caught.value.explain()
    with pytest.raises(ValueNotJson) as caught:
        insert(of, "a", b"secret\xff").new("name")
    assert "secret" not in caught.value.explain()


def test_a_value_that_is_not_what_its_type_says() -> None:
    of = table(relation(("id", "price")))
    with pytest.raises(ValueNotJson) as caught:
        insert(of, "1", "12,50 secret").data()
    assert "secret" not in caught.value.explain()
    assert "price" in str(caught.value)


def test_values_keep_their_kind() -> None:
    """Numbers with every digit, documents embedded, bytes as base64, types of the database's own by what they are made of."""
    names = ("id", "price", "doc", "raw", "mood")
    types = {"id": 20, "price": 1700, "doc": 3802, "raw": 17, "mood": 99001}
    of = table(relation(names, types=types), resolve={99001: TypeInfo(base=1007)}.get)
    change = insert(of, "9007199254740993", "1.50", '{"a": [1, null]}', "\\x00ff", "{1,NULL}")
    assert b'"doc":{"id":9007199254740993,"price":1.50,"doc":{"a": [1, null]},"raw":"AP8=","mood":[1,null]}' in change.data()
    assert change.new("mood") == [1, None]


def test_attributes_of_the_event() -> None:
    change = insert(table(), "42", "a", None)
    found = {
        name: change.attribute(name) for name in ("type", "subject", "key", "txid", "source", "database", "schema", "table")
    }
    assert found == {
        "type": "DB_INSERT",
        "subject": "public.products/42",
        "key": "42",
        "txid": 7345,
        "source": "cdcd/shop/main",
        "database": "main",
        "schema": "public",
        "table": "products",
    }
    assert change.attribute("time") == datetime(2026, 11, 23, 18, 0, 0, 123456, UTC)
    with pytest.raises(KeyError):
        change.attribute("nothing")


def test_a_summary_has_no_row() -> None:
    assert orjson.loads(insert(table(), "42", "secret", None).summary()) == {
        "db": "main",
        "schema": "public",
        "col": "products",
        "txid": 7345,
        "lsn": "1/100",
    }


def test_the_size_is_that_of_the_message() -> None:
    message = b"\0" * 20 + b"t\0\0\0\x011"
    change = insert(table(relation(("id",))), "1")
    assert change.size == 0  # made of parts
    of = table(relation(("id",)))
    assert delete(of, Tuple("Delete", message, 20, 1)).size == len(message)
