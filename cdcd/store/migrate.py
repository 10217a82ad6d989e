"""Makes and upgrades a store schema: numbered SQL files, forward only, each once, in one transaction under an advisory lock.

A store schema belongs to one project, named in its `meta` row; another project's daemon is refused. A schema that holds
other things than a store is never touched.
"""

from importlib.resources import files

from psycopg import AsyncCursor
from psycopg.rows import TupleRow

from cdcd.errors import StoreRefused
from cdcd.store.connection import Connection, open_connection, quoted, translated

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('cdcd.migrate', 0))"


def migrations() -> list[tuple[int, str, str]]:
    """All migrations as (number, name, SQL), in order."""
    found = []
    for file in files("cdcd.store").joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            found.append((int(number), name, file.read_text("utf-8")))
    return sorted(found)


def migration_sql(schema: str, project: str, role: str | None = None) -> str:
    """The SQL that makes the store from nothing, for an owner of the database to run. `role`, when given, will own it."""
    owner = f" AUTHORIZATION {quoted(role)}" if role else ""
    parts = [
        "BEGIN;",
        f"{_LOCK};",
        f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}{owner};",
        f"SET LOCAL ROLE {quoted(role)};" if role else "",
        f"SET LOCAL search_path = {quoted(schema)}, pg_temp;",
        *(text.strip() for _, _, text in migrations()),
        f"INSERT INTO meta (project) VALUES ({_literal(project)});",
        *(_noted(number, name) for number, name, _ in migrations()),
        "COMMIT;",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def drop_sql(schema: str) -> str:
    """The SQL that removes the store and everything in it."""
    return f"DROP SCHEMA IF EXISTS {quoted(schema)} CASCADE;\n"


async def migrate(dsn: str, schema: str, project: str) -> list[int]:
    """Bring the store to this version of cdcd; the numbers of the migrations applied. Raises StoreRefused, StoreUnavailable."""
    with translated():
        async with await open_connection(dsn) as connection:
            applied = await _applied(connection, schema, project)
            if applied == {number for number, _, _ in migrations()}:
                return []
            await connection.execute(_LOCK)
            applied = await _applied(connection, schema, project)
            missing = [migration for migration in migrations() if migration[0] not in applied]
            if not applied:
                await _sql(connection, f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
            await _sql(connection, f"SET LOCAL search_path = {quoted(schema)}, pg_temp")
            for number, name, text in missing:
                await _sql(connection, text)
                await _sql(connection, _noted(number, name))
            if not applied:
                await _sql(connection, f"INSERT INTO meta (project) VALUES ({_literal(project)})")
            return [number for number, _, _ in missing]


async def drop(dsn: str, schema: str, project: str) -> bool:
    """Remove the store of `project`; False when there was none. Refused while a daemon owns it."""
    with translated():
        async with await open_connection(dsn, any_encoding=True) as connection:
            await connection.execute(_LOCK)
            if not await _applied(connection, schema, project):
                return False
            cursor = await connection.execute(
                "SELECT pg_try_advisory_xact_lock(hashtextextended('cdcd.owner', to_regclass(%s)::oid::bigint))",
                (f"{quoted(schema)}.meta",),
            )
            if not _one(await cursor.fetchone()):
                raise StoreRefused(f"the event store {schema!r} is in use by a running cdcd", hint="stop it first")
            await _sql(connection, drop_sql(schema))
            return True


async def _applied(connection: Connection, schema: str, project: str) -> set[int]:
    """The migrations that the schema has, empty when there is no store yet."""
    cursor = await connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL, EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND NOT starts_with(c.relname::text, 'changes'))",  # a change log may be there
        (f"{quoted(schema)}.migrations", schema),
    )
    row = await cursor.fetchone()
    if row is None or not row[0]:
        if row is not None and row[1]:
            raise StoreRefused(
                f"the schema {schema!r} exists and holds other things than cdcd's event store",
                hint="name another one in eventing.schema",
            )
        return set()
    cursor = await _sql(connection, f"SELECT project FROM {quoted(schema)}.meta")
    owner = _one(await cursor.fetchone())
    check_project(schema, str(owner), project)
    cursor = await _sql(connection, f"SELECT number FROM {quoted(schema)}.migrations")
    applied = {int(number) for (number,) in await cursor.fetchall()}
    check_version(schema, max(applied, default=0))
    return applied


def check_project(schema: str, owner: str, project: str) -> None:
    """Raise StoreRefused when the store is another project's."""
    if owner != project:
        raise StoreRefused(
            f"the event store {schema!r} belongs to the project {owner!r}, not {project!r}",
            hint="give each project its own eventing.schema",
        )


def check_version(schema: str, number: int) -> None:
    """Raise StoreRefused when the store is newer than this cdcd."""
    newest = migrations()[-1][0]
    if number > newest:
        raise StoreRefused(
            f"the event store {schema!r} is at migration {number}, this cdcd knows {newest}",
            hint="run the newer cdcd that made it",
        )


async def _sql(connection: Connection, text: str) -> AsyncCursor[TupleRow]:
    return await connection.execute(text)


def _noted(number: int, name: str) -> str:
    return f"INSERT INTO migrations (number, name) VALUES ({number}, {_literal(name)});"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _one(row: tuple[object, ...] | None) -> object:
    return row[0] if row else None
