"""The test neighbours themselves: servers of every major, fresh databases, the proxy, the endpoint."""

import asyncio

import pytest

from tests.postgres import Database, Databases, OwnServer


@pytest.mark.matrix
def test_every_major_decodes_logically(database: Database) -> None:
    """Each server is of the major it says, and a logical slot can be made in a fresh database."""
    ((version, level),) = database.execute("SELECT current_setting('server_version_num')::int, current_setting('wal_level')")
    assert version // 10000 == database.postgres.major
    assert level == "logical"
    database.execute("SELECT pg_create_logical_replication_slot('left_over', 'pgoutput')")
    assert database.slots() == ["left_over"]  # the fixture has to drop it


def test_databases_are_cloned_from_a_template(databases: Databases) -> None:
    """The builder runs once; every clone has what it made."""
    built: list[str] = []

    def build(template: Database) -> None:
        built.append(template.name)
        template.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")

    clones = [databases("with_t", build) for _ in range(3)]
    assert [clone.execute("SELECT * FROM t") for clone in clones] == [[(1,)]] * 3
    assert built == ["with_t"]


async def test_a_crashed_server_comes_back_on_the_same_address(database: Database) -> None:
    """Both addresses survive a crash, and what was committed is there."""
    database.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    before = (database.dsn, database.tcp_dsn)
    await asyncio.to_thread(database.postgres.server.restart, crash=True)
    assert (database.dsn, database.tcp_dsn) == before
    async with await database.aconnect() as connection:
        cursor = await connection.execute("SELECT * FROM t")
        assert await cursor.fetchall() == [(1,)]


def test_a_server_left_down_is_up_for_the_next_test(database: Database) -> None:
    """The fixture restarts it to drop the database."""
    database.postgres.server.crash()
    assert not database.postgres.server.running


def test_a_private_server_has_its_own_settings(own_server: OwnServer) -> None:
    server = own_server(settings={"wal_level": "replica"})
    import psycopg

    with psycopg.connect(server.dsn()) as connection:
        assert connection.execute("SHOW wal_level").fetchone() == ("replica",)
