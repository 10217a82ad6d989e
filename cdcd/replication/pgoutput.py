"""The pgoutput decoder, protocol version 1: bytes in, messages out.

Source: PostgreSQL manual, "Logical Replication Message Formats". The decoder's memory (relations, types) stays inside it;
one Decoder belongs to one stream, since the server describes each relation once per stream. Whatever is malformed raises
DecodeError, and nothing else. A row is checked when its columns are split; `Decoder(strict=True)` splits every one at once.
"""

from collections.abc import Callable
from struct import Struct, error
from typing import Literal, cast

from cdcd.replication.errors import DecodeError
from cdcd.replication.frames import unix_us
from cdcd.replication.messages import (
    Begin,
    Column,
    Commit,
    Delete,
    Insert,
    LogicalMessage,
    Message,
    OldKind,
    Origin,
    Relation,
    Truncate,
    Type,
    Update,
)
from cdcd.replication.tuples import Tuple, split

_INSERT = ord("I")
_NEW = ord("N")
_OLD_KINDS: dict[int, OldKind] = {ord("K"): "key", ord("O"): "full"}
_new = tuple.__new__  # a named tuple's own constructor is a Python function that does this
_ROW = Struct(">IBH").unpack_from  # relation, kind of tuple, number of columns
_COUNT = Struct(">BH").unpack_from  # kind of tuple, number of columns


class Decoder:
    """Decodes the messages of one stream, in their order."""

    __slots__ = ("_decoders", "_relations", "_strict", "_types")

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._relations: dict[int, Relation] = {}
        self._types: dict[int, Type] = {}
        self._decoders: dict[int, Callable[[bytes, int], Message]] = {
            ord("B"): self._begin,
            ord("C"): self._commit,
            ord("D"): self._delete,
            ord("I"): self._insert,
            ord("M"): self._message,
            ord("O"): self._origin,
            ord("R"): self._relation,
            ord("T"): self._truncate,
            ord("U"): self._update,
            ord("Y"): self._type,
        }

    @property
    def relations(self) -> dict[int, Relation]:
        """What the server has described so far, by OID. Do not change it."""
        return self._relations

    @property
    def types(self) -> dict[int, Type]:
        """The types that are not built in and that the server has named so far, by OID. Do not change it."""
        return self._types

    def decode(self, payload: bytes | memoryview, start: int = 0) -> Message:
        """Decode the message that fills `payload` from `start` (`frames.HEADER` for a whole XLogData frame)."""
        data = payload if isinstance(payload, bytes) else bytes(payload)
        if len(data) <= start:
            raise DecodeError("message", "kind", 1, 0)
        if data[start] == _INSERT:  # most messages are: spare them the way through the table
            return self._insert(data, start + 1)
        if (decode := self._decoders.get(data[start])) is None:
            raise DecodeError("message", "kind", "one of " + "".join(map(chr, self._decoders)), data[start : start + 1])
        return decode(data, start + 1)

    # Rows

    def _known(self, message: str, oid: int, columns: int) -> Relation:
        if (relation := self._relations.get(oid)) is None:
            raise DecodeError(message, "relation", "a relation that was described", oid)
        if columns != len(relation.columns):
            raise DecodeError(message, "number of columns", len(relation.columns), columns)
        return relation

    def _last_row(self, message: str, data: bytes, at: int, count: int) -> Tuple:
        row = Tuple(message, data, at, count)
        if self._strict:
            row.columns()
        return row

    def _insert(self, data: bytes, at: int) -> Insert:
        try:
            oid, kind, count = _ROW(data, at)
        except error:
            raise DecodeError("Insert", "header", 7, len(data) - at) from None
        relation = self._relations.get(oid)
        if relation is None or count != len(relation.columns):
            relation = self._known("Insert", oid, count)
        if kind != _NEW:
            raise DecodeError("Insert", "new", "'N'", bytes((kind,)))
        row = Tuple("Insert", data, at + 7, count)
        if self._strict:
            row.columns()
        return _new(Insert, (relation, row))

    def _update(self, data: bytes, at: int) -> Update:
        try:
            oid, kind, count = _ROW(data, at)
        except error:
            raise DecodeError("Update", "header", 7, len(data) - at) from None
        relation = self._known("Update", oid, count)
        at += 7
        if kind == _NEW:
            return Update(relation, None, None, self._last_row("Update", data, at, count))
        if (old_kind := _OLD_KINDS.get(kind)) is None:
            raise DecodeError("Update", "old or new", "'K', 'O' or 'N'", bytes((kind,)))
        old, at = split("Update", data, at, count)
        try:
            kind, count = _COUNT(data, at)
        except error:
            raise DecodeError("Update", "new", 3, len(data) - at) from None
        if kind != _NEW:
            raise DecodeError("Update", "new", "'N'", bytes((kind,)))
        self._known("Update", oid, count)
        return Update(relation, old_kind, Tuple.of(old), self._last_row("Update", data, at + 3, count))

    def _delete(self, data: bytes, at: int) -> Delete:
        try:
            oid, kind, count = _ROW(data, at)
        except error:
            raise DecodeError("Delete", "header", 7, len(data) - at) from None
        relation = self._known("Delete", oid, count)
        if (old_kind := _OLD_KINDS.get(kind)) is None:
            raise DecodeError("Delete", "old", "'K' or 'O'", bytes((kind,)))
        return Delete(relation, old_kind, self._last_row("Delete", data, at + 7, count))

    def _truncate(self, data: bytes, at: int) -> Truncate:
        read = _Reader("Truncate", data, at)
        count = read.integer("relations", 4)
        options = read.integer("options", 1)
        if options > 3:
            raise DecodeError("Truncate", "options", "0 to 3", options)
        relations = []
        for _ in range(count):
            oid = read.integer("relation", 4)
            if (relation := self._relations.get(oid)) is None:
                raise DecodeError("Truncate", "relation", "a relation that was described", oid)
            relations.append(relation)
        read.end()
        return Truncate(tuple(relations), bool(options & 1), bool(options & 2))

    # Everything else comes seldom, and is read field by field

    def _begin(self, data: bytes, at: int) -> Begin:
        read = _Reader("Begin", data, at)
        begin = Begin(read.integer("final LSN", 8), read.time("commit time"), read.integer("xid", 4))
        read.end()
        return begin

    def _commit(self, data: bytes, at: int) -> Commit:
        read = _Reader("Commit", data, at)
        if (flags := read.integer("flags", 1)) != 0:
            raise DecodeError("Commit", "flags", "0 (currently unused)", flags)
        commit = Commit(read.integer("commit LSN", 8), read.integer("end LSN", 8), read.time("commit time"))
        read.end()
        return commit

    def _origin(self, data: bytes, at: int) -> Origin:
        read = _Reader("Origin", data, at)
        origin = Origin(read.integer("commit LSN", 8), read.string("name"))
        read.end()
        return origin

    def _message(self, data: bytes, at: int) -> LogicalMessage:
        read = _Reader("Message", data, at)
        if (flags := read.integer("flags", 1)) > 1:
            raise DecodeError("Message", "flags", "0 or 1", flags)
        lsn = read.integer("LSN", 8)
        prefix = read.string("prefix")
        content = read.take("content", read.integer("length", 4))
        read.end()
        return LogicalMessage(flags == 1, lsn, prefix, content)

    def _relation(self, data: bytes, at: int) -> Relation:
        read = _Reader("Relation", data, at)
        oid = read.integer("OID", 4)
        schema = read.string("namespace") or "pg_catalog"
        name = read.string("name")
        identity = read.take("replica identity", 1).decode("latin-1")
        if identity not in ("d", "n", "f", "i"):
            raise DecodeError("Relation", "replica identity", "'d', 'n', 'f' or 'i'", identity)
        columns = []
        for _ in range(read.integer("number of columns", 2)):
            if (flags := read.integer("column flags", 1)) > 1:
                raise DecodeError("Relation", "column flags", "0 or 1", flags)
            column = read.string("column name")
            type_oid = read.integer("column type", 4)
            columns.append(Column(flags == 1, column, type_oid, read.signed("column typmod", 4)))
        read.end()
        relation = Relation(oid, schema, name, cast(Literal["d", "n", "f", "i"], identity), tuple(columns))
        # The server describes a relation again whenever its caches were invalidated, mostly without any change.
        if (known := self._relations.get(oid)) == relation and known is not None:
            return known
        self._relations[oid] = relation
        return relation

    def _type(self, data: bytes, at: int) -> Type:
        read = _Reader("Type", data, at)
        described = Type(read.integer("OID", 4), read.string("namespace") or "pg_catalog", read.string("name"))
        read.end()
        self._types[described.oid] = described
        return described


class _Reader:
    """Reads field after field, never beyond the end."""

    __slots__ = ("_at", "_data", "_message")

    def __init__(self, message: str, data: bytes, at: int) -> None:
        self._message = message
        self._data = data
        self._at = at

    def take(self, field: str, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise DecodeError(self._message, field, size, len(self._data) - self._at)
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def integer(self, field: str, size: int) -> int:
        return int.from_bytes(self.take(field, size), "big")

    def signed(self, field: str, size: int) -> int:
        return int.from_bytes(self.take(field, size), "big", signed=True)

    def time(self, field: str) -> int:
        return unix_us(self.signed(field, 8))

    def string(self, field: str) -> str:
        end = self._data.find(b"\0", self._at)
        if end < 0:
            raise DecodeError(self._message, field, "a string that ends with zero", len(self._data) - self._at)
        raw = self._data[self._at : end]
        self._at = end + 1
        try:
            return raw.decode()
        except UnicodeDecodeError as exc:
            raise DecodeError(self._message, field, "UTF-8", raw) from exc

    def end(self) -> None:
        if self._at != len(self._data):
            raise DecodeError(self._message, "end", self._at, len(self._data))
