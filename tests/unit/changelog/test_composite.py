"""The text of a row, taken apart: what record_out writes, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.changelog.composite import split
from cdcd.replication.errors import DecodeError

VALUES = st.none() | st.text(st.sampled_from('ab"\\(),; \n\té')).map(str.encode) | st.binary(max_size=8)


def written(columns: list[bytes | None]) -> bytes:
    """As record_out of src/backend/utils/adt/rowtypes.c."""
    texts = []
    for value in columns:
        if value is None:
            texts.append(b"")
        elif not value or any(byte in b'"\\(),' or bytes((byte,)).isspace() for byte in value):
            texts.append(b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'""') + b'"')
        else:
            texts.append(value)
    return b"(" + b",".join(texts) + b")"


@given(st.lists(VALUES, min_size=1, max_size=6))
def test_every_row_comes_back(columns: list[bytes | None]) -> None:
    assert split(written(columns), len(columns)) == columns


def test_what_a_comma_less_row_means() -> None:
    """One null column and no column at all are the same text: their number tells."""
    assert split(b"()", 1) == [None]
    assert split(b"()", 0) == []
    assert split(b'("")', 1) == [b""]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b"", 1),
        (b"(", 1),
        (b"1,2", 2),
        (b"(1,2)", 3),
        (b"(1,2)", 1),
        (b'("1,2)', 2),
        (b'("1"2,3)', 2),
        (b'("a",b"c)', 2),
        (b"(1)", 0),
    ],
)
def test_malformed_rows_are_refused(text: bytes, count: int) -> None:
    with pytest.raises(DecodeError):
        split(text, count)


@given(st.binary(max_size=30), st.integers(0, 4))
def test_whatever_comes_it_is_a_row_or_refused(text: bytes, count: int) -> None:
    try:
        assert len(split(text, count)) == count
    except DecodeError:
        pass
