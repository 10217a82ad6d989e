"""The engine with real neighbours: what leaves memory, how it comes back, and that it ends as it should."""

import asyncio
import time
from itertools import groupby

from cdcd.clock import ManualClock
from cdcd.config.model import Backoff, Limits, Retries
from cdcd.delivery.circuit import THRESHOLD, State
from cdcd.event import Delivery
from tests.endpoint import Answer, Endpoint
from tests.integration.delivery.running import SOON, Running, engine
from tests.integration.store.shop import Checkpoint
from tests.postgres import Database


def settled(delivery: Delivery) -> int:
    assert isinstance(delivery.checkpoint, Checkpoint)
    return delivery.checkpoint.settled


async def processed(it: Running, count: int) -> None:
    await it.until(lambda: it.statuses() == {"processed": count} and not it.pending())


async def test_a_live_success_writes_no_backlog(database: Database) -> None:
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}}) as it:
        deliveries = [it.make(lane=str(number % 3)) for number in range(9)]
        it.offer(*deliveries)
        await processed(it, 9)
        assert all(settled(each) == 1 for each in deliveries)
        assert it.rows("SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'pending'") == [(0,)]


async def test_what_is_not_settled_in_time_is_staged_while_it_is_sent(database: Database) -> None:
    """The source's position moves on; the attempt goes on too, and nothing is sent twice for it."""
    limits = Limits(spill_after=0.1, shutdown=2.0)
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}}, limits=limits) as it:
        gate = endpoint.hold("/a")
        first, second = it.make(lane="x"), it.make(lane="x")
        it.offer(first, second)
        await endpoint.wait_for(1)
        await it.until(lambda: it.statuses() == {"staged": 2})
        assert (settled(first), settled(second)) == (1, 1)
        assert it.engine.dispatcher.usage.count == 1
        gate.set()
        await processed(it, 2)
        assert endpoint.ids() == [first.id, second.id]
        assert it.rows("SELECT number FROM invocation_logs") == [(1,), (1,)]


async def test_a_source_waits_for_room_and_gets_it(database: Database) -> None:
    """When endpoints keep up, from what is settled; when they do not, what takes most room is staged."""
    limits = Limits(in_flight=8, spill_after=60.0, shutdown=2.0)
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}, "b": {}}, limits=limits) as it:
        gate = endpoint.hold("/a")
        deliveries = [it.make("a", lane="x") for _ in range(6)] + [it.make("b", lane="x") for _ in range(2)]
        it.offer(*deliveries)
        assert it.engine.full
        await asyncio.wait_for(it.engine.room(), 10.0)
        it.offer(*(it.make("a", lane="x") for _ in range(8)))
        await asyncio.wait_for(it.engine.room(), 10.0)
        await it.committed()
        assert it.rows("SELECT DISTINCT trigger FROM pending") == [("a",)]
        gate.set()
        await processed(it, 16)
        assert endpoint.ids("/a")[:6] == [each.id for each in deliveries[:6]]


async def test_the_bytes_count_too(database: Database) -> None:
    limits = Limits(in_flight_bytes=100_000, spill_after=60.0, shutdown=2.0)
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}}, limits=limits) as it:
        gate = endpoint.hold("/a")
        it.offer(*(it.make("a", lane="x", data=b'"' + b"x" * 40_000 + b'"') for _ in range(3)))
        assert it.engine.full
        await asyncio.wait_for(it.engine.room(), 10.0)
        gate.set()
        await processed(it, 3)


async def test_a_backlog_is_drained_in_the_order_of_its_lanes(database: Database) -> None:
    """Of what an earlier run has left; what is new joins behind it."""
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}}, start=False) as it:
        old = [it.make(lane=f"lane {number % 5}") for number in range(200)]
        await it.stage(*old)
        endpoint.always(Answer(delay=0.001))
        await it.engine.start()
        new = [it.make(lane=f"lane {number % 7}") for number in range(70)]
        it.offer(*new)
        await processed(it, 270)
        arrived = endpoint.ids()
        assert len(arrived) == len(set(arrived)) == 270
        place = {each: number for number, each in enumerate(arrived)}
        for _, lane in groupby(sorted(old + new, key=lambda each: each.lane or ""), key=lambda each: each.lane):
            places = [place[each.id] for each in lane]
            assert places == sorted(places)


async def test_retries_keep_their_lane_waiting(database: Database) -> None:
    """The next of a lane goes only after the one before is final; other lanes do not wait."""
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}}) as it:
        poison, behind, other = it.make(lane="x"), it.make(lane="x"), it.make(lane="y")
        endpoint.script(*[Answer(500)] * 3, id=poison.id)
        it.offer(poison, behind, other)
        await processed(it, 3)
        ids = endpoint.ids()
        assert ids.count(poison.id) == 4
        assert ids.index(behind.id) == 5
        assert ids.index(other.id) < 3
        numbers = it.rows(f"SELECT number FROM invocation_logs WHERE event_id = '{poison.id}' ORDER BY number")
        assert numbers == [(1,), (2,), (3,), (4,)]


async def test_an_event_of_long_ago_has_its_retries(database: Database) -> None:
    """`max_age` counts from when cdcd took it: in memory, and out of the backlog."""
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}}, start=False) as it:
        endpoint.script(*[Answer(500)] * 4)
        taken, claimed = it.make(lane="x"), it.make(lane="y")
        for each in (taken, claimed):
            each.event.time -= 30 * 86_400_000_000
        await it.stage(claimed)
        await it.engine.start()
        it.offer(taken)
        await processed(it, 2)
        assert it.rows("SELECT count(*) FROM invocation_logs WHERE status_code = 500") == [(4,)]


async def test_a_dead_endpoint_is_left_alone_probed_and_drained(database: Database) -> None:
    """After THRESHOLD failures its deliveries are staged untried; one probe goes first, then more and more."""
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {"concurrency": 4}, "b": {"concurrency": 4}}) as it:
        endpoint.always(Answer(503))
        it.offer(*(it.make("a", lane=str(number)) for number in range(60)))
        circuit = it.engine.dispatcher.endpoints[endpoint.url("")].circuit
        await it.until(lambda: circuit.state is State.OPEN)
        it.offer(*(it.make("b", lane=str(number)) for number in range(20)))
        await it.until(lambda: it.statuses() == {"staged": 80})
        assert len(endpoint.requests) <= THRESHOLD + 8
        endpoint.always(Answer())
        gate = endpoint.hold()
        tried = len(endpoint.requests)
        await endpoint.wait_for(tried + 1)
        assert circuit.state is State.PROBING
        assert it.engine.dispatcher.in_flight == 1
        gate.set()
        await processed(it, 80)


async def test_the_last_failure_that_opens_a_circuit_strands_nobody(database: Database) -> None:
    """A delivery that gives up stages nothing itself; what was claimed for its neighbours is claimed again in time."""
    limits = Limits(endpoint_concurrency=1, spill_after=60.0, shutdown=2.0)
    # b's second attempt comes well after all of a's but the last.
    triggers = {"a": {"retries": Retries(max=0)}, "b": {"retries": Retries(first=5.0, jitter=0.0)}}
    async with Endpoint() as endpoint, engine(database, endpoint, triggers, limits=limits) as it:
        endpoint.always(Answer(500), "/a")
        endpoint.script(Answer(500), path="/b")
        it.offer(it.make("b", lane="x"))
        await endpoint.wait_for(1)
        it.offer(*(it.make("a", lane=str(number)) for number in range(THRESHOLD - 2)))
        await it.until(lambda: it.statuses() == {"staged": 1, "failed": THRESHOLD - 2})
        gate = endpoint.hold("/a")
        it.offer(it.make("a", lane="last"))
        await endpoint.wait_for(THRESHOLD)
        await it.until(lambda: it.engine.dispatcher.queues["b"].claimed == 1)
        gate.set()
        await it.until(lambda: it.statuses() == {"failed": THRESHOLD - 1, "processed": 1} and not it.pending())


async def test_attempts_that_are_broken_off_are_made_again(database: Database) -> None:
    """At the end of `limits.shutdown`; with the same id and the same number, whether they were staged or not."""
    limits = Limits(spill_after=0.1, shutdown=0.2)
    async with Endpoint() as endpoint:
        endpoint.always(Answer(hang=True))
        async with engine(database, endpoint, {"a": {}}, limits=limits) as it:
            staged = it.make(lane="x")
            it.offer(staged)
            await it.until(lambda: it.statuses() == {"staged": 1})
            live = it.make(lane="y")
            it.offer(live)
            await endpoint.wait_for(2)
            await it.engine.stop()  # the endpoint never answers
            assert it.find("attempts.broken_off")[0]["count"] == 2
        assert settled(staged) == 1
        assert settled(live) == 0 or it.statuses() == {"staged": 2}
        endpoint.always(Answer())
        async with engine(database, endpoint, {"a": {}}) as it:
            if not settled(live):  # its source reads it again
                again = it.make(lane="y")
                again.id, again.event = live.id, live.event
                it.offer(again)
            await processed(it, 2)
            assert sorted(endpoint.ids()) == sorted([staged.id, live.id] * 2)
            assert it.rows("SELECT number FROM invocation_logs") == [(1,), (1,)]
            assert it.rows("SELECT attempts FROM event_logs") == [(1,), (1,)]


async def test_a_delivery_whose_event_is_gone_is_not_sent(database: Database) -> None:
    """Somebody deleted its row: it leaves the backlog, is told, and its lane goes on."""
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}}, start=False) as it:
        lost, behind = it.make(lane="x"), it.make(lane="x")
        await it.stage(lost, behind)
        it.rows(f"DELETE FROM event_logs WHERE id = '{lost.id}'")
        await it.engine.start()
        await processed(it, 1)
        assert endpoint.ids() == [behind.id]
        (told,) = it.find("delivery.failed")
        assert told["id"] == lost.id
        queue = it.engine.dispatcher.queues["a"]
        # The rows are there a moment before the engine hears of the commit.
        await it.until(lambda: (queue.failed, queue.backlog.count, queue.held) == (1, 0, {}))


async def test_the_backlog_of_a_trigger_that_is_gone_is_left_alone(database: Database) -> None:
    """Removed from the configuration or disabled: it is told, kept, and goes on when the trigger is back."""
    async with Endpoint() as endpoint:
        async with engine(database, endpoint, {"a": {}, "b": {}}, start=False) as it:
            await it.stage(it.make("a", lane="x"), it.make("b", lane="x"), it.make("b"))
        async with engine(database, endpoint, {"a": {}}) as it:
            await it.until(lambda: it.statuses() == {"processed": 1, "staged": 2})
            (told,) = it.find("backlog.orphaned")
            assert (told["trigger"], told["deliveries"]) == ("b", 2)
            assert endpoint.to("/b") == []
        async with engine(database, endpoint, {"a": {}, "b": {}}) as it:
            await processed(it, 3)


async def test_a_trigger_may_go_between_the_decision_to_send_and_the_sending(database: Database) -> None:
    """Its delivery is sent as it was decided, and what came of it is recorded."""
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}, "b": {}}) as it:
        it.offer(it.make("a"), it.make("a", lane="x"), it.make("a", lane="x"))
        assert it.engine.retire(["a"]) == {"a": 3}  # no worker has begun yet
        await it.until(lambda: it.statuses() == {"processed": 2, "staged": 1})
        it.offer(it.make("b"))
        await it.until(lambda: it.statuses() == {"processed": 3, "staged": 1})
        assert (len(endpoint.to("/a")), len(endpoint.to("/b"))) == (2, 1)


async def test_what_comes_for_a_trigger_that_is_gone_joins_its_backlog(database: Database) -> None:
    """And goes out with it, in order, when the trigger is there again."""
    async with Endpoint() as endpoint:
        async with engine(database, endpoint, {"a": {}, "b": {}}, start=False) as it:
            first, second, third = (it.make("b", lane="x") for _ in range(3))
            await it.stage(first)
            gone = it.engine.trigger("b")
            assert gone is not None
        async with engine(database, endpoint, {"a": {}}, start=False) as it:
            it.engine.keep(gone.config, {})
            await it.engine.start()
            it.offer(second, third)
            await it.until(lambda: it.statuses() == {"staged": 3})
            it.offer(it.make("a"))
            await it.until(lambda: it.statuses() == {"staged": 3, "processed": 1})
            assert endpoint.to("/b") == []
            assert it.engine.overdue() == []
        async with engine(database, endpoint, {"a": {}, "b": {}}) as it:
            await processed(it, 4)
        assert [request.id for request in endpoint.to("/b")] == [first.id, second.id, third.id]


async def test_a_clock_that_is_set_does_not_stall_retries(database: Database) -> None:
    """Back: the retry waits until the clock is right again. Forward: it is made at the next look."""
    clock = ManualClock(time.time())
    later = Retries(max=3, backoff=Backoff.FIXED, first=100.0, jitter=0.0)
    async with (
        Endpoint() as endpoint,
        engine(database, endpoint, {"a": {"retries": later}}, clock=clock, look_again=0.05) as it,
    ):
        endpoint.script(Answer(500), Answer(500))
        one = it.make(lane="x")
        it.offer(one)
        await it.until(lambda: it.statuses() == {"staged": 1})
        clock.at -= 3600.0
        it.offer(it.make(lane="y"))
        await it.until(lambda: it.statuses() == {"staged": 1, "processed": 1} or it.statuses() == {"staged": 2})
        clock.at += 3600.0 + 101.0
        await it.until(lambda: endpoint.ids().count(one.id) >= 2)
        clock.at += 3600.0
        await it.until(lambda: it.statuses() == {"processed": 2})


async def test_a_claim_that_fails_is_made_again(database: Database) -> None:
    """The store went away for a moment, under the claim alone."""
    async with Endpoint() as endpoint, engine(database, endpoint, {"a": {"retries": SOON}}) as it:
        endpoint.script(Answer(500))
        it.offer(it.make(lane="x"))
        await endpoint.wait_for(1)
        it.rows("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'cdcd'")
        await processed(it, 1)
        assert len(endpoint.requests) == 2
