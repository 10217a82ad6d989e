"""Checks of the server that a database is on: reach, version, poolers, `wal_level`, senders, replication let in, clock.

The rule: whatever can be tried is tried. Role flags lie on managed servers, and pg_hba.conf cannot be read by ordinary roles.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from psycopg import Error
from psycopg.conninfo import conninfo_to_dict

from cdcd.config.model import Database
from cdcd.replication.errors import NotPermitted, ReplicationError
from cdcd.replication.refusal import translated as refusals
from cdcd.replication.walsender import Connection, SystemIdentity, identify_system
from cdcd.sources.opening import connect
from cdcd.upkeep.finding import Level, Section
from cdcd.upkeep.provider import MARKS, SELF_HOSTED, Provider, direct_hint, pooler_sign, provider_of

OLDEST, NEWEST = 14, 18  # majors that are tested
SKEW = 1.0  # seconds
SETTINGS = (
    "wal_level",
    "max_wal_senders",
    "max_replication_slots",
    "max_slot_wal_keep_size",
    "idle_replication_slot_timeout",
)
REACH = 15.0  # seconds for an answer of any kind


@dataclass(slots=True)
class Server:
    """What is known of a server. `settings` are those of `pg_settings` that matter here."""

    database: Database
    connection: Connection
    host: str
    port: str
    role: str
    dbname: str
    version: int
    provider: Provider = SELF_HOSTED
    standby: bool = False
    settings: dict[str, str] = field(default_factory=dict)
    identity: SystemIdentity | None = None
    """None: replication connections are not let in."""

    @property
    def major(self) -> int:
        return self.version // 10000


def address(url: str) -> tuple[str, str]:
    """Host and port of a connection string, for messages; never its password."""
    try:
        given = conninfo_to_dict(url)
    except Error:
        return "?", "?"
    return str(given.get("host") or given.get("hostaddr") or "the local socket"), str(given.get("port") or "5432")


async def reach(section: Section, database: Database) -> Server | None:
    """Connect; None when that is impossible, which the section then tells."""
    host, port = address(database.url)
    try:
        async with asyncio.timeout(REACH):
            connection = await connect(database)
    except NotPermitted as error:
        if sign := pooler_sign(host, port, message=str(error)):
            section.mistake("pooler", f"{host}:{port} refuses: {error}: {sign}", direct_hint(host))
        else:
            section.mistake(
                "login",
                f"{host}:{port} does not let the role in: {error}",
                "correct user and password in the url; or let it in by pg_hba.conf and reload (SELECT pg_reload_conf();)",
            )
        return None
    except (ReplicationError, TimeoutError) as error:
        _unreachable(section, host, port, str(error) or "no answer in time")
        return None
    info = connection.info
    server = Server(database, connection, host, port, info.user, info.dbname, info.server_version)
    try:
        with refusals():
            await _ask(section, server)
    except BaseException:
        await connection.close()
        raise
    return server


def _unreachable(section: Section, host: str, port: str, why: str) -> None:
    if sign := pooler_sign(host, port, message=why):
        section.mistake("pooler", f"{host}:{port}: {why}: {sign}", direct_hint(host))
    elif "does not exist" in why:
        section.mistake("reach", f"{host}:{port}: {why}", "create it, or correct the url")
    else:
        section.unknown(
            "reach",
            f"{host}:{port} cannot be reached: {why}",
            "start the server, open the way to it (firewall, listen_addresses), or correct the url",
        )


async def _ask(section: Section, server: Server) -> None:
    cursor = await server.connection.execute(
        "SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery(), "
        "ARRAY(SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname = ANY(%s))",
        [list(MARKS)],
    )
    row = await cursor.fetchone()
    assert row is not None
    pid, server.standby, roles = row
    server.provider = provider_of(server.host, roles)
    cursor = await server.connection.execute(
        "SELECT name, setting || coalesce(unit, '') FROM pg_catalog.pg_settings WHERE name = ANY(%s)",
        [list(SETTINGS)],
    )
    server.settings = dict(await cursor.fetchall())
    where = f" ({server.provider.name})" if server.provider.name else ""
    section.ok("reach", f"{server.host}:{server.port}, database {server.dbname}, as {server.role}{where}")
    if sign := pooler_sign(server.host, server.port, server.connection.info.backend_pid, pid):
        section.mistake("pooler", f"a connection pooler stands between: {sign}", direct_hint(server.host))
    major = f"PostgreSQL {server.major}"
    if server.major < OLDEST:
        section.mistake("version", f"{major} is too old: cdcd reads {OLDEST} to {NEWEST}", "upgrade the server")
    elif server.major > NEWEST:
        section.warning("version", f"{major} is newer than this cdcd was tested with ({OLDEST} to {NEWEST})")
    else:
        section.ok("version", major)


async def check_server(section: Section, server: Server) -> None:
    """Everything about the server itself. Raises ReplicationError when the connection breaks."""
    settings = server.settings
    level = settings.get("wal_level", "")
    if level == "logical":
        section.ok("wal_level", "wal_level is logical")
    else:
        section.mistake(
            "wal_level",
            f"wal_level is {level}: the server does not write down what logical replication needs",
            server.provider.wal_level,
        )
    if server.standby and server.major < 16:
        section.mistake(
            "standby", "the server is a standby, which gives no changes before PostgreSQL 16", "give the primary's url"
        )
    elif server.standby:
        section.warning(
            "standby",
            "the server is a standby: publications can only be made and changed on its primary",
            "give the primary's url, or run `cdcd setup --print` and its SQL on the primary",
        )
    await _senders(section, server)
    await _replication(section, server)
    await check_any(section, server)


async def check_any(section: Section, server: Server) -> None:
    """What matters however changes are captured. Raises ReplicationError when the connection breaks."""
    if server.connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        section.warning(
            "encoding",
            "the database is encoded in SQL_ASCII: nothing keeps its texts UTF-8, and a row with one that is not fails its delivery",
            "move it to a database made with: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
        )
    await _clock(section, server)


async def _senders(section: Section, server: Server) -> None:
    with refusals():
        cursor = await server.connection.execute(
            """
            SELECT (SELECT count(*) FROM pg_catalog.pg_stat_replication)::int,
                   EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = %s AND active)
            """,
            [server.database.slot],
        )
        row = await cursor.fetchone()
    assert row is not None
    used, ours = row
    most = int(server.settings.get("max_wal_senders", "0"))
    if ours or used < most:
        section.ok("senders", f"{used} of {most} senders in use (max_wal_senders)")
    else:
        section.mistake(
            "senders",
            f"all {most} senders are in use (max_wal_senders): no connection is left for cdcd",
            f"ALTER SYSTEM SET max_wal_senders = {max(10, used + 5)};  -- then restart the server",
        )


async def _replication(section: Section, server: Server) -> None:
    """A replication connection, really made."""
    try:
        server.identity = await identify_system(server.database.url, application_name="cdcd check", timeout=REACH)
    except ReplicationError as error:
        if section.has(Level.MISTAKE, "senders"):
            return  # told already
        if sign := pooler_sign(server.host, server.port, message=str(error)):
            section.mistake("pooler", f"replication is refused: {error}: {sign}", direct_hint(server.host))
        elif isinstance(error, NotPermitted) and "pg_hba" in str(error):
            section.mistake(
                "replication",
                f"pg_hba.conf does not let replication in: {error}",
                f"add to pg_hba.conf:  host {server.dbname} {server.role} <address of this machine>/32 scram-sha-256\n"
                "then: SELECT pg_reload_conf();",
            )
        elif isinstance(error, NotPermitted):
            section.mistake(
                "replication",
                f"the role {server.role} may not replicate: {error}",
                server.provider.granting(server.role),
            )
        else:
            section.unknown("replication", f"no replication connection could be made: {error}")
    else:
        section.ok("replication", f"the role {server.role} may open a replication connection")


async def _clock(section: Section, server: Server) -> None:
    before, begun = time.time(), time.monotonic()
    with refusals():
        row = await (await server.connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8")).fetchone()
    took = time.monotonic() - begun
    assert row is not None
    skew = float(row[0]) - (before + took / 2)
    if abs(skew) - took / 2 > SKEW:
        section.warning(
            "clock",
            f"the server's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's",
            "set both by NTP: latencies are told wrong, and endpoints may refuse signatures by their timestamp",
        )
    else:
        section.ok("clock", f"clocks differ by {abs(skew) * 1000:.0f} ms")


@contextlib.contextmanager
def told(section: Section, code: str) -> Iterator[None]:
    """Within this, a refusal becomes an `unknown` finding, and the rest goes on."""
    try:
        yield
    except (ReplicationError, TimeoutError) as error:
        section.unknown(code, f"could not be looked at: {str(error) or 'no answer in time'}")
