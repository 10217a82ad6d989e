"""Rows as they are at the moment, as the events that a change of them would make: to try a trigger on, never to be delivered.

The rule: what a trigger sees is built by the code that reads the stream, from the text that the server gives for each value. It reads
within one short read-only transaction, and needs the right to read the table.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, cast

import psycopg
from psycopg.rows import TupleRow

from cdcd.config.model import Database
from cdcd.errors import SourceNotReady
from cdcd.event import Event
from cdcd.replication.messages import Column, Delete, Insert, Relation, Update
from cdcd.replication.quoting import identifier
from cdcd.replication.quoting import table as quoted
from cdcd.replication.tables import primary_key, type_map
from cdcd.replication.tuples import Tuple
from cdcd.replication.values import SETTINGS
from cdcd.sources.opening import catalog_of
from cdcd.sources.rows import Change, Table, Transaction
from cdcd.sources.translate import translated

PATIENCE = 2000  # milliseconds that reading may take
ENOUGH = 16 << 20  # characters of rows, after which no other one is read
_COLUMNS = """
SELECT c.oid::bigint, c.relreplident::text, a.attname::text, a.atttypid::bigint, a.atttypmod,
       a.attnum = ANY(coalesce(i.indkey::int2[], '{}')) AS identifies
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated::text = ANY(%s)
LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND
     CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p') ORDER BY a.attnum
"""


@dataclass(slots=True, frozen=True)
class Present:
    """A row, as a change and as the event that it would be."""

    change: Change
    event: Event


async def rows(project: str, database: Database, table: tuple[str, str], kind: str, limit: int, now: int) -> list[Present]:
    """The last rows by the primary key, else any; fewer when they are large (`ENOUGH`). They come as events of type `kind` (`DB_INSERT`,
    `DB_UPDATE`, `DB_DELETE`) at `now` (microseconds since the Unix epoch). Raises SourceUnavailable, and SourceNotReady when they cannot
    be read."""
    schema, name = table
    with translated(database):
        async with catalog_of(database) as connection, connection.transaction():
            await connection.execute("SET TRANSACTION READ ONLY")
            await connection.execute(f"SET LOCAL statement_timeout = {PATIENCE}")
            for setting, value in SETTINGS.items():
                await connection.execute("SELECT set_config(%s, %s, true)", [setting, value])
            told = (
                ["", "s"] if connection.info.server_version >= 180000 else [""]
            )  # generated columns, as publications send them
            columns = await (await connection.execute(_COLUMNS, [told, schema, name])).fetchall()
            if not columns:
                raise SourceNotReady(
                    f"there is no table {schema}.{name} in the database {database.name}",
                    hint="the role of its `url` must see it",
                )
            oid, identity = int(columns[0][0]), columns[0][1]
            key = await primary_key(connection, oid)
            types = await type_map(connection, {int(column[3]) for column in columns})
            found = await _read(connection, database, table, [column[2] for column in columns], key, limit)
    relation = Relation(
        oid,
        schema,
        name,
        cast(Literal["d", "n", "f", "i"], identity),
        tuple(
            Column(identity == "f" or part, column, kind_of_value, modifier)
            for _, _, column, kind_of_value, modifier, part in columns
        ),
    )
    read = Table(f"cdcd/{project}/{database.name}", database.name, relation, key, types.get)
    return [_present(read, kind, values, now) for values in found]


async def _read(
    connection: psycopg.AsyncConnection[TupleRow],
    database: Database,
    table: tuple[str, str],
    columns: Sequence[str],
    key: Sequence[str],
    limit: int,
) -> list[TupleRow]:
    listed = ", ".join(f"{identifier(column)}::text" for column in columns)
    # Of the table's columns: the bare name would be that of the text.
    order = f" ORDER BY {', '.join(f'present.{identifier(column)} DESC' for column in key)}" if key else ""
    try:
        return await _enough(connection, f"SELECT {listed} FROM {quoted(*table)} AS present{order} LIMIT {int(limit)}")
    except psycopg.errors.InsufficientPrivilege as error:
        raise SourceNotReady(
            f"the role of {database.name} may not read {'.'.join(table)}",
            hint=f"GRANT SELECT ON {quoted(*table)} TO its role; capturing does not need that, only trying triggers on rows does",
        ) from error
    except psycopg.errors.QueryCanceled as error:
        raise SourceNotReady(f"reading {'.'.join(table)} takes longer than {PATIENCE / 1000:g} s") from error


async def _enough(connection: psycopg.AsyncConnection[TupleRow], query: str) -> list[TupleRow]:
    found: list[TupleRow] = []
    size = 0
    async with connection.cursor() as cursor, aclosing(cast("AsyncGenerator[TupleRow]", cursor.stream(query))) as rows:
        async for row in rows:
            found.append(row)
            size += sum(len(value) for value in row if value is not None)
            if size >= ENOUGH:
                break
    return found


def _present(table: Table, kind: str, values: Sequence[str | None], now: int) -> Present:
    row = Tuple.of([None if value is None else value.encode() for value in values])
    message: Insert | Update | Delete
    if kind == "DB_DELETE":
        message = Delete(table.relation, "full", row)
    elif kind == "DB_UPDATE":
        message = Update(table.relation, None, None, row)
    else:
        message = Insert(table.relation, row)
    change = Change(table, message, Transaction(0, 0, now, None))
    return Present(change, Event(change.type, table.source, change.subject, change.row_key, now, change.data()))
