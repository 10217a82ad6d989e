"""Changes made of plain values, for the tests of this directory."""

from collections.abc import Mapping, Sequence
from typing import Literal

import orjson

from cdcd.replication.messages import Column, Delete, Insert, OldKind, Relation, Update
from cdcd.replication.tuples import UNCHANGED, Tuple
from cdcd.replication.tuples import Column as Raw
from cdcd.replication.values import Resolve
from cdcd.sources.rows import Change, Table, Transaction

TRANSACTION = Transaction.of(0x1_0000_0100, 7345, 1_795_456_800_123_456)  # 2026-11-23T18:00:00.123456Z
TYPES = {"id": 23, "code": 25, "name": 25, "price": 1700, "big": 25, "raw": 17, "doc": 114}
U = UNCHANGED


def relation(
    columns: Sequence[str] = ("id", "name", "big"),
    key: Sequence[str] = ("id",),
    identity: Literal["d", "n", "f", "i"] = "d",
    name: str = "products",
    types: Mapping[str, int] = TYPES,
) -> Relation:
    every = tuple(Column(column in key or identity == "f", column, types[column], -1) for column in columns)
    return Relation(16400, "public", name, identity, every)


def table(of: Relation | None = None, primary_key: Sequence[str] = (), resolve: Resolve = lambda _: None) -> Table:
    return Table("cdcd/shop/main", "main", of or relation(), primary_key, resolve)


def row(*values: str | bytes | Raw | None) -> Tuple:
    return Tuple.of([value.encode() if isinstance(value, str) else value for value in values])


def insert(of: Table, *new: str | Raw) -> Change:
    return Change(of, Insert(of.relation, row(*new)), TRANSACTION)


def update(of: Table, new: Tuple, old: Tuple | None = None, kind: OldKind | None = None) -> Change:
    return Change(of, Update(of.relation, kind, old, new), TRANSACTION)


def delete(of: Table, old: Tuple, kind: OldKind = "key") -> Change:
    return Change(of, Delete(of.relation, kind, old), TRANSACTION)


def data(change: Change) -> dict[str, object]:
    """`data` without what all of them have."""
    loaded: dict[str, object] = orjson.loads(change.data())
    for name in ("db", "schema", "col", "txid", "lsn"):
        del loaded[name]
    return loaded
