"""Custom events by SQL, through the whole daemon: in the application's own transaction, at once, later, once, in order, and never lost."""

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdcd.store.migrate import migrate
from tests.acceptance.setting import SOON, Setting
from tests.endpoint import Answer, Endpoint
from tests.postgres import Database

END_LISTENERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
)


def custom(endpoint: Endpoint, type: str = "ORDER_PAID", path: str = "/paid", **more: Any) -> dict[str, Any]:
    """A trigger for custom events."""
    return {"type": type, "webhook": endpoint.url(path), "retries": SOON} | more


def data(endpoint: Endpoint, path: str = "/paid") -> list[Any]:
    """What came, each id once, in order of arrival."""
    seen: dict[str, Any] = {}
    for request in endpoint.to(path):
        seen.setdefault(request.id, request.event["data"])
    return list(seen.values())


async def test_queued_in_the_applications_transaction(tmp_path: Path, database: Database) -> None:
    """Committed it is delivered within moments, as a CloudEvent; rolled back it never was."""
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"paid": custom(endpoint)}) as daemon:
            async with await database.aconnect() as connection:
                async with connection.transaction(force_rollback=True):
                    await connection.execute("""SELECT cdcd.queue('ORDER_PAID', '{"id": 0}')""")
                async with connection.transaction():
                    [(identity,)] = await (
                        await connection.execute("""SELECT cdcd.queue('ORDER_PAID', '{"id": 1}', key => '1')""")
                    ).fetchall()
                committed = time.time()
                (request,) = await endpoint.wait_for(1)
                assert request.at - committed < 5.0  # a poll would take up to a minute
                event = request.event
                assert event["data"] == {"id": 1}
                assert event["type"] == "ORDER_PAID"
                assert event["source"] == f"cdcd/{setting.project}/queue"
                assert len(identity) == 36
                # In a commit in two phases, where the server allows that.
                await connection.execute("BEGIN")
                await connection.execute("SELECT cdcd.queue('ORDER_PAID', '\"prepared\"')")
                await connection.execute("PREPARE TRANSACTION 'two'")
                await connection.execute("COMMIT PREPARED 'two'")
                await endpoint.wait_for(2)
                # Text, json and jsonb; nothing at all; a list.
                await connection.execute("SELECT cdcd.queue('ORDER_PAID', jsonb_build_object('id', 2))")
                await connection.execute("SELECT cdcd.queue('ORDER_PAID', json_build_object('id', 3))")
                await connection.execute("SELECT cdcd.queue('ORDER_PAID', %s::text)", ['{"id": 4}'])
                await connection.execute("SELECT cdcd.queue('ORDER_PAID')")
                await connection.execute("SELECT cdcd.queue('ORDER_PAID', '[5]')")
            await setting.processed(7)
            expected = [{"id": 1}, {"id": 2}, {"id": 3}, {"id": 4}, None, [5], "prepared"]
            assert sorted(data(endpoint), key=repr) == sorted(expected, key=repr)
            assert await setting.ask("SELECT count(*) FROM cdcd.queued") == [(0,)]
            assert await setting.ask("SELECT key FROM cdcd.event_logs WHERE payload::jsonb @> '{\"id\": 1}'") == [("1",)]
            assert daemon.find("queue.unwanted") == []


async def test_the_same_id_is_one_event(tmp_path: Path, database: Database) -> None:
    """Also when it was delivered long ago, and in two transactions at a time."""
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"paid": custom(endpoint)}):
            queue = "SELECT cdcd.queue('ORDER_PAID', '{\"id\": 1}', id => 'order-1')"
            assert await setting.ask(queue) == [("order-1",)]
            await setting.processed(1)
            assert await setting.ask(queue) == [("order-1",)]
            await asyncio.gather(*(setting.ask(queue.replace("order-1", "order-2")) for _ in range(8)))
            await setting.processed(2)
        assert len(endpoint.requests) == 2


async def test_events_with_a_key_keep_their_order(tmp_path: Path, database: Database) -> None:
    """With failures among them; those without a key wait for nobody."""
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        endpoint.script(*[Answer(500)] * 4, path="/paid")
        async with setting.daemon({"paid": custom(endpoint)}):
            for number in range(10):
                await setting.ask(
                    "SELECT cdcd.queue('ORDER_PAID', json_build_object('key', g, 'n', %s::int), key => g::text) "
                    "FROM generate_series(0, 4) g",
                    [number],
                )
            await setting.processed(50)
        answered = [request.event["data"] for request, status in endpoint.answered if status == 200]
        for key in range(5):
            assert [each["n"] for each in answered if each["key"] == key] == list(range(10))


async def test_later_cancelled_and_moved(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"paid": custom(endpoint)}):
            queue = "SELECT cdcd.queue('ORDER_PAID', to_json(%s::text), {} => {}, id => %s)"
            await setting.ask(queue.format("delay", "'300 ms'"), ["delayed", "delayed"])
            await setting.ask(queue.format("at", "clock_timestamp() + '600 ms'"), ["at", "at"])
            await setting.ask(queue.format("at", "'2000-01-01Z'"), ["past", "past"])
            for name in ("cancelled", "moved"):
                await setting.ask(queue.format("delay", "'1 day'"), [name, name])
            await endpoint.wait_for(1)
            assert await setting.ask("SELECT cdcd.cancel('cancelled'), cdcd.cancel('cancelled'), cdcd.cancel('past')") == [
                (True, False, False)
            ]
            assert await setting.ask("SELECT cdcd.move('moved', clock_timestamp()), cdcd.move('cancelled', now())") == [
                (True, False)
            ]
            await endpoint.wait_for(4)
            await setting.processed(4)
            assert sorted(data(endpoint)) == ["at", "delayed", "moved", "past"]
            by_name = {request.event["data"]: request for request in endpoint.requests}
            for name in ("delayed", "at"):
                ((late,),) = await setting.ask(
                    "SELECT %s - extract(epoch FROM time)::float8 FROM cdcd.event_logs WHERE payload::text = to_json(%s::text)::text",
                    [by_name[name].at, name],
                )
                assert 0 <= late < 5.0
            assert by_name["past"].event["time"] == "2000-01-01T00:00:00.000000Z"
            assert await setting.ask("SELECT count(*) FROM cdcd.queued") == [(0,)]


async def test_an_application_that_cancels_for_long_holds_nothing_up(tmp_path: Path, database: Database) -> None:
    """Its lock is passed over, not waited for; after its rollback the event is delivered all the same."""
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"paid": custom(endpoint)}):
            await setting.ask("SELECT cdcd.queue('ORDER_PAID', '\"first\"', delay => '500 ms', id => 'first')")
            async with await database.aconnect() as connection, connection.transaction(force_rollback=True):
                await connection.execute("SELECT cdcd.cancel('first')")
                await setting.ask("SELECT cdcd.queue('ORDER_PAID', '\"second\"', delay => '1 s')")
                await endpoint.wait_for(1)
                assert data(endpoint) == ["second"]
            await setting.ask("SELECT cdcd.queue('ORDER_PAID', '\"third\"')")  # wakes
            await setting.processed(3)
            assert sorted(data(endpoint)) == ["first", "second", "third"]


async def test_what_cannot_be_delivered_is_recorded_and_the_rest_goes_on(tmp_path: Path, database: Database) -> None:
    """Data that no parser takes, that expressions cannot work with, that is too large; a type that nobody wants."""
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        triggers = {
            "all": custom(endpoint, path="/all"),
            "dear": custom(endpoint, path="/dear", when="data.total > 10", key="data.id"),
        }
        async with setting.daemon(triggers, limits={"payload": "1KiB"}) as daemon:
            await setting.ask(
                "SELECT cdcd.queue('ORDER_PAID', p) FROM unnest(ARRAY[%s, %s, %s, %s, %s]) p",
                [
                    '{"total": "\\ud800", "id": 1}',  # half a surrogate pair: JSON for Postgres
                    "[" * 1500 + "]" * 1500,
                    '{"text": "' + "x" * 2000 + '"}',
                    '{"total": "text"}',
                    '{"total": 11, "id": 5}',
                ],
            )
            await setting.ask("SELECT cdcd.queue('NOBODY')")
            await setting.until("SELECT count(*) FROM cdcd.queued", 0)
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'staged'", 0)
            await daemon.wait_log("queue.unwanted", type="NOBODY")
        rows = await setting.ask("SELECT trigger, status, count(*) FROM cdcd.event_logs GROUP BY 1, 2 ORDER BY 1, 2")
        assert rows == [("all", "failed", 2), ("all", "processed", 3), ("dear", "failed", 4), ("dear", "processed", 1)]
        reasons = await setting.ask("SELECT DISTINCT remark FROM cdcd.event_logs WHERE status = 'failed'")
        assert any("limits.payload" in reason for (reason,) in reasons)
        assert any("cannot be read" in reason for (reason,) in reasons)


@pytest.mark.parametrize(
    "mistake", ["'DB_INSERT'", "'SCHEDULE'", "'1x'", "NULL", "'A', '{'", "'A', at => 'infinity'", "'A', id => ''"]
)
async def test_what_is_wrong_is_refused_at_once(tmp_path: Path, database: Database, mistake: str) -> None:
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        await migrate(database.dsn, "cdcd", setting.project)
        with pytest.raises(psycopg.errors.DataError):
            await setting.ask(f"SELECT cdcd.queue({mistake})")


@pytest.mark.parametrize(
    "failpoint", ["queue.taken", "recorder.before_commit", "recorder.committed", "queue.offered", "engine.taken", "engine.sent"]
)
async def test_killed_at_any_step(tmp_path: Path, database: Database, failpoint: str) -> None:
    """Nothing is lost, each delivery keeps its id, and each is recorded once."""
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        daemon = setting.daemon(
            {"paid": custom(endpoint), "again": custom(endpoint, path="/again")}, failpoints=f"{failpoint}=2"
        )
        async with daemon:
            ended = asyncio.create_task(daemon.wait(60))
            count = 0
            while not ended.done():
                queue = (
                    "SELECT cdcd.queue('ORDER_PAID', to_json(%s::int), delay => CASE %s %% 2 WHEN 1 THEN interval '20 ms' END)"
                )
                await setting.ask(queue, [count, count])
                count += 1
                await asyncio.wait({ended}, timeout=0.05)
            assert await ended == -signal.SIGKILL
            daemon.failpoints = ""
            await daemon.start()
            await setting.processed(2 * count)
        assert sorted(data(endpoint)) == sorted(data(endpoint, "/again")) == list(range(count))
        assert await setting.ask("SELECT count(*) FROM cdcd.queued") == [(0,)]


async def test_a_listener_that_was_lost_and_a_server_that_restarted(tmp_path: Path, database: Database) -> None:
    """The daemon listens again, and looks for what was queued meanwhile."""
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"paid": custom(endpoint)}) as daemon:
            await setting.ask("SELECT cdcd.queue('ORDER_PAID', '1')")
            await endpoint.wait_for(1)
            await setting.ask(END_LISTENERS)
            await setting.ask("SELECT cdcd.queue('ORDER_PAID', '2')")
            await endpoint.wait_for(2, timeout=20)
            await asyncio.to_thread(database.postgres.server.restart, crash=True)
            await setting.ask("SELECT cdcd.queue('ORDER_PAID', '3', delay => '100 ms')")
            await endpoint.wait_for(3, timeout=30)
            await setting.processed(3)
            assert daemon.running
        assert data(endpoint) == [1, 2, 3]


async def test_a_role_of_the_application_needs_the_schema_alone(tmp_path: Path, database: Database) -> None:
    """It may queue, cancel and move; it sees no table and runs nothing else."""
    role = f"app_{database.name}"
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"paid": custom(endpoint)}):
            await setting.ask(f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA cdcd TO {role}")
            try:
                async with await database.aconnect() as connection:
                    await connection.execute(f"SET ROLE {role}")
                    await connection.execute("SELECT cdcd.queue('ORDER_PAID', '1', id => 'one')")
                    await connection.execute("SELECT cdcd.queue('ORDER_PAID', '2', delay => '1 day', id => 'two')")
                    await connection.execute("SELECT cdcd.move('two', now() + interval '2 days')")
                    cursor = await connection.execute("SELECT cdcd.cancel('two')")
                    assert await cursor.fetchall() == [(True,)]
                    for forbidden in (
                        "SELECT * FROM cdcd.queued",
                        "SELECT cdcd.wake()",
                        "SELECT cdcd.make_day('2020-01-01')",
                        "SELECT cdcd.drop_day('2020-01-01')",
                    ):
                        with pytest.raises(psycopg.errors.InsufficientPrivilege):
                            await connection.execute(forbidden)
                await setting.processed(1)
            finally:
                await setting.ask(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_an_endpoint_that_hangs_and_a_stop_in_between(tmp_path: Path, database: Database) -> None:
    """What is not answered within a second moves to the backlog and out of the queue; a stop and a new start lose and repeat nothing
    that was recorded; other types go on meanwhile."""
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        endpoint.always(Answer(hang=True), "/paid")
        triggers = {
            "paid": custom(endpoint, webhook={"url": endpoint.url("/paid"), "timeout": "60s"}, concurrency=4),
            "other": custom(endpoint, "OTHER", "/other"),
        }
        daemon = setting.daemon(triggers, limits={"shutdown": "200ms"})
        async with daemon:
            await setting.ask("SELECT count(cdcd.queue('ORDER_PAID', to_json(g))) FROM generate_series(0, 99) g")
            await setting.ask("SELECT count(cdcd.queue('OTHER', to_json(g))) FROM generate_series(0, 99) g")
            await endpoint.wait_for(100, "/other")
            await setting.until("SELECT count(*) FROM cdcd.queued", 0)
            await setting.until("SELECT count(*) FROM cdcd.pending", 100)
            await setting.ask("SELECT cdcd.queue('ORDER_PAID', '100')")
            assert await daemon.stop() == 0
        endpoint.always(Answer(), "/paid")
        async with daemon:
            await setting.processed(201)
        assert sorted(data(endpoint)) == list(range(101))
        assert len(endpoint.to("/other")) == 100
        assert len(endpoint.to("/paid")) <= 101 + 5


async def test_what_a_former_life_recorded_is_not_sent_again(tmp_path: Path, database: Database) -> None:
    """Killed while one of an event's two deliveries hangs: only that one comes again, and the event leaves the queue with it."""
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        endpoint.always(Answer(hang=True), "/slow")
        slow = custom(endpoint, webhook={"url": endpoint.url("/slow"), "timeout": "60s"})
        daemon = setting.daemon({"paid": custom(endpoint), "slow": slow}, limits={"spill_after": "60s"})
        async with daemon:
            await setting.ask("SELECT count(cdcd.queue('ORDER_PAID', to_json(g))) FROM generate_series(0, 19) g")
            await endpoint.wait_for(40)
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", 20)
            assert await setting.ask("SELECT count(*) FROM cdcd.queued") == [(20,)]
            await daemon.kill()
            endpoint.always(Answer(), "/slow")
            await daemon.start()
            await setting.processed(40)
        assert len(endpoint.to("/paid")) == 20
        assert len(endpoint.to("/slow")) == 40
        assert len(set(endpoint.ids("/slow"))) == 20
        assert await setting.ask("SELECT count(*) FROM cdcd.queued") == [(0,)]
