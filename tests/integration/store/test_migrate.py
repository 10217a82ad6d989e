"""Making, upgrading, printing and removing a store, and what is refused."""

import asyncio
import traceback

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdcd.config.model import Capture
from cdcd.config.model import Database as SourceDatabase
from cdcd.errors import StoreRefused, StoreUnavailable
from cdcd.replication.errors import ConnectionLost, ReplicationError
from cdcd.replication.walsender import identify_system
from cdcd.sources import opening
from cdcd.store.connection import Session, connect, translate
from cdcd.store.migrate import drop, migrate, migration_sql, migrations
from cdcd.store.reads import Reads
from cdcd.store.standing import look
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


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_is_not_utf8_is_refused(database: Database, encoding: str) -> None:
    name = f"{database.name}_{encoding.lower()}"
    database.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    try:
        dsn = make_conninfo(database.dsn, dbname=name)
        for refused in (migrate(dsn, SCHEMA, PROJECT), look(dsn, SCHEMA, PROJECT), connect(dsn, SCHEMA)):
            with pytest.raises(StoreRefused, match=f"encoded in {encoding}") as caught:
                await refused
            assert "ENCODING 'UTF8'" in caught.value.hint
        assert not await drop(dsn, SCHEMA, PROJECT)
    finally:
        database.execute(f"DROP DATABASE {name}")


async def test_every_connection_speaks_utf8_whatever_it_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    dsn = make_conninfo(database.dsn, client_encoding="LATIN9", options="-c client_encoding=LATIN2")
    await migrate(dsn, SCHEMA, PROJECT)
    connection = await connect(dsn, SCHEMA)
    assert connection.info.parameter_status("client_encoding") == "UTF8"
    await connection.close()
    source = await opening.connect(SourceDatabase("main", dsn, Capture.REPLICATION, "s", "p"))
    assert source.info.parameter_status("client_encoding") == "UTF8"
    await source.close()


@pytest.mark.parametrize("url", ["postgresql://u:hunter2%zz@127.0.0.1/db", "postgresql://u:p@hunter2@127.0.0.1/db"])
async def test_a_url_that_cannot_be_read_is_nothing_to_wait_for_and_is_not_shown(url: str) -> None:
    for refused in (migrate(url, SCHEMA, PROJECT), connect(url, SCHEMA), Session(url, SCHEMA).fetch("days")):
        with pytest.raises(StoreRefused) as caught:
            await refused
        assert "percent-encode" in caught.value.explain()
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


async def test_the_client_s_own_words_are_never_passed_on() -> None:
    url = "postgresql://u:hunter2%zz@127.0.0.1/db"
    with pytest.raises(ReplicationError) as caught:
        await identify_system(url)
    assert not isinstance(caught.value, ConnectionLost)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "hunter2" not in translate(psycopg.ProgrammingError("hunter2")).explain()
