"""From committed rows to deliveries: each once, whatever breaks, and the position only behind what is recorded."""

import asyncio
import uuid

import pytest
from psycopg.conninfo import make_conninfo

from cdcd.event import Status
from cdcd.replication.lsn import parse_lsn
from cdcd.store.reads import Reads
from tests.integration.sources.reader import SCHEMA, docs, reader, trigger
from tests.postgres import Database
from tests.proxy import Proxy

ITEMS = "CREATE TABLE items (id int PRIMARY KEY, note text)"
TRIGGERS = {"items": trigger("items")}


@pytest.mark.matrix
async def test_changes_become_deliveries(database: Database) -> None:
    """In order, with what the transaction says of itself; a position is confirmed only when it is recorded."""
    database.execute(ITEMS)
    async with reader(database, TRIGGERS) as it:
        database.execute("INSERT INTO items VALUES (1, 'a'); UPDATE items SET note = 'b'; DELETE FROM items")
        found = list(await it.offered(3))
        assert [each.event.type for each in found] == ["DB_INSERT", "DB_UPDATE", "DB_DELETE"]
        assert {each.event.subject for each in found} == {"public.items/1"}
        assert len({each.id for each in found}) == 3
        before = parse_lsn(it.confirmed())
        assert before < found[0].event.position
        await it.settle()
        await it.until(lambda: parse_lsn(it.confirmed()) > found[-1].event.position, "the confirmation")


async def test_a_transaction_that_is_cut_in_the_middle_is_offered_once(database: Database) -> None:
    """Every change of it once and in order, however often the connection breaks inside it."""
    database.execute(ITEMS)
    async with Proxy.to_postgres(database.dsn) as proxy, reader(database, TRIGGERS, url=proxy.dsn(database.tcp_dsn)) as it:
        proxy.cut_after(down=300_000)
        await asyncio.to_thread(
            database.execute, "INSERT INTO items SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i"
        )
        for budget in (900_000, 1_700_000):
            await it.until(lambda: it.source._stream is None, "the cut")
            assert 0 < len(it.pipeline.deliveries) < 20_000
            proxy.cut_after(down=budget)
        await it.until(lambda: it.source._stream is None, "the cut")
        proxy.heal()
        found = await it.offered(20_000)
        assert docs(found) == list(range(1, 20_001))
        assert len({each.id for each in found}) == 20_000
        await it.settle()
        await it.until(lambda: it.source._progress.outstanding == 0, "its end")


async def test_a_restart_offers_again_what_was_not_recorded(database: Database) -> None:
    """With the same ids; what was recorded behind something unsettled is recognised by its id."""
    database.execute(ITEMS)
    async with reader(database, TRIGGERS) as it:
        for number in range(1, 5):
            database.execute(f"INSERT INTO items VALUES ({number})")
        first = list(await it.offered(4))
        it.pipeline.deliveries = [first[1], first[3]]
        await it.settle(Status.STAGED)
        settled, recorded = it.positions()[-1]
        assert settled < first[0].event.position
        assert recorded == first[3].event.position
    async with reader(database, TRIGGERS, name=it.name) as it:
        again = list(await it.offered(2))
        assert [each.id for each in again] == [first[0].id, first[2].id]
        database.execute("INSERT INTO items VALUES (5)")
        await it.offered(3)
        assert it.find("source.known_already", deliveries=2)
        await it.settle()
        await it.until(lambda: it.source._progress.outstanding == 0, "all settled")
    async with reader(database, TRIGGERS, name=it.name) as it:
        database.execute("INSERT INTO items VALUES (6)")
        assert docs(await it.offered(1)) == [6]


async def test_interleaved_transactions_are_looked_up_one_by_one(database: Database) -> None:
    """Transactions arrive by their commits: one that began before a recorded one and committed after it is new."""
    database.execute(ITEMS)
    async with reader(database, TRIGGERS) as it:
        with database.connect() as late:
            late.execute("BEGIN")
            late.execute("INSERT INTO items VALUES (1)")
            database.execute("INSERT INTO items VALUES (2); INSERT INTO items VALUES (3)")
            first = list(await it.offered(2))
            it.pipeline.deliveries = [first[1]]
            await it.settle()
            late.execute("COMMIT")
        await it.offered(1)
    async with reader(database, TRIGGERS, name=it.name) as it:
        assert docs(await it.offered(2)) == [2, 1]


async def test_matched_changes_are_not_lost_with_their_connection(database: Database) -> None:
    """What was matched while the store could not be asked is offered when it can be, once, and before anything else."""
    database.execute(ITEMS)
    async with reader(database, TRIGGERS) as it:
        for number in (1, 2, 3):
            database.execute(f"INSERT INTO items VALUES ({number})")
        first = list(await it.offered(3))
        it.pipeline.deliveries = [first[1]]
        await it.settle()
    async with Proxy.to_postgres(database.dsn) as proxy:
        url = proxy.dsn(database.tcp_dsn)
        asked = Reads(url, SCHEMA)
        assert await asked.positions()
        await asked.close()
        proxy.cut_after(down=proxy.passed["down"])  # the positions once more, and no answer after that
        async with reader(database, TRIGGERS, name=it.name, reads_url=url) as it:
            await it.logged("source.waiting")
            await it.until(lambda: len(it.find("source.unavailable")) >= 2, "another connection")
            assert it.pipeline.deliveries == []
            proxy.heal()
            database.execute("INSERT INTO items VALUES (4)")
            found = await it.offered(3)
            assert [each.id for each in found][:2] == [first[0].id, first[2].id]
            assert docs(found) == [1, 3, 4]


@pytest.mark.matrix
async def test_idle_movement_is_recorded_in_steps_and_confirmed(database: Database) -> None:
    """WAL of others moves the position, but is written down only by the megabyte."""
    database.execute(ITEMS + "; CREATE TABLE other (a text)")
    async with reader(database, TRIGGERS) as it:
        await it.until(lambda: it.positions(), "the first position")
        rows = len(it.positions())
        database.execute("INSERT INTO other VALUES ('x')")
        lsn = parse_lsn(it.ask("SELECT pg_current_wal_flush_lsn()"))
        await it.until(lambda: it.source._progress.settled >= lsn, "idle movement")
        assert len(it.positions()) == rows
        database.execute("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 3000)")
        await it.until(lambda: parse_lsn(it.confirmed()) > lsn + 1024 * 1024, "the confirmation of idle movement")
        assert rows < len(it.positions()) < rows + 10
        database.execute("INSERT INTO other VALUES ('x')")
        lsn = parse_lsn(it.ask("SELECT pg_current_wal_flush_lsn()"))
        await it.until(lambda: it.source._progress.settled >= lsn, "idle movement")
    assert it.positions()[-1][0] >= lsn, "an orderly stop records it"
    assert parse_lsn(it.confirmed()) >= lsn


async def test_nothing_moves_while_a_transaction_is_unsettled(database: Database) -> None:
    """Keepalives that come behind it change nothing."""
    database.execute(ITEMS + "; CREATE TABLE other (a text)")
    async with reader(database, TRIGGERS) as it:
        database.execute("INSERT INTO items VALUES (1)")
        (one,) = await it.offered(1)
        database.execute("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 3000)")
        lsn = parse_lsn(it.ask("SELECT pg_current_wal_flush_lsn()"))
        stream = it.source._stream
        assert stream is not None
        await it.until(lambda: stream.received >= lsn, "the keepalives")
        assert it.source._progress.settled < one.event.position
        assert parse_lsn(it.confirmed()) < one.event.position


async def test_a_new_connection_confirms_nothing_that_is_unsettled(database: Database) -> None:
    """It goes on behind what was read, but what was read and is in nobody's hands must come again after a crash."""
    database.execute(ITEMS)
    async with reader(database, TRIGGERS) as it:
        database.execute("INSERT INTO items VALUES (1)")
        (one,) = await it.offered(1)
        stream = it.source._stream
        await it.disconnect()
        await it.until(lambda: it.source._stream not in (None, stream), "another connection")
        database.execute("INSERT INTO items VALUES (2)")
        await it.offered(2)
        replied = it.ask("SELECT now()")
        await it.until(lambda: it.ask(f"SELECT bool_or(reply_time > '{replied}') FROM pg_stat_replication"), "a status")
        assert parse_lsn(it.confirmed()) < one.event.position


async def test_a_full_pipeline_pauses_reading_and_keeps_the_connection(database: Database) -> None:
    """With wal_sender_timeout 2 s the same connection is there after 5 s, and everything arrives."""
    database.execute(ITEMS)
    url = make_conninfo(database.dsn, options="-c wal_sender_timeout=2s")
    async with reader(database, TRIGGERS, url=url) as it:
        it.pipeline.full = True
        pid = it.ask(f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{it.slot}'")
        await asyncio.to_thread(
            database.execute, "INSERT INTO items SELECT i, repeat('x', 1000) FROM generate_series(1, 30000) i"
        )
        await it.until(lambda: it.pipeline.waited, "the pause")
        assert len(it.pipeline.deliveries) < 5000
        query = f"SELECT reply_time > backend_start + interval '5 s' FROM pg_stat_replication WHERE pid = {pid}"
        await it.until(lambda: it.ask(query), "5 s")
        count = len(it.pipeline.deliveries)
        assert it.pipeline.waited == 1
        it.pipeline.make_room()
        assert docs(await it.offered(30_000)) == list(range(1, 30_001))
        assert count < 5000
        assert it.ask(f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{it.slot}'") == pid
        assert not it.find("source.unavailable")


@pytest.mark.matrix
async def test_types_of_the_database_own(database: Database) -> None:
    """Domains, enums, their arrays and composites, also of a type that is younger than the stream."""
    database.execute(
        """
        CREATE TYPE mood AS ENUM ('sad', 'glad');
        CREATE DOMAIN cents AS numeric(10, 2);
        CREATE DOMAIN ids AS int[];
        CREATE TYPE place AS (street text, number int);
        CREATE TABLE items (id int PRIMARY KEY, a mood, b cents, c mood[], d cents[], e ids, f place)
        """
    )
    async with reader(database, {"items": trigger("items")}) as it:
        database.execute("INSERT INTO items VALUES (1, 'sad', 1.50, '{sad,glad}', '{1,2.25}', '{1,2}', '(Road,3)')")
        database.execute("CREATE TYPE size AS ENUM ('s', 'l'); ALTER TABLE items ADD g size[]")
        database.execute("INSERT INTO items VALUES (2, null, null, null, null, null, null, '{s,l}')")
        first, second = await it.offered(2)
        assert (
            b'"doc":{"id":1,"a":"sad","b":1.50,"c":["sad","glad"],"d":[1.00,2.25],"e":[1,2],"f":"(Road,3)"}' in first.event.data
        )
        assert b'"g":["s","l"]' in second.event.data


async def test_what_a_row_holds_reaches_no_log(database: Database) -> None:
    """Whatever goes wrong with it."""
    secret = uuid.uuid4().hex
    database.execute("CREATE TABLE items (id text PRIMARY KEY, note text, n int)")
    triggers = {"a": trigger("items", when="new.n / 0 > 1"), "b": trigger("items", when="new.note > 5")}
    async with reader(database, triggers) as it:
        database.execute(f"INSERT INTO items VALUES ('{secret}', '{secret}', 7)")
        found = await it.offered(2)
        assert all(each.error and secret not in each.error for each in found)
        await it.settle(Status.FAILED)
        await it.disconnect()
        await it.until(lambda: len(it.find("source.reading")) == 2, "a new connection")
    assert secret not in str(it.logs)


async def test_the_store_in_the_same_database_is_never_captured(database: Database) -> None:
    """Not even by `*.*`: what cdcd writes makes no events."""
    database.execute(ITEMS)
    async with reader(database, {"all": trigger("*.*")}, watch_interval=0.05) as it:
        database.execute("INSERT INTO items VALUES (1)")
        await it.offered(1)
        await it.settle()
        database.execute("INSERT INTO items VALUES (2)")
        assert docs(await it.offered(1)) == [2]
        tables = database.execute("SELECT schemaname, tablename FROM pg_publication_tables")
        assert tables == [("public", "items")]


async def test_a_source_far_behind_does_not_wait_for_endpoints(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in memory is staged as soon as the budget is used up, so that the WAL can go."""
    monkeypatch.setattr("cdcd.sources.replication.MOST_HELD", 1024 * 1024)
    database.execute(ITEMS)
    rows = "INSERT INTO items SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i"
    async with reader(database, TRIGGERS, watch_interval=0.05) as it:
        it.pipeline.full = True
        await asyncio.to_thread(database.execute, rows)
        await it.until(lambda: it.pipeline.waited, "the first pause")
        lsn = parse_lsn(it.ask("SELECT pg_current_wal_flush_lsn()"))
        await it.until(lambda: it.source._watch.intact >= lsn, "a look at the server")
        it.pipeline.make_room()
        it.pipeline.emptied.clear()
        await it.until(lambda: it.pipeline.deliveries, "some of them")
        it.pipeline.full = True
        await it.until(lambda: it.pipeline.relieved, "what is in memory to be staged")
        it.pipeline.make_room()
        await it.offered(20_000)
