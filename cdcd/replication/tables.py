"""What the catalog says of tables and types, for setting up: which tables a pattern means, whether their changes can be told.

Streamed rows are never read with this: they are decoded with what the Relation message said. Only a type that is not built in
is looked up here (`type_map`); what a type OID is made of never changes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from cdcd.replication.refusal import translated
from cdcd.replication.values import FIRST_OID_OF_USERS, TypeInfo
from cdcd.replication.walsender import Connection


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition at the bottom of a partitioned table: where its rows are, whose replica identity counts."""

    schema: str
    name: str
    oid: int
    replica_identity: Literal["d", "n", "f", "i"]
    identity_usable: bool


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table that changes can be captured of."""

    schema: str
    name: str
    oid: int
    kind: Literal["table", "partitioned"]
    columns: tuple[str, ...]
    """Names in table order, generated ones included."""
    type_oids: tuple[int, ...]
    generated: frozenset[str]
    """Columns that are computed: not streamed before PostgreSQL 18, nor by a publication that does not ask for them."""
    replica_identity: Literal["d", "n", "f", "i"]
    """default (primary key), nothing, full, index."""
    primary_key: tuple[str, ...]
    """In the key's order; empty: none."""
    identity_columns: tuple[str, ...]
    """What an old row is known by: the primary key, the index's columns, all of them under full; empty: nothing."""
    identity_usable: bool
    """Whether updates and deletes can be published: for a partitioned table, whether those of all its leaves can."""
    persistence: Literal["permanent", "unlogged", "temporary"]
    """Only a permanent table can be published."""
    root: tuple[str, str] | None
    """The partitioned table at the top, if this is a partition: under that one's name its changes are published."""
    leaves: tuple[Partition, ...] = ()
    """Of a partitioned table: the leaves whose replica identity is not its own or not usable."""

    @property
    def full_name(self) -> str:
        """`schema.name`, unquoted, as patterns are matched with."""
        return f"{self.schema}.{self.name}"

    @property
    def publishable(self) -> bool:
        """Whether it can be in a publication at all."""
        return self.persistence == "permanent"


_TABLES = """
WITH identity AS (
    SELECT c.oid,
           CASE c.relreplident
               WHEN 'd' THEN (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
               WHEN 'i' THEN (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisreplident)
           END AS index_oid
    FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p')
)
SELECT n.nspname, c.relname, c.oid::bigint, c.relkind::text, c.relreplident::text, c.relpersistence::text,
       (SELECT array_agg(ARRAY[a.attname::text, a.atttypid::text, a.attgenerated::text] ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM pg_catalog.pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place), pg_catalog.pg_attribute a
        WHERE i.indrelid = c.oid AND i.indisprimary AND k.place <= i.indnkeyatts
          AND a.attrelid = c.oid AND a.attnum = k.attnum) AS primary_key,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM pg_catalog.pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place), pg_catalog.pg_attribute a
        WHERE i.indexrelid = d.index_oid AND k.place <= i.indnkeyatts
          AND a.attrelid = c.oid AND a.attnum = k.attnum) AS identity_columns,
       CASE WHEN c.relispartition THEN
           (SELECT ARRAY[rn.nspname::text, r.relname::text] FROM pg_catalog.pg_class r
            JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
            WHERE r.oid = pg_catalog.pg_partition_root(c.oid)) END AS root
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN identity d ON d.oid = c.oid
WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> ALL(%(excluded)s)
ORDER BY n.nspname, c.relname
"""


def matches(pattern: str, schema: str, name: str) -> bool:
    """Whether a `schema.table` glob means this table. `*` and `?` stand for any characters; case counts.

    Any dot may be the one between schema and table, since either name may hold dots of its own."""
    parts = pattern.split(".")
    return any(
        _glob(schema, ".".join(parts[:place])) and _glob(name, ".".join(parts[place:])) for place in range(1, len(parts))
    )


def _glob(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern.replace("[", "[[]"))  # brackets are no wildcards here


async def resolve_tables(
    connection: Connection, wanted: Sequence[str] | Callable[[str, str], bool], excluded_schemas: Iterable[str] = ()
) -> list[TableInfo]:
    """The tables that are wanted, by `schema.table` globs or a test of (schema, name); sorted by name: ordinary and partitioned
    ones, of any persistence.

    System schemas and `excluded_schemas` are left out. A partition is left out when its root is meant as well, because its
    changes come under the root's name; one that is meant alone has `root` set.
    """
    with translated():
        rows = await (await connection.execute(_TABLES, {"excluded": list(excluded_schemas)})).fetchall()
    every = [_table(row) for row in rows]
    leaves: dict[tuple[str, str], list[Partition]] = {}
    for each in every:
        if each.root is not None and each.kind == "table":
            leaf = Partition(each.schema, each.name, each.oid, each.replica_identity, each.identity_usable)
            leaves.setdefault(each.root, []).append(leaf)
    if callable(wanted):
        meant = [each for each in every if wanted(each.schema, each.name)]
    else:
        meant = [each for each in every if any(matches(pattern, each.schema, each.name) for pattern in wanted)]
    names = {(each.schema, each.name) for each in meant}
    return [
        _with_leaves(each, leaves.get((each.schema, each.name), []))
        for each in meant
        if each.root is None or each.root not in names
    ]


def _table(row: Sequence[object]) -> TableInfo:
    schema, name, oid, kind, identity, persistence, columns, primary_key, identity_columns, root = row
    described: list[list[str]] = columns or []  # type: ignore[assignment]  # text[][] of the query above
    names = tuple(column for column, _, _ in described)
    known: tuple[str, ...] = names if identity == "f" else tuple(identity_columns or ())  # type: ignore[arg-type]  # text[]
    return TableInfo(
        schema=str(schema),
        name=str(name),
        oid=int(str(oid)),
        kind="partitioned" if kind == "p" else "table",
        columns=names,
        type_oids=tuple(int(type_oid) for _, type_oid, _ in described),
        generated=frozenset(column for column, _, computed in described if computed),
        replica_identity=identity,  # type: ignore[arg-type]  # one of pg_class.relreplident's four
        primary_key=tuple(primary_key or ()),  # type: ignore[arg-type]  # text[]
        identity_columns=known,
        # The server refuses updates when the identity has a column that cannot be published: a virtual generated one.
        identity_usable=(identity == "f" and not any(computed == "v" for _, _, computed in described))
        or (identity != "f" and bool(known)),
        persistence={"p": "permanent", "u": "unlogged"}.get(str(persistence), "temporary"),  # type: ignore[arg-type]
        root=tuple(root) if root else None,  # type: ignore[arg-type]  # text[2]
    )


def _with_leaves(found: TableInfo, leaves: list[Partition]) -> TableInfo:
    if found.kind != "partitioned":
        return found
    odd = tuple(leaf for leaf in leaves if leaf.replica_identity != found.replica_identity or not leaf.identity_usable)
    usable = all(leaf.identity_usable for leaf in leaves) if leaves else found.identity_usable
    values = {field: getattr(found, field) for field in TableInfo.__dataclass_fields__}
    return TableInfo(**(values | {"leaves": odd, "identity_usable": usable}))


async def primary_key(connection: Connection, oid: int) -> tuple[str, ...]:
    """The columns of a table's primary key, in the key's order; empty: none, or no such table."""
    with translated():
        cursor = await connection.execute(
            """
            SELECT a.attname::text
            FROM pg_catalog.pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place), pg_catalog.pg_attribute a
            WHERE i.indrelid = %s AND i.indisprimary AND k.place <= i.indnkeyatts
              AND a.attrelid = i.indrelid AND a.attnum = k.attnum
            ORDER BY k.place
            """,
            [oid],
        )
        return tuple(name for (name,) in await cursor.fetchall())


async def type_map(connection: Connection, oids: Iterable[int]) -> dict[int, TypeInfo]:
    """What the types with these OIDs are made of, with what they are made of in turn; those that do not exist any more are left
    out. `.get` of the result is a `values.Resolve`."""
    found: dict[int, TypeInfo] = {}
    wanted, asked = set(oids), set[int]()
    while wanted:
        asked |= wanted
        with translated():
            cursor = await connection.execute(
                """
                SELECT oid::bigint, typbasetype::bigint,
                       CASE WHEN typelem <> 0 AND typlen = -1 AND typcategory = 'A' THEN typelem ELSE 0 END::bigint,
                       (SELECT e.typdelim::text FROM pg_catalog.pg_type e WHERE e.oid = t.typelem)
                FROM pg_catalog.pg_type t WHERE oid = ANY(%s::oid[])
                """,
                [sorted(wanted)],
            )
            rows = await cursor.fetchall()
        for oid, base, element, delimiter in rows:
            found[oid] = TypeInfo(base, 0 if base else element, delimiter or ",")
        wanted = {part for info in found.values() for part in info[:2] if part >= FIRST_OID_OF_USERS} - asked
    return found
