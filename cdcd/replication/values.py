"""What a column's text means: its JSON form, and its Python value for expressions. Resolved per column, once.

The text is what the type's output function wrote under the settings in `SETTINGS`, which the stream fixes for its
connection, so that it never depends on how the server, database or role is set up.

================================  ===========================================  ==========================
type                              JSON                                         Python
================================  ===========================================  ==========================
int2, int4, int8, oid             number                                       int
bool                              true, false                                  bool
numeric                           number, every digit as it is                 float (double)
float4, float8                    number, the shortest exact digits            float
any of these NaN or infinite      "NaN", "Infinity", "-Infinity"               the float
json, jsonb                       as it stands                                 what it holds
timestamp, timestamptz            "2026-11-23T18:00:00.123456",                the same text
                                  with "+00:00" for timestamptz
date, time, timetz                "2026-11-23", "18:00:00", "18:00:00+00"      the same text
interval                          "P1Y2M3DT4H5M6.7S" (ISO 8601)                the same text
bytea                             base64 (RFC 4648, padded)                    the same text
arrays                            arrays, nested as in the value; lower        list
                                  bounds other than 1 are not shown
everything else                   the type's text, as a string                 str
================================  ===========================================  ==========================

Infinite dates and timestamps are "infinity" and "-infinity"; years beyond 9999 have more digits ("12026-01-01"), years
before Christ end in " BC": both as the server's own to_json writes them. A domain is its base type, an array of a type
that is not built in is an array, if `resolve` knows them; otherwise text. `json` may hold escapes of lone surrogates
(`"\\ud800"`), which are passed on as they stand.
"""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import orjson

from cdcd.replication.errors import ValueNotConvertible
from cdcd.replication.messages import Relation
from cdcd.replication.tuples import UNCHANGED
from cdcd.replication.tuples import Column as Raw

SETTINGS = {
    "client_encoding": "UTF8",
    "datestyle": "ISO, YMD",
    "intervalstyle": "iso_8601",
    "timezone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
}
"""Settings under which this module reads values. Whoever produces the text must run with them."""

Encode = Callable[[bytes], object]
"""Text -> something that `orjson.dumps` writes as the value's JSON. Raises ValueError or KeyError."""
Load = Callable[[bytes], object]
"""Text -> Python value. Raises ValueError or KeyError."""


class TypeInfo(NamedTuple):
    """What a type that is not built in is made of. `base`: the type under a domain. `element`: the type of an array's elements.
    Both 0: neither. `delimiter` stands between an array's elements."""

    base: int = 0
    element: int = 0
    delimiter: str = ","


DEEPEST = 200
"""Levels of nesting of `json` that become Python values: code that goes through them (CEL's in Rust, `json`'s) recurses, and
overflows its stack somewhere beyond 1000. JSON that is only passed on is not bounded."""

Resolve = Callable[[int], TypeInfo | None]
"""Type OID -> what is known of it."""


class Codec(NamedTuple):
    """The conversions of one type. `kind` names it for messages."""

    kind: str
    encode: Encode
    load: Load

    def json(self, raw: bytes) -> bytes:
        """The value's JSON text (UTF-8). Raises ValueNotConvertible."""
        try:
            return orjson.dumps(self.encode(raw))
        except (ValueError, KeyError, orjson.JSONEncodeError) as exc:
            raise _refused(self.kind, exc) from None

    def python(self, raw: bytes) -> object:
        """The value. Raises ValueNotConvertible."""
        try:
            return self.load(raw)
        except (ValueError, KeyError) as exc:
            raise _refused(self.kind, exc) from None


def _refused(kind: str, exc: Exception) -> ValueNotConvertible:
    # The value must not reach a log, so of a foreign error only its kind is told.
    return exc if isinstance(exc, ValueNotConvertible) else ValueNotConvertible(kind, type(exc).__name__)


class RowCodec:
    """The conversions of one relation's columns. Made once per Relation object, used for each of its rows."""

    __slots__ = ("_codecs", "_encoders", "_names")

    def __init__(self, relation: Relation, resolve: Resolve = lambda _: None) -> None:
        self._names = relation.names
        self._codecs = [codec(column.type_oid, resolve) for column in relation.columns]
        self._encoders = [each.encode for each in self._codecs]

    def codec(self, index: int) -> Codec:
        """The conversions of one column."""
        return self._codecs[index]

    def encode(self, columns: Sequence[Raw]) -> dict[str, object]:
        """Name -> what `orjson.dumps` writes, for every column that was sent. Raises ValueNotConvertible."""
        row: dict[str, object] = {}
        name = ""
        try:
            for name, encode, raw in zip(self._names, self._encoders, columns, strict=True):
                if raw is None:
                    row[name] = None
                elif raw is not UNCHANGED:
                    row[name] = encode(raw)
        except (ValueError, KeyError) as exc:
            raise self._column_refused(name, exc) from None
        return row

    def encode_only(self, columns: Sequence[Raw], indexes: Iterable[int]) -> dict[str, object]:
        """As `encode`, for some columns (such as the key of an old tuple)."""
        row: dict[str, object] = {}
        name = ""
        try:
            for index in indexes:
                name = self._names[index]
                raw = columns[index]
                if raw is None:
                    row[name] = None
                elif raw is not UNCHANGED:
                    row[name] = self._encoders[index](raw)
        except (ValueError, KeyError) as exc:
            raise self._column_refused(name, exc) from None
        return row

    def json(self, columns: Sequence[Raw]) -> bytes:
        """The row as a JSON object (UTF-8), without what was not sent. Raises ValueNotConvertible."""
        return orjson.dumps(self.encode(columns))

    def python(self, index: int, raw: Raw) -> object:
        """The Python value of one column; None for null. Not for UNCHANGED. Raises ValueNotConvertible."""
        if raw is None:
            return None
        if raw is UNCHANGED:
            raise ValueNotConvertible(self._names[index], "the server did not send it (unchanged, out of line)")
        try:
            return self._codecs[index].load(raw)
        except (ValueError, KeyError) as exc:
            raise self._column_refused(self._names[index], exc) from None

    def _column_refused(self, name: str, exc: Exception) -> ValueNotConvertible:
        if name not in self._names or isinstance(exc, ValueNotConvertible):
            return ValueNotConvertible(f"column {name!r}", str(exc))
        kind = self._codecs[self._names.index(name)].kind
        return ValueNotConvertible(f"column {name!r}", f"not a valid {kind}")


# Scalars

_BOOL = {b"t": True, b"f": False}
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?").fullmatch
_NOT_FINITE = {b"NaN": "NaN", b"Infinity": "Infinity", b"-Infinity": "-Infinity"}
_TIMESTAMP = re.compile(rb"([0-9]{4,}-[0-9]{2}-[0-9]{2}) ([0-9:.]+?)(\+00)?( BC)?").fullmatch


def _number(raw: bytes) -> object:
    """Digits as they are (JSON's grammar is narrower than Python's: check it), or one of the three that JSON has not."""
    return orjson.Fragment(raw) if _NUMBER(raw) else _NOT_FINITE[raw]


def _timestamp(raw: bytes) -> str:
    text = raw.decode("ascii")
    # All but a few are within four-digit years, where the blank stands at one place and "+00" is all that can follow.
    if text[10:11] == " " and text[-1] != "C":
        return f"{text[:10]}T{text[11:]}:00" if text[-3] == "+" else f"{text[:10]}T{text[11:]}"
    if text in ("infinity", "-infinity"):
        return text
    if (match := _TIMESTAMP(raw)) is None:
        raise ValueNotConvertible("timestamp", "neither a date and a time nor infinite")
    date, time, zone, era = ((part or b"").decode() for part in match.groups())
    return f"{date}T{time}{zone and '+00:00'}{era}"


def _bytea(raw: bytes) -> str:
    if raw[:2] != b"\\x":
        raise ValueNotConvertible("bytea", "not in hex format")
    return b64encode(bytes.fromhex(raw[2:].decode("ascii"))).decode("ascii")


def _spliced_json(raw: bytes) -> object:
    if not raw:
        raise ValueNotConvertible("json", "empty")
    raw.decode()  # the server vouches for its grammar; in a SQL_ASCII database nobody vouches for its encoding
    return orjson.Fragment(raw)


def _loaded_json(raw: bytes) -> object:
    loaded: object
    try:
        loaded = orjson.loads(raw)
    except ValueError:
        # orjson refuses lone surrogates, deep nesting and numbers beyond a double, which the server takes
        try:
            loaded = json.loads(raw)
        except RecursionError:
            raise _too_deep() from None
    if raw.count(b"[") + raw.count(b"{") > DEEPEST and _is_deep(loaded):
        raise _too_deep()
    return loaded


def _is_deep(value: object) -> bool:
    """Whether it is nested more than DEEPEST levels. Looks level by level, since recursion is what must not be relied on."""
    level: list[object] = [value]
    for _ in range(DEEPEST + 1):
        nested = [each for each in level if isinstance(each, (list, dict))]
        if not nested:
            return False
        level = [child for each in nested for child in (each.values() if isinstance(each, dict) else each)]
    return True


def _too_deep() -> ValueNotConvertible:
    return ValueNotConvertible("json", f"nested more than {DEEPEST} levels, which is too deep for an expression")


_INTEGER = Codec("integer", int, int)
_NUMERIC = Codec("number", _number, float)
_JSON = Codec("json", _spliced_json, _loaded_json)
_TEXT = Codec("text", bytes.decode, bytes.decode)
_STAMP = Codec("timestamp", _timestamp, _timestamp)
_BYTEA = Codec("bytea", _bytea, _bytea)

# pg_type.dat: the OIDs of built-in types never change.
_BUILT_IN: dict[int, Codec] = {
    16: Codec("boolean", _BOOL.__getitem__, _BOOL.__getitem__),
    17: _BYTEA,
    20: _INTEGER,
    21: _INTEGER,
    23: _INTEGER,
    26: _INTEGER,
    114: _JSON,
    700: _NUMERIC,
    701: _NUMERIC,
    1114: _STAMP,
    1184: _STAMP,
    1700: _NUMERIC,
    3802: _JSON,
}

# Array type -> element type, of every built-in type whose array can be a column's.
_ARRAYS: dict[int, int] = {
    143: 142, 199: 114, 210: 71, 271: 5069, 629: 628, 651: 650, 719: 718, 775: 774, 791: 790, 1000: 16, 1001: 17,
    1002: 18, 1003: 19, 1005: 21, 1006: 22, 1007: 23, 1008: 24, 1009: 25, 1010: 27, 1011: 28, 1012: 29, 1013: 30,
    1014: 1042, 1015: 1043, 1016: 20, 1017: 600, 1018: 601, 1019: 602, 1020: 603, 1021: 700, 1022: 701, 1027: 604,
    1028: 26, 1034: 1033, 1040: 829, 1041: 869, 1115: 1114, 1182: 1082, 1183: 1083, 1185: 1184, 1187: 1186,
    1231: 1700, 1263: 2275, 1270: 1266, 1561: 1560, 1563: 1562, 2201: 1790, 2207: 2202, 2208: 2203, 2209: 2204,
    2210: 2205, 2211: 2206, 2949: 2950, 2951: 2950, 3221: 3220, 3643: 3614, 3644: 3642, 3645: 3615, 3735: 3734,
    3770: 3769, 3807: 3802, 3905: 3904, 3907: 3906, 3909: 3908, 3911: 3910, 3913: 3912, 3927: 3926, 4073: 4072,
    4090: 4089, 4097: 4096, 4192: 4191, 5039: 5038, 6150: 4451, 6151: 4532, 6152: 4533, 6153: 4534, 6155: 4535,
    6157: 4536,
}  # fmt: skip
_BOX_ARRAY = 1020
FIRST_OID_OF_USERS = 16384
"""Type OIDs from here on are not built in: they need `resolve`."""


def codec(oid: int, resolve: Resolve = lambda _: None) -> Codec:
    """The conversions of the type with this OID."""
    for _ in range(32):  # a domain over a domain over ...; never endless, whatever `resolve` says
        if (known := _BUILT_IN.get(oid)) is not None:
            return known
        if (element := _ARRAYS.get(oid)) is not None:
            return _array(codec(element, resolve), b";" if oid == _BOX_ARRAY else b",")
        if oid < FIRST_OID_OF_USERS or (info := resolve(oid)) is None:
            return _TEXT
        if info.element and info.element != oid:
            return _array(codec(info.element, resolve), info.delimiter.encode())
        if not info.base:
            return _TEXT
        oid = info.base
    return _TEXT


# Arrays (manual, "Array Input and Output Syntax")


def _array(element: Codec, delimiter: bytes) -> Codec:
    other = re.escape(delimiter)
    token = re.compile(rb'"((?:[^"\\]++|\\.)*+)"|([^{}"\\' + other + rb"]+)", re.DOTALL).match

    def parse(raw: bytes, convert: Callable[[bytes], object]) -> list[object]:
        at = raw.index(b"=") + 1 if raw[:1] == b"[" else 0  # [0:1]={...}: bounds other than 1
        top: list[object] = []
        stack = [top]
        size = len(raw)
        while True:
            # Here a value or a nested array is due, or the end of an empty one.
            if raw[at : at + 1] == b"{":
                nested: list[object] = []
                stack[-1].append(nested)
                stack.append(nested)
                at += 1
                if raw[at : at + 1] != b"}":
                    continue
            elif len(stack) > 1 and (match := token(raw, at)) is not None:
                quoted, plain = match.groups()
                if plain is None:
                    stack[-1].append(convert(_UNESCAPE(rb"\1", quoted) if b"\\" in quoted else quoted))
                else:
                    stack[-1].append(None if plain == b"NULL" else convert(plain))
                at = match.end()
            else:
                raise ValueNotConvertible("array", "a value is missing")
            # Here a delimiter is due, or the end of one or more arrays.
            while raw[at : at + 1] == b"}" and len(stack) > 1:
                stack.pop()
                at += 1
            if len(stack) == 1:
                break
            if raw[at : at + 1] != delimiter:
                raise ValueNotConvertible("array", "a delimiter is missing")
            at += 1
        if at != size or not isinstance(only := top[0], list):
            raise ValueNotConvertible("array", "more than one value")
        return only

    return Codec(
        f"array of {element.kind}",
        lambda raw: parse(raw, element.encode),
        lambda raw: parse(raw, element.load),
    )


_UNESCAPE = re.compile(rb"\\(.)", re.DOTALL).sub
