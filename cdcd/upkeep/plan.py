"""`cdcd setup --print`: the SQL that an owner runs once, so that the role that cdcd uses needs no more than REPLICATION.

Only what is missing is printed, as far as the databases can be reached; of one that cannot be, everything.
"""

from collections.abc import Sequence

from psycopg.conninfo import conninfo_to_dict

from cdcd.changelog.install import install_sql
from cdcd.config.model import Capture, Config, Database
from cdcd.config.tables import parse_table
from cdcd.errors import SourceNotReady, SourceUnavailable, StoreRefused, StoreUnavailable
from cdcd.replication import publication, slot
from cdcd.replication.errors import ReplicationError
from cdcd.replication.quoting import identifier
from cdcd.replication.refusal import translated as refusals
from cdcd.replication.walsender import Connection, identify_system
from cdcd.sources.logged import names_of
from cdcd.sources.opening import connect, refuse
from cdcd.sources.tables import find_tables, insert_only_name
from cdcd.sources.translate import translated
from cdcd.store.migrate import migration_sql
from cdcd.store.standing import look
from cdcd.triggers.trigger import Trigger
from cdcd.upkeep.check import capturing
from cdcd.upkeep.home import find_home
from cdcd.upkeep.logged import log_sql
from cdcd.upkeep.provider import MARKS, SELF_HOSTED, Provider, provider_of
from cdcd.upkeep.server import address


async def setup_sql(config: Config) -> tuple[str, list[str]]:
    """The SQL, and what could not be looked at. Raises SourceNotReady (tables), StoreRefused."""
    parts: list[str] = []
    logs: list[str] = []
    unreached: list[str] = []
    for name, triggers in capturing(config).items():
        database = config.databases[name]
        if database.capture is Capture.TRIGGERS:
            logs.append(await _log(config, database, triggers, unreached))
            continue
        try:
            with translated(database):
                async with await connect(database) as catalog:
                    lines = await _missing(config, database, triggers, catalog)
        except (SourceUnavailable, SourceNotReady) as error:
            if isinstance(error, SourceNotReady) and error.__cause__ is None:
                raise  # the tables; otherwise the role, which may not be there yet
            unreached.append(str(error))
            lines = _everything(database, triggers)
        parts.append(_heading(config, database, lines))
    parts.append(await _store(config, unreached))
    parts += logs  # behind the store, which makes their schema where both are in one database
    return "\n".join(part for part in parts if part) or "-- Nothing is missing.\n", unreached


def _heading(config: Config, database: Database, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    host, port = address(database.url)
    dbname = _dbname(database)
    first = f"-- database {database.name}: run in {dbname} on {host}:{port}, as the owner of the tables (with REPLICATION) or a superuser"
    return "\n".join([first, *lines]) + "\n"


async def _log(config: Config, database: Database, triggers: Sequence[Trigger], unreached: list[str]) -> str:
    """What a database lacks that is captured by triggers."""
    role = str(conninfo_to_dict(database.url).get("user") or "cdcd")
    try:
        with translated(database):
            async with await connect(database) as catalog:
                lines = await log_sql(catalog, config, database, triggers, catalog.info.user)
    except (SourceUnavailable, SourceNotReady) as error:
        if isinstance(error, SourceNotReady) and error.__cause__ is None:
            raise  # the tables; otherwise the role, which may not be there yet
        unreached.append(str(error))
        names = names_of(config)
        lines = [
            "-- It could not be reached with the url of the configuration, so this is what it needs but for the triggers:",
            f"-- CREATE ROLE {identifier(role)} LOGIN PASSWORD '...';",
            install_sql(names, config.project, role),
            "-- then once more: `cdcd setup --print`",
        ]
    host, port = address(database.url)
    first = f"-- database {database.name}, captured by triggers: run in {_dbname(database)} on {host}:{port}, as the owner of the tables"
    return "\n".join([first, *lines]) + "\n" if lines else ""


async def _missing(config: Config, database: Database, triggers: Sequence[Trigger], catalog: Connection) -> list[str]:
    """What this database lacks."""
    captured = await find_tables(catalog, config, database, triggers)
    refuse(database, captured)
    host, _ = address(database.url)
    with refusals():
        cursor = await catalog.execute("SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname = ANY(%s)", [list(MARKS)])
        provider = provider_of(host, [name for (name,) in await cursor.fetchall()])
        cursor = await catalog.execute("SHOW wal_level")
        level = await cursor.fetchone()
    lines: list[str] = []
    if level is not None and level[0] != "logical":
        lines += ["-- first:", *(f"-- {line}" if provider is not SELF_HOSTED else line for line in [provider.wal_level])]
    try:
        await identify_system(database.url)
    except ReplicationError:
        lines.append(provider.granting(catalog.info.user))
    version = catalog.info.server_version
    for name, (tables, publish) in captured.publications.items():
        state = await publication.inspect(catalog, name)
        if state is None:
            lines.append(publication.create_sql(name, tables, publish, server_version=version) + ";")
        else:
            lines += [f"{text};" for text in publication.alter_sql(state, tables, publish, server_version=version)]
    if await slot.inspect(catalog, database.slot) is None:
        lines.append(slot.create_sql(database.slot, failover=version >= 170000) + ";")
    return lines


def _everything(database: Database, triggers: Sequence[Trigger]) -> list[str]:
    """For a database that could not be asked: from what the configuration says alone."""
    host, _ = address(database.url)
    provider: Provider = provider_of(host)
    role = str(conninfo_to_dict(database.url).get("user") or "cdcd")
    patterns = [parse_table(text) for trigger in triggers for text in trigger.config.tables]
    tables = {pattern.literal for pattern in patterns if pattern.literal is not None}
    lines = [
        "-- It could not be reached with the url of the configuration, so this is everything it may need:",
        f"-- {provider.wal_level}",
        f"-- CREATE ROLE {identifier(role)} LOGIN PASSWORD '...';",
        provider.granting(role),
        f"GRANT CONNECT ON DATABASE {identifier(_dbname(database))} TO {identifier(role)};",
    ]
    if globs := [pattern.text for pattern in patterns if pattern.literal is None]:
        lines.append(f"-- add the tables that match {', '.join(globs)}:")
    lines.append(publication.create_sql(database.publication, tables) + ";")
    lines.append("-- (a table without a primary key must not be in it, its own UPDATEs would be refused; add it to this one:)")
    lines.append(publication.create_sql(insert_only_name(database.publication), [], publication.INSERT_KINDS) + ";")
    lines.append(slot.create_sql(database.slot) + ";")
    return lines


async def _store(config: Config, unreached: list[str]) -> str:
    home = find_home(config)
    if home.database is None:
        return ""  # cdcd makes its own server's
    database = config.databases[home.database]
    assert home.dsn is not None
    role = str(conninfo_to_dict(home.dsn).get("user") or "cdcd")
    try:
        standing = await look(home.dsn, home.schema, config.project)
    except StoreUnavailable as error:
        unreached.append(str(error))
    except StoreRefused as error:
        if error.__cause__ is None:
            raise  # another project's; otherwise the role, which may not be there yet
        unreached.append(str(error))
    else:
        role = standing.role
        if standing.made and standing.missing:
            return "-- the event store is there but older: cdcd migrates it itself, as its owner\n"
        if standing.made:
            return ""
    host, port = address(database.url)
    return (
        f"-- event store: run in {_dbname(database)} on {host}:{port}, as an owner of the database who may SET ROLE {identifier(role)}\n"
        + migration_sql(home.schema, config.project, role)
    )


def _dbname(database: Database) -> str:
    given = conninfo_to_dict(database.url)
    return str(given.get("dbname") or given.get("user") or "the database")
