"""Opening a connection to a walsender: authentication and TLS by psycopg, settings that fix the text of values, identity.

A walsender speaks the simple query protocol only: no parameters, so everything is quoted by us.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

from cdcd.replication.errors import ConnectionLost, PublicationMissing
from cdcd.replication.lsn import parse_lsn
from cdcd.replication.quoting import literal
from cdcd.replication.refusal import translated
from cdcd.replication.values import SETTINGS

Connection = psycopg.AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class SystemIdentity:
    """Which cluster, and which of its histories, a position belongs to (manual, IDENTIFY_SYSTEM)."""

    system_identifier: str
    """The unique system identifier: from initdb, kept by standbys and backups."""
    timeline: int
    """Current timeline ID."""
    flushed: int
    """Current WAL flush location."""
    database: str
    """Database connected to."""


async def open_walsender(dsn: str, *, application_name: str = "cdcd", timeout: float = 30.0) -> Connection:
    """A logical walsender connection with `values.SETTINGS`. Raises ConnectionLost, NotPermitted, ReplicationError."""
    with translated():
        async with asyncio.timeout(timeout):
            connection = await psycopg.AsyncConnection.connect(
                dsn,
                autocommit=True,
                prepare_threshold=None,
                replication="database",
                application_name=application_name,
            )
            try:
                # Not by `options`: what libpq makes of PGTZ and PGDATESTYLE would win over them.
                await connection.execute("; ".join(f"SET {name} TO {literal(value)}" for name, value in SETTINGS.items()))
            except BaseException:
                await connection.close()
                raise
            return connection


async def identify(connection: Connection) -> SystemIdentity:
    """IDENTIFY_SYSTEM on a walsender connection."""
    with translated():
        row = await (await connection.execute("IDENTIFY_SYSTEM")).fetchone()
    if row is None or row[3] is None:
        raise ConnectionLost("the server did not identify itself")
    return SystemIdentity(str(row[0]), int(row[1]), parse_lsn(row[2]), row[3])


async def identify_system(dsn: str, *, application_name: str = "cdcd", timeout: float = 30.0) -> SystemIdentity:
    """Connect as a walsender, ask who the server is, leave. Also proves that replication connections are let in."""
    connection = await open_walsender(dsn, application_name=application_name, timeout=timeout)
    try:
        return await identify(connection)
    finally:
        await connection.close()


async def require_publications(connection: Connection, publications: Sequence[str]) -> None:
    """Raise PublicationMissing unless all exist: PostgreSQL 18 would skip every change in silence."""
    with translated():
        cursor = await connection.execute("SELECT pubname FROM pg_catalog.pg_publication")
        known = {name for (name,) in await cursor.fetchall()}
    if missing := [name for name in publications if name not in known]:
        raise PublicationMissing(f"publication does not exist: {', '.join(missing)}", "42704")


async def sender_timeout(connection: Connection) -> float:
    """wal_sender_timeout of this connection: seconds of silence after which the server drops it; 0: never."""
    with translated():
        cursor = await connection.execute(
            "SELECT setting::float8 / 1000 FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'"
        )
        row = await cursor.fetchone()
    return row[0] if row is not None else 0.0


async def slot_is_lost(connection: Connection, slot: str) -> bool:
    """Whether the server has invalidated the slot."""
    query = f"SELECT wal_status = 'lost' FROM pg_catalog.pg_replication_slots WHERE slot_name = {literal(slot)}"
    with translated():
        row = await (await connection.execute(query)).fetchone()
    return row is not None and bool(row[0])
