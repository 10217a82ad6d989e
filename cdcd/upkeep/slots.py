"""Checks of replication slots: a free one, the right to make one (by making one that goes away), and how ours stands."""

import asyncio
from datetime import UTC, datetime

from cdcd.config.model import Database
from cdcd.errors import PositionLost
from cdcd.event import Position
from cdcd.replication import slot
from cdcd.replication.errors import NotPermitted, ReplicationError
from cdcd.replication.refusal import translated as refusals
from cdcd.replication.slot import SlotState
from cdcd.replication.walsender import Connection
from cdcd.sources.beginning import ACCEPT, where_to_begin
from cdcd.sources.opening import connect
from cdcd.upkeep.finding import Section
from cdcd.upkeep.server import Server
from cdcd.upkeep.words import ago, size

TRY = 5.0  # seconds that a temporary slot may wait for open transactions
MUCH = 1 << 30  # bytes of held WAL that are worth a warning


async def check_slots(section: Section, server: Server, known: Position | None) -> None:
    """`known` is the stored position. Raises ReplicationError when the connection breaks."""
    state = await slot.inspect(server.connection, server.database.slot)
    if state is None:
        free = await _free(section, server)
        if free and server.settings.get("wal_level") == "logical" and server.identity is not None:
            await _try(section, server)
    else:
        await _ours(section, server, state)
    _limits(section, server, state)
    if state is not None and state.active_pid is not None:
        return  # it is being read, and moves on beyond what was known a moment ago: whoever reads it has looked
    if server.identity is not None and (known is not None or state is not None):
        identity = {
            "system": server.identity.system_identifier,
            "timeline": str(server.identity.timeline),
            "slot": server.database.slot,
        }
        try:
            where_to_begin(server.database.name, known, state, identity)
        except PositionLost as error:
            section.mistake("position", str(error), error.hint)


async def _free(section: Section, server: Server) -> bool:
    with refusals():
        cursor = await server.connection.execute(
            "SELECT slot_name::text, active FROM pg_catalog.pg_replication_slots ORDER BY active, slot_name"
        )
        slots = await cursor.fetchall()
    most = int(server.settings.get("max_replication_slots", "0"))
    if len(slots) < most:
        section.ok("slots", f"{len(slots)} of {most} replication slots in use (max_replication_slots)")
        return True
    idle = [name for name, active in slots if not active]
    drop = "".join(f"\nor, if nobody needs it: {slot.drop_sql(name)};" for name in idle[:3])
    section.mistake(
        "slots",
        f"all {most} replication slots are taken" + (f"; not in use: {', '.join(idle)}" if idle else ""),
        f"ALTER SYSTEM SET max_replication_slots = {max(10, most + 5)};  -- then restart the server{drop}",
    )
    return False


async def _try(section: Section, server: Server) -> None:
    """Make a slot that goes away. It waits for the transactions that are open now."""
    connection = await connect(server.database, application_name="cdcd check")
    try:
        async with asyncio.timeout(TRY):
            await slot.try_temporary_slot(connection)
    except TimeoutError:
        waiting = await open_transactions(server.connection)
        section.warning(
            "slot",
            "the role may make a slot, but making one waits for transactions that are open now: "
            + (", ".join(waiting) or "none of which can be seen any more"),
            "let them end, or end them: SELECT pg_terminate_backend(<pid>);",
        )
    except NotPermitted as error:
        section.mistake(
            "slot",
            f"the role {server.role} may not make a replication slot: {error}",
            server.provider.granting(server.role),
        )
    except ReplicationError as error:
        section.mistake("slot", f"a replication slot cannot be made: {error}")
    else:
        section.ok("slot", f"a slot can be made ({server.database.slot}, by `cdcd setup` or the first `cdcd run`)")
    finally:
        await connection.close()


async def open_transactions(connection: Connection) -> list[str]:
    """What a new slot waits for: transactions that have written, in words, without their statements."""
    with refusals():
        cursor = await connection.execute(
            """
            SELECT 'pid ' || pid || ' (' || coalesce(usename, '?') || coalesce(nullif(', ' || application_name, ', '), '')
                   || ', ' || coalesce(datname, '?') || ', open for '
                   || coalesce(date_trunc('second', clock_timestamp() - xact_start)::text, '?') || ')'
            FROM pg_catalog.pg_stat_activity
            WHERE backend_xid IS NOT NULL AND backend_type = 'client backend' AND application_name <> 'cdcd check'
              AND pid <> pg_catalog.pg_backend_pid()
            UNION ALL
            SELECT 'prepared transaction ' || quote_literal(gid) || ' (' || owner || ', ' || database || ', open for '
                   || date_trunc('second', clock_timestamp() - prepared)::text || ')'
            FROM pg_catalog.pg_prepared_xacts
            """
        )
        return [text for (text,) in await cursor.fetchall() if text]


async def reader(connection: Connection, pid: int) -> str:
    """Who the server process `pid` works for, in words."""
    with refusals():
        cursor = await connection.execute(
            "SELECT coalesce(usename, '?'), coalesce(nullif(application_name, ''), '?'), coalesce(host(client_addr), 'local'), "
            "extract(epoch FROM backend_start)::float8 FROM pg_catalog.pg_stat_activity WHERE pid = %s",
            [pid],
        )
        row = await cursor.fetchone()
    if row is None:
        return f"server process {pid}"
    since = "" if row[3] is None else f", since {datetime.fromtimestamp(row[3], UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"server process {pid}: application {row[1]!r}, role {row[0]}, from {row[2]}{since}"


async def _ours(section: Section, server: Server, state: SlotState) -> None:
    wrong = wrong_slot(server.database, server.dbname, state)
    if wrong:
        section.mistake("slot", wrong, f"name another one in databases.{server.database.name}.slot, or drop that one")
    elif state.lost:
        why = state.invalidation_reason or f"wal_status {state.wal_status}"
        section.mistake("slot", f"the slot {state.name} was invalidated ({why}) and can never be read again", ACCEPT)
    elif state.active_pid is not None:
        section.ok("slot", f"the slot {state.name} is being read ({await reader(server.connection, state.active_pid)})")
    else:
        section.ok("slot", f"the slot {state.name} is there, and nobody reads it: cdcd is not running")
    if state.wal_status == "unreserved":
        section.warning(
            "wal",
            f"the slot {state.name} is about to be lost: it holds {size(state.retained_bytes)} of WAL, more than the server allows",
            "start cdcd now, or raise max_slot_wal_keep_size: "
            "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf();",
        )
    elif state.retained_bytes > MUCH and not state.lost:
        section.warning(
            "wal",
            f"the slot {state.name} holds {size(state.retained_bytes)} of WAL",
            "start `cdcd run`; if the project is given up: `cdcd teardown`",
        )


def wrong_slot(database: Database, dbname: str, state: SlotState) -> str:
    """Why a slot of our name is not ours; empty when it is."""
    if state.plugin != slot.PLUGIN:
        return f"the slot {database.slot} is there but of another kind ({state.plugin or 'physical'} instead of {slot.PLUGIN})"
    if state.database != dbname:
        return f"the slot {database.slot} is there but reads the database {state.database}, not {dbname}"
    return ""


def _limits(section: Section, server: Server, state: SlotState | None) -> None:
    """What the server does to slots that nobody reads."""
    kept = server.settings.get("max_slot_wal_keep_size", "-1MB")
    megabytes = int(kept.removesuffix("MB"))
    if megabytes < 0:
        section.ok(
            "wal_limit", "WAL is kept for as long as cdcd is down (max_slot_wal_keep_size = -1): watch the server's disk"
        )
    else:
        held = state.retained_bytes if state is not None else 0
        words = (
            f"a slot that falls {size(megabytes << 20)} behind is invalidated (max_slot_wal_keep_size); ours holds {size(held)}"
        )
        if megabytes < 1024 or held > (megabytes << 20) / 2:
            section.warning(
                "wal_limit", words, "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf();  -- or -1"
            )
        else:
            section.ok("wal_limit", words)
    idle = server.settings.get("idle_replication_slot_timeout", "0")
    seconds = int(idle.removesuffix("min").removesuffix("s")) * (60 if idle.endswith("min") else 1)
    if seconds:
        section.warning(
            "idle_limit",
            f"a slot that nobody reads for {ago(seconds)} is invalidated (idle_replication_slot_timeout): "
            "cdcd must not be down longer than that",
            "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf();",
        )
