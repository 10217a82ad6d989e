"""What no server sends is refused as ValueNotConvertible, and what it sends converts as the table says."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.replication.errors import ValueNotConvertible
from cdcd.replication.messages import Column, Relation
from cdcd.replication.tuples import UNCHANGED
from cdcd.replication.values import RowCodec, TypeInfo, codec

OIDS = [16, 17, 20, 23, 25, 114, 701, 1114, 1184, 1700, 3802, 1007, 1009, 1020, 199, 1231, 99999]


@given(
    st.sampled_from(OIDS),
    st.one_of(st.binary(max_size=30), st.text(alphabet='{}",\\;[]=:0123456789tfNUL-.e x').map(str.encode)),
)
def test_any_bytes_convert_to_json_or_are_refused(oid: int, raw: bytes) -> None:
    """Whatever the bytes are: JSON that parses, or ValueNotConvertible. `json` is vouched for by the server, not by us."""
    try:
        text = codec(oid).json(raw)
    except ValueNotConvertible:
        pass
    else:
        if oid not in (114, 3802, 199):
            json.loads(text)
    try:
        codec(oid).python(raw)
    except ValueNotConvertible:
        pass


@given(
    st.recursive(
        st.lists(st.one_of(st.none(), st.text(max_size=5))), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=8
    )
)
def test_arrays_of_any_text(value: list[object]) -> None:
    """What array_out writes, quoted everywhere it may be, comes back as it was."""

    def write(part: object) -> str:
        if isinstance(part, list):
            return "{" + ",".join(map(write, part)) + "}"
        return "NULL" if part is None else '"' + str(part).replace("\\", "\\\\").replace('"', '\\"') + '"'

    assert codec(1009).python(write(value).encode()) == value


def test_python_values() -> None:
    """Expressions see int, bool, float, str, lists and what JSON holds."""
    cases: list[tuple[int, bytes, object]] = [
        (20, b"-5", -5), (16, b"t", True), (1700, b"1.50", 1.5), (701, b"Infinity", math.inf), (25, b"x", "x"),
        (3802, b'{"a": [1]}', {"a": [1]}), (1007, b"{1,NULL}", [1, None]), (17, b"\\x00", "AA=="), (114, b'"\\ud800"', "\ud800"),
        (1184, b"2026-11-23 18:00:00+00", "2026-11-23T18:00:00+00:00"),
    ]  # fmt: skip
    for oid, raw, value in cases:
        assert codec(oid).python(raw) == value


def test_types_that_are_not_built_in() -> None:
    """Domains are followed, also in circles; arrays have their own delimiter; what is unknown is text."""
    types = {50_000: TypeInfo(base=50_001), 50_001: TypeInfo(base=23), 50_002: TypeInfo(element=50_000, delimiter=";"),
             50_003: TypeInfo(base=50_004), 50_004: TypeInfo(base=50_003)}  # fmt: skip
    assert codec(50_000, types.get).json(b"5") == b"5"
    assert codec(50_002, types.get).json(b"{5;6}") == b"[5,6]"
    assert codec(50_003, types.get).json(b"5") == b'"5"'
    assert codec(60_000, types.get).json(b"5") == b'"5"'


def test_rows() -> None:
    """Columns that were not sent are left out; a refusal names the column and its kind, never the value."""
    columns = (Column(True, "id", 20, -1), Column(False, 'n"', 25, -1), Column(False, "ok", 16, -1))
    rows = RowCodec(Relation(1, "public", "t", "d", columns))
    assert rows.json([b"1", UNCHANGED, None]) == b'{"id":1,"ok":null}'
    assert rows.json([b"1", 'é"'.encode(), b"t"]) == '{"id":1,"n\\"":"é\\"","ok":true}'.encode()
    assert rows.encode_only([b"1", None, None], (0,)) == {"id": 1}
    assert rows.python(0, b"7") == 7
    assert rows.python(1, None) is None
    with pytest.raises(ValueNotConvertible, match="column 'ok': not a valid boolean") as caught:
        rows.encode([b"1", None, b"secret"])
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueNotConvertible, match="did not send"):
        rows.python(1, UNCHANGED)
