"""Bad days of the database, the store and the network: told, healed, and nothing lost or sent twice for it."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.setting import Setting, docs
from tests.daemon import Daemon
from tests.endpoint import Answer, Endpoint
from tests.postgres import Database, Databases, OwnServer
from tests.proxy import Proxy

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v int)"
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"


def numbers(endpoint: Endpoint) -> list[int]:
    """The ids of the rows, in order of their first arrival."""
    return [row["id"] for row in docs(endpoint, "/t")]


# The store


async def test_a_store_that_is_read_only_for_a_while(tmp_path: Path, database: Database) -> None:
    """Deliveries go on meanwhile; they are recorded once it takes writes again, and none is sent again for it."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"t": setting.trigger("/t", table="t")}) as daemon:
            await setting.ask("INSERT INTO t VALUES (0, 0)")
            await setting.processed(1)
            with psycopg.connect(database.dsn, autocommit=True, options="-c default_transaction_read_only=off") as writer:
                writer.execute(f'ALTER DATABASE "{database.name}" SET default_transaction_read_only = on')
                writer.execute(END_SESSIONS, [database.name])
                for number in range(1, 6):
                    writer.execute("INSERT INTO t VALUES (%s, 0)", [number])
                await endpoint.wait_for(6)
                line = await daemon.wait_log("store.unavailable")
                assert line["queued"] > 0
                writer.execute(f'ALTER DATABASE "{database.name}" RESET default_transaction_read_only')
                writer.execute(END_SESSIONS, [database.name])
            await setting.processed(6, timeout=60)
            await setting.ask("INSERT INTO t VALUES (6, 0)")
            await setting.processed(7)
        assert sorted(numbers(endpoint)) == list(range(7))
        assert len(endpoint.requests) == 7


async def test_a_store_that_cannot_be_reached_for_a_while(tmp_path: Path, databases: Databases) -> None:
    """The store is another database, behind a proxy that refuses: as above."""
    database, store = databases(), databases()
    database.execute(TABLE)
    async with Endpoint() as endpoint, Proxy.to_postgres(store.dsn) as proxy:
        setting = Setting(tmp_path, database, endpoint)
        both = {"main": {"url": database.dsn}, "store": {"url": proxy.dsn(store.tcp_dsn)}}
        triggers = {"t": setting.trigger("/t", table="t", database="main")}
        async with setting.daemon(triggers, databases=both, eventing={"database": "store"}) as daemon:
            await setting.ask("INSERT INTO t VALUES (0, 0)")
            await endpoint.wait_for(1)
            await proxy.refuse()
            proxy.reset()
            for number in range(1, 6):
                await setting.ask("INSERT INTO t VALUES (%s, 0)", [number])
            await endpoint.wait_for(6)
            await daemon.wait_log("store.unavailable")
            await proxy.accept()
            await daemon.wait_log("store.available")
            await setting.confirmed_beyond(await setting.lsn() - 1024 * 1024)
            assert await daemon.stop() == 0
        assert store.execute("SELECT status, count(*) FROM cdcd.event_logs GROUP BY 1") == [("processed", 6)]
        assert len(endpoint.requests) == 6


async def test_the_embedded_store(tmp_path: Path, database: Database) -> None:
    """Without `eventing.database` cdcd runs a server of its own, and finds there after a kill what was to be delivered."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        endpoint.always(Answer(500))
        setting = Setting(tmp_path, database, endpoint)
        triggers = {"t": setting.trigger("/t", table="t")}
        daemon = setting.daemon(triggers, eventing={"state_dir": str(tmp_path / "state")})
        async with daemon:
            await setting.ask("INSERT INTO t VALUES (0, 0)")
            await endpoint.wait_for(3)
            await daemon.kill()
            endpoint.always(Answer())
            await daemon.start()
            await daemon.ready(60)
            await endpoint.wait_until(lambda e: any(status == 200 for _, status in e.answered), timeout=30)
            assert await daemon.stop() == 0
        assert len(set(endpoint.ids())) == 1
        assert database.execute("SELECT nspname FROM pg_namespace WHERE nspname = 'cdcd'") == []


# The server


@pytest.mark.parametrize("crash", [False, True], ids=["fast", "crash"])
async def test_a_restart_of_postgres(tmp_path: Path, own_server: OwnServer, database: Database, crash: bool) -> None:
    """Restarted while deliveries are under way: the daemon goes on by itself, in order, with nothing lost."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"t": setting.trigger("/t", table="t", order="all")}):
            await setting.ask("INSERT INTO t SELECT g, 0 FROM generate_series(0, 299) g")
            await endpoint.wait_for(50)
            await asyncio.to_thread(database.postgres.server.restart, crash=crash)
            await setting.ask("INSERT INTO t VALUES (300, 0)")
            await setting.processed(301, timeout=90)
        assert numbers(endpoint) == list(range(301))


async def test_a_walsender_that_is_ended(tmp_path: Path, database: Database) -> None:
    """Nothing that was in memory is sent twice for it."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"t": setting.trigger("/t", table="t")}) as daemon:
            gate = endpoint.hold()
            await setting.ask("INSERT INTO t SELECT g, 0 FROM generate_series(0, 9) g")
            await endpoint.wait_for(10)
            await setting.ask(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", [setting.slot]
            )
            await daemon.wait_log("source.unavailable")
            gate.set()
            await setting.ask("INSERT INTO t VALUES (10, 0)")
            await setting.processed(11)
        assert sorted(endpoint.ids()) == sorted(set(endpoint.ids()))
        assert sorted(numbers(endpoint)) == list(range(11))


async def test_a_connection_that_is_cut_in_the_middle_of_a_transaction(tmp_path: Path, database: Database) -> None:
    """Cut at many places of a transaction of 20,000 rows: each of them arrives once and in order."""
    database.execute(TABLE)
    async with Endpoint() as endpoint, Proxy.to_postgres(database.dsn) as proxy:
        setting = Setting(tmp_path, database, endpoint, url=proxy.dsn(database.tcp_dsn))
        both = {"main": {"url": setting.url}, "store": {"url": database.dsn}}
        triggers = {"t": setting.trigger("/t", table="t", database="main", order="all", when="new.id % 20 == 0")}
        async with setting.daemon(triggers, databases=both, eventing={"database": "store"}):
            proxy.throttle(8_000_000)
            for size in (100_000, 400_000, 900_000):
                proxy.cut_after(down=size)
                if size == 100_000:
                    await setting.ask("INSERT INTO t SELECT g, 0 FROM generate_series(0, 19999) g")
                await proxy.wait_connections(0, timeout=30)
            proxy.heal()
            await setting.processed(1000, timeout=90)
        assert [row["id"] for row in docs(endpoint, "/t")] == list(range(0, 20000, 20))
        assert len(endpoint.requests) == 1000


@contextlib.asynccontextmanager
async def beside(daemon: Daemon) -> AsyncIterator[Daemon]:
    """Start a daemon that will not get ready by itself; at the end it is gone."""
    await daemon.start()
    try:
        yield daemon
    finally:
        if daemon.running:
            await daemon.kill()


async def test_a_slot_in_use_by_another(tmp_path: Path, database: Database) -> None:
    """A daemon with another store reads the slot: cdcd says who, and waits."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        triggers = {"t": setting.trigger("/t", table="t")}
        async with setting.daemon(triggers):
            setting.directory = tmp_path / "second"
            setting.directory.mkdir()
            async with beside(setting.daemon(triggers, eventing={"database": "main", "schema": "another"})) as second:
                line = await second.wait_log("source.unavailable")
                assert f"process {await _reader(setting)}" in line["error"]
                assert second.find("source.reading") == []


async def test_of_two_daemons_the_second_waits_and_takes_over(tmp_path: Path, database: Database) -> None:
    """The second says who owns the store; when the first is killed it goes on where that had come."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        first = setting.daemon({"t": setting.trigger("/t", table="t")})
        async with first, beside(Daemon(first.config)) as second:
            await setting.ask("INSERT INTO t VALUES (0, 0)")
            await setting.processed(1)
            line = await second.wait_log("store.unavailable")
            assert "in use by another cdcd: pid" in line["error"]
            await first.kill()
            await setting.ask("INSERT INTO t VALUES (1, 0)")
            await second.ready(60)
            await setting.processed(2)
            assert await second.stop() == 0
        assert sorted(numbers(endpoint)) == [0, 1]
        assert len(endpoint.requests) == 2


async def test_a_daemon_that_waits_ends_with_the_first_signal(tmp_path: Path, database: Database) -> None:
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        first = setting.daemon({"t": setting.trigger("/t", table="t")})
        async with first, beside(Daemon(first.config)) as second:
            await second.wait_log("store.unavailable")
            assert await second.stop(signal.SIGTERM) == 0


async def _reader(setting: Setting) -> int:
    ((pid,),) = await setting.ask("SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", [setting.slot])
    return int(pid)


async def test_a_slot_that_was_dropped_while_cdcd_was_stopped(tmp_path: Path, database: Database) -> None:
    """It does not start in silence: exit 1, and the span that is missing."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        daemon = setting.daemon({"t": setting.trigger("/t", table="t")})
        async with daemon:
            await setting.ask("INSERT INTO t VALUES (0, 0)")
            await setting.processed(1)
        await setting.ask("SELECT pg_drop_replication_slot(%s)", [setting.slot])
        await setting.ask("INSERT INTO t VALUES (1, 0)")
        await daemon.start()
        assert await daemon.wait() == 1
        line = daemon.find("failed")[0]
        assert f"slot '{setting.slot}' is gone; changes since 0/" in line["error"]
        assert "--accept-gap" in line["hint"]
        assert len(endpoint.requests) == 1


async def test_a_slot_that_is_dropped_while_it_is_read(tmp_path: Path, database: Database) -> None:
    """The source stops and says since when changes are missing; what was read before is still delivered."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"t": setting.trigger("/t", table="t")}) as daemon:
            await setting.ask("INSERT INTO t VALUES (0, 0)")
            await setting.processed(1)
            await setting.ask("SELECT pg_terminate_backend(%s, 5000)", [await _reader(setting)])
            await setting.ask("SELECT pg_drop_replication_slot(%s)", [setting.slot])
            line = await daemon.wait_log("source.stopped")
            assert "changes since 0/" in line["error"]
            assert daemon.running


# Tables


async def test_columns_that_change_in_mid_stream(tmp_path: Path, database: Database) -> None:
    """Added, dropped, renamed, retyped, with changes before and after in one backlog: each row as it was when it was written."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v int, gone text)")
    steps = [
        "INSERT INTO t VALUES (1, 1, 'g')",
        "ALTER TABLE t ADD added jsonb; INSERT INTO t VALUES (2, 2, 'g', '[1]')",
        "ALTER TABLE t DROP gone; INSERT INTO t VALUES (3, 3, '{}')",
        "ALTER TABLE t RENAME v TO w; INSERT INTO t VALUES (4, 4, NULL)",
        "ALTER TABLE t ALTER w TYPE text; INSERT INTO t VALUES (5, 'five', NULL)",
    ]
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        daemon = setting.daemon({"t": setting.trigger("/t", table="t", order="all")})
        async with daemon:
            pass
        for step in steps:  # all of it lies in the WAL, and the catalog has moved on, when it is read
            await setting.ask(step)
        async with daemon:
            await setting.processed(5)
        assert docs(endpoint, "/t") == [
            {"id": 1, "v": 1, "gone": "g"},
            {"id": 2, "v": 2, "gone": "g", "added": [1]},
            {"id": 3, "v": 3, "added": {}},
            {"id": 4, "w": 4, "added": None},
            {"id": 5, "w": "five", "added": None},
        ]


async def test_a_table_without_a_key_is_never_broken(tmp_path: Path, database: Database) -> None:
    """Its inserts are captured, and the application's own UPDATE and DELETE go on working."""
    database.execute("CREATE TABLE t (id int, v int)")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"t": setting.trigger("/t", table="t", type="DB_INSERT")}):
            await setting.ask("INSERT INTO t VALUES (1, 1); UPDATE t SET v = 2; DELETE FROM t; INSERT INTO t VALUES (2, 1)")
            await setting.processed(2)
        assert numbers(endpoint) == [1, 2]


async def test_a_table_that_appears_later_and_matches_a_pattern(tmp_path: Path, database: Database) -> None:
    """It joins when the database is looked at next: here because the connection is opened anew."""
    database.execute("CREATE TABLE sales_1 (id int PRIMARY KEY)")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"t": setting.trigger("/t", table="public.sales_*")}) as daemon:
            await setting.ask("CREATE TABLE sales_2 (id int PRIMARY KEY)")
            await setting.ask("SELECT pg_terminate_backend(%s, 5000)", [await _reader(setting)])
            await daemon.wait_log("source.reading", tables=2)
            await setting.ask("INSERT INTO sales_2 VALUES (7)")
            await setting.processed(1)
        assert numbers(endpoint) == [7]


@pytest.mark.matrix(ends=True)
async def test_a_publication_that_is_dropped_while_it_is_read(tmp_path: Path, database: Database) -> None:
    """PostgreSQL up to 17 says so at the first change, 18 never does. It is made again, the gap is told, and what comes after arrives."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"t": setting.trigger("/t", table="t")}) as daemon:
            await setting.ask("INSERT INTO t VALUES (0, 0)")
            await setting.processed(1)
            await setting.ask(f"DROP PUBLICATION {setting.slot}")
            await setting.ask("INSERT INTO t VALUES (1, 0)")
            line = await daemon.wait_log("source.gap", timeout=90)
            assert line["since"] < line["until"]
            await setting.ask("INSERT INTO t VALUES (2, 0)")
            await setting.processed(2, timeout=60)
            assert daemon.running
            await daemon.kill()
            await daemon.start()
            await daemon.ready()
            await setting.ask("INSERT INTO t VALUES (3, 0)")
            await setting.processed(3)
        assert numbers(endpoint) == [0, 2, 3]


async def test_an_idle_database_in_a_busy_cluster_releases_wal(tmp_path: Path, databases: Databases) -> None:
    """Other databases write; nothing happens in ours; the slot moves on all the same, without a write to our database's tables."""
    database, busy = databases(), databases()
    database.execute(TABLE)
    busy.execute("CREATE TABLE noise (t text)")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"t": setting.trigger("/t", table="t")}):
            for _ in range(8):
                await asyncio.to_thread(
                    busy.execute, "INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 5000)"
                )
            await setting.confirmed_beyond(await setting.lsn() - 2 * 1024 * 1024, timeout=60)


# The configuration


async def test_every_mistake_is_listed_and_nothing_is_started(tmp_path: Path, database: Database) -> None:
    """Exit 1; each mistake with its place, on stderr; neither slot nor store was made."""
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        wrong = setting.trigger("/t", table="t", when="new.")
        daemon = setting.daemon({"t": {**wrong, "retrys": 3}, "u": setting.trigger("/u", table="t", order="sometimes")})
        await daemon.start()
        assert await daemon.wait() == 1
        text = "\n".join(line.get("text", "") for line in daemon.logs)
        assert "retrys" in text
        assert "retries" in text
        assert "order" in text
        assert "cdcd.yaml:" in text
        assert database.slots() == []
        assert database.execute("SELECT nspname FROM pg_namespace WHERE nspname = 'cdcd'") == []


async def test_a_table_that_is_missing_stops_the_start(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        daemon = setting.daemon({"t": setting.trigger("/t", table="nowhere")})
        await daemon.start()
        assert await daemon.wait() == 1
        assert "nowhere" in daemon.find("failed")[0]["error"]
        assert database.slots() == []


async def test_a_server_that_is_down_is_waited_for(tmp_path: Path, database: Database) -> None:
    """At the start: told and tried again, not given up."""
    database.execute(TABLE)
    async with Endpoint() as endpoint, Proxy.to_postgres(database.dsn) as proxy:
        setting = Setting(tmp_path, database, endpoint, url=proxy.dsn(database.tcp_dsn))
        await proxy.refuse()
        daemon = setting.daemon({"t": setting.trigger("/t", table="t")})
        await daemon.start()
        await daemon.wait_log("store.unavailable")
        await proxy.accept()
        await daemon.ready(60)
        await setting.ask("INSERT INTO t VALUES (1, 1)")
        await setting.processed(1)
        assert await daemon.stop() == 0


async def test_without_logical_wal_it_says_what_to_set(tmp_path: Path, own_server: OwnServer) -> None:
    server = own_server({"wal_level": "replica"})
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, Database("postgres", None), endpoint, url=server.dsn())  # type: ignore[arg-type]
        daemon = setting.daemon({"t": setting.trigger("/t", table="t")})
        await daemon.start()
        assert await daemon.wait() == 1
        assert "wal_level" in daemon.find("failed")[0]["hint"]
