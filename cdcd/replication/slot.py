"""The replication slot: made, looked at, advanced, dropped (manual, "Replication Slots", "pg_replication_slots").

Every function takes an ordinary connection in autocommit mode. Waiting and trying again belong to the caller.
"""

import os
from dataclasses import dataclass

from cdcd.replication.errors import ReplicationError
from cdcd.replication.lsn import format_lsn, parse_lsn
from cdcd.replication.quoting import literal
from cdcd.replication.refusal import translated
from cdcd.replication.walsender import Connection

PLUGIN = "pgoutput"


@dataclass(frozen=True, slots=True)
class SlotState:
    """A slot as the server sees it. LSNs are integers, None where the server has none."""

    name: str
    plugin: str | None
    """None: a physical slot."""
    database: str | None
    active_pid: int | None
    """The server process of the connection that reads it."""
    restart_lsn: int | None
    """The oldest WAL that it keeps."""
    confirmed_flush: int | None
    """Everything before was confirmed."""
    wal_status: str | None
    """`reserved`, `extended`, `unreserved` (about to be removed) or `lost`."""
    invalidation_reason: str | None
    """Why it is lost: PostgreSQL 17 and later; before, None."""
    retained_bytes: int
    """WAL that it keeps from being removed."""
    failover: bool
    temporary: bool

    @property
    def lost(self) -> bool:
        """Whether it can never be read again."""
        return self.wal_status == "lost" or self.invalidation_reason is not None


def create_sql(name: str, *, failover: bool = False) -> str:
    """The statement that creates the slot. `failover` (synchronised to standbys) needs PostgreSQL 17."""
    extra = ", false, false, true" if failover else ""
    return f"SELECT pg_catalog.pg_create_logical_replication_slot({literal(name)}, {literal(PLUGIN)}{extra})"


def drop_sql(name: str) -> str:
    """The statement that drops the slot."""
    return f"SELECT pg_catalog.pg_drop_replication_slot({literal(name)})"


async def create(connection: Connection, name: str, *, failover: bool = False) -> int:
    """Create the slot; returns its confirmed LSN: changes committed after it will be streamed. Waits for every transaction
    that is under way. Raises NotPermitted, ReplicationError (`sqlstate` 55000: wal_level is not logical;
    53400: no free slot; 42710: there is one already)."""
    with translated():
        cursor = await connection.execute(
            "SELECT (pg_catalog.pg_create_logical_replication_slot(%s, %s, false"
            + (", false, true" if failover else "")
            + ")).lsn",
            [name, PLUGIN],
        )
        row = await cursor.fetchone()
    if row is None:
        raise ReplicationError("the server created no slot")
    return parse_lsn(row[0])


async def drop(connection: Connection, name: str) -> None:
    """Drop the slot. Raises SlotMissing, SlotActive, NotPermitted."""
    with translated(slot=True):
        await connection.execute("SELECT pg_catalog.pg_drop_replication_slot(%s)", [name])


async def inspect(connection: Connection, name: str) -> SlotState | None:
    """How the slot stands; None when there is none."""
    with translated():
        has = connection.info.server_version
        reason = "invalidation_reason" if has >= 170000 else "NULL"
        failover = "failover" if has >= 170000 else "false"
        cursor = await connection.execute(
            f"""
            SELECT slot_name, plugin, database, active_pid, restart_lsn, confirmed_flush_lsn, wal_status, {reason},
                   CASE WHEN restart_lsn IS NULL THEN 0
                        WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() - restart_lsn
                        ELSE pg_catalog.pg_current_wal_lsn() - restart_lsn END::bigint,
                   {failover}, temporary
            FROM pg_catalog.pg_replication_slots WHERE slot_name = %s
            """,
            [name],
        )
        row = await cursor.fetchone()
    if row is None:
        return None
    slot, plugin, database, pid, restart, confirmed, wal_status, why, retained, failover_on, temporary = row
    return SlotState(
        name=slot,
        plugin=plugin,
        database=database,
        active_pid=pid,
        restart_lsn=None if restart is None else parse_lsn(restart),
        confirmed_flush=None if confirmed is None else parse_lsn(confirmed),
        wal_status=wal_status,
        invalidation_reason=why,
        retained_bytes=max(0, retained or 0),
        failover=failover_on,
        temporary=temporary,
    )


async def flushed_lsn(connection: Connection) -> int:
    """The server's WAL flush position, now. The one to advance a slot to after a publication was created."""
    with translated():
        cursor = await connection.execute(
            "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()"
            " ELSE pg_catalog.pg_current_wal_flush_lsn() END"
        )
        row = await cursor.fetchone()
    if row is None:
        raise ReplicationError("the server has no WAL position")
    return parse_lsn(row[0])


async def allowed_bytes(connection: Connection) -> int | None:
    """How much WAL the server lets a slot keep before it invalidates it (`max_slot_wal_keep_size`); None: without bound."""
    with translated():
        cursor = await connection.execute(
            "SELECT nullif(setting::bigint, -1) * 1048576 FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'"
        )
        row = await cursor.fetchone()
    return None if row is None or row[0] is None else int(row[0])


async def advance(connection: Connection, name: str, lsn: int) -> int:
    """Move the slot forward to `lsn` (no further than the server's flush position) without reading; returns where it stands.
    What lies between is never streamed. Raises SlotMissing, SlotActive, NotPermitted, ReplicationError."""
    with translated(slot=True):
        cursor = await connection.execute(
            "SELECT end_lsn FROM pg_catalog.pg_replication_slot_advance(%s, %s::pg_lsn)", [name, format_lsn(lsn)]
        )
        row = await cursor.fetchone()
    if row is None:
        raise ReplicationError("the slot did not move")
    return parse_lsn(row[0])


async def note_transactions(connection: Connection) -> int:
    """Make the server note in the WAL which transactions are under way; returns the end of the WAL then.

    A slot lets go of WAL only behind such a note, and the server makes one by itself every 15 s (`LOG_SNAPSHOT_INTERVAL_MS` in
    its bgwriter.c). pg_log_standby_snapshot (16 and later) needs a right that few have; making a logical slot writes a note first of
    all, so one that goes away does it where that is refused. Raises NotPermitted, ReplicationError (53400: no free slot)."""
    noted = False
    with translated():
        if connection.info.server_version >= 160000:
            cursor = await connection.execute(
                "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_log_standby_snapshot()', 'EXECUTE')"
            )
            row = await cursor.fetchone()
            if row is not None and row[0]:
                await connection.execute("SELECT pg_catalog.pg_log_standby_snapshot()")
                noted = True
        if not noted:
            await connection.execute("SET statement_timeout = '1s'")  # it waits for transactions, behind the note
            try:
                await try_temporary_slot(connection)
            except ReplicationError as error:
                if error.sqlstate != "57014":
                    raise
            finally:
                await connection.execute("RESET statement_timeout")
    return await flushed_lsn(connection)


async def try_temporary_slot(connection: Connection) -> None:
    """Prove that a logical slot can be made here, by making one that goes away. Role flags lie on managed servers.

    Waits for transactions under way: bound it. Raises NotPermitted, ReplicationError (as `create`)."""
    name = f"cdcd_try_{os.getpid()}_{connection.info.backend_pid}"
    with translated():
        await connection.execute("SELECT pg_catalog.pg_create_logical_replication_slot(%s, %s, true)", [name, PLUGIN])
        await connection.execute("SELECT pg_catalog.pg_drop_replication_slot(%s)", [name])
