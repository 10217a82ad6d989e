"""A template sees of the stored event what `when` saw of the change, but for what JSON does not tell."""

from pathlib import Path

import pytest

from cdcd.config.model import Kind
from cdcd.errors import ExpressionError
from cdcd.event import Delivery, Event
from cdcd.sources.files.describing import Change as FileChange
from cdcd.sources.files.describing import describe, encode
from cdcd.sources.files.tree import pack
from cdcd.sources.rows import Change
from cdcd.triggers.expressions import Expression, Facts
from cdcd.triggers.occurrence import Occurrence
from cdcd.triggers.stored import Stored, stored
from cdcd.triggers.vocabulary import VOCABULARIES
from tests.unit.sources.rows import U, delete, insert, relation, row, table, update

COLUMNS = ("id", "name", "price", "big", "raw", "doc")
PLAIN, FULL = table(relation(COLUMNS)), table(relation(COLUMNS, identity="f"), ["id"])
NEW = ("7", "Änne", "9.50", "long", "\\x6869", '{"a": [1, {"b": null}], "c": 1.5}')
CHANGES = {
    "insert": insert(PLAIN, *NEW),
    "update": update(PLAIN, row(*NEW)),
    "update out of line": update(PLAIN, row("7", "b", None, U, None, U)),
    "update of the key": update(PLAIN, row(*NEW), row("6", None, None, None, None, None), "key"),
    "update with the old row": update(FULL, row("7", "b", "1.25", U, None, U), row(*NEW), "full"),
    "delete": delete(PLAIN, row("7", None, None, None, None, None)),
    "delete with the old row": delete(FULL, row(*NEW), "full"),
}
EXPRESSIONS = [
    *("type", "event.type", "event.source", "event.subject", "event.key", "event.txid", "event.database", "event.schema"),
    *("event.table", "string(event.time)", "event", "new == null", "old == null", "has(new.id)", "has(old.name)", "has(new.big)"),
    *("new", "old", "new.id + 1", "new.name + '!'", "new.price * 2.0", "new.big", "new.raw", "new.doc", "old.id", "old.price"),
    *("size(new.doc.a)", "new.doc.c > 1.0", "new.nothing", 'has(new.doc) && has(new.doc.a) ? new.doc.a[0] : -1'),
]  # fmt: skip


def again(change: Change) -> Stored:
    """The change, as it is stored and read back."""
    event = Event(change.type, "cdcd/shop/main", change.subject, change.row_key, change.transaction.time, change.data(), 1)
    return stored(Delivery("an-id", "t", event, None), Kind.DATABASE)


def outcome(expression: Expression, facts: Facts) -> tuple[object, str]:
    """The value, or the words of the error."""
    try:
        return expression.evaluate(facts), ""
    except ExpressionError as error:
        return None, str(error)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("source", EXPRESSIONS)
def test_it_is_what_when_saw(name: str, source: str) -> None:
    expression = Expression("t", source)
    assert outcome(expression, again(CHANGES[name])) == outcome(expression, CHANGES[name])


@pytest.mark.parametrize(
    "source",
    [
        *(
            "file",
            "old",
            "file.path",
            "file.size > 1",
            "file.mtime",
            "file.type",
            "file.contentType",
            "file.name",
            "has(file.sha256)",
        ),
        *("file.movedFrom", "old.size", "old == null", "event.store", "event.key", "event.subject", "event.source", "type"),
    ],
)
@pytest.mark.parametrize("type", ["FILE_CREATE", "FILE_UPDATE", "FILE_DELETE"])
def test_of_a_file_it_is_what_when_saw(tmp_path: Path, type: str, source: str) -> None:
    (tmp_path / "a.txt").write_text("abc")
    entry = pack((tmp_path / "a.txt").stat())
    change = FileChange(type, "x/a.txt", None if type == "FILE_CREATE" else entry, None if type == "FILE_DELETE" else entry)
    data = describe(change, "uploads", None, "y/b.txt")
    attributes = {"source": "cdcd/shop/uploads", "subject": "x/a.txt", "key": "x/a.txt", "store": "uploads"}
    seen = Occurrence(type, "x/a.txt", 5, attributes, {"file": data, "old": data.get("before")})
    event = Event(type, "cdcd/shop/uploads", "x/a.txt", "x/a.txt", 5, encode(data))
    expression = Expression("t", source, VOCABULARIES[Kind.STORAGE])
    kept = stored(Delivery("an-id", "t", event, None), Kind.STORAGE)
    assert outcome(expression, kept) == outcome(expression, seen)


def test_a_number_without_a_point_is_whole_whatever_its_column_is() -> None:
    change = insert(PLAIN, "7", "a", "7", "b", "\\x", "{}")
    expression = Expression("t", "new.price / 2")
    with pytest.raises(ExpressionError):
        expression.evaluate(change)
    assert expression.evaluate(again(change)) == 3
    assert Expression("t", "double(new.price) / 2.0").evaluate(again(change)) == 3.5
    assert Expression("t", "double(new.price) / 2.0").evaluate(change) == 3.5


@pytest.mark.parametrize(
    ("source", "computed"),
    [
        ("new.price * 2.0", {("new", "price")}),
        ("double( new.price ) * 2.0", set()),
        ("new.price > 1", set()),
        ("new.price", set()),
        ('"a-b" + new.name', {("new", "name")}),
        ('"a-b" == new.name', set()),
    ],
)
def test_what_is_calculated_with(source: str, computed: set[tuple[str, str]]) -> None:
    assert Expression("t", source).computed == computed
