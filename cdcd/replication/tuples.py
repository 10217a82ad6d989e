"""TupleData: a row's columns as pgoutput sent them, split only when somebody asks.

Most rows are looked at for one column or none, so a Tuple keeps the message's bytes and where the row begins. Splitting is
bounds-checked; the first thing that is wrong raises DecodeError. Source: manual, "Logical Replication Message Formats".
"""

from enum import Enum
from struct import Struct, error
from typing import Final, Literal

from cdcd.replication.errors import DecodeError


class Unchanged(Enum):
    """The type of `UNCHANGED`."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged.UNCHANGED
"""An out-of-line (TOASTed) value that the update did not change: the server did not send it. Not the same as null."""

Column = bytes | None | Literal[Unchanged.UNCHANGED]
"""A column's value in the type's text form, null, or not sent."""

_NULL = ord("n")
_UNCHANGED = ord("u")
_TEXT = ord("t")
_ONE_BYTE = (_NULL, _UNCHANGED)
_KIND_LENGTH = Struct(">BI").unpack_from
_PAD = b"\0\0\0\0"  # a null is one byte: with four more behind the last column, kind and length are always one read
_LARGE = 65536  # bytes from which a row is not copied for the padding's sake


class Tuple:
    """A row. `len()` is its number of columns, in the order of the Relation message's."""

    __slots__ = ("_columns", "_count", "_data", "_message", "_start")

    def __init__(self, message: str, data: bytes, start: int, count: int) -> None:
        """The row is the rest of `data` from `start` (behind the column count)."""
        self._message = message
        self._data = data
        self._start = start
        self._count = count
        self._columns: list[Column] | None = None

    @classmethod
    def of(cls, columns: list[Column], data: bytes = b"") -> "Tuple":
        """A row that is split already, out of `data`."""
        row = cls("", data, 0, len(columns))
        row._columns = columns
        return row

    @property
    def size(self) -> int:
        """Bytes of the message that carried it (an upper bound of the row's own)."""
        return len(self._data)

    def columns(self) -> list[Column]:
        """All columns. The same list each time: do not change it. Raises DecodeError."""
        if self._columns is None:
            self._columns, end = split(self._message, self._data, self._start, self._count)
            if end != len(self._data):
                raise DecodeError(self._message, "end", end, len(self._data))
        return self._columns

    def column(self, index: int) -> Column:
        """One column, walking no further than to it. Raises DecodeError, IndexError."""
        if self._columns is not None:
            return self._columns[index]
        if not 0 <= index < self._count:
            raise IndexError(index)
        data = self._data
        at = self._start
        try:
            for _ in range(index):
                kind = data[at]
                if kind == _TEXT:
                    at += 5 + _KIND_LENGTH(data, at)[1]
                elif kind in _ONE_BYTE:
                    at += 1
                else:
                    break
            else:
                kind = data[at]
                if kind == _NULL:
                    return None
                if kind == _UNCHANGED:
                    return UNCHANGED
                if kind == _TEXT:
                    end = at + 5 + _KIND_LENGTH(data, at)[1]
                    if end <= len(data):
                        return data[at + 5 : end]
        except (error, IndexError):
            pass
        raise _malformed(self._message, data, self._start, index + 1)

    def __len__(self) -> int:
        return self._count

    def __eq__(self, other: object) -> bool:
        return self.columns() == other.columns() if isinstance(other, Tuple) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # a row is a value, but nobody keys anything by it

    def __repr__(self) -> str:
        return f"<Tuple of {self._count} columns>"  # rows never reach a log


def split(message: str, data: bytes, start: int, count: int) -> tuple[list[Column], int]:
    """The next `count` columns of `data` from `start`, and where they end. Raises DecodeError.

    This is the hottest loop of the library. Lengths are read unsigned, so that a wrong one only ever leads beyond the end,
    where one check after the loop finds it.
    """
    columns: list[Column] = []
    append = columns.append
    size = len(data)
    padded = data + _PAD if size < _LARGE else data
    at = start
    try:
        for _ in range(count):
            kind, length = _KIND_LENGTH(padded, at)
            if kind == _TEXT:
                at += 5
                append(padded[at : (at := at + length)])
            elif kind == _NULL:
                at += 1
                append(None)
            elif kind == _UNCHANGED:
                at += 1
                append(UNCHANGED)
            else:
                break
    except error:
        if padded is data and size - at < len(_PAD) + 1:  # the last few bytes of a large row
            try:
                rest, end = split(message, data[at:], 0, count - len(columns))
            except DecodeError:
                raise _malformed(message, data, start, count) from None
            return columns + rest, at + end
    if at > size or len(columns) < count:
        raise _malformed(message, data, start, count)
    return columns, at


def _malformed(message: str, data: bytes, at: int, count: int) -> DecodeError:
    """Walk again, slowly, to say where it is wrong."""
    size = len(data)
    for number in range(count):
        if at >= size:
            return DecodeError(message, f"column {number} kind", 1, 0)
        kind = data[at]
        at += 1
        if kind == _TEXT:
            if at + 4 > size:
                return DecodeError(message, f"column {number} length", 4, size - at)
            length = int.from_bytes(data[at : at + 4], "big")
            at += 4
            if at + length > size:
                return DecodeError(message, f"column {number} value", length, size - at)
            at += length
        elif kind not in _ONE_BYTE:
            # 'b' (binary) comes only when the stream asks for it, which this library never does.
            return DecodeError(message, f"column {number} kind", "'n', 'u' or 't'", bytes((kind,)))
    raise AssertionError("well-formed after all")
