"""What follows from a delivery: the events of its answer, the last resort of one that failed; and tables that are emptied."""

import asyncio
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiohttp import web

from tests.acceptance.setting import Setting
from tests.endpoint import Answer, Endpoint
from tests.postgres import Database

TABLE = "CREATE TABLE t (id int PRIMARY KEY, note text)"
JSON = {"Content-Type": "application/json"}
NEVER = {"max": 0}


def custom(endpoint: Endpoint, kind: str, path: str, **more: Any) -> dict[str, Any]:
    """A trigger of a custom type."""
    return {"type": kind, "webhook": endpoint.url(path), **more}


def answer(**body: Any) -> Answer:
    return Answer(200, json.dumps(body).encode(), JSON)


async def test_a_chain_of_answers_ends_where_it_is_too_long(tmp_path: Path, database: Database) -> None:
    """A row's delivery answers with an event, whose delivery answers with the next. Each knows its cause and the first; the one
    after max_chain is not queued, which its parent's remark and the log say."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        endpoint.always(answer(event={"type": "AGAIN", "payload": {"n": 1.10}}, response="ok"))
        setting = Setting(tmp_path, database, endpoint)
        triggers = {"row": setting.trigger("/row", table="t"), "again": custom(endpoint, "AGAIN", "/again")}
        async with setting.daemon(triggers, limits={"max_chain": 3}) as daemon:
            await setting.ask("INSERT INTO t VALUES (1, 'a')")
            await daemon.wait_log("chain.stopped", trigger="again", depth=4)
            await setting.processed(4)
        events = [request.event for request in endpoint.requests]
        assert [event["type"] for event in events] == ["DB_INSERT", "AGAIN", "AGAIN", "AGAIN"]
        assert [event.get("chaindepth") for event in events] == [None, 1, 2, 3]
        assert [event.get("causationid") for event in events] == [None, *(event["id"] for event in events[:3])]
        assert [event.get("correlationid") for event in events[1:]] == [events[0]["id"]] * 3
        assert [event["data"] for event in events[1:]] == [{"n": 1.10}] * 3
        remarks = await setting.ask("SELECT remark FROM cdcd.event_logs ORDER BY time")
        assert [remark is None for (remark,) in remarks] == [True, True, True, False]
        assert "limits.max_chain (3)" in remarks[3][0]
        assert await setting.ask("SELECT 1 FROM cdcd.queued") == []


async def test_space_clouds_answer_with_several_events(tmp_path: Path, database: Database) -> None:
    """`event` and `events`, with delay and timestamp; what is reserved or malformed is left out, and the delivery is processed."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        body = {
            "event": {"type": "ONE", "payload": {"a": [1, None]}, "options": {}},
            "events": [
                {"type": "TWO", "payload": "text", "delay": 150},
                {"type": "TWO", "timestamp": "2021-06-12T13:24:39.123Z"},
                {"type": "DB_INSERT", "payload": {}},
                {"type": "TWO", "delay": "soon"},
                "nothing",
            ],
            "response": {"fine": True},
        }
        endpoint.script(Answer(200, json.dumps(body).encode(), JSON), path="/row")
        setting = Setting(tmp_path, database, endpoint)
        triggers = {
            "row": setting.trigger("/row", table="t"),
            "one": custom(endpoint, "ONE", "/one"),
            "two": custom(endpoint, "TWO", "/two"),
        }
        async with setting.daemon(triggers) as daemon:
            await setting.ask("INSERT INTO t VALUES (1, 'a')")
            told = await daemon.wait_log("answer.not_queued", trigger="row")
            (one,) = await endpoint.wait_for(1, "/one")
            two = [request.event for request in await endpoint.wait_for(2, "/two")]
            await setting.processed(4)
        assert one.event["data"] == {"a": [1, None]}
        assert sorted((each["data"] or "", each["time"][:19]) for each in two)[0] == ("", "2021-06-12T13:24:39")
        assert {each["data"] for each in two} == {"text", None}
        assert len(told["reasons"]) == 3
        ((remark,),) = await setting.ask("SELECT remark FROM cdcd.event_logs WHERE trigger = 'row'")
        assert remark.startswith("not queued from the answer: DB_INSERT: events of this type come from their source alone")


@pytest.mark.parametrize("mode", ["structured", "batch", "binary"])
async def test_a_cloudevent_as_the_answer(tmp_path: Path, database: Database, mode: str) -> None:
    database.execute(TABLE)
    event = {"specversion": "1.0", "id": "a-1", "source": "/shop", "type": "com.shop.paid", "subject": "o/1", "tenant": "x"}
    whole = {**event, "data": {"total": 12345678901234567890123}}
    if mode == "structured":
        reply = Answer(200, json.dumps(whole).encode(), {"Content-Type": "application/cloudevents+json; charset=utf-8"})
    elif mode == "batch":
        reply = Answer(200, json.dumps([whole]).encode(), {"Content-Type": "application/cloudevents-batch+json"})
    else:
        headers = {f"ce-{name}": value for name, value in event.items()}
        reply = Answer(200, b'{"total": 12345678901234567890123}', {**headers, **JSON})
    async with Endpoint() as endpoint:
        endpoint.script(reply, path="/row")
        setting = Setting(tmp_path, database, endpoint)
        triggers = {"row": setting.trigger("/row", table="t"), "paid": custom(endpoint, "com.shop.paid", "/paid")}
        async with setting.daemon(triggers):
            await setting.ask("INSERT INTO t VALUES (1, 'a')")
            (paid,) = await endpoint.wait_for(1, "/paid")
            await setting.processed(2)
        got = paid.event
        assert (got["source"], got["type"], got["subject"], got["tenant"]) == ("/shop", "com.shop.paid", "o/1", "x")
        assert b'"data":{"total":12345678901234567890123}' in paid.body
        assert got["causationid"] == endpoint.to("/row")[0].id
        assert got["id"] == paid.id


async def test_the_last_resort_has_space_clouds_form_and_does_not_recurse(tmp_path: Path, database: Database) -> None:
    """`dlq_<trigger>`, for what failed by attempts and for what failed unsent; the dlq trigger that fails queues nothing."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        endpoint.always(Answer(500), path="/row")
        endpoint.always(Answer(500), path="/dlq")
        setting = Setting(tmp_path, database, endpoint)
        triggers = {
            "row": setting.trigger("/row", table="t", retries=NEVER),
            "raises": setting.trigger("/raises", table="t", when="1 / int(new.note) == 1"),
            "last": custom(endpoint, "dlq_row", "/dlq", retries=NEVER),
            "last-of-raises": custom(endpoint, "dlq_raises", "/dlq-raises"),
        }
        async with setting.daemon(triggers) as daemon:
            await setting.ask("INSERT INTO t VALUES (1, '0')")
            (row,) = await endpoint.wait_for(1, "/row")
            (dlq,) = await endpoint.wait_for(1, "/dlq")
            (raised,) = await endpoint.wait_for(1, "/dlq-raises")
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'failed'", 3)
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", 1)
            assert await daemon.stop() == 0
        assert dlq.event["type"] == "dlq_row"
        assert dlq.event["causationid"] == row.id
        assert dlq.event["data"] == {
            "event_id": row.id,
            "event_type": "DB_INSERT",
            "event_payload": row.event["data"],
            "event_timestamp": row.event["time"],
            "event_name": "row",
        }
        assert (raised.event["data"]["event_name"], raised.event["data"]["event_payload"]["doc"]["id"]) == ("raises", 1)
        assert endpoint.to("/raises") == []
        assert await setting.ask("SELECT 1 FROM cdcd.queued") == []


@pytest.mark.parametrize("where", ["recorder.before_commit", "recorder.committed"])
async def test_a_kill_around_the_commit_queues_the_chained_event_once(tmp_path: Path, database: Database, where: str) -> None:
    """Killed before the commit, nothing is queued, and the repeated attempt's answer counts; killed after it, it is there once."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        endpoint.always(answer(events=[{"type": "NEXT", "payload": n} for n in range(3)]), path="/row")
        setting = Setting(tmp_path, database, endpoint)
        triggers = {"row": setting.trigger("/row", table="t"), "next": custom(endpoint, "NEXT", "/next")}
        async with setting.daemon(triggers) as daemon:
            assert await daemon.stop() == 0
        daemon = setting.daemon(triggers, failpoints=f"{where}=1")
        await daemon.start()
        await setting.ask("INSERT INTO t VALUES (1, 'a')")
        assert await daemon.wait() == -9
        async with setting.daemon(triggers):
            await setting.processed(4)
        assert len({request.id for request in endpoint.to("/next")}) == 3
        assert len(endpoint.to("/row")) <= 2


@pytest.mark.matrix(ends=True)
async def test_truncate_is_one_event_a_table(tmp_path: Path, database: Database) -> None:
    """With its options; rows of the same transaction have the ids they would have without it; a partitioned root, one event."""
    database.execute(TABLE)
    database.execute("CREATE TABLE keyless (note text)")
    database.execute("CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    database.execute("CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10)")
    database.execute("CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20)")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        tables = ["t", "keyless", "parts"]
        triggers = {
            "emptied": setting.trigger(
                "/emptied", table=tables, type="DB_TRUNCATE", when="type == 'DB_TRUNCATE' && new == null"
            ),
            "both": setting.trigger("/both", table="t", type=("DB_INSERT", "DB_TRUNCATE"), key="new.note"),
        }
        async with setting.daemon(triggers):
            await setting.ask("INSERT INTO parts VALUES (1), (11)")
            await setting.ask("TRUNCATE t, keyless, parts RESTART IDENTITY CASCADE")
            requests = await endpoint.wait_for(3, "/emptied")
            await setting.ask("TRUNCATE parts_1")  # of a partition alone PostgreSQL says nothing
            await setting.ask("BEGIN; INSERT INTO t VALUES (1, 'a'); TRUNCATE t; INSERT INTO t VALUES (2, 'b'); COMMIT")
            await endpoint.wait_for(4, "/both")
            await setting.processed(3 + 1 + 4)
        data = {request.event["data"]["col"]: request.event["data"] for request in requests[:3]}
        assert set(data) == {"t", "keyless", "parts"}
        assert {name: data["t"][name] for name in ("db", "schema", "find", "cascade", "restartIdentity")} == {
            "db": "main",
            "schema": "public",
            "find": {},
            "cascade": True,
            "restartIdentity": True,
        }
        subjects = [request.event["subject"] for request in endpoint.to("/both")]
        assert sorted(subjects) == ["public.t", "public.t", "public.t/1", "public.t/2"]
        assert len(endpoint.to("/emptied")) == 4
        assert endpoint.to("/emptied")[3].event["data"]["cascade"] is False


async def test_a_trigger_that_feeds_itself_is_told(tmp_path: Path, database: Database) -> None:
    """The endpoint updates the row that it was told of, before it answers."""
    database.execute(TABLE)
    database.execute("INSERT INTO t VALUES (1, '')")
    updates = 0
    told = asyncio.Event()
    connection = await psycopg.AsyncConnection.connect(database.dsn, autocommit=True)

    async def update(request: web.Request) -> web.Response:
        nonlocal updates
        if not told.is_set():
            updates += 1
            await connection.execute("UPDATE t SET note = %s", [str(updates)])
        return web.Response()

    application = web.Application()
    application.router.add_post("/", update)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with Endpoint() as endpoint:
            setting = Setting(tmp_path, database, endpoint)
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            async with setting.daemon({"row": setting.trigger("", url=url, table="t")}) as daemon:
                await setting.ask("UPDATE t SET note = 'begin'")
                line = await daemon.wait_log("trigger.feeding_itself", trigger="row")
                told.set()
                await setting.processed(1 + updates)
            assert 50 <= line["times"] <= updates
            assert sum(line["event"] == "trigger.feeding_itself" for line in daemon.logs) == 1
    finally:
        await connection.close()
        await runner.cleanup()
