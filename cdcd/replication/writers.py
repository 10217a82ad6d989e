"""Who is writing to a table: for what is published from a moment on.

A table that joins a publication is decoded with it from there on: what a transaction wrote to it before is not, even if it commits
later. Whoever has written to a table holds ROW EXCLUSIVE on it until the end of the transaction (manual, 13.3.1), prepared ones included.
"""

from collections.abc import Collection

from cdcd.replication.lsn import parse_lsn
from cdcd.replication.publication import Name
from cdcd.replication.refusal import translated
from cdcd.replication.walsender import Connection

_WRITERS = """
WITH RECURSIVE tables AS (
    SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN unnest(%s::text[], %s::text[]) AS t(schema, name) ON t.schema = n.nspname AND t.name = c.relname
    UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tables t ON t.oid = i.inhparent
)
SELECT l.virtualtransaction, coalesce('pid ' || l.pid, 'a prepared transaction')
FROM pg_catalog.pg_locks l JOIN tables t ON t.oid = l.relation
WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""


async def writers(connection: Connection, tables: Collection[Name]) -> dict[str, str]:
    """The transactions that may have written to one of these tables (or a partition) and have not ended; and whose they are."""
    with translated():
        cursor = await connection.execute(_WRITERS, [[schema for schema, _ in tables], [name for _, name in tables]])
        return dict(await cursor.fetchall())


async def mark(connection: Connection) -> int:
    """Write a mark into the WAL and return where it stands (LSN): whatever was committed before this call stands before it, whatever
    is committed after the call behind it. The server tells everybody who streams that it has come by, also where nothing else happens."""
    with translated():
        async with connection.transaction():
            await connection.execute(
                "SET LOCAL synchronous_commit = on"
            )  # what was committed without waiting is flushed with it
            cursor = await connection.execute("SELECT pg_catalog.pg_logical_emit_message(true, 'cdcd.reload', '')")
            row = await cursor.fetchone()
    assert row is not None
    return parse_lsn(row[0])
