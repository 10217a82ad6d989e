"""The queue's table: what is due in which order, in batches of bytes, once for each id; and look-ups that stay cheap."""

import re
import time

import pytest

from cdcd.clock import SystemClock
from cdcd.event import Queued
from cdcd.store.inbox import BATCH, Inbox, dequeue
from cdcd.store.migrate import migrate
from cdcd.store.retention import Retention
from cdcd.store.statements import SQL
from tests.integration.store.shop import SCHEMA, delivery, final, shop
from tests.postgres import Database

LARGEST = 16 * 1024 * 1024


def event(name: str, due: float | None = None, data: bytes = b"1", **more: object) -> Queued:
    moment = time.time() if due is None else due
    return Queued(name, "ORDER", "cdcd/shop/queue", int(moment * 1e6), data, at_once=due is None, **more)  # type: ignore[arg-type]


async def prepared(database: Database) -> Inbox:
    await migrate(database.dsn, "cdcd", "shop")
    return Inbox(database.dsn, "cdcd")


async def test_for_now_and_for_later_by_turns_each_in_order(database: Database) -> None:
    """What is for now is due whatever its time says; a clock that was set back between two of them changes no order."""
    inbox = await prepared(database)
    now = time.time()
    await inbox.put([event("later", now + 60), event("s2", now - 1), event("s1", now - 2)])
    ahead = event("a1", None)
    ahead.due = int((now + 3600) * 1e6)
    await inbox.put([ahead, event("a2"), event("a3")])
    due = await inbox.take(now, LARGEST)
    names = [each.id for each in due.events]
    assert [name for name in names if name[0] == "a"] == ["a1", "a2", "a3"]
    assert [name for name in names if name[0] == "s"] == ["s1", "s2"]
    assert set(names[:2]) == {"a1", "s1"}
    assert (await inbox.take(now, LARGEST, names)).events == []
    rest = await inbox.take(now, LARGEST, names)
    assert rest.next_due == pytest.approx(now + 60, abs=0.001)
    await inbox.close()


async def test_batches_are_bounded_by_bytes_and_what_is_too_large_is_not_read(database: Database) -> None:
    inbox = await prepared(database)
    big = b'"' + b"x" * (5 * 1024 * 1024) + b'"'
    await inbox.put([event(f"e{n}", data=big) for n in range(6)])
    first = await inbox.take(time.time(), LARGEST)
    assert [each.id for each in first.events] == ["e0", "e1", "e2", "e3"]
    tooth = await inbox.take(time.time(), 1024, [each.id for each in first.events])
    assert [each.id for each in tooth.events] == ["e4", "e5"]
    assert tooth.oversize == {"e4": len(big), "e5": len(big)}
    assert tooth.events[0].data == b'{"bytes":%d}' % len(big)
    await inbox.put([event(f"n{n}") for n in range(BATCH + 1)])
    assert len((await inbox.take(time.time(), 1024, ["e0"])).events) == BATCH
    await inbox.close()


async def test_the_same_id_once(database: Database) -> None:
    """Given ids are remembered when their event has left, until retention has passed them."""
    inbox = await prepared(database)
    assert await inbox.put([event("a", given=True), event("a", given=True), event("b")]) == {"a", "b"}
    assert await inbox.put([event("a", given=True), event("c", given=True)]) == {"c"}
    database.execute("SET search_path = cdcd; DELETE FROM queued")
    assert await inbox.put([event("a", given=True)]) == set()
    assert await inbox.put_first([event("a", given=True), event("d")]) == {"d"}
    assert await inbox.put_first([event("e"), event("f")]) == {"e", "f"}
    later = time.time() + 86400
    assert await inbox.put([event("far", later, given=True)]) == {"far"}
    database.execute("UPDATE cdcd.queued_ids SET time = time - interval '10 days' WHERE id <> 'far'")
    database.execute("INSERT INTO cdcd.queued_ids SELECT 'old' || g, '2020-01-01' FROM generate_series(1, 12000) g")
    retention = Retention(database.dsn, "cdcd", 7 * 86400, SystemClock(), lambda part, error: None)
    await retention.run_once(time.time())
    await retention.stop()
    assert database.execute("SELECT id FROM cdcd.queued_ids") == [("far",)]
    await inbox.close()


async def test_what_is_just_being_cancelled_is_told_as_due(database: Database) -> None:
    """So that it is looked at again soon, should that be rolled back."""
    inbox = await prepared(database)
    now = time.time()
    await inbox.put([event("held", now - 2), event("a", now - 1)])
    with database.connect() as connection:
        connection.execute("BEGIN; SELECT cdcd.cancel('a')")
        due = await inbox.take(now, LARGEST, ["held"])
        assert due.events == []
        assert due.next_due == pytest.approx(now - 1, abs=0.001)
        connection.execute("ROLLBACK")
    assert [each.id for each in (await inbox.take(now, LARGEST, ["held"])).events] == ["a"]
    await inbox.close()


async def test_leaving_twice_changes_nothing(database: Database) -> None:
    inbox = await prepared(database)
    await inbox.put([event("a"), event("b")])
    effect = dequeue(["a"])
    for _ in range(2):
        await inbox._session.execute(effect.statement, *effect.parameters)
    assert [each.id for each in (await inbox.take(time.time(), LARGEST)).events] == ["b"]
    await inbox.close()


async def test_many_scheduled_events_cost_a_look_up(database: Database) -> None:
    """What is due, and when the next one is, are found by index: a few pages, however many are there for later."""
    inbox = await prepared(database)
    database.execute(
        "INSERT INTO cdcd.queued (id, due_at, type, source, payload, size) "
        "SELECT 'later-' || g, now() + interval '1 day' + g * interval '1 ms', 'ORDER', 's', '1', 1 FROM generate_series(1, 200000) g"
    )
    now = time.time()
    await inbox.put([event("due", now - 1), event("now")])
    assert {each.id for each in (await inbox.take(now, LARGEST)).events} == {"due", "now"}
    assert (await inbox.take(now, LARGEST, ["due", "now"])).next_due == pytest.approx(now + 86400, abs=30)
    with database.connect() as connection:
        connection.execute("SET search_path = cdcd; SET enable_seqscan = off; SET enable_bitmapscan = off")
        for name, parameters in (
            ("queue_take", ("now()", "500", "1000000", "1000000", "ARRAY['due']", "0")),
            ("queue_next", ("now()", "ARRAY['due']")),
        ):
            query = SQL[name].replace("($1::timestamptz[])[1]", parameters[0])
            for number, value in enumerate(parameters, 1):
                query = query.replace(f"${number}", value)
            plan = "\n".join(
                line for (line,) in connection.execute("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) " + query).fetchall()
            )
            plan = plan.partition("Planning:")[0]
            assert "Seq Scan" not in plan, plan
            hits = [int(hit) for hit in re.findall(r"shared hit=(\d+)", plan)]
            assert max(hits) < 200, plan
    await inbox.close()


async def test_a_long_snapshot_costs_nothing_above_the_floor(database: Database) -> None:
    """What has left the queue stays in its index while somebody may still see it."""
    inbox = await prepared(database)
    database.execute(
        "INSERT INTO cdcd.queued (id, at_once, type, source, payload, size) "
        "SELECT 'left-' || g, true, 'ORDER', 's', '1', 1 FROM generate_series(1, 20000) g"
    )
    with database.connect() as old:
        old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM cdcd.queued")
        database.execute("DELETE FROM cdcd.queued")
        floor = await inbox.written()
        assert floor == 20000
        assert await inbox.writers() == []
        assert (await inbox.take(time.time(), LARGEST)).last == 0
        await inbox.put([event("a")])

        async def cost(floor: int) -> float:
            best = 1.0
            for _ in range(5):
                began = time.perf_counter()
                due = await inbox.take(time.time(), LARGEST, (), floor)
                best = min(best, time.perf_counter() - began)
                assert ([each.id for each in due.events], due.last) == (["a"], 20001)
            return best

        assert await cost(floor) < await cost(0)
    await inbox.close()


async def test_a_commit_that_is_written_again_with_what_leaves_the_queue(database: Database) -> None:
    """The answer to a commit may be lost: the same group again changes nothing, and the connection goes on."""
    async with shop(database) as it:
        inbox = Inbox(database.dsn, SCHEMA)
        await inbox.put([event("a"), event("b")])
        one, two = delivery(), delivery()
        for _ in range(2):
            await it.recorder.submit([final(one)], [dequeue(["a"])])
        await it.recorder.submit([final(two)], [dequeue(["b"])])
        assert it.rows("SELECT count(*) FROM queued") == [(0,)]
        assert it.rows("SELECT status, count(*) FROM event_logs GROUP BY 1") == [("processed", 2)]
        assert it.states == []
        await inbox.close()
