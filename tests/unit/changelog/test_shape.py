"""What a table looked like, from its description."""

import json

import pytest

from cdcd.changelog.shape import shape_of
from cdcd.replication.errors import DecodeError


def described(*columns: tuple[str, int, bool, bool, int]) -> bytes:
    listed = [[name, oid, -1, key, sent, place] for name, oid, key, sent, place in columns]
    return json.dumps({"schema": "public", "name": "items", "columns": listed}).encode()


def test_a_table_as_it_stands() -> None:
    shape = shape_of(7, described(("id", 23, True, True, 1), ("note", 25, False, True, 2)))
    assert (shape.relation.oid, shape.relation.schema, shape.relation.name) == (7, "public", "items")
    assert shape.relation.names == ("id", "note")
    assert shape.relation.key_indexes == (0,)
    row = shape.row(b'(1,"a b")')
    assert row.columns() == [b"1", b"a b"]
    assert row.size == 9


def test_a_partition_whose_columns_stand_in_another_order() -> None:
    """Told in the order of the captured table, without what replication does not send."""
    shape = shape_of(1, described(("note", 25, False, True, 4), ("twice", 23, False, False, 3), ("id", 23, True, True, 1)))
    assert shape.relation.names == ("id", "note")
    assert shape.row(b"(x,2,1)").columns() == [b"1", b"x"]


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"columns": [[1]]}', b'{"columns": 1, "schema": "a", "name": "b"}'])
def test_a_description_that_is_none(text: bytes) -> None:
    with pytest.raises(DecodeError):
        shape_of(1, text)
