"""Arrays in wire form: what psycopg itself reads back from these bytes is what went in."""

import struct
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import adapters
from psycopg.adapt import Transformer
from psycopg.pq import Format

from cdcd.store import arrays


def read(array: Any) -> list[Any]:
    """The array as psycopg's own loader reads it."""
    loader = adapters.get_loader(array.oid, Format.BINARY)
    assert loader is not None
    values: list[Any] = loader(array.oid, Transformer()).load(bytes(array))
    return values


@given(st.lists(st.uuids()))
def test_uuids(values: list[UUID]) -> None:
    assert read(arrays.uuids([str(value) for value in values])) == values


@given(st.lists(st.none() | st.binary()))
def test_byteas(values: list[bytes | None]) -> None:
    assert read(arrays.byteas(values)) == values


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_bigints(values: list[int]) -> None:
    assert read(arrays.bigints(values)) == values


@given(st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_integers(values: list[int]) -> None:
    assert read(arrays.integers(values)) == values


@given(st.lists(st.floats(width=32, allow_nan=False)))
def test_reals(values: list[float]) -> None:
    assert read(arrays.reals(values)) == values


@given(st.lists(st.integers(-62_000_000_000_000_000, 250_000_000_000_000_000)))
def test_timestamps(values: list[int]) -> None:
    read_back = [int.from_bytes(item[:8], "big", signed=True) for item in _elements(bytes(arrays.timestamps(values)))]
    assert [item + 946_684_800_000_000 for item in read_back] == values


@given(st.lists(st.none() | st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_texts_and_words_are_the_same_on_the_wire(values: list[str | None]) -> None:
    assert read(arrays.texts(values)) == values
    assert arrays.words(values) == arrays.texts(values)
    assert arrays.words(values) == arrays.texts(values)


def test_what_text_cannot_hold_is_replaced() -> None:
    assert read(arrays.texts(["a\0b", "\udcff"])) == ["a\ufffdb", "?"]
    assert read(arrays.words(["a\0b", "\udcff"])) == ["a\ufffdb", "?"]


def test_words_forget_when_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_WORDS_KEPT", 3)
    for number in range(10):
        assert read(arrays.words([None, str(number)])) == [None, str(number)]
    assert len(arrays._words) <= 4


def test_an_empty_json_is_null() -> None:
    assert read(arrays.jsons([b'{"a": 1}', b"", b"[]"])) == [{"a": 1}, None, []]


@pytest.mark.parametrize("make", [lambda: arrays.bigints([2**63]), lambda: arrays.integers([2**31])])
def test_a_number_out_of_range_is_refused(make: Any) -> None:
    with pytest.raises(struct.error):
        make()


def _elements(array: bytes) -> list[bytes]:
    body, found = array[20:], []
    while body:
        length = int.from_bytes(body[:4], "big")
        found.append(body[4 : 4 + length])
        body = body[4 + length :]
    return found
