"""An operator on a running daemon, through the API: bulk retry, a replay that a `kill -9` interrupts, a pause over a restart, and the
same without a daemon."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cdcd.admin.deliveries import Filter
from cdcd.admin.hands import Offline
from cdcd.admin.operations import Operations, Order
from cdcd.clock import SystemClock
from cdcd.config.load import load
from cdcd.delivery.sender import Sender
from cdcd.delivery.signing import Signer
from cdcd.errors import StoreUnavailable
from cdcd.event import Status
from cdcd.triggers.trigger import compile_all
from tests.acceptance.setting import Setting
from tests.endpoint import Answer, Endpoint
from tests.integration.server.talking import Client, connected
from tests.postgres import Database

pytestmark = pytest.mark.timeout(120)
OPERATOR: dict[str, Any] = {"role": "operator"}
SERVER = {"listen": "127.0.0.1:0"}
TABLE = "CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL)"


async def ended(client: Client, operation: str) -> dict[str, Any]:
    """The operation, once it is over."""
    while True:
        found: dict[str, Any] = (await client.ask("GET", f"/v1/operations/{operation}", **OPERATOR)).json
        if found["state"] != "running":
            return found
        await asyncio.sleep(0.02)


def of_key(endpoint: Endpoint, key: int, begin: int = 0) -> list[int]:
    """What arrived of a row, in order: its `n`."""
    return [
        request.event["data"]["doc"]["n"]
        for request in endpoint.requests[begin:]
        if request.event["subject"] == f"public.item/{key}"
    ]


async def test_an_operator_retries_replays_and_pauses(database: Database, tmp_path: Path) -> None:
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        database.execute(TABLE)
        once = {"item": setting.trigger("/item", table="item", type="DB_UPDATE", retries={"max": 0})}
        daemon = setting.daemon(once, server=SERVER)
        async with daemon:
            endpoint.always(Answer(400, b"no"))  # which opens no circuit
            database.execute("INSERT INTO item SELECT n, 0 FROM generate_series(1, 50) AS n")
            for round_ in range(1, 21):
                database.execute("UPDATE item SET n = %s", [round_])
            failed = "SELECT count(*) FROM cdcd.event_logs WHERE status = 'failed'"
            await setting.until(failed, 1000)
            async with connected(daemon, setting.project) as client:
                await look_round(client)
                endpoint.always(Answer())
                arrived = len(endpoint.requests)
                dry = await client.post(
                    "/v1/operations", {"action": "retry", "filter": {"status": ["failed"]}, "dryRun": True}, **OPERATOR
                )
                assert (dry.status, dry.json["count"], len(dry.json["first"])) == (200, 1000, 5)
                begun = await client.post("/v1/operations", {"action": "retry", "filter": {"status": "failed"}}, **OPERATOR)
                assert begun.status == 202
                over = await ended(client, begun.json["id"])
                assert (over["state"], over["total"], over["done"], over["failed"]) == ("done", 1000, 1000, 0)
                await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", 1000)
                assert len(endpoint.requests) == arrived + 1000
                for key in range(1, 51):
                    assert of_key(endpoint, key, arrived) == list(range(1, 21))
                await pause_over_a_restart(client, setting, endpoint)
                # A replay that is killed in the middle goes on where it was.
                arrived = len(endpoint.requests)
                begun = await client.post(
                    "/v1/operations", {"action": "replay", "filter": {"status": "processed"}, "rate": 800}, **OPERATOR
                )
                await endpoint.wait_for(arrived + 300)
            await daemon.kill()
            await daemon.start()
            await daemon.ready()
            async with connected(daemon, setting.project) as client:
                over = await ended(client, begun.json["id"])
                assert (over["state"], over["done"] + over["skipped"], over["failed"]) == ("done", 1050, 0)
                await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", 2100)
                await setting.until("SELECT count(*) FROM cdcd.pending", 0)
                await send_elsewhere(client, endpoint.requests[-1].id)
            marked: dict[str, str] = {}
            for request in endpoint.requests[arrived:]:
                assert (
                    marked.setdefault(request.event["cdcdreplayof"], request.id) == request.id
                )  # a crash repeats, with the same id
            assert len(marked) == 1050
            for key in range(1, 51):
                assert list(dict.fromkeys(of_key(endpoint, key, arrived))) == list(range(1, 22))
            with pytest.raises(StoreUnavailable):  # while the daemon runs nobody else owns the store
                await offline(daemon.config)
        database.execute("UPDATE cdcd.event_logs SET status = 'failed', remark = 'x' WHERE extensions IS NULL")
        assert await offline(daemon.config) == ("done", 1050)
        arrived = len(endpoint.requests)
        async with daemon:
            await endpoint.wait_for(arrived + 1050)


async def offline(path: Path) -> tuple[str, int]:
    """Retry everything that failed, without a daemon."""
    config = load(path, {})
    triggers = compile_all(config)
    dsn, schema = config.databases["main"].url, config.eventing.schema
    hands = Offline(dsn, schema, config.project, triggers, SystemClock())
    await hands.start()

    def broken(part: str, error: BaseException) -> None:
        raise AssertionError(part) from error

    operations = Operations(
        *(dsn, schema, hands),
        lambda those: Sender(config.limits, Signer(config.secrets, config.project, "cli"), those),
        SystemClock(),
        broken,
    )
    try:
        begun = await operations.begin(Order("retry", Filter(status=(Status.FAILED,))), "a user")
        over = await operations.wait(begun.id)
        return over.state, over.done
    finally:
        await operations.stop()
        await hands.stop()


async def look_round(client: Client) -> None:
    """What a viewer sees, and may not."""
    listed = await client.ask("GET", "/v1/deliveries?status=failed&limit=2", role="viewer")
    assert (listed.status, len(listed.json["deliveries"])) == (200, 2)
    following = await client.ask("GET", f"/v1/deliveries?status=failed&limit=2&cursor={listed.json['next']}", role="viewer")
    assert {one["id"] for one in following.json["deliveries"]}.isdisjoint({one["id"] for one in listed.json["deliveries"]})
    counted = await client.ask("GET", "/v1/deliveries/count?status=failed", role="viewer")
    assert counted.json == {"count": 1000, "exact": True}
    identity = listed.json["deliveries"][0]["id"]
    shown = (await client.ask("GET", f"/v1/deliveries/{identity}", role="viewer")).json
    assert (shown["data"]["doc"]["n"], shown["waiting"], shown["sentTo"]) == (20, None, None)
    assert [(one["number"], one["status"], one["response"]) for one in shown["history"]] == [(1, 400, "no")]
    assert (await client.post(f"/v1/deliveries/{identity}/retry", None, role="viewer")).status == 403
    assert (await client.post("/v1/operations", {"action": "retry"}, role="viewer")).status == 403
    wrong = {"action": "shred", "filter": {"since": "yesterday", "nobody": 1}, "rate": "much"}
    refused = await client.post("/v1/operations", wrong, **OPERATOR)
    assert (refused.status, len(refused.json["errors"])) == (422, 4)
    assert (await client.ask("GET", "/v1/deliveries?limit=201&status=lost&nobody=1", role="viewer")).status == 422
    assert (await client.ask("GET", "/v1/deliveries?cursor=x", role="viewer")).status == 422
    for path in ("/v1/deliveries/nobody", "/v1/operations/nobody", "/v1/operations/00000000-0000-8000-8000-000000000000"):
        assert (await client.ask("GET", path, role="viewer")).status == 404
    assert (await client.post(f"/v1/deliveries/{identity}/cancel", None, **OPERATOR)).status == 409


async def send_elsewhere(client: Client, identity: str) -> None:
    sent = await client.post(f"/v1/deliveries/{identity}/send", {"url": "http://127.0.0.1:1/"}, **OPERATOR)
    assert (sent.status, sent.json["attempt"]["status"]) == (200, 0)
    assert (await client.ask("GET", f"/v1/deliveries/{sent.json['id']}", role="viewer")).json["sentTo"] == "http://127.0.0.1:1/"


async def pause_over_a_restart(client: Client, setting: Setting, endpoint: Endpoint) -> None:
    assert (await client.post("/v1/triggers/nobody/pause", None, **OPERATOR)).status == 404
    assert (await client.post("/v1/triggers/item/pause", None, **OPERATOR)).json == {"trigger": "item", "paused": True}
    arrived = len(endpoint.requests)
    await setting.ask("UPDATE item SET n = 21")
    await setting.until("SELECT count(*) FROM cdcd.pending", 50)
    daemon = client.daemon
    await daemon.kill()
    await daemon.start()
    await daemon.ready()
    await daemon.wait_log("trigger.paused", deliveries=50)
    async with connected(daemon, setting.project) as again:
        client.port = again.port
        assert len(endpoint.requests) == arrived
        assert (await client.post("/v1/triggers/item/resume", None, **OPERATOR)).status == 200
        await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", 1050)
        assert len(endpoint.requests) == arrived + 50
        log = (await client.ask("GET", "/v1/operations?limit=3", **OPERATOR)).json
        assert [one["action"] for one in log["operations"]] == ["resume", "pause", "retry"]
        assert all("operator" in one["who"] for one in log["operations"])
