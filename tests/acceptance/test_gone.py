"""cdcd starts without a trigger that it had: what was sent in its name is recorded all the same, and nothing that it was owed is lost."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.setting import Setting
from tests.endpoint import Endpoint
from tests.postgres import Database

TABLES = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)"
HAPPENS = {
    "b": "INSERT INTO b VALUES ({})",
    "queued": "SELECT cdcd.queue('order.paid', '{{\"id\": {}}}')",
    "emitted": "SELECT pg_logical_emit_message(true, 'cdcd:order.sent', '{{\"id\": {}}}')",
}
KEPT = "SELECT id::text, trigger, status FROM cdcd.event_logs WHERE trigger <> 'a' ORDER BY id"
NAMES = "SELECT string_agg(DISTINCT name, ' ' ORDER BY name) FROM cdcd.in_force"
LATE = "SELECT cdcd.queue('order.paid', '{\"id\": 5}', at => now() - interval '1 day')"


@pytest.mark.parametrize("capture", ["replication", "triggers"])
async def test_what_it_was_owed_is_kept(tmp_path: Path, database: Database, capture: str) -> None:
    """Sent, killed before it is recorded, started without its trigger: it is staged under the id that it was sent with, and goes out when
    the trigger is back. What happens while the trigger is away is nobody's."""
    database.execute(TABLES)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)

        def custom(path: str, type: str) -> dict[str, Any]:
            return {name: value for name, value in setting.trigger(path, table="", type=type).items() if name != "table"}

        more: dict[str, Any] = {"databases": {"main": {"url": setting.url, "capture": capture}}}
        only_a: dict[str, Any] = {"a": setting.trigger("/a", table="a")}
        every = {
            **only_a,
            "b": setting.trigger("/b", table="b"),
            "queued": custom("/queued", "order.paid"),
            "emitted": custom("/emitted", "order.sent"),
        }
        gone = [name for name in HAPPENS if name != "emitted" or capture == "replication"]

        async def happen(number: int) -> None:
            await setting.ask(";".join(HAPPENS[name].format(number) for name in gone))

        def arrived() -> set[str]:
            return {request.id for name in gone for request in endpoint.to(f"/{name}")}

        daemon = setting.daemon(every, failpoints="engine.sent=4", **more)
        async with daemon:
            assert await setting.ask(NAMES) == [("a b emitted queued",)]
            ended = asyncio.create_task(daemon.wait(60))
            for number in range(3):
                await happen(number)
            assert await ended == -signal.SIGKILL
            sent = arrived()
            assert len(sent) >= 4
            await happen(3)  # still before the start
            daemon.failpoints = ""
            setting.configure(only_a, **more)
            await daemon.start()
            await setting.until(f"SELECT count(*) FROM ({KEPT}) k", 4 * len(gone))
            await setting.until(NAMES, "a")
            assert {line["trigger"] for line in daemon.find("trigger.gone")} == {"b", "emitted", "queued"}
            kept = await setting.ask(KEPT)
            assert {status for _, _, status in kept} <= {"staged", "processed"}  # some may have been recorded before the end
            assert sent <= {identity for identity, _, _ in kept}
            before = len(endpoint.requests)
            await happen(4)  # nobody wants it
            await setting.ask(LATE)  # nor this, whenever it is said to have happened
            await setting.ask("INSERT INTO a VALUES (1)")
            await endpoint.wait_for(1, "/a")
            await setting.until("SELECT count(*) FROM cdcd.queued", 0)
            assert await setting.ask(KEPT) == kept
            assert len(endpoint.requests) == before + 1
            setting.configure(every, **more)
            os.kill(daemon.pid, signal.SIGHUP)
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status <> 'processed'", 0)
            assert await setting.ask(NAMES) == [("a b emitted queued",)]
        assert arrived() == {identity for identity, _, _ in kept}


async def test_one_that_a_reload_took_away_is_owed_nothing(tmp_path: Path, database: Database) -> None:
    """What happens behind the reload is nobody's, whatever becomes of the daemon afterwards."""
    database.execute(TABLES)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        only_a = {"a": setting.trigger("/a", table="a")}
        both = {**only_a, "b": setting.trigger("/b", table="b")}
        daemon = setting.daemon(both)
        async with daemon:
            setting.configure(only_a)
            os.kill(daemon.pid, signal.SIGHUP)
            await daemon.wait_log("reload.taken")
            assert await setting.ask(NAMES) == [("a",)]
            await setting.ask("INSERT INTO b VALUES (1)")
            await daemon.kill()
            await daemon.start()
            await daemon.ready()
            assert daemon.find("trigger.gone") == []
            await setting.ask("INSERT INTO a VALUES (1)")
            await setting.processed(1)
            setting.configure(both)
            os.kill(daemon.pid, signal.SIGHUP)
            await daemon.wait_log("reload.taken")
            assert await setting.ask(NAMES) == [("a b",)]
            await setting.ask("INSERT INTO b VALUES (2)")
            await setting.processed(2)
        assert [request.event["data"]["doc"] for request in endpoint.to("/b")] == [{"id": 2}]


async def test_what_a_reload_takes_away_before_it_was_read_again_is_kept(tmp_path: Path, database: Database) -> None:
    """The queue cannot be read when the daemon starts again, and its trigger is taken away before it can."""
    database.execute(TABLES)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        only_a: dict[str, Any] = {"a": setting.trigger("/a", table="a")}
        paid = {"type": "order.paid", "webhook": {"url": endpoint.url("/paid")}}
        daemon = setting.daemon({**only_a, "paid": paid}, failpoints="engine.sent")
        async with daemon:
            ended = asyncio.create_task(daemon.wait(60))
            await setting.ask(HAPPENS["queued"].format(1))
            assert await ended == -signal.SIGKILL
            daemon.failpoints = ""
            async with await database.aconnect() as connection, connection.transaction():
                await connection.execute("LOCK TABLE cdcd.queued IN ACCESS EXCLUSIVE MODE")
                await daemon.start()
                await daemon.ready()
                setting.configure(only_a)
                os.kill(daemon.pid, signal.SIGHUP)
                await daemon.wait_log("reload.begins")
                # It is being taken over.
                await setting.until("SELECT count(*) FROM cdcd.in_force WHERE name = 'a' AND number = 3", 1)
            await setting.until(NAMES, "a")
            ((identity, _, status),) = await setting.ask(KEPT)
            assert identity == endpoint.to("/paid")[0].id
            assert status in ("staged", "processed")  # sent again, as what happened before a reload is


async def test_what_nothing_reads_stays_owed(tmp_path: Path, database: Database) -> None:
    """Also over a life in which nothing reads the database, and though the table is gone: a start is not refused for what nobody wants
    any more."""
    database.execute(TABLES)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        only_a = {"a": setting.trigger("/a", table="a")}
        daemon = setting.daemon({**only_a, "b": setting.trigger("/b", table="b", when="new.id > 0")}, failpoints="engine.sent")
        async with daemon:
            ended = asyncio.create_task(daemon.wait(60))
            await setting.ask("INSERT INTO b VALUES (1)")
            assert await ended == -signal.SIGKILL
            await setting.ask("DROP TABLE b")
            daemon.failpoints = ""
        setting.configure({})
        async with daemon:
            assert {line["trigger"] for line in daemon.find("trigger.gone")} == {"a", "b"}
            setting.configure(only_a)
            os.kill(daemon.pid, signal.SIGHUP)  # now it is read, by a reload
            await setting.until(NAMES, "a")
            assert await setting.ask(KEPT) == [(endpoint.to("/b")[0].id, "b", "staged")]
            await setting.ask("INSERT INTO a VALUES (1)")
            await endpoint.wait_for(1, "/a")
        assert len(endpoint.to("/b")) == 1
