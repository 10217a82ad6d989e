"""The command line on a running daemon, by its API; and on the event store when none runs. Both must say and do the same."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from tests.acceptance.setting import SECRET, Setting
from tests.daemon import ROOT
from tests.endpoint import Answer, Endpoint
from tests.integration.cli.commands import Result, cdcd
from tests.integration.delivery.certificates import Authority
from tests.postgres import Database


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Commands:
    """Commands with one configuration."""

    def __init__(self, config: Path) -> None:
        self.config = config

    async def run(self, *arguments: str, answer: str = "") -> Result:
        return await asyncio.to_thread(cdcd, *arguments, "-c", self.config, answer=answer)

    async def begin(self, *arguments: str) -> asyncio.subprocess.Process:
        """One that goes on until it is interrupted."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cdcd", *arguments, "-c", str(self.config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    async def json(self, *arguments: str, code: int = 0) -> Any:
        result = await self.run(*arguments, "--json")
        assert result.code == code, (result.out, result.err)
        return json.loads(result.out)


async def test_what_the_daemon_and_the_store_say_is_the_same(tmp_path: Path, database: Database) -> None:
    database.execute("CREATE TABLE orders (id int PRIMARY KEY, total numeric, note text)")
    async with Endpoint() as endpoint:
        endpoint.always(Answer(400, b"no such order"), path="/bad")
        endpoint.always(Answer(200, b'{"mail": "sent"}'), path="/paid")
        setting = Setting(tmp_path, database, endpoint)
        triggers = {
            "good": setting.trigger(
                "/good", table="orders", when="new.total > 10 && new.note != 'x'", type=("DB_INSERT", "DB_UPDATE")
            ),
            "bad": {**setting.trigger("/bad", table="orders", type=("DB_INSERT",)), "retries": {"max": 0}},
            "paid": {"type": "PAID", "webhook": endpoint.url("/paid")},
        }
        # The certificate is for another name: it counts that it is the one of the configuration.
        cert, key = Authority(tmp_path).issue("daemon", "elsewhere")
        server = {"listen": f"127.0.0.1:{free_port()}", "tls": {"cert": str(cert), "key": str(key)}}
        daemon = setting.daemon(triggers, server=server)
        commands = Commands(daemon.config)
        async with daemon:
            await setting.ask("INSERT INTO orders VALUES (1, 20, 'a'), (2, 5, 'b'), (3, 30, 'x')")
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE settled_at IS NOT NULL", 4)
            listed = await commands.json("events", "list", "--status", "failed")
            assert [one["trigger"] for one in listed["deliveries"]] == ["bad"] * 3
            (delivered,) = (await commands.json("events", "list", "--trigger", "good"))["deliveries"]
            shown = await commands.json("events", "show", delivered["id"])
            assert shown["data"]["doc"] == {"id": 1, "total": 20, "note": "a"}
            explained = await commands.json("explain", delivered["id"])
            row = await commands.json("explain", "--table", "orders", "--key", "3")
            told = await commands.run("explain", "--table", "orders", "--key", "3")
            queued = await commands.run("queue", "PAID", '{"n": 1}', "--wait")
            assert (queued.code, json.loads(queued.out)) == (0, {"mail": "sent"}), queued.err
            refused = await commands.run("queue", "PIAD", "{}")
            assert (refused.code, "there is no type PIAD" in refused.err) == (1, True)
            before = await commands.json("events", "list", "-n", "100")
            states = {one["name"]: one["state"] for one in (await commands.json("triggers", "list"))["triggers"]}
            written = await commands.json("triggers", "show", "good")
            trials = await commands.json("triggers", "test", "good", "--rows", "3")
            sent = await commands.json("triggers", "test", "paid", "--sample", '{"n": 2}', "--send")
            assert (sent["trials"][0]["attempt"]["status"], endpoint.to("/paid")[-1].event["data"]) == (200, {"n": 2})
            assert (await commands.run("triggers", "pause", "good")).out == "good is paused\n"
            assert "is paused" in (await commands.json("explain", "--table", "orders", "--key", "1"))["obstacles"][0]["what"]
            assert (await commands.run("triggers", "resume", "good", "nothing")).code == 1

        assert await commands.json("events", "list", "-n", "100") == before
        assert await commands.json("events", "show", delivered["id"]) == shown
        assert await commands.json("explain", delivered["id"]) == explained
        assert await commands.json("explain", "--table", "orders", "--key", "3") == row
        refused = await commands.run("queue", "PIAD", "{}")
        assert (refused.code, "there is no type PIAD" in refused.err) == (1, True)
        assert (await commands.run("queue", "PAID", "{}", "--wait")).code == 1

        assert {one["name"]: one["state"] for one in (await commands.json("triggers", "list"))["triggers"]} == states
        assert states == {"good": "active", "bad": "active", "paid": "active"}
        assert (await commands.json("triggers", "show", "good"))["yaml"] == written["yaml"]
        alone = await commands.json("triggers", "test", "good", "--rows", "3")
        assert [one["judgement"] for one in alone["trials"]] == [one["judgement"] for one in trials["trials"]]
        assert (
            await commands.run("triggers", "test", "good", "--sample", '{"doc": {"id": 9, "total": 1}}', "--type", "DB_INSERT")
        ).code == 1

        names = [step["name"] for step in explained["steps"]]
        assert names == ["happened", "matched", "attempt", "answered", "recorded"]
        when = next(check for check in explained["judgement"]["checks"] if check["name"] == "when")
        assert [part["values"] for part in when["condition"]["parts"]] == [{"new.total": 20}, {"new.note": "a"}]
        (inserted, _) = row["judgements"]
        assert {each["trigger"]: each["fires"] for each in inserted["triggers"]} == {"good": False, "bad": True}
        assert "`new.note != 'x'` (new.note = \"x\")" in told.out
        assert row["obstacles"] == []
        assert [one["trigger"] for one in row["recent"]] == ["bad"]


async def test_deliveries_are_tried_again_with_and_without_a_daemon(tmp_path: Path, database: Database) -> None:
    database.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    async with Endpoint() as endpoint:
        endpoint.always(Answer(400, b"not now"))
        setting = Setting(tmp_path, database, endpoint)
        triggers = {"orders": {**setting.trigger("/hook", table="orders"), "retries": {"max": 0}}}
        port = free_port()
        daemon = setting.daemon(triggers, server={"listen": f"127.0.0.1:{port}"})
        commands = Commands(daemon.config)
        async with daemon:
            await setting.ask("INSERT INTO orders SELECT generate_series(1, 30)")
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'failed'", 30)
            tail = await commands.begin("events", "tail", "--json", "--interval", "0.1", "-n", "1")
            assert tail.stdout is not None
            assert json.loads(await asyncio.wait_for(tail.stdout.readline(), 20))["status"] == "failed"
            endpoint.always(Answer())
            for mistaken in (("list",), ("retry", "--dry-run"), ("cancel", "--dry-run")):
                none = await commands.run("events", *mistaken, "--trigger", "order")
                assert (none.code, "there is no trigger order; did you mean orders?" in none.err) == (0, True), mistaken
            asked = await commands.run("events", "retry", "--status", "failed")
            assert (asked.code, "Retry 30 deliveries?" in asked.err, "--yes" in asked.err) == (1, True, True)
            planned = await commands.json("events", "retry", "--key", "7", "--dry-run")
            assert (planned["count"], planned["first"][0]["whyNot"]) == (1, "")
            one = planned["first"][0]["delivery"]["id"]
            assert (await commands.run("events", "retry", one)).out == f"{one} is tried again\n"
            done = await commands.json("events", "retry", "--status", "failed", "--until", "now", "--yes")
            assert (done["state"], done["done"], "on the command line" in done["who"]) == ("done", 29, True)
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", 30)
            again = await commands.run("events", "retry", one, "0193f0c2-8a10-8c1e-9a3f-0a1b2c3d4e5f")
            assert (again.code, len(again.err.splitlines()) >= 2) == (1, True)
            token = (await commands.run("token", "--role", "viewer")).out.strip()
            where = ("--url", f"http://127.0.0.1:{port}", "--token", token)
            assert len((await commands.json("events", "list", "-n", "100", *where))["deliveries"]) == 30
            forbidden = await commands.run("events", "retry", "--all", "--yes", *where)
            assert (forbidden.code, "cdcd token --role admin" in forbidden.err) == (1, True)
            stranger = tmp_path / "stranger.yaml"
            stranger.write_text(commands.config.read_text().replace(SECRET, SECRET[::-1]))
            declined = await Commands(stranger).run("events", "list")
            assert (declined.code, "has other secrets" in declined.err) == (1, True), declined.err
            replayed = await commands.json("events", "replay", "--key", "7", "--to", endpoint.url("/elsewhere"), "--yes")
            assert (replayed["done"], len(endpoint.to("/elsewhere"))) == (1, 1)
            following = (await commands.json("explain", one))["caused"]
            assert [each["extensions"]["cdcdreplayof"] for each in following] == [one]
            assert (await commands.run("events", "replay", one, "--to", endpoint.url("/elsewhere"))).code == 0
            assert (
                await commands.run("events", "replay", one)
            ).out == f"{one} is replayed\n"  # whatever replays of it there are
            again = await commands.run("events", "replay", following[0]["id"])
            assert (again.code, f"replay what it repeats: {one}" in again.err) == (1, True)
            tail.send_signal(signal.SIGINT)
            told, wrong = await asyncio.wait_for(tail.communicate(), 20)
            lines = [json.loads(line) for line in told.splitlines()]
            assert (tail.returncode, wrong) == (0, b"")
            assert {line["key"] for line in lines if line["status"] == "processed"} == {str(key) for key in range(1, 31)}
            endpoint.always(Answer(400, b"not now"))
            await setting.ask("INSERT INTO orders SELECT generate_series(31, 40)")
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'failed'", 10)

        endpoint.always(Answer())
        alone = await commands.json("events", "retry", "--status", "failed", "--yes")
        assert (alone["state"], alone["done"]) == ("done", 10)
        (cancelled,) = (await commands.json("events", "list", "--key", "40"))["deliveries"]
        assert (await commands.run("events", "cancel", cancelled["id"])).code == 0
        actions = [each["action"] for each in (await commands.json("operations", "list"))["operations"]]
        assert actions == ["cancel", "retry", "replay", "send", "replay", "retry", "retry"]
        slow = await commands.begin("events", "replay", "--key", "7", "--status", "processed", "--rate", "0.01", "--yes")
        await setting.until("SELECT count(*) FROM cdcd.operations WHERE state = 'running'", 1)
        slow.send_signal(signal.SIGINT)
        _, told = await asyncio.wait_for(slow.communicate(), 20)
        assert (slow.returncode, b"Stopped after" in told) == (130, True), told
        await setting.until("SELECT count(*) FROM cdcd.operations WHERE state = 'stopped'", 1)
        unserved = setting.daemon(triggers)
        async with unserved:
            await setting.until(
                "SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed' AND key::int BETWEEN 31 AND 39", 9
            )
            assert (await commands.json("events", "show", cancelled["id"]))["status"] == "cancelled"
            refused = await commands.run("events", "retry", cancelled["id"])
            assert (refused.code, "give it `server: {listen: 127.0.0.1:4122}`" in refused.err) == (1, True), refused.err
