"""Partitions: made ahead and on demand, moved out of the default one, dropped whole, and never with something staged in them."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from cdcd.clock import SystemClock
from cdcd.store.reads import Reads
from cdcd.store.retention import Retention
from tests.integration.store.shop import SCHEMA, Shop, delivery, final, shop, staged
from tests.postgres import Database

pytestmark = pytest.mark.matrix(ends=True)
DAY = 86400.0


def name(at: float) -> str:
    return f"event_logs_{datetime.fromtimestamp(at, UTC):%Y%m%d}"


def partitions(it: Shop) -> set[str]:
    return {
        row[0] for row in it.rows("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'event_logs'::regclass")
    }


def retention(database: Database, days: float = 7) -> Retention:
    def failed(part: str, error: BaseException) -> None:
        raise error

    return Retention(database.dsn, SCHEMA, days * DAY, SystemClock(), failed)


async def test_days_are_made_ahead_once(database: Database) -> None:
    async with shop(database) as it:
        keeper, now = retention(database), time.time()
        today = int(now // DAY)
        assert (await keeper.run_once(now)).made == [today, today + 1, today + 2]
        assert (await keeper.run_once(now)).made == []
        assert partitions(it) == {"event_logs_default"} | {name(now + ahead * DAY) for ahead in range(3)}
        assert (await keeper.run_once(now + DAY)).made == [today + 3]
        await keeper.stop()


async def test_as_a_part_it_starts_and_stops_twice(database: Database) -> None:
    async with shop(database) as it:
        keeper = retention(database)
        await keeper.start()
        await keeper.start()
        assert len(partitions(it)) == 4
        await keeper.stop()
        await keeper.stop()


async def test_events_on_both_sides_of_midnight_find_their_day(database: Database) -> None:
    async with shop(database) as it:
        midnight = time.time() // DAY * DAY
        await it.write(final(delivery(at=midnight - 0.000001)), final(delivery(at=midnight)))
        assert sorted(row[0] for row in it.rows("SELECT tableoid::regclass::text FROM event_logs")) == [
            name(midnight - 1),
            name(midnight),
        ]
        assert it.rows("SELECT count(*) FROM invocation_logs_default") == [(0,)]


async def test_an_event_of_last_month_gets_a_partition_and_one_of_ancient_times_the_default(database: Database) -> None:
    async with shop(database) as it:
        last_month, ancient, far = time.time() - 31 * DAY, 1_000_000_000.0, 5_000_000_000.0
        events = [delivery(at=at) for at in (last_month, ancient, far)]
        await it.write(*(final(one) for one in events))
        assert it.rows("SELECT tableoid::regclass::text FROM event_logs ORDER BY time") == [
            ("event_logs_default",),
            (name(last_month),),
            ("event_logs_default",),
        ]
        reads = Reads(database.dsn, SCHEMA)
        assert await reads.known([(one.id, one.event.time) for one in events]) == {one.id for one in events}
        await reads.close()


async def test_whole_days_are_dropped_after_retention_but_never_with_something_staged(database: Database) -> None:
    async with shop(database) as it:
        keeper, now = retention(database), time.time()
        waiting = delivery("a", at=now - 9 * DAY)
        await it.write(*(final(delivery(at=now - age * DAY)) for age in (6, 7, 8, 9, 10)), staged(waiting))
        kept = await keeper.run_once(now)
        today = int(now // DAY)
        assert (kept.dropped, kept.staged) == ([today - 10, today - 8], [today - 9])
        assert it.rows("SELECT count(*) FROM event_logs") == [(4,)]
        assert it.rows("SELECT count(*) FROM invocation_logs") == [(3,)]
        await it.write(final(waiting))
        assert (await keeper.run_once(now)).dropped == [today - 9]
        # The day is gone, and an event of it is still taken.
        await it.write(final(delivery(at=now - 9 * DAY)))
        assert it.rows("SELECT count(*) FROM event_logs") == [(3,)]
        await keeper.stop()


async def test_a_view_on_a_day_keeps_that_day_alone(database: Database) -> None:
    async with shop(database) as it:
        keeper, now = retention(database), time.time()
        today = int(now // DAY)
        await it.write(*(final(delivery(at=now - age * DAY)) for age in (8, 9, 10, 11)))
        it.execute(f"CREATE VIEW seen AS SELECT * FROM {name(now - 11 * DAY)}")
        kept = await keeper.run_once(now)
        assert kept.dropped == [today - 10, today - 9, today - 8]
        assert list(kept.refused) == [today - 11]
        assert "other objects depend on" in str(kept.refused[today - 11])
        assert "unavailable" not in str(kept.refused[today - 11])
        assert "view" in kept.refused[today - 11].hint
        it.execute("DROP VIEW seen")
        assert (await keeper.run_once(now)).dropped == [today - 11]
        await keeper.stop()


async def test_rows_in_the_default_partition_move_when_their_day_is_made(database: Database) -> None:
    async with shop(database) as it:
        keeper, now = retention(database), time.time()
        later = now + 5 * DAY
        await it.write(final(delivery(at=later)), staged(delivery("a", at=later)))
        assert it.rows("SELECT count(*) FROM event_logs_default") == [(2,)]
        await keeper.run_once(now)
        assert it.rows("SELECT count(*) FROM event_logs_default") == [(2,)]
        await keeper.run_once(now + 3 * DAY)
        assert it.rows("SELECT count(*) FROM event_logs_default") == [(0,)]
        assert it.rows(f"SELECT count(*) FROM {name(later)}") == [(2,)]
        assert it.rows("SELECT count(*) FROM invocation_logs") == [(1,)]
        await keeper.stop()


async def test_the_default_partition_is_pruned(database: Database) -> None:
    async with shop(database) as it:
        keeper = retention(database)
        waiting = delivery("a", at=1_000_000_000)
        await it.write(final(delivery(at=1_000_000_000)), staged(waiting, number=1))
        await keeper.run_once(time.time())
        assert it.rows("SELECT id::text FROM event_logs") == [(waiting.id,)]
        assert it.rows("SELECT event_id::text FROM invocation_logs") == [(waiting.id,)]
        await keeper.stop()


async def test_a_long_reader_delays_retention_and_not_the_recorder(database: Database) -> None:
    async with shop(database) as it:
        keeper, now = retention(database), time.time()
        await it.write(final(delivery(at=now)), final(delivery(at=now - 10 * DAY)))
        with database.connect() as reader, reader.transaction():
            reader.execute(f'SELECT count(*) FROM "{SCHEMA}".event_logs')
            kept = await keeper.run_once(now)
            today = int(now // DAY)
            assert kept.busy == [today + 1, today + 2, today - 10]
            yesterday = delivery(at=now - 1 * DAY)
            await it.write(final(yesterday), final(delivery()))
        assert it.rows("SELECT tableoid::regclass::text FROM event_logs WHERE id = %s", [yesterday.id]) == [
            ("event_logs_default",)
        ]
        kept = await keeper.run_once(now)
        assert kept.dropped == [today - 10]
        assert it.rows("SELECT tableoid::regclass::text FROM event_logs WHERE id = %s", [yesterday.id]) == [(name(now - DAY),)]
        await keeper.stop()


async def test_the_status_of_each_trigger(database: Database) -> None:
    async with shop(database) as it:
        old = time.time() - timedelta(hours=1).total_seconds()
        waiting = delivery("a", at=old)
        await it.write(
            *(final(delivery()) for _ in range(5)),
            staged(waiting, number=1, reason="503 Service Unavailable"),
            staged(delivery("a")),
        )
        from cdcd.event import Status

        await it.write(final(delivery(trigger="other"), Status.FAILED, reason="410 Gone"), final(delivery(), Status.CANCELLED))
        reads = Reads(database.dsn, SCHEMA)
        status = await reads.status(time.time() - 2 * DAY)
        await reads.close()
        welcome, other = status.triggers["welcome"], status.triggers["other"]
        assert (welcome.delivered, welcome.cancelled, welcome.failed, welcome.staged) == (5, 1, 0, 2)
        assert welcome.oldest_staged == pytest.approx(old, abs=0.001)
        assert welcome.last_error == "503 Service Unavailable"
        assert (other.failed, other.last_error) == (1, "410 Gone")
        assert not status.estimated
