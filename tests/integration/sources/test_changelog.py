"""The change log as a source: nothing skipped and nothing twice, in order, whatever is open, breaks, or is taken away."""

import asyncio
import time

import orjson
import pytest

from cdcd.changelog.log import ChangeLog
from cdcd.changelog.names import LEAF_BITS, Names
from cdcd.config.model import Capture
from cdcd.errors import PositionLost, SourceNotReady
from cdcd.event import Status
from cdcd.upkeep.logged import open_for_long
from tests.integration.sources.reader import Reader, docs, reader, trigger
from tests.postgres import Database, Databases, OwnServer, Postgres
from tests.proxy import Proxy

ITEMS = "CREATE TABLE items (id int PRIMARY KEY, note text)"
TRIGGERS = {"items": trigger("items")}
LOG = Capture.TRIGGERS


def settled(it: Reader) -> bool:
    return bool(it.source._progress.outstanding == 0)


async def looked(it: Reader) -> None:
    """Until the source has seen everything that was written so far."""
    written = it.ask("SELECT last_value FROM cdcd.changes_seq")
    horizon = it.source._horizon
    await it.until(lambda: horizon.readable >= written or any(mark.number >= written for mark in horizon._waiting), "a look")


@pytest.mark.matrix(ends=True)
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "PREPARE TRANSACTION 'two'"])
async def test_a_lower_number_that_commits_later_is_not_skipped(database: Database, end: str) -> None:
    """What was numbered behind it waits, until it is there or was rolled back; prepared, it is still open."""
    database.execute(ITEMS)
    async with reader(database, TRIGGERS, capture=LOG) as it:
        with database.connect() as late:
            late.execute("BEGIN")
            late.execute("INSERT INTO items VALUES (1)")
            database.execute("INSERT INTO items VALUES (2)")
            await looked(it)
            assert it.pipeline.deliveries == []
            late.execute(end)
        if end.startswith("PREPARE"):
            database.execute("INSERT INTO items VALUES (3)")
            await looked(it)
            assert it.pipeline.deliveries == []
            database.execute("COMMIT PREPARED 'two'")
        expected = {"C": [1, 2], "R": [2], "P": [1, 2, 3]}[end[0]]
        assert docs(await it.offered(len(expected))) == expected
        await it.settle()
        await it.until(lambda: settled(it))


async def test_one_row_changed_by_several_transactions_while_another_is_open(database: Database) -> None:
    """In the order in which they changed it, whichever of them began first."""
    database.execute(ITEMS + "; INSERT INTO items VALUES (1, 'a'); CREATE TABLE other (id int)")
    async with reader(database, TRIGGERS, capture=LOG) as it:
        with database.connect() as early, database.connect() as between, database.connect() as late:
            early.execute("BEGIN; INSERT INTO other VALUES (1)")  # has the lowest transaction id
            between.execute("BEGIN; INSERT INTO items VALUES (2)")  # stays open over both
            late.execute("BEGIN; UPDATE items SET note = 'first' WHERE id = 1; COMMIT")
            early.execute("UPDATE items SET note = 'second' WHERE id = 1; COMMIT")
            await looked(it)
            between.execute("COMMIT")
        found = [docs([each], "note")[0] for each in await it.offered(3) if each.event.type == "DB_UPDATE"]
        assert found == ["first", "second"]


@pytest.mark.matrix
async def test_transactions_that_wrote_elsewhere_delay_nothing(database: Database) -> None:
    """Nor does one that took back what it had captured."""
    database.execute(ITEMS + "; CREATE TABLE other (id int)")
    async with reader(database, TRIGGERS, capture=LOG) as it:
        with database.connect() as elsewhere, database.connect() as undone:
            elsewhere.execute("BEGIN; INSERT INTO other VALUES (1)")
            undone.execute("BEGIN; SAVEPOINT a; INSERT INTO items VALUES (9); ROLLBACK TO a")
            database.execute("INSERT INTO items VALUES (1)")
            assert docs(await it.offered(1)) == [1]


async def test_a_restart_offers_again_what_was_not_recorded(database: Database) -> None:
    """With the same ids; what was recorded behind something unsettled is recognised by its id."""
    database.execute(ITEMS)
    async with reader(database, TRIGGERS, capture=LOG) as it:
        for number in range(1, 5):
            database.execute(f"INSERT INTO items VALUES ({number})")
        first = list(await it.offered(4))
        it.pipeline.deliveries = [first[1], first[3]]
        await it.settle(Status.STAGED)
        assert it.positions()[-1][0] < first[0].event.position
    async with reader(database, TRIGGERS, name=it.name, capture=LOG) as it:
        again = list(await it.offered(2))
        assert [each.id for each in again] == [first[0].id, first[2].id]
        assert it.find("source.known_already", deliveries=2)
        await it.settle()
        await it.until(lambda: settled(it))
    async with reader(database, TRIGGERS, name=it.name, capture=LOG) as it:
        database.execute("INSERT INTO items VALUES (6)")
        assert docs(await it.offered(1)) == [6]


async def test_connections_that_break_in_a_large_transaction(database: Database) -> None:
    """Every change of it once, in order, and in parts."""
    database.execute(ITEMS)
    async with (
        Proxy.to_postgres(database.dsn) as proxy,
        reader(database, TRIGGERS, url=proxy.dsn(database.tcp_dsn), capture=LOG) as it,
    ):
        proxy.cut_after(down=proxy.passed["down"] + 600_000)
        await asyncio.to_thread(
            database.execute, "INSERT INTO items SELECT i, repeat('x', 100) FROM generate_series(1, 10000) i"
        )
        await it.logged("source.unavailable")
        assert len(it.pipeline.deliveries) < 10_000
        proxy.heal()
        found = await it.offered(10_000)
        assert docs(found) == list(range(1, 10_001))
        assert len({each.id for each in found}) == 10_000


async def test_settled_changes_leave_by_whole_leaves(database: Database) -> None:
    """What nobody wants does not accumulate; a leaf that somebody still writes to waits."""
    database.execute(ITEMS)
    rows = 1 << LEAF_BITS
    async with reader(database, {"none": trigger("items", when="new.id < 0")}, capture=LOG) as it:
        with database.connect() as busy:
            busy.execute("BEGIN; SELECT count(*) FROM cdcd.changes_0")
            await asyncio.to_thread(database.execute, f"INSERT INTO items SELECT generate_series(1, {rows + 1200})")
            await it.until(lambda: it.source._recorded >= rows, "the position")
            await asyncio.to_thread(
                database.execute, f"INSERT INTO items SELECT generate_series({rows + 1201}, {2 * rows + 2400})"
            )
            await it.until(lambda: it.source._recorded >= 2 * rows, "the position")
            assert await asyncio.to_thread(it.ask, "SELECT count(*) FROM cdcd.changes") > rows
            assert not it.find("changelog.let_go")
            busy.execute("COMMIT")
        it.source._let_go_at = 0.0
        database.execute("INSERT INTO items VALUES (0)")
        await it.logged("changelog.let_go")
        assert await asyncio.to_thread(it.ask, "SELECT count(*) FROM cdcd.changes") <= rows + 2500
        assert it.pipeline.deliveries == []


async def test_another_history_is_read_from_its_beginning(database: Database, databases: Databases) -> None:
    """As after a failover to a server that lacked the last changes: numbers are given out again, and nothing of them is skipped."""
    database.execute(ITEMS)
    store = databases()
    async with (
        Proxy.to_postgres(database.dsn) as proxy,
        reader(database, TRIGGERS, url=proxy.dsn(database.tcp_dsn), store=store, capture=LOG) as it,
    ):
        for number in range(1, 6):
            database.execute(f"INSERT INTO items VALUES ({number})")
        await it.offered(5)
        await it.settle()
        await it.until(lambda: it.source._recorded == 5)
        await proxy.refuse()
        proxy.cut()
        database.execute("DELETE FROM cdcd.changes WHERE seq > 3; SELECT setval('cdcd.changes_seq', 3)")
        database.execute("INSERT INTO items VALUES (14), (15), (16)")
        await proxy.accept()
        assert docs(await it.offered(3)) == [14, 15, 16]
        assert it.find("changelog.another_history")
        assert it.find("source.known_already", deliveries=3)
        await it.settle()
        await it.until(lambda: it.source._recorded == 6)
    async with reader(database, TRIGGERS, name=it.name, store=store, capture=LOG) as it:
        database.execute("INSERT INTO items VALUES (17)")
        assert docs(await it.offered(1)) == [17]
        assert not it.find("changelog.another_history")


@pytest.mark.matrix
@pytest.mark.parametrize("gone", ['DROP TRIGGER "00_cdcd_changes" ON items', "ALTER TABLE items DISABLE TRIGGER ALL"])
async def test_a_trigger_that_is_taken_away_comes_back_and_is_told(database: Database, gone: str) -> None:
    database.execute(ITEMS)
    async with reader(database, TRIGGERS, capture=LOG, watch_interval=0.05) as it:
        database.execute(gone)
        await it.logged("changelog.gap", table="public.items")
        await asyncio.to_thread(database.execute, "INSERT INTO items VALUES (1)")  # it may still be locked
        assert docs(await it.offered(1)) == [1]


@pytest.mark.matrix
async def test_tables_that_appear_are_captured(database: Database) -> None:
    """Partitions at once, others with the next look; one that no trigger means any more is let alone."""
    database.execute("CREATE TABLE a_root (id int PRIMARY KEY) PARTITION BY LIST (id)")
    async with reader(database, {"all": trigger("public.a*")}, capture=LOG, watch_interval=0.05) as it:
        database.execute("CREATE TABLE part PARTITION OF a_root FOR VALUES IN (1); INSERT INTO a_root VALUES (1)")
        database.execute("SET session_replication_role = replica; DELETE FROM a_root; INSERT INTO part VALUES (1)")
        assert {each.event.subject for each in await it.offered(3)} == {"public.a_root/1"}
        database.execute("CREATE TABLE a_late (id int PRIMARY KEY)")
        await it.logged("changelog.changed", table="public.a_late")
        await it.until(lambda: it.ask("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'a_late'::regclass AND tgenabled = 'A'"))
        database.execute("INSERT INTO a_late VALUES (7)")
        await it.offered(4)
        database.execute("ALTER TABLE a_late RENAME TO z_late")
        await it.until(lambda: not it.ask("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'z_late'::regclass"), "its end")


async def test_only_the_events_that_are_wanted_are_written_down(database: Database) -> None:
    database.execute(ITEMS)
    async with reader(database, {"new": trigger("items", types=("DB_INSERT",))}, capture=LOG) as it:
        database.execute("INSERT INTO items VALUES (1); UPDATE items SET note = 'x'; DELETE FROM items; TRUNCATE items")
        await it.offered(1)
        assert it.ask("SELECT count(*) FROM cdcd.changes") == 1


async def test_a_position_of_replication_or_of_another_log_is_not_taken_for_this_one(database: Database) -> None:
    database.execute(ITEMS)
    async with reader(database, TRIGGERS, capture=LOG) as it:
        database.execute("INSERT INTO items VALUES (1)")
        await it.offered(1)
        await it.settle()
        await it.until(lambda: settled(it))
    async with reader(database, TRIGGERS, name=it.name, start=False) as streaming:
        with pytest.raises(PositionLost, match="captured by triggers"):
            await streaming.source.start()
    database.execute("UPDATE cdcd.changes_meta SET log = gen_random_uuid()")
    async with reader(database, TRIGGERS, name=it.name, start=False, capture=LOG) as it:
        with pytest.raises(PositionLost, match="gone"):
            await it.source.start()


async def test_the_log_of_another_project_is_refused(database: Database, databases: Databases) -> None:
    database.execute(ITEMS)
    async with reader(database, TRIGGERS, store=databases(), capture=LOG):
        pass
    async with reader(database, TRIGGERS, store=databases(), start=False, capture=LOG) as it:
        with pytest.raises(SourceNotReady, match="belongs to the project"):
            await it.source.start()


async def test_a_log_that_is_removed_while_it_is_read(database: Database, databases: Databases) -> None:
    """Told as what it is; nothing goes on in silence."""
    database.execute(ITEMS)
    async with reader(database, TRIGGERS, store=databases(), capture=LOG, watch_interval=0.05) as it:
        await it.until(lambda: it.source._recorded >= 0, "the first position")
        database.execute("DROP SCHEMA cdcd CASCADE")
        stopped = await it.logged("source.stopped")
        assert "is gone" in stopped["error"]


async def test_what_a_row_holds_reaches_no_log(database: Database) -> None:
    database.execute(ITEMS)
    async with reader(database, {"a": trigger("items", when="new.note > 5")}, capture=LOG) as it:
        database.execute("INSERT INTO items VALUES (1, 'a secret')")
        (one,) = await it.offered(1)
        assert one.error
    assert "a secret" not in str(it.logs)


@pytest.mark.matrix
async def test_what_triggers_did_to_rows_of_the_same_statement_comes_behind_it(database: Database) -> None:
    """They run when the statement has changed all its rows: also in a savepoint, and when nothing of the row is left."""
    database.execute(
        ITEMS
        + """;
        CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.id = 1 AND NEW.note IN ('a', 'b') THEN
                BEGIN
                    UPDATE items SET note = NEW.note || '1' WHERE id > 1;
                EXCEPTION WHEN unique_violation THEN NULL;
                END;
                UPDATE items SET note = NEW.note || '2' WHERE id > 1;
                DELETE FROM items WHERE id = 3 AND note = 'b2';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER meddle AFTER INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION meddle();
        """
    )
    async with reader(database, TRIGGERS, capture=LOG) as it:
        database.execute(
            "BEGIN; INSERT INTO items VALUES (1, 'a'), (2, 'a'), (3, 'a'); SELECT * FROM items FOR UPDATE;"
            "UPDATE items SET note = 'b'; COMMIT"
        )
        found: dict[int, list[str]] = {}
        for each in await it.offered(15):
            data = orjson.loads(each.event.data)
            row = data.get("doc") or data["before"]
            found.setdefault(row["id"], []).append(f"{each.event.type[3]}{row['note']}")
        assert found == {
            1: ["Ia", "Ub"],
            2: ["Ia", "Ua1", "Ua2", "Ub", "Ub1", "Ub2"],
            3: ["Ia", "Ua1", "Ua2", "Ub", "Ub1", "Ub2", "Db2"],
        }
        positions = [each.event.position for each in it.pipeline.deliveries]
        assert positions == sorted(positions)


@pytest.mark.matrix
async def test_a_key_that_is_changed_is_told_from_then_on(database: Database) -> None:
    """What was written down before keeps its own."""
    database.execute(ITEMS)
    async with reader(database, TRIGGERS, capture=LOG) as it:
        database.execute(
            "BEGIN; INSERT INTO items VALUES (1, 'a'); ALTER TABLE items DROP CONSTRAINT items_pkey, ADD PRIMARY KEY (note);"
            "INSERT INTO items VALUES (2, 'b'); COMMIT"
        )
        assert [orjson.loads(each.event.data)["find"] for each in await it.offered(2)] == [{"id": 1}, {"note": "b"}]


async def test_nobody_can_pass_his_table_off_as_another(database: Database) -> None:
    """Also with a right that nobody should have: what its trigger says is not believed."""
    database.execute(ITEMS + "; CREATE TABLE mine (id int PRIMARY KEY, note text)")
    async with reader(database, TRIGGERS, capture=LOG) as it:
        oid = it.ask("SELECT 'items'::regclass::oid")
        database.execute(
            f"CREATE TRIGGER forged AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION cdcd.changes_row('{oid}');"
            "INSERT INTO mine VALUES (1, 'forged'); INSERT INTO items VALUES (2, 'true')"
        )
        assert docs(await it.offered(1)) == [2]
        assert it.ask("SELECT count(*) FROM cdcd.changes") == 2


@pytest.mark.matrix
async def test_a_transaction_that_stays_open_is_told_once(database: Database) -> None:
    """Also one that only holds the lock: it may have a number already. Nothing is asked for in a hurry meanwhile."""
    database.execute(ITEMS)
    async with reader(database, TRIGGERS, capture=LOG, patience=0.05) as it:
        with database.connect() as open_, database.connect() as holding:
            open_.execute("SET application_name = 'shop'; BEGIN; INSERT INTO items VALUES (1)")
            holding.execute("BEGIN; LOCK TABLE cdcd.changes IN ROW EXCLUSIVE MODE")
            pid = open_.info.backend_pid
            assert (await it.logged("changelog.waiting", pid=pid))["application"] == "shop"
            await it.logged("changelog.waiting", pid=holding.info.backend_pid)
            async with await database.aconnect() as catalog:
                told = " ".join(what for what, _ in await open_for_long(ChangeLog(catalog, Names("cdcd")), 0.0))
            assert f"pid {pid}, application 'shop', idle in transaction" in told
            open_.execute("COMMIT")
            holding.execute("COMMIT")
        await it.offered(1)
        assert len(it.find("changelog.waiting", pid=pid)) == 1


async def test_a_notification_wakes_it_and_nobody_notifies_while_it_is_awake(own_server: OwnServer, database: Database) -> None:
    """Where the server allows no prepared transactions. Nothing is missed, also of who took it to be awake and commits when it
    sleeps."""
    server = own_server({"max_prepared_transactions": "0", "wal_level": "replica"})
    captured = Database("postgres", Postgres(database.postgres.major, server))
    captured.execute(ITEMS)
    async with reader(captured, TRIGGERS, store=database, capture=LOG) as it:
        await it.until(lambda: it.source._told)
        with captured.connect() as listening, captured.connect() as late, captured.connect() as writing:
            listening.execute("LISTEN cdcd_changes")
            for number in range(3):
                began = time.monotonic()
                writing.execute("INSERT INTO items VALUES (%s)", [number])
                await it.offered(number + 1)
                assert time.monotonic() - began < 2.5
            while not it.source._awake.held:
                number += 1
                writing.execute("INSERT INTO items VALUES (%s)", [number])
                await asyncio.sleep(0)
            assert list(listening.notifies(timeout=0))
            late.execute("BEGIN; INSERT INTO items VALUES (-1)")
            writing.execute("INSERT INTO items VALUES (-2)")
            assert not list(listening.notifies(timeout=0.05))
            await it.until(lambda: not it.source._awake.held, "sleep")
            began = time.monotonic()
            late.execute("COMMIT")
            await it.offered(number + 3)
            assert time.monotonic() - began < 2.5
            assert not list(listening.notifies(timeout=0.05))
            writing.execute("INSERT INTO items VALUES (-3)")
            assert list(listening.notifies(timeout=2, stop_after=1))
            await it.offered(number + 4)
