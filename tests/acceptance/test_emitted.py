"""Custom events by pg_logical_emit_message: no table at all, in the application's transaction, on the live path."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.acceptance.setting import SOON, Setting
from tests.endpoint import Endpoint
from tests.postgres import Database

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v int)"
EMIT = "SELECT pg_logical_emit_message(true, 'cdcd:ORDER_PAID', %s)"


def triggers(setting: Setting) -> dict[str, object]:
    endpoint = setting.endpoint
    paid = {"type": ["ORDER_PAID", "ORDER_SHIPPED"], "retries": SOON}
    return {
        "t": setting.trigger("/t", table="t"),
        "paid": {**paid, "webhook": endpoint.url("/paid")},
        "dear": {**paid, "webhook": endpoint.url("/dear"), "when": "data.total > 10", "key": "data.customer"},
    }


@pytest.mark.matrix(ends=True)
async def test_a_message_is_an_event(tmp_path: Path, database: Database) -> None:
    """Committed it is delivered, rolled back it never was; what is not for us, or no event, stops nothing."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon(triggers(setting), limits={"payload": "1KiB"}) as daemon:
            async with await database.aconnect() as connection:
                async with connection.transaction(force_rollback=True):
                    await connection.execute(EMIT, ['{"id": 0}'])
                async with connection.transaction():
                    await connection.execute("INSERT INTO t VALUES (1, 1)")
                    await connection.execute(EMIT, ['{"id": 1, "total": 11, "customer": 7}'])
                    await connection.execute("SELECT pg_logical_emit_message(true, 'other', 'x')")
                    await connection.execute("INSERT INTO t VALUES (2, 1)")
                    await connection.execute("SELECT pg_logical_emit_message(true, 'cdcd:ORDER_SHIPPED', '{\"total\": 2}')")
                for kind in ("NOBODY", "DB_INSERT", "FILE_CREATE", "", "no type"):
                    await connection.execute("SELECT pg_logical_emit_message(true, %s, '{}')", [f"cdcd:{kind}"])
                    await daemon.wait_log("source.message_ignored", type=kind)
                await connection.execute("SELECT pg_logical_emit_message(false, 'cdcd:ORDER_PAID', '{}')")
                await daemon.wait_log("source.message_ignored", type="ORDER_PAID")
                for bad in ("{", "x" * 2000, r'{"total": "\ud800"}'):
                    await connection.execute(EMIT, [bad])
                await connection.execute("SELECT pg_logical_emit_message(true, 'cdcd:ORDER_PAID', '\\xff00'::bytea)")
                await connection.execute(EMIT, [""])
            await setting.until("SELECT count(*) FROM cdcd.event_logs", 15)
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'staged'", 0)
        rows = await setting.ask("SELECT trigger, status, count(*) FROM cdcd.event_logs GROUP BY 1, 2 ORDER BY 1, 2")
        assert rows == [
            ("dear", "failed", 5),
            ("dear", "processed", 1),
            ("paid", "failed", 4),
            ("paid", "processed", 3),
            ("t", "processed", 2),
        ]
        (event,) = [each.event for each in endpoint.to("/paid") if (each.event["data"] or {}).get("total") == 11]
        assert event["data"] == {"id": 1, "total": 11, "customer": 7}
        assert event["type"] == "ORDER_PAID"
        assert event["source"] == f"cdcd/{setting.project}/main"
        assert event["time"] == endpoint.to("/t")[0].event["time"]
        assert len(set(endpoint.ids())) == len(endpoint.requests) == 6
        reasons = {
            reason
            for (reason,) in await setting.ask(
                "SELECT remark FROM cdcd.event_logs WHERE trigger = 'paid' AND status = 'failed'"
            )
        }
        assert sum("no JSON" in reason for reason in reasons) >= 1
        assert sum("limits.payload" in reason for reason in reasons) == 1


@pytest.mark.parametrize(
    "failpoint", ["source.matched", "source.offered", "engine.sent", "recorder.committed", "source.recorded"]
)
async def test_killed_at_any_step(tmp_path: Path, database: Database, failpoint: str) -> None:
    """Rows and messages in the same transactions: none is lost, each keeps its id."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        wanted = {name: trigger for name, trigger in triggers(setting).items() if name != "dear"}
        daemon = setting.daemon(wanted, failpoints=f"{failpoint}=3")
        async with daemon:
            ended = asyncio.create_task(daemon.wait(60))
            count = 0
            while not ended.done():
                await setting.ask(
                    "WITH n AS (INSERT INTO t VALUES (%s, 0) RETURNING id) "
                    "SELECT pg_logical_emit_message(true, 'cdcd:ORDER_PAID', to_json(id)::text) FROM n",
                    [count],
                )
                count += 1
                await asyncio.wait({ended}, timeout=0.05)
            assert await ended == -signal.SIGKILL
            daemon.failpoints = ""
            await daemon.start()
            await setting.processed(2 * count)
        arrived = {request.id: request.event["data"] for request in endpoint.to("/paid")}
        assert sorted(arrived.values()) == list(range(count))
