"""`POST /v1/events` through a real daemon: what is accepted, in which form, and what is refused, with every reason."""

import asyncio
import json
import time
from pathlib import Path

from tests.acceptance.setting import Setting
from tests.endpoint import Endpoint
from tests.integration.server.talking import NOBODY, api, token, trigger
from tests.postgres import Database


async def test_every_form_is_accepted_and_delivered(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with api(setting, {"paid": trigger(setting, "ORDER_PAID")}) as client:
            event = {"type": "ORDER_PAID", "data": {"id": 1}, "key": "7", "subject": "orders/1"}
            got = await client.post("/v1/events", event)
            assert got.status == 202, got.body
            assert len(got.json["ids"]) == 1
            (request,) = await endpoint.wait_for(1, "/hook")
            assert (request.event["data"], request.event["subject"]) == ({"id": 1}, "orders/1")
            assert request.event["source"] == f"cdcd/{setting.project}/queue"
            received = request.headers["X-SC-Token"].removeprefix("Bearer ")
            got = await client.post("/v1/events", event, bearer=received)
            assert (got.status, got.json["errors"]) == (401, [{"detail": "the token is one that webhooks receive"}])

            # The same id twice is one event.
            got = await client.post("/v1/events", [{"type": "ORDER_PAID", "id": "a"}, {"type": "ORDER_PAID", "id": "b"}])
            assert got.json == {"ids": ["ORDER_PAID~a", "ORDER_PAID~b"]}
            got = await client.post("/v1/events", [{"type": "ORDER_PAID", "id": "b"}, {"type": "ORDER_PAID", "id": "c"}])
            assert got.json == {"ids": ["ORDER_PAID~b", "ORDER_PAID~c"], "duplicates": ["ORDER_PAID~b"]}

            cloudevent = {"specversion": "1.0", "type": "ORDER_PAID", "source": "/shop", "id": "1", "data": {"n": 9}}
            structured = await client.post("/v1/events", cloudevent, Content_Type="application/cloudevents+json")
            batch = await client.post(
                "/v1/events", [cloudevent, {**cloudevent, "id": "2"}], Content_Type="application/cloudevents-batch+json"
            )
            binary = await client.ask(
                *("POST", "/v1/events", b'{"n": 12345678901234567890.5}'),
                **{
                    "ce-specversion": "1.0",
                    "ce-type": "ORDER_PAID",
                    "ce-source": "/shop",
                    "ce-id": "3",
                    "ce-traceparent": "00",
                },
            )
            assert [each.json["ids"] for each in (structured, batch, binary)] == [
                ["ORDER_PAID~/shop~1"],
                ["ORDER_PAID~/shop~1", "ORDER_PAID~/shop~2"],
                ["ORDER_PAID~/shop~3"],
            ]
            assert batch.json["duplicates"] == ["ORDER_PAID~/shop~1"]
            await setting.processed(7)
            last = endpoint.to("/hook")[-1]
            assert b"12345678901234567890.5" in last.body
            assert last.event["source"] == "/shop"
            assert last.event["traceparent"] == "00"


async def test_what_is_refused_comes_with_every_reason(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        events = {
            "STRICT": {"schema": {"type": "object", "required": ["id"], "properties": {"n": {"type": "integer"}}}},
            "MINE": {"allow": 'auth.role == "owner" && payload.total < 10'},
        }
        async with api(
            setting, {}, events=events, limits={"payload": "4KiB"}, server={"listen": "127.0.0.1:0", "body": "64KiB"}
        ) as client:
            got = await client.post(
                "/v1/events",
                [
                    {"type": "STRICT", "data": {"n": "x"}},
                    {"type": "NONE"},
                    {"type": "DB_INSERT"},
                    {"type": "MINE", "data": {"total": 1}},
                    {"type": "STRICT", "data": {"id": 1}},
                    {"type": "STRICT", "data": {"id": 1}, "delay": 3},
                ],
            )
            assert got.status == 403
            assert got.headers["Content-Type"] == "application/problem+json"
            assert [(each["pointer"], each["detail"].partition(":")[0][:40]) for each in got.json["errors"]] == [
                ("/5/delay", "a duration needs a unit"),
                ("/0/data", '"id" is a required property'),
                ("/0/data/n", 'it is not of type "integer"'),
                ("/1/type", "there is no type NONE"),
                ("/2/type", "events of this type come from their sour"),
                ("/3/data", "the token and the payload do not satisfy"),
            ]
            assert await setting.ask("SELECT count(*) FROM cdcd.queued") == [(0,)]

            assert (await client.post("/v1/events", {"type": "MINE", "data": {"total": 1}}, role="owner")).status == 202
            assert (await client.post("/v1/events", {"type": "STRICT", "data": {"id": "x" * 5000}})).status == 413
            assert (await client.post("/v1/events", b"x" * 100_000)).status == 413
            assert (await client.post("/v1/events", b"{")).status == 400
            assert (await client.post("/v1/events", b"a=1", Content_Type="text/plain")).status == 415
            assert (await client.post("/v1/events", b"{}", Content_Encoding="gzip")).status == 415

            # Who is not known is told nothing.
            got = await client.post("/v1/events", b"{", role=NOBODY)
            assert (got.status, got.headers["WWW-Authenticate"]) == (401, "Bearer")
            expired = token(exp=time.time() - 60)
            assert (await client.post("/v1/events", {"type": "MINE"}, bearer=expired)).status == 401
            assert (await client.ask("GET", "/nothing", role=NOBODY)).status == 404
            got = await client.ask("PUT", "/v1/events", b"")
            assert (got.status, got.headers["Allow"]) == (405, "POST")
            said = json.dumps(client.daemon.logs)
            assert expired not in said
            assert "xxxxx" not in said


async def test_many_requests_on_connections_that_stay_open(tmp_path: Path, database: Database) -> None:
    """Heads that are known go the short way; whatever differs goes the long one, on the same connections."""
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with api(setting, {}, events={"A": {}, "B": {"schema": {"type": "integer"}}}) as client:
            bearer = token(role="app")

            async def work(number: int) -> int:
                accepted = 0
                for step in range(30):
                    kind, data = ("A", f"{number}-{step}") if step % 3 else ("B", "no integer")
                    got = await client.post("/v1/events", {"type": kind, "data": data, "delay": "1h"}, bearer=bearer)
                    assert got.status == (202 if kind == "A" else 422), got.body
                    accepted += got.status == 202
                return accepted

            accepted = sum(await asyncio.gather(*(work(number) for number in range(20))))
            assert accepted == 400
            rows = await setting.ask("SELECT payload #>> '{}' FROM cdcd.queued")
            assert sorted(payload for (payload,) in rows) == sorted(f"{n}-{s}" for n in range(20) for s in range(30) if s % 3)


async def test_pieces_and_several_requests_at_once(tmp_path: Path, database: Database) -> None:
    """However the bytes of requests are cut, each is answered, in order."""
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with api(setting, {}, events={"A": {}}) as client:
            bearer = token(role="app")

            def request(number: int) -> bytes:
                body = b'{"type": "A", "delay": "1h", "id": "%02d"}' % number
                head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\nContent-Length: {len(body)}\r\n\r\n"
                return head.encode() + body

            reader, writer = await asyncio.open_connection("127.0.0.1", client.port)

            async def answer() -> bytes:
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 202 "), head
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                return await reader.readexactly(length)

            number = 0

            async def expect(*chunks: bytes, count: int) -> None:
                nonlocal number
                for chunk in chunks:
                    writer.write(chunk)
                    await writer.drain()
                    await asyncio.sleep(0)
                for _ in range(count):
                    assert await answer() == b'{"ids":["A~%02d"]}' % number
                    number += 1

            await expect(request(0), count=1)  # learned
            await expect(request(1), count=1)  # known
            await expect(request(2) + request(3) + request(4), count=3)
            await expect(request(5)[:30], request(5)[30:], count=1)
            await expect(request(6), count=1)
            writer.close()
            await writer.wait_closed()
            reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
            await expect(request(7), count=1)
            await expect(request(8), request(9), request(10)[:50], request(10)[50:], count=3)
            writer.close()
            await writer.wait_closed()
            assert await setting.ask("SELECT count(*) FROM cdcd.queued") == [(11,)]
