"""`POST /v1/events` through a real daemon: what is accepted, in which form, and what is refused, with every reason."""

from pathlib import Path

from tests.acceptance.setting import Setting
from tests.endpoint import Endpoint
from tests.integration.server.talking import api, trigger
from tests.postgres import Database


async def test_an_event_is_accepted_and_delivered(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with api(setting, {"paid": trigger(setting, "ORDER_PAID")}) as client:
            got = await client.post("/v1/events", {"type": "ORDER_PAID", "data": {"id": 1}, "key": "7", "subject": "orders/1"})
            assert got.status == 202
            (identity,) = got.json["ids"]
            (request,) = await endpoint.wait_for(1, "/hook")
            assert request.event["data"] == {"id": 1}
            assert request.event["source"] == f"cdcd/{setting.project}/queue"
            assert request.event["subject"] == "orders/1"
            assert identity
            await setting.processed(1)
