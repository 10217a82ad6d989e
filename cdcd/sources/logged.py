"""Opening a database that is captured by triggers: its tables, its change log, the triggers; and looking after them.

A source that starts refuses what its triggers cannot work with. One that runs goes on with what it can read and tells the rest. A
trigger that was there and is gone, or is disabled, is made again, and told as a gap: what changed in the meantime was not written
down by anybody.
"""

import asyncio
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import structlog

from cdcd.changelog import install
from cdcd.changelog.install import Installed, Step, Wanted
from cdcd.changelog.log import LOCK_NOT_AVAILABLE
from cdcd.changelog.names import Names
from cdcd.config.model import Config, Database
from cdcd.errors import CdcdError, PositionLost, SourceNotReady, SourceUnavailable
from cdcd.event import Position
from cdcd.replication.errors import NotPermitted, ReplicationError
from cdcd.replication.tables import resolve_tables
from cdcd.replication.walsender import Connection
from cdcd.sources.beginning import ACCEPT
from cdcd.sources.cuts import Cuts
from cdcd.sources.opening import catalog_of
from cdcd.sources.tables import Problem, excluded_schemas
from cdcd.sources.translate import SETUP, translated
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()


@dataclass(slots=True)
class Logged:
    """The tables to capture, and what is wrong with the rest."""

    wanted: list[Wanted]
    problems: list[Problem] = field(default_factory=list)


def names_of(config: Config) -> Names:
    """The names of the change log's objects, in whichever database."""
    return Names(config.eventing.schema)


async def find_logged(connection: Connection, config: Config, database: Database, triggers: Sequence[Trigger]) -> Logged:
    """Look the triggers' tables up in the catalog. Every kind of row can be told, with or without a key."""

    def meant(schema: str, name: str) -> bool:
        return any(trigger.covers(schema, name) for trigger in triggers)

    found = await resolve_tables(connection, meant, excluded_schemas(config, database))
    logged = Logged([])
    for info in found:
        if info.persistence != "temporary":
            wanting = [trigger for trigger in triggers if trigger.covers(info.schema, info.name)]
            logged.wanted.append(Wanted(info, frozenset().union(*(trigger.types for trigger in wanting))))
    for trigger in triggers:
        for pattern in trigger.tables:
            if not any(pattern.matches(each.info.schema, each.info.name) for each in logged.wanted):
                logged.problems.append(
                    Problem(
                        f"no table is named {pattern.text} (trigger {trigger.name})",
                        "correct the name, create the table, or set `enabled: false`; the role must be able to see it",
                        missing=True,
                    )
                )
    return logged


def refuse(database: Database, logged: Logged) -> None:
    """Raise SourceNotReady with everything that keeps the triggers from working."""
    if logged.problems:
        raise SourceNotReady(
            "\n".join(f"database {database.name!r}: {problem.what}" for problem in logged.problems),
            hint="\n       ".join(problem.fix for problem in logged.problems),
        )


def check_ours(database: Database, installed: Installed, project: str) -> None:
    """Raise SourceNotReady when the log is another project's, or of another version of cdcd."""
    if installed.project != project:
        raise SourceNotReady(
            f"database {database.name!r}: the change log belongs to the project {installed.project!r}, not {project!r}",
            hint="give each project its own eventing.schema",
        )
    if installed.version != install.VERSION:
        raise SourceNotReady(
            f"database {database.name!r}: the change log is of version {installed.version}, this cdcd knows {install.VERSION}",
            hint="run the cdcd that made it until everything is settled, then `cdcd teardown`, and set up anew",
        )


def check_position(database: Database, installed: Installed, known: Position | None) -> None:
    """Raise PositionLost when the stored position is not one of this log."""
    if known is None or known.identity.get("log") == installed.log:
        return
    if "log" not in known.identity:
        raise PositionLost(
            f"database {database.name!r} was captured by replication until now; what was committed and not yet read is not in the "
            "change log",
            hint=f"set `capture: replication` again; or {ACCEPT}",
        )
    raise PositionLost(
        f"database {database.name!r}: the change log that was read is gone; changes that stood in it, and those that were made before "
        "there was this one, cannot be read any more",
        hint=ACCEPT,
    )


async def ensure(
    catalog: Connection, config: Config, database: Database, logged: Logged, new: Container[str] = ()
) -> tuple[Installed, list[Step]]:
    """Make what is missing; the log, and the steps that were taken. Of `new` tables nothing was to be written down until now.
    Raises ReplicationError, SourceNotReady, SourceUnavailable (a table is in use)."""
    names = names_of(config)
    taken: list[Step] = []
    try:
        if await install.inspect(catalog, names) is None and await install.make(catalog, names, config.project):
            log.info("changelog.made", database=database.name, schema=names.schema)
        installed = await _inspect(catalog, config, database)
        for _ in range(2):  # partitions get their triggers from their root's: they are seen at the second look
            todo = install.steps(names, installed, logged.wanted)
            for step in todo:
                await install.take(catalog, step)
                log.info("changelog.changed", database=database.name, table=step.table, why=step.why, sql=step.sql)
                if step.gap and step.table not in new:
                    log.error("changelog.gap", database=database.name, table=step.table, why=step.why, hint=GAP)
            taken += todo
            if not todo:
                break
            installed = await _inspect(catalog, config, database)
        await install.describe(catalog, names, logged.wanted)
    except NotPermitted as error:
        raise SourceNotReady(
            f"database {database.name!r}: the change log or its triggers must be changed, and the role may not: {error}",
            hint=SETUP,
        ) from error
    except ReplicationError as error:
        if error.sqlstate != LOCK_NOT_AVAILABLE:
            raise
        raise SourceUnavailable(
            f"database {database.name!r}: a table is in use, so its trigger could not be changed yet: {error}",
            hint="it is tried again; a long transaction that has written to the table stands in the way",
        ) from error
    return installed, taken


GAP = "it is there again; changes made meanwhile were not written down: compare these rows by hand"


async def _inspect(catalog: Connection, config: Config, database: Database) -> Installed:
    installed = await install.inspect(catalog, names_of(config))
    if installed is None:
        raise SourceUnavailable(f"database {database.name!r}: the change log was removed while it was set up")
    check_ours(database, installed, config.project)
    return installed


async def prepare(
    catalog: Connection,
    config: Config,
    database: Database,
    triggers: Sequence[Trigger],
    known: Position | None,
    *,
    running: bool,
) -> Installed:
    """Bring log and triggers in step with the configuration. Raises ReplicationError, SourceNotReady, PositionLost,
    SourceUnavailable."""
    logged = await find_logged(catalog, config, database, triggers)
    if not running:
        refuse(database, logged)
    installed = await install.inspect(catalog, names_of(config))
    if installed is not None:
        check_ours(database, installed, config.project)
    if known is not None:
        check_position(database, installed or Installed("", 0, ""), known)
    installed, _ = await ensure(catalog, config, database, logged)
    return installed


class LogWatch:
    """Looks again and again whether log and triggers are what they should be, and takes in tables that appear."""

    def __init__(self, config: Config, cuts: Cuts, interval: float) -> None:
        self._config = config
        self._cuts = cuts
        self._interval = interval
        self._told: set[str] = set()

    async def run(self, reading: str) -> None:
        """`reading`: the log that is read. Ends by SourceUnavailable when it is another; other trouble is only told."""
        while True:
            await asyncio.sleep(self._interval)
            trouble: dict[str, str] = {}
            try:
                there = await self._look(reading, trouble)
            except CdcdError as error:
                there = True
                trouble[str(error)] = error.hint
            for what in trouble.keys() - self._told:
                log.error("source.problem", database=self._cuts.database.name, problem=what, hint=trouble[what])
            self._told = set(trouble)
            if not there:
                raise SourceUnavailable(f"database {self._cuts.database.name!r}: the change log was removed while it was read")

    async def _look(self, reading: str, trouble: dict[str, str]) -> bool:
        with translated(self._cuts.database):
            async with catalog_of(self._cuts.database) as catalog:
                installed = await install.inspect(catalog, names_of(self._config))
                if installed is None or installed.log != reading:
                    return False
                logged = await find_logged(catalog, self._config, self._cuts.database, self._cuts.triggers)
                trouble.update({problem.what: problem.fix for problem in logged.problems})
                await ensure(catalog, self._config, self._cuts.database, logged)
        return True
