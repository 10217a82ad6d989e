"""Which tables a database's triggers mean, and into which publication each goes. Pure but for the catalog query.

The rule: cdcd never breaks the application. In a publication that publishes updates, Postgres refuses every UPDATE and DELETE of a
table whose rows have no usable replica identity. So such a table goes into a second publication, of inserts alone; and a trigger
that wants its updates or deletes is refused, with the SQL that mends it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cdcd.config.model import Capture, Config, Database
from cdcd.replication.publication import ALL_KINDS, INSERT_KINDS, Name
from cdcd.replication.quoting import table as quoted
from cdcd.replication.tables import TableInfo, resolve_tables
from cdcd.replication.walsender import Connection
from cdcd.triggers.trigger import Trigger


@dataclass(slots=True, frozen=True)
class Problem:
    """What keeps a trigger from working: what it is, and the SQL or setting that mends it. `missing`: no such table."""

    what: str
    fix: str
    missing: bool = False


@dataclass(slots=True)
class Captured:
    """The tables to publish, by publication; and what is wrong with the rest."""

    publication: str
    tables: list[TableInfo]
    full: list[Name] = field(default_factory=list)
    insert_only: list[Name] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def publications(self) -> dict[str, tuple[list[Name], Sequence[str]]]:
        """Name -> tables and what it publishes. Always both, with or without tables: a stream is opened with fixed names, and
        what was written before a publication existed can never be decoded with it."""
        return {
            self.publication: (self.full, ALL_KINDS),
            insert_only_name(self.publication): (self.insert_only, INSERT_KINDS),
        }


def insert_only_name(publication: str) -> str:
    """The publication of tables without a usable replica identity."""
    return f"{publication}_insert"


def excluded_schemas(config: Config, database: Database) -> list[str]:
    """cdcd's own schema, where it is in this database: what the store or the change log writes must never make events."""
    own = config.eventing.database == database.name or database.capture is Capture.TRIGGERS
    return [config.eventing.schema] if own else []


async def find_tables(connection: Connection, config: Config, database: Database, triggers: Sequence[Trigger]) -> Captured:
    """Look the triggers' tables up in the catalog."""

    def wanted(schema: str, name: str) -> bool:
        return any(trigger.covers(schema, name) for trigger in triggers)

    found = await resolve_tables(connection, wanted, excluded_schemas(config, database))
    return sort_tables(database.publication, found, triggers)


def sort_tables(publication: str, found: Sequence[TableInfo], triggers: Sequence[Trigger]) -> Captured:
    """Which table goes where, and what is wrong."""
    captured = Captured(publication, [])
    for info in found:
        wanting = [trigger for trigger in triggers if trigger.covers(info.schema, info.name)]
        if not wanting:
            continue
        if not info.publishable:
            captured.problems.append(
                Problem(
                    f"{info.full_name} is {info.persistence}: its changes never reach the WAL (trigger {wanting[0].name})",
                    f"ALTER TABLE {quoted(info.schema, info.name)} SET LOGGED",
                )
            )
            continue
        captured.tables.append(info)
        if info.identity_usable:
            captured.full.append((info.schema, info.name))
            continue
        captured.insert_only.append((info.schema, info.name))
        captured.problems += [_no_identity(info, trigger) for trigger in wanting if trigger.types & {"DB_UPDATE", "DB_DELETE"}]
    for trigger in triggers:
        for pattern in trigger.tables:
            if not any(pattern.matches(info.schema, info.name) for info in found):
                captured.problems.append(
                    Problem(
                        f"no table is named {pattern.text} (trigger {trigger.name})",
                        "correct the name, create the table, or set `enabled: false`; the role must be able to see it",
                        missing=True,
                    )
                )
    return captured


def _no_identity(info: TableInfo, trigger: Trigger) -> Problem:
    leaves = [leaf for leaf in info.leaves if not leaf.identity_usable]
    names = [(leaf.schema, leaf.name) for leaf in leaves] or [(info.schema, info.name)]
    which = ", ".join(f"{schema}.{name}" for schema, name in names)
    return Problem(
        f"{which} has no primary key, so Postgres cannot tell which row an UPDATE or DELETE changed (trigger {trigger.name})",
        "; ".join(f"ALTER TABLE {quoted(schema, name)} REPLICA IDENTITY FULL" for schema, name in names)
        + "  -- or add a primary key, or leave DB_UPDATE and DB_DELETE out of the trigger's types",
    )
