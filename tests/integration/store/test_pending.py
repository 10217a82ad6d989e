"""The backlog: what a claim gives, in which order, and that a deep one costs no more than a shallow one."""

import json
import time

import pytest

from cdcd.store.pending import Backlog
from cdcd.store.recorder import Recorder
from tests.integration.store.shop import SCHEMA, delivery, final, shop, staged
from tests.postgres import Database

pytestmark = pytest.mark.matrix(ends=True)
MEGABYTE = 1 << 20


async def test_due_heads_come_first_and_their_followers_fill_up(database: Database) -> None:
    async with shop(database) as it:
        now = time.time()
        a = [delivery("a") for _ in range(4)]
        b = [delivery("b") for _ in range(2)]
        late, free, other = delivery("late"), delivery(), delivery("a", trigger="other")
        await it.write(
            *(staged(one, due_at=now - 1) for one in [*a, *b]),
            staged(late, now + 60),
            staged(free, now - 5),
            staged(other, now - 9),
        )
        backlog = Backlog(database.dsn, SCHEMA)
        claim = await backlog.claim("welcome", [], 100, MEGABYTE, now)
        assert [one.id for one in claim.deliveries] == [one.id for one in [free, a[0], b[0], *a[1:], b[1]]]
        assert claim.next_due == pytest.approx(now + 60, abs=0.001)
        assert all(one.staged and one.trigger == "welcome" for one in claim.deliveries)
        few = await backlog.claim("welcome", [free.id], 3, MEGABYTE, now)
        assert [one.id for one in few.deliveries] == [a[0].id, b[0].id, a[1].id]
        rest = await backlog.claim("welcome", [one.id for one in [free, *a]], 100, MEGABYTE, now)
        assert [one.id for one in rest.deliveries] == [one.id for one in b]
        nothing = await backlog.claim("nobody", [], 100, MEGABYTE, now)
        assert (nothing.deliveries, nothing.next_due) == ([], None)
        await backlog.close()


async def test_a_claim_is_bounded_in_bytes_but_gives_at_least_one(database: Database) -> None:
    async with shop(database) as it:
        big = [delivery(str(n), data=json.dumps("x" * 10_000).encode()) for n in range(5)]
        await it.write(*(staged(one) for one in big))
        backlog = Backlog(database.dsn, SCHEMA)
        assert len((await backlog.claim("welcome", [], 5, 32_000, time.time())).deliveries) == 3
        assert len((await backlog.claim("welcome", [], 5, 1, time.time())).deliveries) == 1
        await backlog.close()


async def test_counts_and_lanes(database: Database) -> None:
    async with shop(database) as it:
        await it.write(*(staged(delivery(lane)) for lane in ["a", "b", "a", None]), staged(delivery("x", trigger="other")))
        backlog = Backlog(database.dsn, SCHEMA)
        assert await backlog.counts() == {"welcome": 4, "other": 1}
        assert await backlog.lanes("welcome", 2) == {"a": 2, "b": 1}
        assert await backlog.lanes("welcome", 1) is None
        assert await backlog.lanes("nobody", 1) == {}
        await backlog.close()


async def test_a_delivery_whose_event_is_gone_is_given_with_the_reason(database: Database) -> None:
    async with shop(database) as it:
        await it.write(staged(delivery("a")))
        it.execute("DELETE FROM event_logs")
        backlog = Backlog(database.dsn, SCHEMA)
        [one] = (await backlog.claim("welcome", [], 1, MEGABYTE, time.time())).deliveries
        assert one.error == "its row in event_logs is gone"
        await backlog.close()


async def test_a_backlog_reconnects(database: Database) -> None:
    backlog = Backlog(database.dsn, SCHEMA)
    async with shop(database) as it:
        await it.write(staged(delivery("a")))
        assert await backlog.counts() == {"welcome": 1}
        connection = await backlog._session.connection()
        await connection.close()
        assert await backlog.counts() == {"welcome": 1}
    await backlog.close()


async def test_a_backlog_drains_in_order(database: Database) -> None:
    """Claimed, sent and finished by and by, each lane comes out in the order in which it went in."""
    async with shop(database) as it:
        recorder: Recorder = it.recorder
        all_of_them = [delivery(str(number % 3)) for number in range(500)]
        await it.write(*(staged(one) for one in all_of_them))
        backlog, out = Backlog(database.dsn, SCHEMA), []
        while (claim := await backlog.claim("welcome", [], 50, MEGABYTE, time.time())).deliveries:
            out += claim.deliveries
            await it.write(*(final(one) for one in claim.deliveries))
        for lane in "012":
            assert [one.id for one in out if one.lane == lane] == [one.id for one in all_of_them if one.lane == lane]
        assert await backlog.counts() == {}
        assert recorder.queued == (0, 0)
        await backlog.close()
