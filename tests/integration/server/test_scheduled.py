"""Events for later: listing page by page, moving, taking back; for operators only."""

from pathlib import Path
from typing import Any

from tests.acceptance.setting import Setting
from tests.endpoint import Endpoint
from tests.integration.server.talking import api, trigger
from tests.postgres import Database


async def test_listing_moving_and_taking_back(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with api(setting, {"paid": trigger(setting, "PAID")}, events={"OTHER": {}}) as client:
            later = [{"type": "PAID", "id": f"{n}", "delay": f"{n}h", "data": n} for n in range(1, 8)]
            assert (await client.post("/v1/events", [*later, {"type": "OTHER", "id": "o", "delay": "30m"}])).status == 202

            async def listed(**query: Any) -> list[str]:
                """All pages."""
                found: list[str] = []
                after = ""
                while True:
                    asked = "&".join(
                        f"{name}={value}" for name, value in {**query, **({"after": after} if after else {})}.items()
                    )
                    got = await client.ask("GET", f"/v1/events/scheduled?{asked}", role="operator")
                    assert got.status == 200, got.body
                    found += [each["id"].partition("~")[2] for each in got.json["events"]]
                    after = got.json.get("next", "")
                    if not after:
                        return found

            assert await listed() == ["o", "1", "2", "3", "4", "5", "6", "7"]
            assert await listed(limit=3) == ["o", "1", "2", "3", "4", "5", "6", "7"]
            assert await listed(limit=2, type="PAID") == ["1", "2", "3", "4", "5", "6", "7"]
            one = (await client.ask("GET", "/v1/events/scheduled?limit=1", role="admin")).json["events"][0]
            assert one.keys() == {"id", "type", "at", "source", "subject", "key", "queuedAt"}
            for wrong in (
                "limit=0",
                "limit=x",
                "after=%21",
                "after=abc",
                "colour=red",
                "limit=1001",
                "limit=%2B1",
                "limit=0000000001",
                "limit=1_0",
            ):
                assert (await client.ask("GET", f"/v1/events/scheduled?{wrong}", role="admin")).status == 422

            assert (await client.ask("DELETE", "/v1/events/scheduled/PAID~2", role="operator")).json == {"id": "PAID~2"}
            assert (await client.ask("DELETE", "/v1/events/scheduled/PAID~2", role="operator")).status == 404
            moved = await client.ask(
                "PATCH", "/v1/events/scheduled/PAID~7", {"at": "2100-01-01T00:00:00+01:00"}, role="operator"
            )
            assert moved.json == {"id": "PAID~7", "at": "2099-12-31T23:00:00.000000Z"}
            assert await listed() == ["o", "1", "3", "4", "5", "6", "7"]
            for body, status in ((b"{", 400), ({}, 422), ({"at": "soon"}, 422), ({"at": "2100-01-01T00:00:00Z", "x": 1}, 422)):
                assert (await client.ask("PATCH", "/v1/events/scheduled/PAID~1", body, role="operator")).status == status
            assert (
                await client.ask("PATCH", "/v1/events/scheduled/x%2Fy", {"at": "2100-01-01T00:00:00Z"}, role="admin")
            ).status == 404

            # Into the past: now.
            assert (
                await client.ask("PATCH", "/v1/events/scheduled/PAID~3", {"at": "2000-01-01T00:00:00Z"}, role="admin")
            ).status == 200
            (request,) = await endpoint.wait_for(1, "/hook")
            assert request.event["data"] == 3

            for method, path in (("GET", ""), ("DELETE", "/1"), ("PATCH", "/1")):
                got = await client.ask(
                    method, f"/v1/events/scheduled{path}", {"at": "2100-01-01T00:00:00Z"} if method == "PATCH" else None
                )
                assert got.status == 403
