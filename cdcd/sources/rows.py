"""A row change of the WAL as an event's parts: its JSON data, its key and subject, and what a trigger may ask of it.

The rule: a row is read with what its Relation message said, never with today's catalog. What Postgres did not send is named
(`unchanged`, `beforeKind`), never guessed: an unchanged TOASTed value is taken from the old row only under REPLICA IDENTITY
FULL, where the old row is whole.

A row's key is its replica identity; under FULL, which names no key, its primary key as the catalog gives it. A table without
either has one lane for all its rows.

An old row of kind "key" holds the columns of a replica identity, which are never null, and nulls for all others. So what is not
null in it is what was sent: also where a partition's identity is another than its root's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from cdcd.errors import ValueNotJson
from cdcd.replication.errors import ValueNotConvertible
from cdcd.replication.lsn import format_lsn
from cdcd.replication.messages import Delete, Insert, Relation, Update
from cdcd.replication.tuples import UNCHANGED, Column, Tuple
from cdcd.replication.values import Resolve, RowCodec


@dataclass(slots=True, frozen=True)
class Transaction:
    """What the rows of one transaction have in common. `time` is its commit, microseconds since the Unix epoch.

    In a change log each row is by itself: `commit_lsn` is its number, `time` when it was changed, and there is no `lsn`."""

    commit_lsn: int
    xid: int
    time: int
    lsn: str | None

    @classmethod
    def of(cls, commit_lsn: int, xid: int, time: int) -> "Transaction":
        return cls(commit_lsn, xid, time, format_lsn(commit_lsn))


class Table:
    """How rows of one Relation are read. Made once for each Relation object."""

    __slots__ = ("codec", "database", "index", "key", "path", "relation", "source")

    def __init__(self, source: str, database: str, relation: Relation, primary_key: Sequence[str], resolve: Resolve) -> None:
        self.source = source
        self.database = database
        self.relation = relation
        self.codec = RowCodec(relation, resolve)
        self.index = {name: index for index, name in enumerate(relation.names)}
        self.key: tuple[int, ...] = relation.key_indexes if relation.replica_identity in "di" else ()
        if not self.key and all(name in self.index for name in primary_key):  # else it was renamed since
            self.key = tuple(self.index[name] for name in primary_key)
        self.path = f"{relation.schema}.{relation.name}"

    def read(self, index: int, raw: bytes) -> object:
        """A column's value as an expression sees it. Raises ValueNotJson."""
        try:
            return self.codec.python(index, raw)
        except ValueNotConvertible as error:
            raise self.refused(error) from error

    def refused(self, error: ValueNotConvertible) -> ValueNotJson:
        return ValueNotJson(f"{self.path}: {error}", hint="the value is not what its type promises; look at the row")

    def key_text(self, columns: Sequence[Column]) -> str | None:
        """The key's values joined by commas; None when the table has no key or the server did not send all of it."""
        texts = []
        for index in self.key:
            raw = columns[index]
            if raw is None or raw is UNCHANGED:
                return None
            texts.append(raw.decode(errors="replace"))
        return ",".join(texts) if texts else None

    def subject(self, key: str | None) -> str:
        return self.path if key is None else f"{self.path}/{key}"


class Change:
    """One inserted, updated or deleted row. `type` is the trigger type that it is."""

    __slots__ = ("_columns", "_old", "_old_subject", "_subject", "message", "table", "transaction", "type")

    def __init__(self, table: Table, message: Insert | Update | Delete, transaction: Transaction) -> None:
        self.table = table
        self.message = message
        self.transaction = transaction
        self._columns: Sequence[Column] | None = None
        self._old: Tuple | None
        if isinstance(message, Insert):
            self.type = "DB_INSERT"
            self._old = None
        elif isinstance(message, Update):
            self.type = "DB_UPDATE"
            self._old = message.old
        else:
            self.type = "DB_DELETE"
            self._old = message.old
        self._subject: str | None = None
        self._old_subject: str | None = None

    @property
    def size(self) -> int:
        """Bytes that the server sent for it."""
        if isinstance(self.message, Delete):
            return self.message.old.size
        return self.message.new.size

    # What expressions ask

    def attribute(self, name: str) -> object:
        """An attribute of `event`. Raises KeyError."""
        relation = self.table.relation
        match name:
            case "time":
                return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.transaction.time)
            case "type":
                return self.type
            case "subject":
                return self.subject
            case "key":
                return self.row_key
            case "txid":
                return self.transaction.xid
            case "source":
                return self.table.source
            case "database":
                return self.table.database
            case "schema":
                return relation.schema
            case "table":
                return relation.name
        raise KeyError(name)

    def reader(self, root: str) -> Callable[[str], object]:
        """What gives the members of `new`, `old` and `event` (`triggers.expressions.Facts`)."""
        return self.new if root == "new" else self.old if root == "old" else self.attribute

    def members(self, root: str) -> tuple[str, ...]:
        """The columns that `new` or `old` has a value for."""
        return self.new_columns() if root == "new" else self.old_columns()

    def new(self, column: str) -> object:
        """The new row's value. Raises KeyError when there is none or the server did not send it, ValueNotJson."""
        if isinstance(self.message, Delete):
            raise KeyError(column)
        index = self.table.index[column]
        raw = self.message.new.column(index)
        if raw is UNCHANGED:
            raw = self._new_columns()[index]
            if raw is UNCHANGED:
                raise KeyError(column)
        return None if raw is None else self.table.read(index, raw)

    def old(self, column: str) -> object:
        """The old row's value. Raises KeyError when there is none or the server did not send it, ValueNotJson."""
        index = self.table.index[column]
        if self._old is None:
            raise KeyError(column)
        raw = self._old.column(index)
        if raw is UNCHANGED or (raw is None and not self.full):
            raise KeyError(column)
        return None if raw is None else self.table.read(index, raw)

    def new_columns(self) -> tuple[str, ...]:
        """The names that `new` has a value for."""
        if isinstance(self.message, Delete):
            return ()
        return tuple(n for n, raw in zip(self.table.index, self._new_columns(), strict=True) if raw is not UNCHANGED)

    def old_columns(self) -> tuple[str, ...]:
        """The names that `old` has a value for."""
        if self._old is None:
            return ()
        if self.full:
            return tuple(self.table.index)
        return tuple(name for name, raw in zip(self.table.index, self._old.columns(), strict=True) if raw is not None)

    def changed(self, column: str) -> bool | None:
        """Whether an update changed the column; None when it cannot be told (the old row was not sent)."""
        index = self.table.index.get(column)
        if index is None or not isinstance(self.message, Update):
            return None
        raw = self.message.new.column(index)
        if raw is UNCHANGED:
            return False
        if self._old is not None and (before := self._old.column(index), self.full) != (None, False):
            return raw != before
        if self.message.old_kind is None and index in self.table.key and self.table.relation.replica_identity in "di":
            return False
        return None

    # What becomes of it

    @property
    def full(self) -> bool:
        """Whether the old row is whole."""
        return not isinstance(self.message, Insert) and self.message.old_kind == "full"

    def _new_columns(self) -> Sequence[Column]:
        if self._columns is None:
            assert not isinstance(self.message, Delete)
            columns: Sequence[Column] = self.message.new.columns()
            if self._old is not None and UNCHANGED in columns:
                # What is null in a key was not sent. A key itself can be stored out of line.
                old, full = self._old.columns(), self.full
                columns = [
                    before if raw is UNCHANGED and (full or before is not None) else raw
                    for raw, before in zip(columns, old, strict=True)
                ]
            self._columns = columns
        return self._columns

    @property
    def subject(self) -> str:
        """The table and the row's key, as it is after the change."""
        if self._subject is None:
            self._identify()
            assert self._subject is not None
        return self._subject

    key = subject  # without a key expression the lane is the row

    @property
    def row_key(self) -> str:
        """The row's key as text, without the table; empty when it has none."""
        return self.subject[len(self.table.path) + 1 :]

    @property
    def old_subject(self) -> str | None:
        """The same before the change, where that is another one."""
        if self._subject is None:
            self._identify()
        return self._old_subject

    def _identify(self) -> None:
        table = self.table
        if isinstance(self.message, Delete):
            self._subject = table.subject(table.key_text(self.message.old.columns()))
            return
        self._subject = table.subject(table.key_text(self._new_columns()))
        if self._old is not None:
            old = table.subject(table.key_text(self._old.columns()))
            if old != self._subject:
                self._old_subject = old

    def _find(self) -> dict[str, object]:
        """The key under which a receiver knows the row until now: the old one where the key changed."""
        table = self.table
        columns = self._old.columns() if self._old is not None else self._new_columns()
        if table.key and not any(columns[index] is None for index in table.key):
            return table.codec.encode_only(columns, table.key)
        return (self._before() or {}) if self._old is not None else {}

    def data(self) -> bytes:
        """The CloudEvent's `data`: UTF-8 JSON. Raises ValueNotJson."""
        table, message, codec = self.table, self.message, self.table.codec
        relation = table.relation
        try:
            data: dict[str, object] = {
                "db": table.database,
                "schema": relation.schema,
                "col": relation.name,
                "find": self._find(),
            }
            if not isinstance(message, Delete):
                data["doc"] = codec.encode(self._new_columns())
            if not isinstance(message, Insert):
                data["before"] = self._before()
                data["beforeKind"] = message.old_kind
            if isinstance(message, Update):
                data["changed"], data["unchanged"] = self._differences(message)
            data["txid"] = self.transaction.xid
            data["lsn"] = self.transaction.lsn
            return orjson.dumps(data)
        except ValueNotConvertible as error:
            raise table.refused(error) from error
        except orjson.JSONEncodeError as error:
            raise ValueNotJson(f"{table.path}: {error}") from error

    def _before(self) -> dict[str, object] | None:
        if self._old is None:
            return None
        columns = self._old.columns()
        if self.full:
            return self.table.codec.encode(columns)
        return self.table.codec.encode_only(columns, [index for index, raw in enumerate(columns) if raw is not None])

    def _differences(self, message: Update) -> tuple[list[str] | None, list[str]]:
        """`changed` (None when the old row is not whole) and `unchanged` (not sent)."""
        names = self.table.relation.names
        unchanged = [name for name, raw in zip(names, self._new_columns(), strict=True) if raw is UNCHANGED]
        if not self.full or self._old is None:
            return None, unchanged
        pairs = zip(names, message.new.columns(), self._old.columns(), strict=True)
        return [name for name, new, old in pairs if new is not UNCHANGED and new != old], unchanged

    def summary(self) -> bytes:
        """`data` without the row, for an event that cannot be sent."""
        relation = self.table.relation
        return orjson.dumps(
            {
                "db": self.table.database,
                "schema": relation.schema,
                "col": relation.name,
                "txid": self.transaction.xid,
                "lsn": self.transaction.lsn,
            }
        )
