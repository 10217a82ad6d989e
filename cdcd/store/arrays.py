"""Columns of Python values as PostgreSQL arrays in binary form, for `unnest($1::uuid[], ...)`.

psycopg builds an array element by element through its adapters, which costs four times as much as the insert itself. The
recorder writes thousands of rows a second, so here a whole column becomes bytes in a few C calls. Each function gives bytes
of a class of its own, and `register` tells psycopg that these bytes are already the wire form of that array type.

Wire form (src/backend/utils/adt/arrayfuncs.c, array_recv): dimensions, has-null flag, element OID, then size and lower
bound of the dimension, then each element as length and bytes, length -1 for NULL; all big-endian 32-bit.
"""

import struct
from collections.abc import Sequence

_HEAD = struct.Struct("!iiIii")
_LENGTH = struct.Struct("!i").pack
_NULL = b"\xff\xff\xff\xff"
_POSTGRES_EPOCH = 946_684_800_000_000  # 2000-01-01 UTC in microseconds since the Unix epoch

_WORDS_KEPT = 10_000
_WORD_LENGTH = 256
_words: dict[str | None, bytes] = {None: _NULL}


class UuidArray(bytes):
    """`uuid[]` on the wire."""

    oid = 2951


class TimestampArray(bytes):
    """`timestamptz[]` on the wire."""

    oid = 1185


class TextArray(bytes):
    """`text[]` on the wire."""

    oid = 1009


class JsonArray(bytes):
    """`json[]` on the wire."""

    oid = 199


class IntArray(bytes):
    """`int4[]` on the wire."""

    oid = 1007


class BigintArray(bytes):
    """`int8[]` on the wire."""

    oid = 1016


class RealArray(bytes):
    """`float4[]` on the wire."""

    oid = 1021


class ByteaArray(bytes):
    """`bytea[]` on the wire."""

    oid = 1001


ARRAYS = (UuidArray, TimestampArray, TextArray, JsonArray, IntArray, BigintArray, RealArray, ByteaArray)


def uuids(values: Sequence[str]) -> UuidArray:
    """Canonical UUID texts."""
    if not values:
        return UuidArray(_HEAD.pack(1, 0, 2950, 0, 1))
    elements = bytes.fromhex("00000010" + "00000010".join(values).replace("-", ""))
    return UuidArray(_HEAD.pack(1, 0, 2950, len(values), 1) + elements)


def timestamps(micros: Sequence[int]) -> TimestampArray:
    """Microseconds since the Unix epoch."""
    return TimestampArray(_fixed("q", 8, 1184, [value - _POSTGRES_EPOCH for value in micros]))


def integers(values: Sequence[int]) -> IntArray:
    """32-bit integers."""
    return IntArray(_fixed("i", 4, 23, values))


def bigints(values: Sequence[int]) -> BigintArray:
    """64-bit integers."""
    return BigintArray(_fixed("q", 8, 20, values))


def reals(values: Sequence[float]) -> RealArray:
    """Single-precision numbers."""
    return RealArray(_fixed("f", 4, 700, values))


def texts(values: Sequence[str | None]) -> TextArray:
    """Texts that are mostly different from each other."""
    elements = [_HEAD.pack(1, 1, 25, len(values), 1)]
    for value in values:
        if value is None:
            elements.append(_NULL)
        else:
            encoded = _encoded(value)
            elements.append(_LENGTH(len(encoded)))
            elements.append(encoded)
    return TextArray(b"".join(elements))


def words(values: Sequence[str | None]) -> TextArray:
    """Texts that are mostly the same few: names of triggers, statuses, short answers. Their encoding is remembered."""
    try:
        elements = [_words[value] for value in values]
    except KeyError:
        elements = [_word(value) for value in values]
    return TextArray(_HEAD.pack(1, 1, 25, len(values), 1) + b"".join(elements))


def jsons(values: Sequence[bytes]) -> JsonArray:
    """JSON texts in UTF-8; an empty one becomes NULL."""
    elements = [_HEAD.pack(1, 1, 114, len(values), 1)]
    for value in values:
        elements.append(_LENGTH(len(value)) if value else _NULL)
        elements.append(value)
    return JsonArray(b"".join(elements))


def byteas(values: Sequence[bytes | None]) -> ByteaArray:
    """Bytes as they are."""
    elements = [_HEAD.pack(1, 1, 17, len(values), 1)]
    for value in values:
        if value is None:
            elements.append(_NULL)
        else:
            elements.append(_LENGTH(len(value)))
            elements.append(value)
    return ByteaArray(b"".join(elements))


def _fixed(code: str, size: int, oid: int, values: Sequence[float]) -> bytes:
    count = len(values)
    flat: list[float] = [size] * (2 * count)
    flat[1::2] = values
    return _HEAD.pack(1, 0, oid, count, 1) + struct.pack("!" + ("i" + code) * count, *flat)


def _word(value: str | None) -> bytes:
    known = _words.get(value)
    if known is not None or value is None:
        return known or _NULL
    encoded = _encoded(value)
    element = _LENGTH(len(encoded)) + encoded
    if len(value) <= _WORD_LENGTH:
        if len(_words) >= _WORDS_KEPT:
            _words.clear()
            _words[None] = _NULL
        _words[value] = element
    return element


def _encoded(value: str) -> bytes:
    """UTF-8 as `text` can hold it: it has no NUL and no lone surrogate, which answers and file names may have."""
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        encoded = value.encode("utf-8", "replace")
    return encoded.replace(b"\0", b"\xef\xbf\xbd") if b"\0" in encoded else encoded
