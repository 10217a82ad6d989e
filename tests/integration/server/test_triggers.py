"""Triggers by the API on a real daemon: written, reloaded, fired, tried, taken away; schedules; what `status` and `check` say."""

import json
from pathlib import Path
from typing import Any

from tests.acceptance.setting import Setting
from tests.endpoint import Answer, Endpoint
from tests.integration.server.talking import Client, Got, api, trigger
from tests.postgres import Database


async def put(client: Client, name: str, body: Any, role: str = "admin", **headers: str) -> Got:
    return await client.ask("PUT", f"/v1/triggers/{name}", body, role=role, **headers)


async def test_a_trigger_from_the_form_to_its_webhook(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint:
        endpoint.always(Answer())
        setting = Setting(tmp_path, database, endpoint)
        await setting.ask("CREATE TABLE orders (id int PRIMARY KEY, total numeric, state text)")
        (tmp_path / "triggers").mkdir()
        daily = trigger(setting, "SCHEDULE", path="/daily", schedule="0 0 1 1 *")
        async with api(setting, {"paid": trigger(setting, "PAID"), "daily": daily}, include="triggers/*.yaml") as client:
            written: dict[str, Any] = {"type": "DB_INSERT", "table": "orders", "when": "new.total > 10.0"}
            written |= {"webhook": {"url": endpoint.url("/orders"), "headers": {"X-Key": "secret-of-the-shop"}}}

            # Judged before it is written
            draft = {"name": "orders", "definition": {**written, "when": "new.total >"}}
            judged = await client.post("/v1/triggers/validate", draft, role="admin")
            assert judged.json["valid"] is False
            (mistake,) = judged.json["mistakes"]
            assert (mistake["field"], mistake["line"]) == ("when", 3)
            refused = await put(client, "orders", {"definition": draft["definition"]})
            assert (refused.status, refused.json["mistakes"]) == (422, [mistake])
            assert list((tmp_path / "triggers").iterdir()) == []

            # Tried as a draft: on a sample, and sent
            draft = {"name": "orders", "definition": written}
            sample = {"type": "DB_INSERT", "data": {"doc": {"id": 1, "total": 9}}}
            no = await client.post("/v1/triggers/try", {"draft": draft, "event": sample}, role="admin")
            (trial,) = no.json["trials"]
            assert trial["judgement"]["fires"] is False
            assert "new.total = 9" in trial["judgement"]["why"]
            assert trial["request"] is None
            sample["data"] = {"doc": {"id": 1, "total": 11}}
            asked = {"draft": draft, "event": sample, "send": True}
            assert (await client.post("/v1/triggers/try", asked, role="operator")).status == 403
            yes = await client.post("/v1/triggers/try", asked, role="admin")
            (trial,) = yes.json["trials"]
            assert trial["attempt"]["status"] == 200
            assert b"secret-of-the-shop" not in yes.body
            request = (await endpoint.wait_for(1, "/orders"))[-1]
            assert request.headers["X-Cdcd-Test"] == "true"
            assert request.headers["X-Key"] == "secret-of-the-shop"
            assert json.loads(request.body)["data"]["doc"] == {"id": 1, "total": 11}
            shown = {each["name"].lower(): each["value"] for each in trial["request"]["headers"]}
            assert shown.keys() >= {"x-key", "webhook-id", "webhook-signature", "x-sc-token"}
            assert {shown[name] for name in ("x-key", "webhook-signature", "x-sc-token")} == {"***"}

            # Written, taken over, and there
            made = await put(client, "orders", {"definition": written})
            assert made.status == 201, made.body
            assert "secret-of-the-shop" in (tmp_path / "triggers/orders.yaml").read_text()
            assert b"secret-of-the-shop" not in made.body
            await setting.ask("INSERT INTO orders VALUES (7, 12, 'new'), (8, 3, 'new')")
            request = (await endpoint.wait_for(2, "/orders"))[-1]
            assert json.loads(request.body)["data"]["doc"]["id"] == 7
            found = await client.ask("GET", "/v1/triggers/orders", role="viewer")
            assert found.headers["ETag"] == made.headers["ETag"]
            assert (found.json["state"], found.json["readOnly"], found.json["what"]) == ("active", "", ["orders"])
            assert b"secret-of-the-shop" not in found.body
            listed = (await client.ask("GET", "/v1/triggers", role="viewer")).json["triggers"]
            assert [each["name"] for each in listed] == ["daily", "orders", "paid"]

            # Tried on what happened, and on rows as they are
            last = await client.post("/v1/triggers/try", {"trigger": "orders", "last": 5}, role="viewer")
            (trial,) = last.json["trials"]
            assert trial["judgement"]["fires"] is True
            assert json.loads(trial["request"]["body"])["data"]["doc"]["id"] == 7
            one = {"trigger": "orders", "delivery": trial["delivery"]}
            assert (await client.post("/v1/triggers/try", one, role="viewer")).json["trials"][0]["judgement"]["fires"]
            assert (await client.post("/v1/triggers/try", {**one, "send": True}, role="viewer")).status == 403
            rows = {"trigger": "orders", "rows": {"count": 5}}
            assert (await client.post("/v1/triggers/try", rows, role="operator")).status == 403
            now = await client.post("/v1/triggers/try", rows, role="admin")
            fired = [(each["event"]["data"]["doc"], each["judgement"]["fires"]) for each in now.json["trials"]]
            assert fired == [
                ({"id": 8, "total": 3, "state": "new"}, False),
                ({"id": 7, "total": 12, "state": "new"}, True),
            ]

            # Changed by who has seen it, switched off, taken away
            text = found.json["yaml"].replace("10.0", "100.0")
            assert (await put(client, "orders", {"yaml": text})).status == 428
            assert (await put(client, "orders", {"yaml": text}, If_Match='"other"')).status == 412
            assert (await put(client, "orders", {"yaml": text}, "operator", If_Match="*")).status == 403
            changed = await put(
                client, "orders", text.encode(), If_Match=found.headers["ETag"], Content_Type="application/yaml"
            )
            assert changed.status == 200, changed.body
            assert "secret-of-the-shop" in (tmp_path / "triggers/orders.yaml").read_text()
            off = await client.ask("POST", "/v1/triggers/orders/disable", role="admin")
            assert off.json["definition"]["enabled"] is False

            assert (await client.ask("GET", "/v1/triggers/orders", role="viewer")).json["state"] == "disabled"
            read_only = await put(client, "paid", {"definition": written}, If_Match="*")
            assert (read_only.status, "never writes" in read_only.json["errors"][0]["detail"]) == (409, True)
            assert (await client.ask("DELETE", "/v1/triggers/orders", role="admin", If_Match="*")).status == 200
            assert (await client.ask("GET", "/v1/triggers/orders", role="viewer")).status == 404
            assert list((tmp_path / "triggers").iterdir()) == []

            # A schedule runs now
            schedules = (await client.ask("GET", "/v1/schedules", role="viewer")).json["schedules"]
            assert [(each["trigger"], len(each["next"])) for each in schedules] == [("daily", 5)]
            ran = await client.ask("POST", "/v1/schedules/daily/run", role="operator")
            assert ran.status == 202
            request = (await endpoint.wait_for(1, "/daily"))[-1]
            assert request.headers["webhook-id"] == ran.json["delivery"]
            assert json.loads(request.body)["data"]["manual"] is True
            assert (await client.ask("POST", "/v1/schedules/paid/run", role="operator")).status == 404

            # How everything stands
            assert (await client.ask("GET", "/v1/storage", role="viewer")).json == {"storage": []}
            (main,) = (await client.ask("GET", "/v1/databases", role="viewer")).json["databases"]
            assert (main["name"], main["reading"]) == ("main", True)
            status = (await client.ask("GET", "/v1/status", role="viewer")).json
            assert {each["name"] for each in status["triggers"]} == {"daily", "paid"}
            check = (await client.ask("GET", "/v1/check", role="viewer")).json
            assert "configuration" in [section["title"] for section in check["sections"]]
            assert (await client.ask("POST", "/v1/reload", role="admin")).json["changed"] == []
            assert client.daemon.find("server.failed") == []
            assert "secret-of-the-shop" not in json.dumps(client.daemon.logs)


async def test_how_triggers_stand(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint, Endpoint() as down:
        endpoint.always(Answer())
        down.always(Answer(status=500))
        setting = Setting(tmp_path, database, endpoint)
        (tmp_path / "triggers").mkdir()
        triggers = {
            "paused": trigger(setting, "PAID"),
            "off": trigger(setting, "PAID", enabled=False),
            "well": trigger(setting, "PAID"),
        }
        async with api(setting, triggers, include="triggers/*.yaml") as client:
            hook = {"url": down.url("/down"), "timeout": "1s"}
            lost = {
                "type": "PAID",
                "webhook": hook,
                "retries": {"max": 100, "first": "50ms", "backoff": "fixed"},
                "order": "none",
            }
            assert (await put(client, "lost", {"definition": lost})).status == 201
            assert (await client.ask("POST", "/v1/triggers/paused/pause", role="operator")).status == 200
            events = [{"type": "PAID", "data": {"id": number}} for number in range(12)]
            assert (await client.post("/v1/events", events)).status == 202

            async def states() -> dict[str, Any]:
                found = (await client.ask("GET", "/v1/triggers", role="viewer")).json["triggers"]
                return {each["name"]: each for each in found}

            await down.wait_until(lambda each: len(each.to("/down")) >= 12)
            await endpoint.wait_for(12)
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", 12)
            now = await states()
            stand = {name: (each["state"], each["backlog"]) for name, each in now.items()}
            assert stand == {
                "paused": ("paused", 12),
                "off": ("disabled", 0),
                "well": ("active", 0),
                "lost": ("circuit_open", 12),
            }
            assert now["paused"]["pausedSince"] is not None
            assert (now["well"]["success"], now["well"]["delivered"], now["well"]["latency"]["count"]) == (1.0, 12, 12)
            assert "answered 500" in now["lost"]["lastError"]
            assert (await client.ask("DELETE", "/v1/triggers/lost", role="admin", If_Match="*")).status == 200
            gone = (await client.ask("GET", "/v1/triggers/lost", role="viewer")).json
            assert (gone["state"], gone["backlog"]) == ("gone", 12)
