"""Why a row's changes make deliveries, or do not: each trigger's checks on the row as it is now, and what stands in the way of all.

The rules:
- the row is read as it is, or given; what it was before an update is known only when it is given, and is never guessed;
- only a table that some trigger covers is read: this is no way to look at others;
- it is judged with the very values that the stream would give, by the functions that the matcher uses.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson
import psycopg
from psycopg import sql

from cdcd.admin.deliveries import Deliveries, Filter, Found, Unfit
from cdcd.config.model import Capture, Config, Database, Kind
from cdcd.config.tables import parse_table
from cdcd.errors import EventError
from cdcd.event import Delivery, Event
from cdcd.replication.messages import Column, Insert, Relation, Update
from cdcd.replication.refusal import translated as refusals
from cdcd.replication.tables import TableInfo, resolve_tables, type_map
from cdcd.replication.tuples import Tuple
from cdcd.replication.values import SETTINGS
from cdcd.replication.walsender import Connection
from cdcd.sources.logged import find_logged
from cdcd.sources.opening import catalog_of
from cdcd.sources.rows import Change, Table, Transaction
from cdcd.sources.tables import excluded_schemas, find_tables
from cdcd.sources.translate import translated
from cdcd.triggers.judging import Judgement, Scene, judge, remembered
from cdcd.triggers.matcher import Change as Facts
from cdcd.triggers.trigger import Trigger

TYPES = ("DB_INSERT", "DB_UPDATE", "DB_DELETE")
RECENT = 5  # deliveries of the row that are shown
MOST_PAGES = 10  # of the event log, that are looked at for them


@dataclass(slots=True, frozen=True)
class Asked:
    """Which row is meant. `table` is `schema.name`, or a name in `public`; `key` its primary key's values, joined by commas; `row` and
    `old` are JSON objects, given instead of being read. `type` None: as an insert and as an update of it would be seen."""

    table: str
    key: str | None = None
    database: str | None = None
    row: Mapping[str, object] | None = None
    old: Mapping[str, object] | None = None
    type: str | None = None


@dataclass(slots=True, frozen=True)
class Obstacle:
    """What keeps changes of the table from making deliveries, whatever the row; and what mends it."""

    what: str
    fix: str = ""


@dataclass(slots=True)
class Unfired:
    """The row, explained. `there`: whether it was found; None when it was given, or not looked for. `judgements` are of each type that was
    tried, in the order of the configuration. `recent`: the newest deliveries of the row."""

    database: str
    table: str
    key: str
    there: bool | None = None
    obstacles: list[Obstacle] = field(default_factory=list)
    judgements: dict[str, tuple[Judgement, ...]] = field(default_factory=dict)
    recent: tuple[Found, ...] = ()
    unknown: list[str] = field(default_factory=list)


async def look(
    config: Config, triggers: Sequence[Trigger], deliveries: Deliveries, asked: Asked, paused: Collection[str] = ()
) -> Unfired:
    """Raises Unfit for what cannot be meant; SourceUnavailable, SourceNotReady, StoreUnavailable, StoreRefused."""
    schema, name = _check(asked)
    database = _database(config, triggers, asked.database, (schema, name))
    result = Unfired(database.name, f"{schema}.{name}", asked.key or "")
    scene = Scene(Kind.DATABASE, database.name, (schema, name))
    mine = [trigger for trigger in triggers if trigger.config.database == database.name]
    covering = [trigger for trigger in mine if trigger.covers(schema, name)]
    if schema in excluded_schemas(config, database):
        result.obstacles.append(Obstacle(f"{result.table} is cdcd's own: what it writes never makes events"))
        return result
    if not covering:
        result.obstacles.append(Obstacle(f"no trigger names {result.table}", "add it to the `table` of a trigger"))
        for kind in _types(asked):
            facts = _given(asked, scene, kind)
            result.judgements[kind] = tuple(judge(trigger, facts, scene) for trigger in mine)
        return result
    result.obstacles += [
        Obstacle(f"the trigger {trigger.name} is paused: its deliveries wait", f"cdcd triggers resume {trigger.name}")
        for trigger in covering
        if trigger.name in paused
    ]
    with translated(database):
        async with catalog_of(database) as catalog:
            info = await _describe(catalog, (schema, name))
            result.obstacles += await _obstacles(catalog, config, database, mine, (schema, name), info)
            changes = await _changes(catalog, config, database, info, asked, result) if asked.row is None and info else {}
    for kind in _types(asked):
        seen = _given(asked, scene, kind) if asked.row is not None else changes.get(kind)
        if seen is not None:
            result.judgements[kind] = tuple(judge(trigger, seen, scene) for trigger in mine)
    if "DB_UPDATE" in result.judgements and asked.old is None:
        result.unknown.append("the row as it was before an update (it can be given)")
    if asked.key:
        result.recent = await _recent(deliveries, Filter(key=asked.key, source=database.name), result)
    return result


async def _recent(deliveries: Deliveries, wanted: Filter, result: Unfired) -> tuple[Found, ...]:
    """The newest deliveries of the row; a page that found few since its time was over is not the last."""
    subjects = (result.table, f"{result.table}/{result.key}")
    here: list[Found] = []
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await deliveries.list(wanted, cursor, limit=RECENT * 4)
        here += (found for found in page.items if found.subject in subjects)
        cursor = page.next
        if cursor is None or page.searched is None or len(here) >= RECENT:
            break
    else:
        if not here:
            result.unknown.append("its deliveries: no index finds them quickly now")
    return tuple(here[:RECENT])


def _check(asked: Asked) -> tuple[str, str]:
    """Schema and name of the table."""
    if asked.type is not None and asked.type not in TYPES:
        raise Unfit(f"the type must be one of {', '.join(TYPES)}: other events have no row")
    if asked.key is None and asked.row is None:
        raise Unfit("say which row: give its key, or the row itself as JSON")
    if asked.old is not None and asked.row is None and asked.type != "DB_UPDATE":
        raise Unfit("the old row is of use for a DB_UPDATE alone")
    try:
        named = parse_table(asked.table).literal
    except ValueError as error:
        raise Unfit(f"the table: {error}") from error
    if named is None:
        raise Unfit("the table: name one, without wildcards")
    return named


def _types(asked: Asked) -> tuple[str, ...]:
    return (asked.type,) if asked.type is not None else ("DB_INSERT", "DB_UPDATE")


def _database(config: Config, triggers: Iterable[Trigger], name: str | None, table: tuple[str, str]) -> Database:
    if name is not None:
        if name not in config.databases:
            raise Unfit(f"there is no database {name!r}; there are: {', '.join(config.databases)}")
        return config.databases[name]
    covering = dict.fromkeys(
        trigger.config.database for trigger in triggers if trigger.kind is Kind.DATABASE and trigger.covers(*table)
    )
    if len(covering) == 1:
        return config.databases[next(iter(covering))]
    if len(config.databases) == 1:
        return next(iter(config.databases.values()))
    raise Unfit(f"say in which database: {', '.join(covering or config.databases)}")


def _given(asked: Asked, scene: Scene, kind: str) -> Facts:
    """A row that was given, as what is stored of an event is seen."""
    assert scene.table is not None
    row, old = dict(asked.row or {}), asked.old
    data: dict[str, object] = {"db": scene.source, "schema": scene.table[0], "col": scene.table[1]}
    if kind == "DB_DELETE":
        data["before"] = row
    else:
        data["doc"] = row
        if kind == "DB_UPDATE" and old is not None:
            data["before"] = dict(old)
            data["changed"] = [column for column in row if row[column] != old.get(column)]
    key = asked.key or ""
    subject = f"{'.'.join(scene.table)}/{key}" if key else ".".join(scene.table)
    try:
        event = Event(kind, scene.source, subject, key, 0, orjson.dumps(data))
        return remembered(Delivery("", "", event, None), Kind.DATABASE)[0]
    except TypeError:
        raise Unfit("the row is nested too deeply") from None
    except EventError as error:
        raise Unfit(f"the row: {error}") from error


async def _describe(catalog: Connection, table: tuple[str, str]) -> TableInfo | None:
    found = await resolve_tables(catalog, lambda schema, name: (schema, name) == table)
    return found[0] if found else None


async def _obstacles(
    catalog: Connection,
    config: Config,
    database: Database,
    triggers: Sequence[Trigger],
    table: tuple[str, str],
    info: TableInfo | None,
) -> list[Obstacle]:
    """What `cdcd check` would say of this table, and whether it is captured as things stand."""
    name = ".".join(table)
    if info is None:
        return [Obstacle(f"there is no table {name} in the database {database.name}", "the role must be able to see it")]
    enabled = [trigger for trigger in triggers if trigger.config.enabled]
    if database.capture is Capture.TRIGGERS:
        logged = await find_logged(catalog, config, database, enabled)
        obstacles = [Obstacle(problem.what, problem.fix) for problem in logged.problems if name in problem.what]
        with refusals():
            rows = await (
                await catalog.execute(
                    "SELECT t.tgenabled::text FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid "
                    "JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE t.tgrelid = %s AND n.nspname = %s",
                    [info.oid, config.eventing.schema],
                )
            ).fetchall()
        if not rows:
            obstacles.append(Obstacle(f"{name} has no triggers of cdcd: its changes are not written down", "cdcd setup"))
        elif any(state == "D" for (state,) in rows):
            obstacles.append(Obstacle(f"cdcd's triggers on {name} are disabled", f"ALTER TABLE {name} ENABLE TRIGGER ALL"))
        return obstacles
    captured = await find_tables(catalog, config, database, enabled)
    obstacles = [Obstacle(problem.what, problem.fix) for problem in captured.problems if name in problem.what]
    with refusals():
        published = await (
            await catalog.execute(
                "SELECT pubname::text FROM pg_catalog.pg_publication_tables WHERE schemaname = %s AND tablename = %s AND pubname = ANY(%s)",
                [*table, list(captured.publications)],
            )
        ).fetchall()
    if not published and info.root is None and info.kind == "table":
        obstacles.append(
            Obstacle(
                f"{name} is not in the publication {database.publication}: its changes are not streamed",
                "cdcd setup, or cdcd run",
            )
        )
    elif published and all(each != database.publication for (each,) in published):
        obstacles.append(
            Obstacle(f"{name} has no usable replica identity: only inserts are published", "give it a primary key")
        )
    return obstacles


async def _changes(
    catalog: Connection, config: Config, database: Database, info: TableInfo, asked: Asked, result: Unfired
) -> dict[str, Facts]:
    """The row as it is now, as an insert and as an update of it would come out of the stream."""
    names = info.primary_key or info.identity_columns
    if not names:
        raise Unfit(f"{info.full_name} has no primary key to find the row by; give the row itself as JSON")
    values = _key_values(asked.key or "", names)
    columns = [column for column in info.columns if column not in info.generated] or list(info.columns)
    query = sql.SQL("SELECT {} FROM {} WHERE {}").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.Identifier(info.schema, info.name),
        sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in names),
    )
    try:
        for setting, value in SETTINGS.items():  # as the stream gives values
            await catalog.execute("SELECT set_config(%s, %s, false)", [setting, value])
        cursor = await catalog.execute(query, values)
    except psycopg.DataError as error:
        raise Unfit(
            f"the key of {info.full_name} is {', '.join(names)}, and that is none: {str(error).splitlines()[0]}"
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:  # nor need it: capturing wants no right to read
        raise Unfit(f"cdcd's role may not read {info.full_name}; give the row itself as JSON (--row)") from error
    found = cursor.pgresult
    assert found is not None
    result.there = found.ntuples > 0
    if not result.there:
        result.obstacles.append(
            Obstacle(f"there is no row {asked.key} in {info.full_name} now", "it was deleted, or never committed")
        )
        return {}
    raw = [found.get_value(0, index) for index in range(len(columns))]
    kinds = dict(zip(info.columns, info.type_oids, strict=True))
    relation = Relation(
        *(info.oid, info.schema, info.name, info.replica_identity),
        tuple(Column(name in info.identity_columns, name, kinds[name], -1) for name in columns),
    )
    resolve = (await type_map(catalog, info.type_oids)).get
    source = f"cdcd/{config.project}/{database.name}"
    table = Table(source, database.name, relation, info.primary_key, resolve)
    row = Tuple.of([None if value is None else bytes(value) for value in raw])
    transaction = Transaction(0, 0, 0, None)
    changes: dict[str, Facts] = {
        "DB_INSERT": Change(table, Insert(relation, row), transaction),
        "DB_UPDATE": Change(table, Update(relation, None, None, row), transaction),
    }
    if asked.old is not None:
        read = Change(table, Insert(relation, row), transaction)
        data = orjson.loads(read.data())
        scene = Scene(Kind.DATABASE, database.name, (info.schema, info.name))
        changes["DB_UPDATE"] = _given(replace(asked, row=data["doc"]), scene, "DB_UPDATE")
    if asked.type == "DB_DELETE":
        result.unknown.append("a DB_DELETE of a row that is still there: give the row that is gone as JSON")
    return changes


def _key_values(text: str, names: Sequence[str]) -> list[str]:
    """The key's values as text: as an event has them, or as a JSON object or list."""
    values: list[object]
    try:
        plain = orjson.loads(text) if text[:1] in "{[" else None
    except ValueError as error:
        raise Unfit("the key is not the JSON that it looks like") from error
    if isinstance(plain, dict):
        if plain.keys() != set(names):
            raise Unfit(f"the key has the columns {', '.join(names)}")
        values = [plain[name] for name in names]
    elif isinstance(plain, list):
        values = plain
    else:
        values = [text] if len(names) == 1 else list(text.split(","))
    if len(values) != len(names):
        raise Unfit(f"the key has {len(names)} columns ({', '.join(names)}); give their values with commas between")
    if any("\0" in str(value) for value in values):
        raise Unfit("no key holds a NUL")
    return [str(value) for value in values]
