"""What may happen to slot, publication and tables: told with the span that is missing, healed where that can be, never silent."""

import asyncio

import psycopg
import pytest

from cdcd.errors import PositionLost, SourceNotReady
from cdcd.replication.lsn import format_lsn, parse_lsn
from tests.integration.sources.reader import docs, reader, trigger
from tests.postgres import Database, Databases, OwnServer, Postgres, chosen_majors
from tests.proxy import Proxy

ITEMS = "CREATE TABLE items (id int PRIMARY KEY, note text)"
TRIGGERS = {"items": trigger("items")}
QUICK = 0.05


async def test_a_first_start_with_a_slot_that_is_there(database: Database) -> None:
    """As an owner prepared it: reading begins where the slot stands, and nothing is a gap."""
    database.execute(ITEMS)
    async with reader(database, TRIGGERS, start=False) as it:
        database.execute(f"CREATE PUBLICATION {it.publication} FOR TABLE items WITH (publish_via_partition_root)")
        database.execute(f"CREATE PUBLICATION {it.publication}_insert WITH (publish = 'insert, truncate')")
        database.execute(f"SELECT pg_create_logical_replication_slot('{it.slot}', 'pgoutput')")
        database.execute("INSERT INTO items VALUES (1)")
        await it.source.start()
        assert docs(await it.offered(1)) == [1]
        assert not it.find("source.gap")
        assert not it.find("slot.created")


@pytest.mark.matrix
async def test_a_publication_younger_than_its_slot_is_healed_and_told(database: Database) -> None:
    database.execute(ITEMS)
    async with reader(database, TRIGGERS, start=False) as it:
        ((slot,),) = database.execute(f"SELECT lsn FROM pg_create_logical_replication_slot('{it.slot}', 'pgoutput')")
        database.execute("INSERT INTO items VALUES (1)")
        await it.source.start()
        database.execute("INSERT INTO items VALUES (2)")
        assert docs(await it.offered(1)) == [2]
        gap = it.find("source.gap")[0]
        assert gap["since"] == slot
        assert parse_lsn(gap["until"]) > parse_lsn(slot)
        await it.settle()
    async with reader(database, TRIGGERS, name=it.name) as it:
        database.execute("INSERT INTO items VALUES (3)")
        assert docs(await it.offered(1)) == [3]
        assert not it.find("source.gap")


@pytest.mark.matrix
async def test_a_slot_that_somebody_else_advanced(database: Database) -> None:
    """While cdcd was stopped: refused, with the span."""
    database.execute(ITEMS)
    async with reader(database, TRIGGERS) as it:
        database.execute("INSERT INTO items VALUES (1)")
        await it.offered(1)
        await it.settle()
    settled = it.positions()[-1][0]
    database.execute("INSERT INTO items VALUES (2)")
    ((moved,),) = database.execute(f"SELECT end_lsn FROM pg_replication_slot_advance('{it.slot}', pg_current_wal_lsn())")
    async with reader(database, TRIGGERS, name=it.name, start=False) as it:
        with pytest.raises(PositionLost) as caught:
            await it.source.start()
        assert f"stands at {moved}" in str(caught.value)
        assert f"beyond {format_lsn(settled)}" in str(caught.value)
        assert "--accept-gap" in caught.value.hint


async def test_a_slot_that_somebody_else_advanced_while_the_connection_was_broken(database: Database) -> None:
    database.execute(ITEMS)
    async with reader(database, TRIGGERS) as it:
        database.execute("INSERT INTO items VALUES (1)")
        await it.offered(1)
        await it.settle()
        await it.disconnect()
        database.execute("INSERT INTO items VALUES (2)")
        # The slot is free until the source comes back.
        advance = f"SELECT end_lsn FROM pg_replication_slot_advance('{it.slot}', pg_current_wal_lsn())"
        ((moved,),) = await asyncio.to_thread(database.execute, advance)
        stopped = await it.logged("source.stopped")
        assert f"stands at {moved}" in stopped["error"]
        assert it.pipeline.deliveries == []


async def test_a_slot_that_was_dropped_while_cdcd_was_stopped(database: Database) -> None:
    database.execute(ITEMS)
    async with reader(database, TRIGGERS) as it:
        await it.until(lambda: it.positions(), "the first position")
    database.execute(f"SELECT pg_drop_replication_slot('{it.slot}')")
    async with reader(database, TRIGGERS, name=it.name, start=False) as it:
        with pytest.raises(PositionLost, match="is gone; changes since "):
            await it.source.start()
        assert it.slot not in database.slots()


@pytest.mark.matrix
async def test_a_slot_that_was_dropped_while_it_was_read(database: Database) -> None:
    database.execute(ITEMS)
    async with reader(database, TRIGGERS) as it:
        await it.disconnect()
        await asyncio.to_thread(database.execute, f"SELECT pg_drop_replication_slot('{it.slot}')")
        stopped = await it.logged("source.stopped")
        assert "is gone; changes since " in stopped["error"]


async def test_another_cluster_at_the_same_address(database: Database, databases: Databases, own_server: OwnServer) -> None:
    """A position means nothing there, and nothing is made there."""
    database.execute(ITEMS)
    store = databases()
    async with reader(database, TRIGGERS, store=store) as it:
        await it.until(lambda: store.execute("SELECT 1 FROM cdcd.positions"), "the first position")
    other = Database("postgres", Postgres(chosen_majors()[-1], own_server()))
    other.execute(ITEMS)
    async with reader(other, TRIGGERS, store=store, name=it.name, start=False) as it:
        with pytest.raises(PositionLost, match="is another cluster"):
            await it.source.start()
    assert other.slots() == []


@pytest.mark.matrix(ends=True)
async def test_a_publication_that_was_dropped_while_it_was_read(database: Database) -> None:
    """It is made again. The gap is told from a time when it was there, although PostgreSQL 18 went on in silence."""
    database.execute(ITEMS)
    async with reader(database, TRIGGERS, watch_interval=QUICK) as it:
        database.execute("INSERT INTO items VALUES (1)")
        await it.offered(1)
        await it.until(lambda: it.source._watch.intact > it.pipeline.deliveries[0].event.position, "a look")
        await it.settle()
        dropped = parse_lsn(it.ask("SELECT pg_current_wal_lsn()"))
        database.execute(f"DROP PUBLICATION {it.publication}; INSERT INTO items VALUES (2)")
        gap = await it.logged("source.gap")
        assert parse_lsn(gap["since"]) <= dropped + 1000  # the drop itself comes behind
        assert parse_lsn(gap["until"]) > dropped
        await it.until(lambda: len(it.find("source.reading")) == 2, "a new connection")
        database.execute("INSERT INTO items VALUES (3)")
        await it.until(lambda: 3 in docs(it.pipeline.deliveries), "the next change")
        await it.settle()
        await it.until(lambda: parse_lsn(it.confirmed()) > parse_lsn(gap["until"]), "the confirmation")
    async with reader(database, TRIGGERS, name=it.name) as it:
        database.execute("INSERT INTO items VALUES (4)")
        assert docs(await it.offered(1)) == [4]


@pytest.mark.matrix
async def test_a_publication_that_was_made_anew_while_cdcd_was_stopped(database: Database) -> None:
    """It has the same name and tables, yet what lies before it cannot be decoded: told as a gap, and healed."""
    database.execute(ITEMS)
    async with reader(database, TRIGGERS) as it:
        database.execute("INSERT INTO items VALUES (1)")
        await it.offered(1)
        await it.settle()
    database.execute(f"DROP PUBLICATION {it.publication}; INSERT INTO items VALUES (2)")
    database.execute(f"CREATE PUBLICATION {it.publication} FOR TABLE items WITH (publish_via_partition_root)")
    async with reader(database, TRIGGERS, name=it.name) as it:
        assert it.find("source.gap")
        database.execute("INSERT INTO items VALUES (3)")
        assert docs(await it.offered(1)) == [3]


async def test_the_rest_of_a_transaction_that_cannot_be_read_any_more(database: Database) -> None:
    """What was matched of it goes its way, and the rest is told."""
    database.execute(ITEMS)
    async with reader(database, TRIGGERS) as it:
        it.pipeline.full = True
        await asyncio.to_thread(
            database.execute, "INSERT INTO items SELECT i, repeat('x', 1000) FROM generate_series(1, 30000) i"
        )
        await it.until(lambda: it.pipeline.waited, "the pause")
        database.execute(f"DROP PUBLICATION {it.publication}")
        await it.disconnect()
        it.pipeline.make_room()
        await it.until(lambda: it.find("source.unavailable"), "the loss")
        await it.settle()
        await it.until(lambda: it.find("source.gap") and len(it.find("source.reading")) == 2, "the next connection")
        await it.settle()
        database.execute("INSERT INTO items VALUES (0)")
        await it.until(lambda: docs(it.pipeline.deliveries) == [0], "the next change")
        await it.settle()
        await it.until(lambda: it.source._progress.outstanding == 0, "all settled")


@pytest.mark.matrix
async def test_a_table_that_appears_later_joins(database: Database) -> None:
    """One with a key and one without; under FULL its key is known too."""
    database.execute(ITEMS)
    triggers = {"all": trigger("public.*", types=("DB_INSERT",))}
    async with reader(database, triggers, watch_interval=QUICK) as it:
        database.execute("CREATE TABLE later (id int PRIMARY KEY)")
        database.execute("CREATE TABLE bare (id int)")
        database.execute("CREATE TABLE whole (n int, id int PRIMARY KEY); ALTER TABLE whole REPLICA IDENTITY FULL")
        query = "SELECT count(*) FROM pg_publication_tables"
        await it.until(lambda: it.ask(query) == 4, "the tables' joining")
        database.execute("INSERT INTO later VALUES (1); INSERT INTO bare VALUES (2); INSERT INTO whole VALUES (7, 3)")
        found = await it.offered(3)
        assert [each.event.subject for each in found] == ["public.later/1", "public.bare", "public.whole/3"]
        assert database.execute("SELECT pubname, tablename FROM pg_publication_tables WHERE tablename = 'bare'") == [
            (f"{it.publication}_insert", "bare")
        ]
        assert not it.find("source.gap")
        assert len(it.find("source.reading")) == 1


@pytest.mark.matrix
async def test_a_table_without_identity_is_never_broken(database: Database) -> None:
    """The application's own updates and deletes of it go on; its inserts are captured."""
    database.execute("CREATE TABLE logs (a int)")
    async with reader(database, {"logs": trigger("logs", types=("DB_INSERT",))}) as it:
        database.execute("INSERT INTO logs VALUES (1); UPDATE logs SET a = 2; DELETE FROM logs; INSERT INTO logs VALUES (3)")
        assert docs(await it.offered(2), "a") == [1, 3]


async def test_a_trigger_that_wants_updates_of_it_is_refused_with_the_sql(database: Database) -> None:
    database.execute("CREATE TABLE logs (a int)")
    async with reader(database, {"logs": trigger("logs")}, start=False) as it:
        with pytest.raises(SourceNotReady) as caught:
            await it.source.start()
        assert "no primary key" in str(caught.value)
        sql = caught.value.hint.partition("  --")[0]
        database.execute("INSERT INTO logs VALUES (1); UPDATE logs SET a = 2")
        database.execute(sql)
        await it.source.start()
        database.execute("UPDATE logs SET a = 3")
        assert docs(await it.offered(1), "a") == [3]


async def test_a_table_that_somebody_else_spoils_does_not_stop_the_others(database: Database) -> None:
    """Dropped or without a key, while it is read: told once, and the source goes on, also with its next connection."""
    database.execute(ITEMS + "; CREATE TABLE gone (id int PRIMARY KEY)")
    async with reader(database, {"items": trigger("*"), "gone": trigger("gone")}, watch_interval=QUICK) as it:
        database.execute("DROP TABLE gone; CREATE TABLE bare (id int)")
        await it.until(lambda: len(it.find("source.problem")) >= 2, "the problems")
        told = sorted(entry["problem"] for entry in it.find("source.problem"))
        assert told == sorted(set(told))
        assert any("no table is named gone" in problem for problem in told)
        assert any("public.bare has no primary key" in problem for problem in told)
        await it.disconnect()
        await it.until(lambda: len(it.find("source.reading")) == 2, "a new connection")
        database.execute("INSERT INTO items VALUES (1)")
        assert docs(await it.offered(1)) == [1]


async def test_a_role_that_may_not_change_the_publication(database: Database) -> None:
    """It reads what an owner has prepared, is told what it lacks, and does not stop for a table that comes later."""
    database.execute(ITEMS)
    role = f"reader_{database.name}"
    database.execute(f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'x'")
    try:
        url = psycopg.conninfo.make_conninfo(database.tcp_dsn, user=role, password="x")
        async with reader(database, {"all": trigger("public.*")}, url=url, start=False, watch_interval=QUICK) as it:
            with pytest.raises(SourceNotReady, match="the role may not") as caught:
                await it.source.start()
            assert "cdcd setup --print" in caught.value.hint
            database.execute(f"CREATE PUBLICATION {it.publication} FOR TABLE items WITH (publish_via_partition_root)")
            database.execute(
                f"CREATE PUBLICATION {it.publication}_insert WITH (publish = 'insert, truncate', publish_via_partition_root)"
            )
            if it.database.postgres.major >= 18:
                for name in (it.publication, f"{it.publication}_insert"):
                    database.execute(f"ALTER PUBLICATION {name} SET (publish_generated_columns = stored)")
            await it.source.start()
            database.execute("CREATE TABLE later (id int PRIMARY KEY)")
            problem = await it.logged("source.problem")
            assert "the role may not" in problem["problem"]
            await it.disconnect()
            await it.until(lambda: len(it.find("source.reading")) == 2, "a new connection")
            database.execute("INSERT INTO items VALUES (1)")
            assert docs(await it.offered(1)) == [1]
    finally:
        await asyncio.to_thread(database.execute, f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.matrix(ends=True)
async def test_an_idle_source_does_not_hold_up_the_servers_shutdown(own_server: OwnServer, postgres: Postgres) -> None:
    """A fast shutdown waits for its readers' confirmation; ours leaves instead, and comes back."""
    server = own_server(major=postgres.major)
    database = Database("postgres", Postgres(postgres.major, server))
    database.execute(ITEMS + "; CREATE TABLE other (a text)")
    async with reader(database, TRIGGERS) as it:
        await it.until(lambda: it.positions(), "the first position")
        database.execute("INSERT INTO other VALUES ('not ours')")
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.to_thread(server.stop)
        assert loop.time() - began < 5.0
        await asyncio.to_thread(server.start)
        await it.until(lambda: len(it.find("source.reading")) == 2, "a new connection")
        database.execute("INSERT INTO items VALUES (1)")
        assert docs(await it.offered(1)) == [1]


async def test_a_source_without_room_does_not_hold_up_the_servers_shutdown(
    own_server: OwnServer, postgres: Postgres, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store takes nothing, so nothing is read; the server goes down all the same, and nothing is lost."""
    monkeypatch.setattr("cdcd.sources.replication.LONGEST_PAUSE", 0.5)
    server = own_server(major=postgres.major)
    source = Database("postgres", Postgres(postgres.major, server))
    source.execute("CREATE TABLE items (id int PRIMARY KEY, note text)")
    async with reader(source, {"items": trigger("items")}, store=database) as it:
        it.pipeline.full = True
        await asyncio.to_thread(
            source.execute, "INSERT INTO items SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i"
        )
        await it.logged("source.paused")
        await asyncio.to_thread(server.restart)
        it.pipeline.make_room()
        found = await it.offered(20_000)
        assert sorted(docs(found)) == list(range(1, 20_001))


async def test_a_database_that_is_away_keeps_no_other_waiting(database: Database) -> None:
    """The start returns, and reading begins when the database is there."""
    database.execute("CREATE TABLE items (id int PRIMARY KEY)")
    async with Proxy.to_postgres(database.dsn) as proxy:
        await proxy.refuse()
        async with reader(database, {"items": trigger("items")}, url=proxy.dsn(database.tcp_dsn)) as it:
            assert it.find("source.unavailable")
            await proxy.accept()
            await it.logged("source.reading")
            database.execute("INSERT INTO items VALUES (1)")
            await it.offered(1)
