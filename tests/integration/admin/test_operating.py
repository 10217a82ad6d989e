"""What an operator does reaches the endpoint as it should: once each, in order, and is told as it is."""

import asyncio
import time
from uuid import uuid4

import pytest

from cdcd.admin.deliveries import Filter, NotThere, Unfit
from cdcd.admin.operations import Conflict, Order
from cdcd.config.model import Backoff, Retries
from cdcd.event import Status
from tests.endpoint import Answer, Endpoint
from tests.integration.admin.operating import DATA, operating
from tests.postgres import Database

ONCE = {"retries": Retries(max=0)}
LATER = {"retries": Retries(max=5, backoff=Backoff.FIXED, first=600.0, jitter=0.0)}


async def test_one_is_tried_again_under_its_id_and_the_policy_begins_anew(database: Database) -> None:
    async with (
        Endpoint() as endpoint,
        operating(database, endpoint, {"a": {"retries": Retries(max=1, first=0.01, jitter=0.0)}}) as it,
    ):
        endpoint.script(*[Answer(500)] * 3)
        one = it.make()
        it.running.offer(one)
        await it.running.until(lambda: it.running.statuses() == {"failed": 1})
        operation = await it.operations.retry(one.id, "ops")
        assert (operation.state, operation.done, operation.who) == ("done", 1, "ops")
        await it.settled()
        assert it.status(one) == "processed"  # by the fourth attempt, the second of its second series
        assert [request.id for request in endpoint.requests] == [one.id] * 4
        shown = await it.deliveries.show(one.id)
        assert [(attempt.number, attempt.status) for attempt in shown.attempts] == [(1, 500), (2, 500), (3, 500), (4, 200)]
        with pytest.raises(Conflict, match="delivered"):
            await it.operations.retry(one.id, "ops")
        await it.operations.retry(one.id, "ops", processed=True)
        await it.settled()
        assert len(endpoint.requests) == 5
        assert (it.status(one), it.running.engine.dispatcher.queues["a"].backlog.count) == ("processed", 0)
        kept = await it.operations.list()
        assert [(each.action, each.state, each.who) for each in kept] == [("retry", "done", "ops")] * 2


async def test_max_age_counts_from_the_retry(database: Database) -> None:
    """An event older than `max_age` gets its retries too, also after a restart."""
    async with Endpoint() as endpoint:
        policy = {"retries": Retries(max=1, first=1.0, jitter=0.0, max_age=3600.0)}
        async with operating(database, endpoint, {"a": policy}) as it:
            one = it.make(at=time.time() - 10 * 86400)
            await it.final(one)
            endpoint.script(Answer(500))
            await it.operations.retry(one.id, "ops")
            await it.running.until(lambda: it.rows("SELECT attempts FROM pending") == [(2,)])
            assert it.rows("SELECT attempts, earlier, since > now() - interval '1 minute' FROM pending") == [(2, 1, True)]
        async with operating(database, endpoint, {"a": policy}) as it:
            await it.settled()
            assert it.status(one) == "processed"


async def test_a_waiting_one_is_sent_now_and_what_stands_behind_it_is_not(database: Database) -> None:
    async with Endpoint() as endpoint, operating(database, endpoint, {"a": LATER}) as it:
        endpoint.script(Answer(500))
        first, second = it.make(), it.make()
        it.running.offer(first, second)
        await it.running.until(lambda: it.running.pending() == 2)
        with pytest.raises(Conflict, match="behind"):
            await it.operations.retry(second.id, "ops")
        await it.operations.retry(first.id, "ops")
        await it.settled()
        assert [request.id for request in endpoint.requests] == [first.id, first.id, second.id]


async def test_what_cannot_be_sent_again_says_so(database: Database) -> None:
    async with Endpoint() as endpoint, operating(database, endpoint, {"a": ONCE}) as it:
        bare, gone, summary = it.make(), it.make("b"), it.make(data=b'{"db": "main"}')
        bare.unstorable = True
        await it.final(bare, summary)
        await it.running.until(lambda: it.running.statuses() == {"failed": 2})
        it.rows(f"UPDATE event_logs SET attempts = 0 WHERE id = '{summary.id}'")
        it.rows(
            "INSERT INTO event_logs (id, time, type, source, subject, trigger, key, payload, status, remark, settled_at)"
            f" VALUES ('{gone.id}', now(), 'DB_INSERT', 's', 's', 'b', '1', '{{}}', 'failed', 'x', now())"
        )
        it.rows(f"UPDATE event_logs SET time = to_timestamp({gone.event.time} / 1e6) WHERE id = '{gone.id}'")
        for one, why in [(bare, "could not be stored"), (gone, "no enabled trigger"), (summary, "nothing to send")]:
            with pytest.raises(Conflict, match=why):
                await it.operations.retry(one.id, "ops")
        with pytest.raises(NotThere):
            await it.operations.retry("00000000-0000-8000-8000-000000000000", "ops")
        operation = await it.operations.wait((await it.operations.begin(Order("retry", Filter()), "ops")).id)
        assert (operation.state, operation.done, operation.failed) == ("done", 0, 3)
        assert "could not be" in operation.remark or "no enabled" in operation.remark
        assert endpoint.requests == []


async def test_a_cancelled_head_lets_the_next_of_its_lane_go(database: Database) -> None:
    async with Endpoint() as endpoint, operating(database, endpoint, {"a": LATER}) as it:
        endpoint.script(Answer(500))
        first, second, other = it.make(), it.make(), it.make(key="2")
        it.running.offer(first, second)
        await it.running.until(lambda: it.running.pending() == 2)
        await it.operations.cancel(first.id, "ops")
        await it.settled()
        assert [request.id for request in endpoint.requests] == [first.id, second.id]
        assert (it.status(first), it.status(second)) == ("cancelled", "processed")
        assert it.rows("SELECT remark FROM event_logs WHERE status = 'cancelled'") == [
            ("cancelled by operator (ops); before: answered 500 Internal Server Error",)
        ]
        with pytest.raises(Conflict, match="cancelled already"):
            await it.operations.cancel(first.id, "ops")
        it.running.offer(other)
        await it.running.until(lambda: it.running.statuses()["processed"] == 2)
        await it.operations.retry(first.id, "ops")
        await it.settled()
        assert it.status(first) == "processed"


async def test_what_is_being_sent_is_not_cancelled(database: Database) -> None:
    async with Endpoint() as endpoint, operating(database, endpoint, {"a": LATER}) as it:
        gate = endpoint.hold("/a")
        first, second = it.make(), it.make()
        await it.running.stage(first, second)
        it.running.engine.dispatcher.queues["a"].backlog.restore(2, {first.event.subject: 2})
        it.running.engine.look("a")
        await endpoint.wait_for(1)
        with pytest.raises(Conflict, match="being sent"):
            await it.operations.cancel(first.id, "ops")
        await it.operations.cancel(second.id, "ops")  # claimed with the first, and waiting in memory
        gate.set()
        await it.settled()
        assert [request.id for request in endpoint.requests] == [first.id]
        assert (it.status(first), it.status(second)) == ("processed", "cancelled")


async def test_many_are_tried_again_once_each_and_in_order(database: Database) -> None:
    async with Endpoint() as endpoint, operating(database, endpoint, {"a": ONCE}) as it:
        began = time.time() - 3600
        made = [it.make(key=str(number % 50), at=began + number / 100) for number in range(600)]
        await it.final(*made[:590])
        await it.final(*made[590:], status=Status.PROCESSED)
        operation = await it.operations.begin(Order("retry", Filter(status=(Status.FAILED,), trigger=("a",))), "ops")
        assert (operation.total, operation.exact) == (590, True)
        operation = await it.operations.wait(operation.id)
        await it.settled()
        assert (operation.state, operation.done, operation.skipped, operation.failed) == ("done", 590, 0, 0)
        assert sorted(request.id for request in endpoint.requests) == sorted(one.id for one in made[:590])
        for key in range(50):
            sent = [request.id for request in endpoint.requests if request.event["subject"] == f"public.t/{key}"]
            assert sent == [one.id for one in made[:590] if one.event.key == str(key)]
        assert it.running.statuses() == {"processed": 600}


async def test_many_are_cancelled_and_none_of_them_is_sent(database: Database) -> None:
    async with Endpoint() as endpoint, operating(database, endpoint, {"a": LATER}) as it:
        made = [it.make(key=str(number % 3)) for number in range(300)]
        endpoint.always(Answer(500))
        it.running.offer(*made)
        # Some are staged while they are sent: those are not cancelled before their attempt has ended.
        await it.running.until(lambda: it.running.pending() == 300 and not it.running.engine.dispatcher.in_flight)
        sent = len(endpoint.requests)
        endpoint.always(Answer(200))
        operation = await it.operations.begin(Order("cancel", Filter(status=(Status.STAGED,))), "ops")
        operation = await it.operations.wait(operation.id)
        assert (operation.done, operation.failed) == (300, 0)
        assert (len(endpoint.requests), it.running.statuses(), it.running.pending()) == (sent, {"cancelled": 300}, 0)
        assert it.running.engine.dispatcher.queues["a"].backlog.count == 0


async def test_a_pause_holds_what_comes_and_a_resume_lets_it_go_in_order(database: Database) -> None:
    async with Endpoint() as endpoint, operating(database, endpoint, {"a": {}, "b": {}}) as it:
        await it.operations.pause("a", "ops")
        await it.operations.pause("a", "somebody else")
        made = [it.make(), it.make(), it.make(key="2"), it.make("b")]
        it.running.offer(*made)
        await it.running.until(lambda: it.running.pending() == 3 and len(endpoint.answered) == 1)
        assert [(one.trigger, one.who) for one in await it.operations.paused()] == [("a", "ops")]
        with pytest.raises(NotThere):
            await it.operations.pause("nobody", "ops")
        await it.operations.resume("a", "ops")
        await it.settled()
        assert await it.operations.paused() == []
        assert [
            request.id for request in endpoint.requests if request.event["subject"] == "public.t/1" and request.path == "/a"
        ] == [one.id for one in made[:2]]
        it.running.offer(it.make())
        await it.running.until(lambda: it.running.statuses() == {"processed": 5})


async def test_sent_elsewhere_once(database: Database) -> None:
    async with Endpoint() as endpoint, Endpoint() as other, operating(database, endpoint, {"a": ONCE}) as it:
        one = it.make()
        await it.final(one)
        other.script(Answer(200, b"here"), Answer(503))
        sent = await it.operations.send(one.id, other.url("/there?token=secret"), "ops")
        assert (sent.attempt.status, sent.attempt.response) == (200, "here")
        shown = await it.deliveries.show(sent.id)
        assert (shown.delivery.status, shown.url, shown.delivery.extensions["cdcdreplayof"]) == (
            "processed",
            other.url("/there?…"),
            one.id,
        )
        assert (other.requests[0].id, other.requests[0].event["cdcdreplayof"]) == (sent.id, one.id)
        again = await it.operations.send(one.id, other.url("/there"), "ops")
        assert (again.attempt.status, again.id != sent.id) == (503, True)
        assert (await it.deliveries.show(again.id)).delivery.status == "failed"
        with pytest.raises(Conflict, match="by an operator"):
            await it.operations.retry(again.id, "ops")
        for url in ["ftp://x/", "http://u:p@x/", "nonsense", other.url("/${ new.id }")]:
            with pytest.raises(Unfit):
                await it.operations.send(one.id, url, "ops")
        assert (it.status(one), endpoint.requests, it.running.pending()) == ("failed", [], 0)


async def test_a_replay_goes_in_order_as_new_deliveries(database: Database) -> None:
    async with Endpoint() as endpoint, operating(database, endpoint, {"a": {"when": 'new.kind == "new"'}}) as it:
        began = time.time() - 3600
        made = [
            it.make(key=str(n % 7), at=began + n, data=DATA.replace(b"new", b"new" if n % 2 else b"old")) for n in range(100)
        ]
        await it.final(*made, status=Status.PROCESSED)
        order = Order("replay", Filter(trigger=("a",), since=began + 9.5, until=began + 89.5), today=True)
        preview = await it.operations.preview(order)
        assert (preview.total.number, preview.total.exact) == (80, True)
        assert [(one.delivery.id, one.why_not) for one in preview.first][:2] == [
            (made[10].id, "its condition says no"),
            (made[11].id, ""),
        ]
        operation = await it.operations.wait((await it.operations.begin(order, "ops")).id)
        await it.settled()
        assert (operation.done, operation.skipped) == (40, 40)
        wanted = [one for one in made[10:90] if b"new" in one.event.data]
        for key in range(7):
            sent = [request.event for request in endpoint.requests if request.event["subject"] == f"public.t/{key}"]
            assert [event["cdcdreplayof"] for event in sent] == [one.id for one in wanted if one.event.key == str(key)]
        assert {request.event["cdcdoperation"] for request in endpoint.requests} == {operation.id}
        assert len({request.id for request in endpoint.requests} | {one.id for one in made}) == 140


async def test_a_replay_at_a_rate_is_stopped_and_one_to_another_url_keeps_order(database: Database) -> None:
    async with Endpoint() as endpoint, Endpoint() as other, operating(database, endpoint, {"a": {}}) as it:
        made = [it.make(key=str(n % 5), at=time.time() - 100 + n / 10) for n in range(60)]
        await it.final(*made, status=Status.PROCESSED)
        slow = await it.operations.begin(Order("replay", Filter(), rate=4.0), "ops")
        await endpoint.wait_for(1)
        await it.operations.stop_one(slow.id, "ops")
        stopped = await it.operations.wait(slow.id)
        assert stopped.state == "stopped"
        assert 0 < stopped.done < 10
        await it.settled()
        first = Filter(until=made[-1].event.time / 1e6 + 0.01)
        order = Order("replay", first, to=other.url("/elsewhere"))
        done = await it.operations.wait((await it.operations.begin(order, "ops")).id)
        assert done.skipped == stopped.done  # a replay is not replayed
        assert (done.state, done.failed, done.done) == ("done", 0, 60)
        for key in range(5):
            sent = [
                request.event["cdcdreplayof"] for request in other.requests if request.event["subject"] == f"public.t/{key}"
            ]
            assert [one for one in sent if one in {each.id for each in made}] == [
                one.id for one in made if one.event.key == str(key)
            ]
        for wrong in [Order("shred", Filter()), Order("retry", Filter(), to="http://x/"), Order("replay", Filter(), rate=0.0)]:
            with pytest.raises(Unfit):
                await it.operations.begin(wrong, "ops")
        with pytest.raises(NotThere):
            await it.operations.show("none")
        await asyncio.sleep(0)


async def test_what_is_asked_for_twice_is_begun_once(database: Database) -> None:
    """A form that is sent twice, by a double click say, has an identity."""
    async with Endpoint() as endpoint, operating(database, endpoint, {"a": {}}) as it:
        await it.final(*(it.make(key=str(n)) for n in range(20)), status=Status.PROCESSED)
        order, identity = Order("replay", Filter(trigger=("a",))), str(uuid4())
        begun = await asyncio.gather(*(it.operations.begin(order, "ops", identity.upper()) for _ in range(5)))
        assert {one.id for one in begun} == {identity}
        assert (await it.operations.wait(identity)).done == 20
        await it.settled()
        assert (await it.operations.begin(order, "ops", identity)).state == "done"
        assert len(endpoint.requests) == 20
        assert len(await it.operations.list()) == 1
        with pytest.raises(Unfit, match="UUID"):
            await it.operations.begin(order, "ops", "x")
