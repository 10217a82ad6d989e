"""What `cdcd check`, `setup`, `teardown` and `status` do for a database that is captured by triggers.

The rule: what `cdcd run` would refuse is a mistake here in the same words; what it would do is told as the statements that it would
run.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cdcd.changelog import install
from cdcd.changelog.install import Installed, Step
from cdcd.changelog.log import ChangeLog
from cdcd.config.model import Config, Database
from cdcd.errors import PositionLost, SourceNotReady
from cdcd.event import Position
from cdcd.replication.errors import ReplicationError
from cdcd.replication.quoting import identifier
from cdcd.replication.refusal import translated as refusals
from cdcd.replication.tables import TableInfo
from cdcd.replication.walsender import Connection, identify_system
from cdcd.sources.logged import Logged, check_ours, check_position, ensure, find_logged, names_of, refuse
from cdcd.sources.opening import connect
from cdcd.sources.translate import SETUP, translated
from cdcd.sources.waiting import PATIENCE
from cdcd.triggers.trigger import Trigger
from cdcd.upkeep.captured import check_wanted
from cdcd.upkeep.finding import Level, Section
from cdcd.upkeep.provider import SELF_HOSTED
from cdcd.upkeep.server import REACH, Server, check_any
from cdcd.upkeep.words import size

Tell = Callable[[str], None]
MUCH = 1 << 30  # bytes of a change log that are worth a warning

COSTS = (
    "replication is the better one where it is to be had: it costs the application's writes nothing, and delivers in the order of "
    "commits"
)


# Before anything is made


async def look_at(catalog: Connection, config: Config, database: Database, triggers: Sequence[Trigger]) -> None:
    """Whether log and triggers are there or may be made. Raises ReplicationError, SourceNotReady."""
    logged = await find_logged(catalog, config, database, triggers)
    refuse(database, logged)
    installed = await install.inspect(catalog, names_of(config))
    if installed is not None:
        check_ours(database, installed, config.project)
    if lacks := await _lacks(catalog, config, installed, logged):
        raise SourceNotReady(
            f"database {database.name!r}: the change log or its triggers must be made, and the role may not: {lacks}",
            hint=SETUP,
        )


async def _lacks(catalog: Connection, config: Config, installed: Installed | None, logged: Logged) -> str:
    """Which rights the role lacks for what is to be done, in words."""
    names = names_of(config)
    todo = {step.table for step in install.steps(names, installed, logged.wanted)}
    with refusals():
        cursor = await catalog.execute(
            """
            SELECT coalesce((SELECT pg_has_role(n.nspowner, 'USAGE') OR has_schema_privilege(n.oid, 'CREATE')
                             FROM pg_catalog.pg_namespace n WHERE n.nspname = %s),
                            has_database_privilege(current_database(), 'CREATE')),
                   ARRAY(SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c
                         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                         WHERE c.oid = ANY (%s::oid[]) AND NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1)
            """,
            [names.schema, [each.info.oid for each in logged.wanted]],
        )
        row = await cursor.fetchone()
    assert row is not None
    lacks = []
    if installed is None and not row[0]:
        lacks.append(f"it may not make the schema {identifier(names.schema)}, or tables in it")
    if foreign := [name for name in row[1] if name in todo]:
        lacks.append(f"it does not own {', '.join(foreign[:5])}" + (" and others" if len(foreign) > 5 else ""))
    return " and ".join(lacks)


# Setup


async def prepare_log(
    config: Config, database: Database, triggers: Sequence[Trigger], known: Position | None, accept_gap: bool, tell: Tell
) -> Position | None:
    """Make what is missing; the position to record, None when the stored one holds. Raises SourceNotReady, SourceUnavailable,
    PositionLost."""
    with translated(database):
        async with await connect(database) as catalog:
            logged = await find_logged(catalog, config, database, triggers)
            refuse(database, logged)
            before = await install.inspect(catalog, names_of(config))
            gap: PositionLost | None = None
            try:
                check_position(database, before or Installed("", 0, ""), known)
            except PositionLost as error:
                gap = error
                if not accept_gap:
                    raise
            installed, steps = await ensure(catalog, config, database, logged)
            if before is None:
                tell(f"database {database.name}: change log made in the schema {config.eventing.schema}")
            for step in steps:
                tell(f"database {database.name}: {step.table}: {step.why}: {step.sql.partition(' AFTER ')[0]}")
    beginning = Position(database.name, 0, 0, 0, {"log": installed.log, "mark": ""})
    if gap is None:
        return beginning if known is None else None
    tell(f"database {database.name}: gap accepted: {gap}; compare these rows by hand")
    return replace(beginning, time=time.time_ns() // 1000)


async def log_sql(catalog: Connection, config: Config, database: Database, triggers: Sequence[Trigger], role: str) -> list[str]:
    """The SQL that an owner of the tables runs, so that `role` needs only to read. Raises ReplicationError, SourceNotReady."""
    names = names_of(config)
    logged = await find_logged(catalog, config, database, triggers)
    refuse(database, logged)
    installed = await install.inspect(catalog, names)
    lines = [] if installed is not None else ["BEGIN;", install.install_sql(names, config.project, role).rstrip(), "COMMIT;"]
    lines += [f"{step.sql};" for step in install.steps(names, installed, logged.wanted)]
    leaves = [each for each in logged.wanted if each.info.kind == "partitioned"]
    if leaves and lines:
        lines.append("-- run `cdcd setup --print` once more: partitions get their triggers from their root's")
    return lines


# Check


async def check_log(
    section: Section, server: Server, config: Config, triggers: Sequence[Trigger], known: Position | None
) -> None:
    """Everything about a database that is captured by triggers. Raises ReplicationError when the connection breaks."""
    database, names = server.database, names_of(config)
    if server.standby:
        section.mistake("standby", "the server is a standby, where nobody can write a change log", "give the primary's url")
        return
    await check_any(section, server)
    logged = await find_logged(server.connection, config, database, triggers)
    tables: list[TableInfo] = [each.info for each in logged.wanted]
    await check_wanted(section, server, config, triggers, tables)
    installed = await install.inspect(server.connection, names)
    try:
        if installed is not None:
            check_ours(database, installed, config.project)
        check_position(database, installed or Installed("", 0, ""), known)
    except (SourceNotReady, PositionLost) as error:
        section.mistake("changelog", str(error).removeprefix(f"database {database.name!r}: "), error.hint)
        return
    lacks = await _lacks(server.connection, config, installed, logged)
    steps = install.steps(names, installed, logged.wanted)
    if lacks:
        section.mistake(
            "changelog",
            f"the change log or its triggers must be made, and the role {server.role} may not: {lacks}",
            "`cdcd setup --print` prints the SQL for the owner of the tables",
        )
    elif installed is None:
        section.ok("changelog", f"the change log will be made in the schema {names.schema} by `cdcd setup` or `cdcd run`")
    else:
        await _check_installed(section, server, config, steps, known)
    await _recommend(section, server)


async def _check_installed(
    section: Section, server: Server, config: Config, steps: Sequence[Step], known: Position | None
) -> None:
    for step in steps:
        if step.gap:
            section.mistake(
                "trigger_missing",
                f"{step.table}: {step.why}: changes that are made now are not written down by anybody",
                f"{step.sql};  -- `cdcd run` does it too; compare the rows that changed meanwhile by hand",
            )
    if later := [step.table for step in steps if not step.gap]:
        section.ok(
            "changelog", f"triggers will be brought in step by `cdcd setup` or `cdcd run`: {', '.join(sorted(set(later)))}"
        )
    changes = ChangeLog(server.connection, names_of(config))
    if not await changes.notifies():
        section.ok(
            "changelog", "the server allows prepared transactions, which cannot notify: the log is looked at every 200 ms"
        )
    found = await changes.size()
    behind = max(0, found.written - (known.settled if known is not None else 0))
    words = f"the change log holds {size(found.bytes)}; {behind:,} changes are not settled"
    if found.bytes > MUCH:
        section.warning("changelog", words, "start `cdcd run`; if the project is given up: `cdcd teardown`")
    else:
        section.ok("changelog", words)


async def _recommend(section: Section, server: Server) -> None:
    """Which capture fits, and why: tried, as role flags lie on managed servers."""
    level = server.settings.get("wal_level", "")
    if level != "logical":
        where = f" ({server.provider.wal_level})" if server.provider is not SELF_HOSTED else ""
        section.ok(
            "capture", f"triggers fit: wal_level is {level}, so replication is not to be had as the server is set up{where}"
        )
        return
    try:
        await identify_system(server.database.url, application_name="cdcd check", timeout=REACH)
    except ReplicationError as error:
        section.ok("capture", f"triggers fit: this role is not let in for replication ({error})")
    else:
        section.ok("capture", f"`capture: replication` would work here too: {COSTS}")


def recommend_triggers(section: Section) -> None:
    """Where replication is refused as things stand: the way that needs none of it."""
    codes = {finding.code for finding in section.findings if finding.level is Level.MISTAKE}
    if refused := codes & {"wal_level", "replication", "slot", "slots", "senders"}:
        section.warning(
            "capture",
            f"replication is not to be had as things stand ({', '.join(sorted(refused))}); it needs an owner's hand once",
            f"mend that, or set `capture: triggers`, which needs none of it: {COSTS}",
        )


# Status


@dataclass(slots=True)
class LogReport:
    """A change log. `behind`: changes that were numbered and are not settled; `oldest`: when the first of these that can be seen was
    made, wall-clock seconds. `bytes` on disk, settled changes included that have not left yet."""

    written: int
    settled: int
    behind: int
    oldest: float | None
    bytes: int
    readers: int


async def report_log(
    catalog: Connection, config: Config, database: Database, triggers: Sequence[Trigger], known: Position | None
) -> tuple[LogReport | None, list[tuple[str, str]], list[TableInfo]]:
    """How the log stands (None: there is none), what keeps changes from being written down or read, with what mends it, and the tables.
    Raises ReplicationError."""
    names = names_of(config)
    logged = await find_logged(catalog, config, database, triggers)
    tables = [each.info for each in logged.wanted]
    trouble = [(problem.what, problem.fix) for problem in logged.problems]
    installed = await install.inspect(catalog, names)
    try:
        if installed is not None:
            check_ours(database, installed, config.project)
        check_position(database, installed or Installed("", 0, ""), known)
    except (SourceNotReady, PositionLost) as error:
        trouble.append((str(error).removeprefix(f"database {database.name!r}: "), error.hint))
    if installed is None:
        return None, trouble, tables
    trouble += [
        (f"{step.table}: {step.why}: changes are not written down", f"`cdcd run` mends it within a minute, or: {step.sql}")
        for step in install.steps(names, installed, logged.wanted)
        if step.gap
    ]
    settled = known.settled if known is not None else 0
    changes = ChangeLog(catalog, names)
    trouble += await open_for_long(changes)
    found = await changes.size()
    with refusals():
        cursor = await catalog.execute(
            f"""
            SELECT (SELECT extract(epoch FROM at)::float8 FROM {names.changes} WHERE seq > %s ORDER BY seq LIMIT 1),
                   (SELECT count(*) FROM pg_catalog.pg_stat_activity
                    WHERE application_name = 'cdcd' AND datname = current_database() AND query LIKE 'LISTEN "%%_changes"')::int
            """.encode(),
            [settled],
        )
        row = await cursor.fetchone()
    assert row is not None
    return LogReport(found.written, settled, max(0, found.written - settled), row[0], found.bytes, row[1]), trouble, tables


async def open_for_long(changes: ChangeLog, patience: float = PATIENCE) -> list[tuple[str, str]]:
    """The transactions that hold back what was captured after them: which, and what follows. `patience`: seconds."""
    found = []
    for writer in await changes.writers():
        who = await changes.who(writer)
        if who is not None and who.since is not None and time.time() - who.since >= patience:
            whose = who.application if writer.pid is None else f"pid {writer.pid}, application {who.application!r}, {who.state}"
            since = datetime.fromtimestamp(who.since, UTC).isoformat(timespec="seconds")
            found.append(
                (f"a transaction has captured changes and is open since {since} ({whose})", "what follows waits until it ends")
            )
    return found
