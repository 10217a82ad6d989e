"""How a store schema stands, looked up without changing anything: is it there, whose is it, may it be made, who owns it now."""

from dataclasses import dataclass

from cdcd.errors import StoreRefused
from cdcd.store.connection import open_connection, quoted, translated
from cdcd.store.migrate import check_project, check_version, migrations
from cdcd.store.statements import SQL


@dataclass(slots=True, frozen=True)
class Standing:
    """`missing`: numbers of the migrations that are still to come, all of them when there is no store (`made` False).

    `may_make`: the role may create the schema, or owns the one that is there. `read_only`: why nothing can be written; empty
    when it can. `owner`: who has the store in use, in words; empty when nobody has. `told_pid` is the server process that the
    connection was announced with, `real_pid` the one that answered.
    """

    made: bool
    missing: tuple[int, ...]
    may_make: bool
    read_only: str
    owner: str
    version: int
    role: str
    database: str
    told_pid: int
    real_pid: int


_LOOK = """
SELECT to_regclass(%(meta)s) IS NOT NULL AND to_regclass(%(migrations)s) IS NOT NULL,
       EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %(schema)s
               AND NOT starts_with(c.relname::text, 'changes')),  -- a change log may be there
       coalesce((SELECT pg_catalog.pg_has_role(n.nspowner, 'USAGE') FROM pg_catalog.pg_namespace n WHERE n.nspname = %(schema)s),
                pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')),
       CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'the server is a standby'
            WHEN pg_catalog.current_setting('default_transaction_read_only')::boolean
            THEN 'default_transaction_read_only is on' ELSE '' END,
       current_user, pg_catalog.current_database(), pg_catalog.pg_backend_pid()
"""


async def look(dsn: str, schema: str, project: str) -> Standing:
    """Raises StoreUnavailable, and StoreRefused for another project's, a newer one, and a schema that holds other things."""
    with translated():
        async with await open_connection(dsn, autocommit=True, application_name="cdcd check") as connection:
            names = {"meta": f"{quoted(schema)}.meta", "migrations": f"{quoted(schema)}.migrations", "schema": schema}
            row = await (await connection.execute(_LOOK, names)).fetchone()
            assert row is not None
            made, holds, may_make, read_only, role, database, real_pid = row
            every = tuple(number for number, _, _ in migrations())
            missing, owner = every, ""
            if made:
                await connection.execute(
                    "SELECT pg_catalog.set_config('search_path', %s, false)", [f"{quoted(schema)}, pg_temp"]
                )
                store = await (await connection.execute(SQL["store_of"].encode())).fetchone()
                if store is None:
                    raise StoreRefused(f"the event store {schema!r} is incomplete", hint="run `cdcd setup`")
                check_project(schema, store[0], project)
                check_version(schema, store[1] or 0)
                missing = tuple(number for number in every if number > (store[1] or 0))
                holder = await (await connection.execute(SQL["owner"].encode())).fetchone()
                if holder is not None:
                    pid, application, address, since = holder
                    owner = f"server process {pid}: application {application!r}, from {address}, since {since[:19]}"
            elif holds:
                raise StoreRefused(
                    f"the schema {schema!r} exists and holds other things than cdcd's event store",
                    hint="name another one in eventing.schema",
                )
            return Standing(
                made,
                missing,
                may_make,
                read_only,
                owner,
                connection.info.server_version,
                role,
                database,
                connection.info.backend_pid,
                real_pid,
            )
