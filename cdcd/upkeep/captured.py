"""Checks of what triggers capture: their tables and columns, replica identities, partitions, and the publications.

The rule: what `cdcd run` would refuse is a mistake here in the same words (`cdcd.sources.tables`); what would work but not as the
trigger's author thinks is a warning.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from cdcd.config.model import Config
from cdcd.event import Position
from cdcd.replication import publication
from cdcd.replication.errors import NotPermitted
from cdcd.replication.lsn import format_lsn
from cdcd.replication.quoting import identifier
from cdcd.replication.quoting import table as quoted
from cdcd.replication.refusal import translated as refusals
from cdcd.replication.tables import TableInfo, resolve_tables
from cdcd.replication.walsender import Connection
from cdcd.sources.beginning import ACCEPT
from cdcd.sources.opening import publications
from cdcd.sources.tables import Captured, excluded_schemas, find_tables
from cdcd.triggers.trigger import Trigger
from cdcd.upkeep.finding import Section
from cdcd.upkeep.server import Server

CHANGING = {"DB_UPDATE", "DB_DELETE"}
_GENERATED = "PostgreSQL 18 and later send stored generated columns, virtual ones are never sent"
_WITH_POINT = frozenset({700, 701, 1700})  # real, double precision, numeric
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence", "i": "an index"}


@dataclass(slots=True)
class Catalog:
    """What the catalog says beside the captured tables. `others`: kind of what is no table; `leaves` of each partitioned table;
    `unsent`: columns whose values the server does not send."""

    every: list[TableInfo]
    others: dict[tuple[str, str], str] = field(default_factory=dict)
    leaves: dict[tuple[str, str], list[tuple[str, str, str]]] = field(default_factory=dict)
    unsent: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)


async def check_captured(
    section: Section, server: Server, config: Config, triggers: Sequence[Trigger], known: Position | None
) -> Captured:
    """The tables of this database's triggers, and then its publications. `known` is the stored position. Raises ReplicationError."""
    connection = server.connection
    captured = await find_tables(connection, config, server.database, triggers)
    catalog = await _catalog(connection, config, server)
    for problem in captured.problems:
        if not problem.missing:
            section.mistake("table", problem.what, problem.fix)
    for trigger in triggers:
        _check_trigger(section, trigger, captured, catalog, identity=True)
    await _check_publications(section, server, captured, known)
    return captured


async def check_wanted(
    section: Section, server: Server, config: Config, triggers: Sequence[Trigger], tables: list[TableInfo]
) -> None:
    """The tables of triggers where old rows are always whole. Raises ReplicationError."""
    catalog = await _catalog(server.connection, config, server)
    for trigger in triggers:
        _check_trigger(section, trigger, Captured("", tables), catalog, identity=False)


async def _catalog(connection: Connection, config: Config, server: Server) -> Catalog:
    every = await resolve_tables(connection, lambda schema, name: True, excluded_schemas(config, server.database))
    catalog = Catalog(every)
    with refusals():
        cursor = await connection.execute(
            "SELECT n.nspname, c.relname, c.relkind::text FROM pg_catalog.pg_class c "
            "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm', 'f') "
            "AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'"
        )
        catalog.others = {(schema, name): kind for schema, name, kind in await cursor.fetchall()}
        cursor = await connection.execute(
            """
            SELECT rn.nspname, r.relname, n.nspname, c.relname, c.relreplident::text
            FROM pg_catalog.pg_class r JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace,
                 pg_catalog.pg_partition_tree(r.oid) t
            JOIN pg_catalog.pg_class c ON c.oid = t.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE r.relkind = 'p' AND t.isleaf AND c.oid <> r.oid
            """
        )
        for root_schema, root, schema, name, identity in await cursor.fetchall():
            catalog.leaves.setdefault((root_schema, root), []).append((schema, name, identity))
        never = "" if server.major < 18 else "AND a.attgenerated <> 's'"
        cursor = await connection.execute(
            f"""
            SELECT n.nspname, c.relname, array_agg(a.attname::text)
            FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> '' {never} AND c.relkind IN ('r', 'p')
            GROUP BY 1, 2
            """
        )
        catalog.unsent = {(schema, name): frozenset(columns) for schema, name, columns in await cursor.fetchall()}
    return catalog


def _check_trigger(section: Section, trigger: Trigger, captured: Captured, catalog: Catalog, *, identity: bool) -> None:
    before = len(section.findings)
    for pattern in trigger.tables:
        if not any(pattern.matches(info.schema, info.name) for info in captured.tables):
            _missing(section, trigger, pattern.text, pattern.literal, captured, catalog)
    mine = [info for info in captured.tables if trigger.covers(info.schema, info.name)]
    _check_columns(section, trigger, mine, catalog)
    _check_numbers(section, trigger, mine)
    for info in mine if identity else ():
        _check_identity(section, trigger, info, catalog)
    if len(section.findings) == before and mine:
        names = ", ".join(info.full_name for info in mine[:4]) + (f" and {len(mine) - 4} more" if len(mine) > 4 else "")
        section.ok("trigger", f"trigger {trigger.name}: {', '.join(sorted(trigger.types))} of {names}")


def _missing(
    section: Section,
    trigger: Trigger,
    text: str,
    literal: tuple[str, str] | None,
    captured: Captured,
    catalog: Catalog,
) -> None:
    """Nothing is captured for a pattern: say why, where that can be known."""
    where = _place(trigger, "table")
    if literal is not None:
        found = next((info for info in catalog.every if (info.schema, info.name) == literal), None)
        if found is not None and not found.publishable:
            return  # told as what it is: unlogged, temporary
        if literal in catalog.others:
            section.mistake(
                "table",
                f"{where}{text} is {_KINDS[catalog.others[literal]]}, which has no changes of its own",
                "name the tables that it is made from",
            )
            return
        root = next((root for root, leaves in catalog.leaves.items() if literal in {leaf[:2] for leaf in leaves}), None)
        if root is not None:
            section.mistake(
                "table",
                f"{where}{text} is a partition of {'.'.join(root)}, whose changes come under the root's name",
                f"write `table: {'.'.join(root)}` and tell its rows apart in `when`",
            )
            return
    names = [info.full_name for info in catalog.every]
    close = get_close_matches(text if literal is None else ".".join(literal), names, n=1)
    if not close and literal is not None:
        close = [info.full_name for info in catalog.every if info.name == literal[1]][:1]
    near = f"; did you mean {close[0]}?" if close else ""
    section.mistake(
        "table",
        f"{where}no table is named {text}{near}",
        "correct the name, create the table, or set `enabled: false`; the role must be able to see it",
    )


def _check_columns(section: Section, trigger: Trigger, tables: Sequence[TableInfo], catalog: Catalog) -> None:
    asked: dict[str, set[str]] = {"columns": set(trigger.columns)}
    for option, expression in trigger.expressions:
        asked.setdefault(option, set()).update(column for _, column in expression.columns_used)
    for option, columns in asked.items():
        for column in sorted(columns):
            lacking = [info for info in tables if column not in info.columns]
            if lacking:
                close = get_close_matches(column, lacking[0].columns, n=1)
                near = f"; did you mean {close[0]}?" if close else f"; it has {', '.join(lacking[0].columns)}"
                tell = section.mistake if len(lacking) == len(tables) or option != "columns" else section.warning
                names = ", ".join(info.full_name for info in lacking)
                tell("column", f"{_place(trigger, option)}{names} has no column {column}{near}", f"correct it in `{option}`")
            for info in tables:
                if column in catalog.unsent.get((info.schema, info.name), ()):
                    section.mistake(
                        "column",
                        f"{_place(trigger, option)}{info.full_name}.{column} is a generated column, which the server does not send",
                        f"use the columns that it is computed from; {_GENERATED}",
                    )
    for info in tables:
        unsent = sorted(catalog.unsent.get((info.schema, info.name), frozenset()) - set().union(*asked.values()))
        if unsent:
            section.warning(
                "generated",
                f"trigger {trigger.name}: {info.full_name}.{', '.join(unsent)} is generated and will not be in the webhooks",
                f"compute it in the receiver; {_GENERATED}",
            )


def _check_numbers(section: Section, trigger: Trigger, tables: Sequence[TableInfo]) -> None:
    """Templates read numbers from JSON, where those of these types have no point when they are whole."""
    for option, expression in trigger.templates.expressions if trigger.templates is not None else ():
        for info in tables:
            types = dict(zip(info.columns, info.type_oids, strict=True))
            asked = sorted(f"{root}.{name}" for root, name in expression.computed if types.get(name) in _WITH_POINT)
            if asked:
                section.warning(
                    "number",
                    f"{_place(trigger, option)}it calculates with {', '.join(asked)} of {info.full_name}: without a point in its "
                    "value that is a whole number here, of which 7 / 2 is 3, and 7 * 1.5 an error",
                    f"write double({asked[0]})",
                )
                break


def _check_identity(section: Section, trigger: Trigger, info: TableInfo, catalog: Catalog) -> None:
    """Whether the old row that the trigger asks for is sent."""
    if not trigger.types & CHANGING or not info.identity_usable:
        return  # the latter is a problem of `cdcd.sources.tables`
    rows = catalog.leaves.get((info.schema, info.name)) or [(info.schema, info.name, info.replica_identity)]
    partial = [(schema, name) for schema, name, identity in rows if identity != "f"]
    if not partial:
        return
    fix = "\n".join(f"ALTER TABLE {quoted(*name)} REPLICA IDENTITY FULL;" for name in partial)
    key = info.primary_key if info.replica_identity == "f" else info.identity_columns  # what those leaves send
    for option, expression in trigger.expressions:
        beyond = sorted({c for root, c in expression.columns_used if root == "old"} - set(key))
        beyond = [column for column in beyond if column in info.columns]
        if beyond or "old" in expression.whole:
            what = ", ".join(f"old.{column}" for column in beyond) or "the whole old row"
            section.mistake(
                "identity",
                f"{_place(trigger, option)}it asks for {what}, but {_names(info, partial)} sends only its key of an old row "
                f"({', '.join(key)}): such changes would be recorded as failed",
                fix,
            )
    if trigger.columns and "DB_UPDATE" in trigger.types and not _told(section, info, fix):
        section.warning(
            "identity",
            f"{_place(trigger, 'columns')}without the old row it cannot be told which columns of {info.full_name} an update "
            "changed: every update fires",
            fix,
        )
    odd = [f"{leaf.schema}.{leaf.name}" for leaf in info.leaves if leaf.replica_identity != info.replica_identity]
    if odd and info.kind == "partitioned":
        section.warning(
            "partition",
            f"trigger {trigger.name}: the replica identity of the partitions {', '.join(odd)} is not that of {info.full_name}; "
            "theirs counts, and `before` differs between them",
            fix if info.replica_identity == "f" else "ALTER TABLE <partition> REPLICA IDENTITY DEFAULT;  -- or as the others",
        )


def _names(info: TableInfo, partial: Sequence[tuple[str, str]]) -> str:
    """The table, or its partitions where it is they."""
    if info.kind == "table":
        return info.full_name
    return f"{info.full_name} (in {', '.join('.'.join(name) for name in partial[:3])}{', ...' if len(partial) > 3 else ''})"


def _told(section: Section, info: TableInfo, fix: str) -> bool:
    """Whether the same cure was given for this table already."""
    return any(
        finding.code == "identity" and finding.fix == fix and info.full_name in finding.what for finding in section.findings
    )


async def _check_publications(section: Section, server: Server, captured: Captured, known: Position | None) -> None:
    """In step with the triggers, or can be brought there: tried in a transaction that is rolled back."""
    connection = server.connection
    standing = await publications(connection, captured)
    if known is not None and known.identity.get("publications", standing) != standing:
        section.warning(
            "publication",
            f"a publication was dropped or made again after {format_lsn(known.settled)}: what was committed in between cannot be "
            "decoded, and is not delivered",
            ACCEPT,
        )
    statements: list[str] = []
    for name, (tables, publish) in captured.publications.items():
        state = await publication.inspect(connection, name)
        if state is None:
            statements.append(publication.create_sql(name, tables, publish, server_version=server.version))
        else:
            statements += publication.alter_sql(state, tables, publish, server_version=server.version)
    if not statements:
        section.ok("publication", f"the publication {captured.publication} is in step with the triggers")
        return
    if server.standby:
        section.mistake("publication", "the publication must be changed on the primary", _lines(statements))
        return
    try:
        with refusals():
            async with connection.transaction(force_rollback=True):
                await connection.execute("SET LOCAL lock_timeout = '2s'")
                for statement in statements:
                    await connection.execute(statement)
    except NotPermitted as error:
        why = await _why_not(server, captured)
        section.mistake(
            "publication",
            f"the publication must be {'changed' if 'ALTER' in statements[0] else 'made'}, and the role {server.role} may not: "
            f"{why or error}",
            f"as the owner of database and tables:\n{_lines(statements)}\n-- or everything at once: `cdcd setup --print`",
        )
    else:
        section.ok(
            "publication", f"the publication {captured.publication} will be brought in step by `cdcd setup` or `cdcd run`"
        )


async def _why_not(server: Server, captured: Captured) -> str:
    """Which rights the role lacks, in words."""
    with refusals():
        cursor = await server.connection.execute(
            "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), "
            "ARRAY(SELECT c.oid::bigint FROM pg_catalog.pg_class c WHERE c.oid = ANY(%s::oid[]) "
            "AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE'))",
            [[info.oid for info in captured.tables]],
        )
        row = await cursor.fetchone()
    assert row is not None
    lacks = [] if row[0] else [f"it has no CREATE right on the database {identifier(server.dbname)}"]
    if foreign := [info.full_name for info in captured.tables if info.oid in row[1]]:
        lacks.append(f"it does not own {', '.join(foreign[:5])}" + (" and others" if len(foreign) > 5 else ""))
    return " and ".join(lacks)


def _lines(statements: Sequence[str]) -> str:
    return "\n".join(f"{statement};" for statement in statements)


def _place(trigger: Trigger, option: str) -> str:
    """`cdcd.yaml:12:5: trigger x: `."""
    place = trigger.config.place(option)
    return f"{place}: trigger {trigger.name}: " if place else f"trigger {trigger.name}: "
