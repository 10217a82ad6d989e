"""Making, upgrading, printing and removing a store, and what is refused."""

import asyncio

import pytest

from cdcd.errors import StoreRefused, StoreUnavailable
from cdcd.store.migrate import drop, migrate, migration_sql, migrations
from cdcd.store.reads import Reads
from tests.integration.store.shop import PROJECT, SCHEMA, delivery, final, shop
from tests.postgres import Database

pytestmark = pytest.mark.matrix
ALL = [number for number, _, _ in migrations()]


async def test_a_store_is_made_once(database: Database) -> None:
    made = await asyncio.gather(*(migrate(database.dsn, SCHEMA, PROJECT) for _ in range(4)))
    assert sorted(made) == [[], [], [], ALL]
    assert database.execute(f'SELECT project FROM "{SCHEMA}".meta') == [(PROJECT,)]


async def test_nothing_outside_the_schema_is_touched_and_teardown_leaves_nothing(database: Database) -> None:
    everything = """
        SELECT 'relation', oid::regclass::text FROM pg_class WHERE relnamespace::regnamespace::text NOT LIKE 'pg_%'
        UNION ALL SELECT 'function', oid::regprocedure::text FROM pg_proc WHERE oid >= 16384
        UNION ALL SELECT 'schema', nspname FROM pg_namespace ORDER BY 1, 2"""
    database.execute("CREATE TABLE users (id int PRIMARY KEY)")
    before = database.execute(everything)
    async with shop(database) as it:
        await it.write(final(delivery()))
        with pytest.raises(StoreRefused, match="in use by a running cdcd"):
            await drop(database.dsn, SCHEMA, PROJECT)
    inside = f'"{SCHEMA}".'
    assert [row for row in database.execute(everything) if inside not in row[1] and row[1] != SCHEMA] == before
    assert await drop(database.dsn, SCHEMA, PROJECT)
    assert database.execute(everything) == before
    assert not await drop(database.dsn, SCHEMA, PROJECT)


async def test_the_printed_sql_makes_the_same_store_for_another_owner(database: Database) -> None:
    database.execute("DROP ROLE IF EXISTS cdcd_runner; CREATE ROLE cdcd_runner LOGIN")
    database.execute(migration_sql("it's", "o'project", "cdcd_runner"))
    try:
        assert await migrate(database.dsn, "it's", "o'project") == []
        assert database.execute("SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relname LIKE 'event_logs%'") == [
            ("cdcd_runner",)
        ]
    finally:
        assert await drop(database.dsn, "it's", "o'project")
        database.execute("DROP ROLE cdcd_runner")


async def test_what_is_not_ours_is_refused(database: Database) -> None:
    await migrate(database.dsn, "ours", PROJECT)
    with pytest.raises(StoreRefused, match="belongs to the project 'shop', not 'other'"):
        await migrate(database.dsn, "ours", "other")
    with pytest.raises(StoreRefused, match="belongs to the project 'shop', not 'other'"):
        await drop(database.dsn, "ours", "other")
    database.execute("INSERT INTO ours.migrations VALUES (9999, 'later')")
    with pytest.raises(StoreRefused, match="at migration 9999"):
        await migrate(database.dsn, "ours", PROJECT)
    database.execute("CREATE SCHEMA theirs; CREATE TABLE theirs.t (id int)")
    with pytest.raises(StoreRefused, match="holds other things"):
        await migrate(database.dsn, "theirs", PROJECT)


async def test_a_role_that_may_not_create_is_told_who_can(database: Database) -> None:
    database.execute("DROP ROLE IF EXISTS cdcd_reader; CREATE ROLE cdcd_reader LOGIN")
    try:
        with pytest.raises(StoreRefused, match="permission denied") as refused:
            await migrate(
                f"{database.dsn}&options=-crole%3Dcdcd_reader"
                if "?" in database.dsn
                else f"{database.dsn}?options=-crole%3Dcdcd_reader",
                SCHEMA,
                PROJECT,
            )
        assert "cdcd setup --print" in refused.value.hint
    finally:
        database.execute("DROP ROLE cdcd_reader")


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable):
        await migrate("host=127.0.0.1 port=1 dbname=x connect_timeout=2", SCHEMA, PROJECT)
    reads = Reads("host=127.0.0.1 port=1 dbname=x", SCHEMA)
    with pytest.raises(StoreUnavailable):
        await reads.positions()
    await reads.close()
