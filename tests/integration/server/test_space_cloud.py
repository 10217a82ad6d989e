"""The queue as Space Cloud's clients know it, and answers that are waited for, on its routes and on ours."""

import asyncio
import time
from pathlib import Path
from typing import Any

from tests.acceptance.setting import SOON, Setting
from tests.endpoint import Answer, Endpoint
from tests.integration.server.talking import api, trigger
from tests.postgres import Database


async def test_queueing_as_its_clients_do(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        triggers = {"signup": trigger(setting, "signup")}
        async with api(setting, triggers, events={"mine": {"allow": 'auth.role == "owner"'}}) as client:
            queue = f"/v1/api/{setting.project}/eventing/queue"
            body = {
                "type": "signup",
                "payload": {"a": 1},
                "delay": 0,
                "timestamp": "2020-01-01T00:00:00Z",
                "options": {},
                "isSynchronous": False,
            }
            got = await client.post(queue, body)
            assert (got.status, got.json) == (200, {})
            (request,) = await endpoint.wait_for(1, "/hook")
            assert request.event["data"] == {"a": 1}

            begun = time.time()
            assert (await client.post(queue, {"type": "signup", "payload": 2, "delay": 300})).json == {}
            await endpoint.wait_for(2, "/hook")
            assert 0.29 <= time.time() - begun < 20  # milliseconds

            for wrong, status in (
                ({"type": "DB_INSERT"}, 422),
                ({"type": "none"}, 422),
                ({"type": "mine"}, 403),
                ({"payload": {}}, 422),
                (b"{", 400),
                (b"[]", 422),
            ):
                got = await client.post(queue, wrong)
                assert got.status == status
                assert got.json.keys() == {"error", "rawError"}
            assert (await client.post("/v1/api/other/eventing/queue", {"type": "signup"})).status == 404
            assert (await client.post(queue, {"type": "signup"}, bearer="x.y.z")).json.keys() == {"error", "rawError"}

            admin = f"/v1/api/{setting.project}/eventing/admin-queue"
            events = {"events": [{"type": "mine", "payload": 1}, {"type": "signup", "payload": 3}]}
            assert (await client.post(admin, events)).status == 403
            got = await client.post(admin, events, role=["x", "admin"])
            assert (got.status, got.json) == (200, {})
            await endpoint.wait_for(3, "/hook")
            refused: list[tuple[Any, int]] = [({"events": 5}, 400), ({}, 400), ({"events": [{"type": "FILE_CREATE"}]}, 422)]
            for body, status in refused:
                assert (await client.post(admin, body, role="admin")).status == status
            assert (await client.post(admin, {"events": []}, role="admin")).json == {}


async def test_answers_that_are_waited_for(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        triggers = {
            "ask": trigger(setting, "ASK", "/ask"),
            "narrow": trigger(setting, "NARROW", "/narrow", when="data.n > 5"),
            "first": trigger(setting, "BOTH", "/dead", retries={**SOON, "max": 1}),
            "second": trigger(setting, "BOTH", "/good"),
            "dead": trigger(setting, "DEAD", "/dead", retries={**SOON, "max": 1}),
            "slow": trigger(setting, "SLOW", "/slow"),
        }
        endpoint.always(Answer(500, b"no"), path="/dead")
        async with api(setting, triggers) as client:
            queue = f"/v1/api/{setting.project}/eventing/queue"

            for body, result in (
                (b'{"response": {"ok": true}}', {"ok": True}),
                (b'{"other": 1}', {"other": 1}),
                (b"plain", "plain"),
                (b"", ""),
            ):
                endpoint.script(Answer(body=body), Answer(body=body), path="/ask")
                got = await client.post(queue, {"type": "ASK", "isSynchronous": True})
                assert (got.status, got.json) == (200, {"result": result})
                got = await client.post("/v1/events", {"type": "ASK"}, Prefer="respond-async, wait=10")
                assert (got.status, got.json["result"], got.headers["Preference-Applied"]) == (200, result, "wait=10")
            endpoint.script(Answer(503), Answer(body=b"2"), path="/ask")
            assert (await client.post(queue, {"type": "ASK", "isSynchronous": True})).json == {"result": 2}  # tried again

            got = await client.post("/v1/events", {"type": "BOTH"}, Prefer="wait=20")
            assert got.status == 200

            got = await client.post("/v1/events", {"type": "DEAD"}, Prefer="wait=20")
            assert got.status == 502
            assert [(each["trigger"], each["number"], each["status"]) for each in got.json["attempts"]] == [
                ("dead", 1, 500),
                ("dead", 2, 500),
            ]
            got = await client.post(queue, {"type": "DEAD", "isSynchronous": True})
            assert got.status == 502
            assert len(got.json["attempts"]) == 2
            assert "error" in got.json

            assert (await client.post(queue, {"type": "NARROW", "payload": {"n": 1}, "isSynchronous": True})).status == 404
            assert (await client.post("/v1/events", {"type": "NARROW", "data": {"n": 9}}, Prefer="wait=20")).status == 200

            # Who stops waiting changes nothing.
            gate = endpoint.hold("/slow")
            got = await client.post("/v1/events", {"type": "SLOW", "id": "s"}, Prefer="wait=1")
            assert (got.status, got.json["id"]) == (504, "SLOW~s")
            gate.set()
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE trigger = 'slow' AND status = 'processed'", 1)

            again = await client.post("/v1/events", {"type": "SLOW", "id": "s"}, Prefer="wait=5")  # known: nothing to wait for
            assert (again.status, again.json) == (202, {"ids": ["SLOW~s"], "duplicates": ["SLOW~s"]})
            again = await client.post(queue, {"type": "SLOW", "id": "s", "isSynchronous": True})
            assert (again.status, again.json["id"]) == (409, "SLOW~s")
            for wrong in ([{"type": "ASK"}, {"type": "ASK"}], {"type": "ASK", "delay": "1h"}):
                assert (await client.post("/v1/events", wrong, Prefer="wait=5")).status == 422


async def test_a_stop_tells_those_who_wait(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with api(setting, {"slow": trigger(setting, "SLOW", "/slow")}, limits={"shutdown": "1s"}) as client:
            endpoint.hold("/slow")
            waiting = asyncio.create_task(client.post("/v1/events", {"type": "SLOW"}, Prefer="wait=60"))
            await endpoint.wait_for(1, "/slow")
            assert await client.daemon.stop() == 0
            assert (await waiting).status == 503
