"""What pgoutput says, as values (PostgreSQL manual, "Logical Replication Message Formats", protocol version 1).

The nouns and field comments are the manual's. LSNs are integers; times are microseconds since the Unix epoch. The three
messages that come once per row are named tuples, since a frozen dataclass costs three times as much to build.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from cdcd.replication.tuples import Tuple


@dataclass(frozen=True, slots=True)
class Begin:
    """'B'. The start of a transaction. It is only sent once the transaction has committed."""

    final_lsn: int
    """Int64 (XLogRecPtr): the final LSN of the transaction: that of its Commit's `commit_lsn`."""
    commit_time: int
    """Int64 (TimestampTz): commit timestamp of the transaction."""
    xid: int
    """Int32 (TransactionId): xid of the transaction."""


@dataclass(frozen=True, slots=True)
class LogicalMessage:
    """'M'. What `pg_logical_emit_message` wrote. Only sent when the stream asks for messages."""

    transactional: bool
    """Int8 flags: 1 if it is part of the transaction around it, 0 if it stands alone."""
    lsn: int
    """Int64 (XLogRecPtr): the LSN of the logical decoding message."""
    prefix: str
    """String: the prefix of the logical decoding message."""
    content: bytes
    """Int32 length, Byten: the content of the logical decoding message."""


@dataclass(frozen=True, slots=True)
class Commit:
    """'C'. The end of a transaction."""

    commit_lsn: int
    """Int64 (XLogRecPtr): the LSN of the commit."""
    end_lsn: int
    """Int64 (XLogRecPtr): the end LSN of the transaction. Confirming it means never to be sent this transaction again."""
    commit_time: int
    """Int64 (TimestampTz): commit timestamp of the transaction."""


@dataclass(frozen=True, slots=True)
class Origin:
    """'O'. The transaction was itself replicated from elsewhere. There can be several in one transaction."""

    commit_lsn: int
    """Int64 (XLogRecPtr): the LSN of the commit on the origin server."""
    name: str
    """String: name of the origin."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a Relation."""

    is_key: bool
    """Int8 flags: 1 marks the column as part of the replica identity (all of them under FULL)."""
    name: str
    """String: name of the column."""
    type_oid: int
    """Int32 (Oid): OID of the column's data type; a domain's own OID for a domain."""
    typmod: int
    """Int32: type modifier of the column (atttypmod)."""


@dataclass(frozen=True)
class Relation:
    """'R'. How a table looked when the changes behind this message were made. Equal ones are the same object, so that what a
    caller derives from one can be kept by identity. Under `publish_via_partition_root` this is the root."""

    oid: int
    """Int32 (Oid): OID of the relation."""
    schema: str
    """String: namespace (the protocol's empty string for pg_catalog is given its name)."""
    name: str
    """String: relation name."""
    replica_identity: Literal["d", "n", "f", "i"]
    """Int8: replica identity setting (pg_class.relreplident): default, nothing, full, index."""
    columns: tuple[Column, ...]
    """The published columns in table order; generated ones only if published (PostgreSQL 18)."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def key_indexes(self) -> tuple[int, ...]:
        """Which columns are part of the replica identity."""
        return tuple(index for index, column in enumerate(self.columns) if column.is_key)


@dataclass(frozen=True, slots=True)
class Type:
    """'Y'. The name of a data type that is not built in. Sent before the Relation that uses it."""

    oid: int
    """Int32 (Oid): OID of the data type."""
    schema: str
    """String: namespace (the protocol's empty string for pg_catalog is given its name)."""
    name: str
    """String: name of the data type."""


OldKind = Literal["key", "full"]
"""What an old tuple holds: only the replica identity ('K', every other column is null and means nothing) or the row ('O')."""


class Insert(NamedTuple):
    """'I'. A new row."""

    relation: Relation
    new: Tuple
    """Byte1('N'), TupleData: the contents of the new tuple."""


class Update(NamedTuple):
    """'U'. A changed row."""

    relation: Relation
    old_kind: OldKind | None
    """Byte1('K'): only when the update changed the replica identity's columns. Byte1('O'): under REPLICA IDENTITY FULL."""
    old: Tuple | None
    """TupleData: the contents of the old tuple or primary key, if sent."""
    new: Tuple
    """Byte1('N'), TupleData: the contents of the new tuple."""


class Delete(NamedTuple):
    """'D'. A row that is gone."""

    relation: Relation
    old_kind: OldKind
    """Byte1('K') or Byte1('O')."""
    old: Tuple
    """TupleData: the contents of the old tuple or primary key."""


@dataclass(frozen=True, slots=True)
class Truncate:
    """'T'. Tables that were emptied at once."""

    relations: tuple[Relation, ...]
    """Int32 count, Int32 (Oid) each: the relations in the publication."""
    cascade: bool
    """Int8 bit 1."""
    restart_identity: bool
    """Int8 bit 2."""


Message = Begin | LogicalMessage | Commit | Origin | Relation | Type | Insert | Update | Delete | Truncate
