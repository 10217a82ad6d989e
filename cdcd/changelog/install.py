"""Makes the change log and its triggers, keeps them in step with the captured tables, and takes all of it away again.

The rule: a table of the application is locked only for as long as making one trigger takes, and never waited for longer than
`lock_timeout`; what could not be done is tried again.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from cdcd.changelog.names import LEAF_BITS, LEAVES, Names, columns_mark, fingerprint, key_mark, sequence
from cdcd.replication.quoting import identifier, literal
from cdcd.replication.quoting import table as quoted
from cdcd.replication.refusal import translated
from cdcd.replication.tables import TableInfo
from cdcd.replication.values import SETTINGS
from cdcd.replication.walsender import Connection

VERSION = 1
LOCK_TIMEOUT = "2s"
_BITS = {"DB_INSERT": 4, "DB_DELETE": 8, "DB_UPDATE": 16}  # pg_trigger.tgtype
_WORDS = {"DB_INSERT": "INSERT", "DB_DELETE": "DELETE", "DB_UPDATE": "UPDATE"}
_TRUNCATE = 32
_TABLE = "TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME"
_ALWAYS = "A"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A table to capture, and the types of events that some trigger wants of it."""

    info: TableInfo
    types: frozenset[str]

    @property
    def bits(self) -> int:
        return sum(bit for name, bit in _BITS.items() if name in self.types)

    @property
    def truncate(self) -> bool:
        return "DB_TRUNCATE" in self.types


@dataclass(frozen=True, slots=True)
class Placed:
    """One of our triggers as it stands. `cloned`: a partition's, made by the server for the one on its root. `top`: its argument."""

    schema: str
    table: str
    name: str
    oid: int
    bits: int
    enabled: str
    cloned: bool
    top: str


@dataclass(slots=True)
class Installed:
    """A change log as it stands. `log` tells it from any other; `known`: tables whose changes were written down before."""

    project: str
    version: int
    log: str
    placed: list[Placed] = field(default_factory=list)
    known: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Step:
    """A statement that is missing, and why. `gap`: changes may have been made in the meantime that were not written down."""

    sql: str
    table: str
    why: str
    gap: bool = False


def install_sql(names: Names, project: str, reader: str = "") -> str:
    """The SQL that makes the log from nothing, but for the triggers. `reader`: a role that may read it and empty it."""
    leaves = [f"CREATE TABLE {names.leaf(n)} PARTITION OF {names.changes} FOR VALUES IN ({n});" for n in range(LEAVES)]
    settings = [f"SET {name} TO {literal(value)}" for name, value in SETTINGS.items() if name != "client_encoding"]
    texts = {
        "schema": names.quoted,
        "project": literal(project),
        "sequence": sequence(names),
        "bits": str(LEAF_BITS),
        "partitions": "\n".join(leaves),
        "channel": literal(names.channel),
        "awake": str(names.awake),
        "settings": " ".join(["SET search_path TO pg_catalog, pg_temp", *settings]),
        "columns": columns_mark("TG_RELID", _TABLE),
        "key": key_mark("TG_ARGV[0]::oid"),
        "fingerprint": fingerprint("TG_RELID", _TABLE, "TG_ARGV[0]::oid"),
    }
    text = files("cdcd.changelog").joinpath("install.sql").read_text("utf-8")
    text = re.sub("@([a-z]+)@", lambda match: texts[match[1]], text)
    if reader:
        role = identifier(reader)
        every = ", ".join([names.changes, *(names.leaf(n) for n in range(LEAVES))])
        text += (
            f"\nGRANT USAGE ON SCHEMA {names.quoted} TO {role};\n"
            f"GRANT SELECT ON {every}, {names.quoted}.changes_meta, {names.quoted}.changes_seq TO {role};\n"
            f"GRANT SELECT, INSERT, UPDATE ON {names.quoted}.changes_shapes TO {role};\n"
            f"GRANT TRUNCATE ON {every} TO {role};\n"
        )
    return text


async def inspect(connection: Connection, names: Names) -> Installed | None:
    """The log as it stands; None when there is none. Raises ReplicationError."""
    with translated():
        cursor = await connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f"{names.quoted}.changes_meta"])
        if (row := await cursor.fetchone()) is None or not row[0]:
            return None
        cursor = await connection.execute(f"SELECT project, version, log::text FROM {names.quoted}.changes_meta".encode())
        if (row := await cursor.fetchone()) is None:
            return None
        installed = Installed(*row)
        cursor = await connection.execute(
            """
            SELECT n.nspname, c.relname, t.tgname, c.oid::bigint, t.tgtype::int, t.tgenabled::text, t.tgparentid <> 0,
                   convert_from(trim(trailing '\\x00'::bytea from t.tgargs), 'UTF8')
            FROM pg_catalog.pg_trigger t
            JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE t.tgfoid IN (to_regprocedure(%s), to_regprocedure(%s))
            ORDER BY 1, 2, 3
            """,
            [f"{names.quoted}.changes_row()", f"{names.quoted}.changes_truncate()"],
        )
        installed.placed = [Placed(*row) for row in await cursor.fetchall()]
        cursor = await connection.execute(f"SELECT DISTINCT relid::bigint FROM {names.quoted}.changes_shapes".encode())
        installed.known = frozenset(oid for (oid,) in await cursor.fetchall())
    return installed


def steps(names: Names, installed: Installed | None, wanted: Sequence[Wanted]) -> list[Step]:
    """What brings the triggers in step with `wanted`, in order."""
    placed = installed.placed if installed is not None else []
    known = installed.known if installed is not None else frozenset()
    found: list[Step] = []
    mine: set[int] = set()
    for each in wanted:
        info = each.info
        mine.add(info.oid)
        table = quoted(info.schema, info.name)
        standing = {one.name: one for one in placed if one.oid == info.oid}
        for name, bits in (
            (names.row_trigger, each.bits | (1 if each.bits else 0)),
            (names.truncate_trigger, each.truncate * _TRUNCATE),
        ):
            one = standing.get(name)
            current = one is not None and one.bits == bits and one.top == str(info.oid)
            if one is not None and not bits:
                found.append(
                    Step(f"DROP TRIGGER {identifier(name)} ON {table}", info.full_name, "no trigger wants it any more")
                )
            elif bits and not current:
                words = " OR ".join(_WORDS[kind] for kind in sorted(each.types & _WORDS.keys()))
                what = (
                    "ROW EXECUTE FUNCTION {}.changes_row"
                    if bits != _TRUNCATE
                    else "STATEMENT EXECUTE FUNCTION {}.changes_truncate"
                )
                found.append(
                    Step(
                        f"CREATE OR REPLACE TRIGGER {identifier(name)} AFTER {words if bits != _TRUNCATE else 'TRUNCATE'} ON {table} "
                        f"FOR EACH {what.format(names.quoted)}('{info.oid}')",
                        info.full_name,
                        "its trigger is missing" if one is None else "its trigger is another",
                        gap=one is None and info.oid in known and bits != _TRUNCATE,
                    )
                )
            if bits and (one is None or one.enabled != _ALWAYS):
                found.append(
                    Step(
                        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {identifier(name)}",
                        info.full_name,
                        "its trigger is disabled" if one is not None and one.enabled == "D" else "its trigger must always fire",
                        gap=one is not None and one.enabled == "D",
                    )
                )
    for one in placed:
        table = quoted(one.schema, one.table)
        if one.cloned:
            if one.enabled != _ALWAYS and one.top in {str(oid) for oid in mine}:
                found.append(
                    Step(
                        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {identifier(one.name)}",
                        f"{one.schema}.{one.table}",
                        "the trigger of its partition must always fire",
                        gap=one.enabled == "D",
                    )
                )
        elif one.oid not in mine:
            found.append(
                Step(
                    f"DROP TRIGGER {identifier(one.name)} ON {table}",
                    f"{one.schema}.{one.table}",
                    "no trigger wants it any more",
                )
            )
    return found


async def make(connection: Connection, names: Names, project: str) -> bool:
    """Make the log if there is none; True when it was made. Raises ReplicationError."""
    with translated():
        async with connection.transaction():
            await connection.execute("SELECT pg_catalog.pg_advisory_xact_lock(hashtextextended('cdcd.changes', 0))")
            if await inspect(connection, names) is not None:
                return False
            await connection.execute(install_sql(names, project).encode())
    return True


async def take(connection: Connection, step: Step) -> None:
    """Carry one step out by itself. Raises ReplicationError; SQLSTATE 55P03: the table is in use."""
    with translated():
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            await connection.execute(step.sql.encode())


async def describe(connection: Connection, names: Names, wanted: Iterable[Wanted]) -> None:
    """Note what the captured tables and their partitions look like now, so that their changes need not say it."""
    mark = fingerprint("c.oid", "n.nspname || '.' || c.relname", "w.top")
    with translated():
        await connection.execute(
            f"""
            INSERT INTO {names.quoted}.changes_shapes AS s (relid, shape, described)
            SELECT c.oid, {mark}, {names.quoted}.changes_describe(w.top, c.oid)
            FROM pg_catalog.unnest(%s::oid[]) AS w(top)
            CROSS JOIN LATERAL (SELECT w.top AS oid UNION SELECT t.relid FROM pg_catalog.pg_partition_tree(w.top) t) AS leaf
            JOIN pg_catalog.pg_class c ON c.oid = leaf.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            ON CONFLICT (relid, shape) DO UPDATE SET described = excluded.described WHERE s.described <> excluded.described
            """.encode(),
            [[each.info.oid for each in wanted]],
        )


def remove_sql(names: Names, installed: Installed) -> list[str]:
    """The statements that take the log away, with its triggers, one after the other."""
    statements = [
        f"DROP TRIGGER IF EXISTS {identifier(one.name)} ON {quoted(one.schema, one.table)}"
        for one in installed.placed
        if not one.cloned
    ]
    return [
        *statements,
        f"DROP FUNCTION {names.quoted}.changes_row(), {names.quoted}.changes_truncate(), "
        f"{names.quoted}.changes_describe(oid, oid)",
        f"DROP TABLE {names.changes}, {names.quoted}.changes_shapes, {names.quoted}.changes_meta",
        f"DROP SEQUENCE {names.quoted}.changes_seq",
    ]


async def remove(connection: Connection, names: Names, installed: Installed) -> None:
    """Take it away; the schema too, if nothing else is in it. Raises ReplicationError."""
    with translated():
        for statement in remove_sql(names, installed):
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                await connection.execute(statement.encode())
        await connection.execute(
            f"""
            DO $body$
            BEGIN
                DROP SCHEMA {names.quoted} RESTRICT;
            EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN NULL;
            END
            $body$
            """.encode()
        )
