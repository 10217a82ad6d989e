"""Reloads of a real daemon: what is new counts from the answer on, what is gone is kept, what is wrong changes nothing, and no row is lost
or doubled on the way."""

import asyncio
import itertools
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from cdcd.config.secrets import secret_key
from cdcd.delivery.signing import Signer
from cdcd.server.auth import make_token
from tests.acceptance.setting import SECRET, Setting, docs
from tests.daemon import ROOT, Daemon
from tests.endpoint import Answer, Endpoint
from tests.postgres import Database

FOREVER = {"max": 1000, "backoff": "fixed", "first": "50ms", "max_interval": "50ms"}


class Reloading:
    """A daemon with an API, and its configuration, which is written anew for each reload."""

    def __init__(self, setting: Setting, **options: Any) -> None:
        self.setting = setting
        self.options = {"server": {"listen": "127.0.0.1:0"}, **options}
        self.daemon: Daemon
        self.secret = SECRET

    def write(self, triggers: Mapping[str, Any], **more: Any) -> Path:
        self.options |= more
        return self.setting.configure(triggers, **self.options)

    async def begin(self, triggers: Mapping[str, Any], **more: Any) -> None:
        self.daemon = Daemon(self.write(triggers, **more))
        await self.daemon.start()
        await self.daemon.ready()

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        port = self.daemon.find("server.listening")[0]["port"]
        token = make_token(secret_key(self.secret, None), self.setting.project, {"role": "admin", "exp": time.time() + 60})
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, f"http://127.0.0.1:{port}{path}", json=body, headers={"Authorization": f"Bearer {token}"}
            ) as answer,
        ):
            return answer.status, json.loads(await answer.read())

    async def reload(self, triggers: Mapping[str, Any], **more: Any) -> Any:
        """Write it and take it over; what the API answered."""
        self.write(triggers, **more)
        status, answer = await self.ask("POST", "/v1/reload")
        assert status == 200, f"{answer}\n{self.daemon.tail()}"
        return answer


def tables(database: Database, *names: str) -> None:
    for name in names:
        database.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, n int)")


@pytest.mark.parametrize("capture", ["replication", "triggers"])
async def test_triggers_come_change_go_and_come_back(tmp_path: Path, database: Database, capture: str) -> None:
    tables(database, "a", "b")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        cdcd = Reloading(setting, databases={"main": {"url": database.dsn, "capture": capture}})
        one = setting.trigger("/one", table="a")
        await cdcd.begin({"one": one})
        try:
            # One more, of a table that was not captured: what is committed after the answer comes, what was before does not.
            database.execute("INSERT INTO b VALUES (1, 1)")
            two = setting.trigger("/two", table="b", retries=FOREVER)
            answer = await cdcd.reload({"one": one, "two": two})
            assert (answer["added"], answer["changed"], answer["behind"]) == (["two"], [], [])
            database.execute("INSERT INTO b VALUES (2, 1)")
            await endpoint.wait_for(1, "/two")
            # Sent elsewhere: what is under way ends where it began.
            gate = endpoint.hold("/two")
            database.execute("UPDATE b SET n = 2 WHERE id = 2")
            await endpoint.wait_for(2, "/two")
            moved = {**two, "webhook": f"http://localhost:{endpoint.port}/three"}  # another origin
            assert (await cdcd.reload({"one": one, "two": moved}))["changed"] == ["two"]
            database.execute("UPDATE b SET n = 3 WHERE id = 2")
            gate.set()
            await endpoint.wait_for(1, "/three")
            assert [doc["n"] for doc in docs(endpoint, "/two")] == [1, 2]
            assert [doc["n"] for doc in docs(endpoint, "/three")] == [3]
            # Gone, with a backlog: it is kept, and nothing of it is sent.
            endpoint.always(Answer(500), path="/three")
            for n in (4, 5, 6):
                database.execute("UPDATE b SET n = %s WHERE id = 2", [n])
            await endpoint.wait_until(lambda e: len(e.to("/three")) >= 3)
            answer = await cdcd.reload({"one": one})
            assert (answer["removed"], answer["kept"]) == (["two"], {"two": 3})
            endpoint.always(Answer(), path="/three")
            came = len(endpoint.to("/three"))
            database.execute("UPDATE b SET n = 7 WHERE id = 2")  # nobody wants it
            database.execute("INSERT INTO a VALUES (1, 1)")
            await endpoint.wait_for(1, "/one")
            assert await setting.ask("SELECT count(*) FROM cdcd.event_logs WHERE status = 'staged'") == [(3,)]
            assert len(endpoint.to("/three")) <= came + 1  # an attempt that was under way
            # It can be cancelled, one here.
            ((last,),) = await setting.ask(
                "SELECT id::text FROM cdcd.event_logs WHERE status = 'staged' ORDER BY id DESC LIMIT 1"
            )
            assert (await cdcd.ask("POST", f"/v1/deliveries/{last}/cancel"))[0] in (200, 202)
            # Back: its backlog goes on, before what is new.
            await cdcd.reload({"one": one, "two": moved})
            database.execute("UPDATE b SET n = 8 WHERE id = 2")
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status <> 'processed'", 1)
            assert await setting.ask("SELECT id::text FROM cdcd.event_logs WHERE status = 'cancelled'") == [(last,)]
            await endpoint.wait_until(lambda e: [doc["n"] for doc in docs(e, "/three")] == [3, 4, 5, 8])
            assert [doc["id"] for doc in docs(endpoint, "/one")] == [1]
            assert (await cdcd.reload({"one": one, "two": moved}))["changed"] == []
        finally:
            assert await cdcd.daemon.stop() == 0, cdcd.daemon.tail()
        assert not [line for line in cdcd.daemon.logs if line.get("level") == "error"], cdcd.daemon.tail()


async def test_a_bad_one_is_refused_with_all_that_is_wrong(tmp_path: Path, database: Database) -> None:
    tables(database, "a")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        cdcd = Reloading(setting)
        good = {"one": setting.trigger("/one", table="a")}
        await cdcd.begin(good)
        try:
            # The files.
            bad = {"one": {**good["one"], "tabel": "a"}, "two": {"type": "DB_INSERT", "table": "a", "when": "new.("}}
            cdcd.write(bad)
            status, answer = await cdcd.ask("POST", "/v1/reload")
            told = " ".join(reason["detail"] for reason in answer["errors"])
            assert status == 422
            assert all(what in told for what in ("tabel", "webhook", "triggers.two.when"))
            # What needs a restart, a certificate that is none, and what the database lacks: all at once.
            (tmp_path / "ca.pem").write_text("none")
            secure = setting.trigger("/x", table="a", url="https://127.0.0.1/x")
            secure["webhook"]["ca"] = str(tmp_path / "ca.pem")
            worse = {**good, "two": setting.trigger("/two", table="missing"), "three": secure}
            cdcd.write(worse, eventing={"database": "main", "schema": "other"})
            status, answer = await cdcd.ask("POST", "/v1/reload")
            told = " ".join(reason["detail"] for reason in answer["errors"])
            assert status == 422
            assert all(what in told for what in ("eventing.schema", "no table is named", "ca.pem"))
            assert "missing" in told
            # SIGHUP: the log says the same.
            os.kill(cdcd.daemon.pid, signal.SIGHUP)
            line = await cdcd.daemon.wait_log("reload.refused", who="SIGHUP")
            assert len(line["mistakes"]) == 3
            # The operator sees that what runs is not what the file says.
            assert "reload.refused" in json.dumps(await cdcd.ask("GET", "/healthz"))
            # Nothing has changed, also not what is published.
            database.execute("INSERT INTO a VALUES (1, 1)")
            await endpoint.wait_for(1, "/one")
            assert await setting.ask("SELECT tablename FROM pg_publication_tables WHERE pubname LIKE 'cdcd%%'") == [("a",)]
            cdcd.write(good, eventing={"database": "main"})
            assert (await cdcd.ask("POST", "/v1/reload"))[0] == 200
            async with asyncio.timeout(10):  # what was seen is good for a moment
                while "reload.refused" in json.dumps(await cdcd.ask("GET", "/healthz")):  # noqa: ASYNC110  # another process says it
                    await asyncio.sleep(0.05)
        finally:
            assert await cdcd.daemon.stop() == 0, cdcd.daemon.tail()


async def test_whoever_writes_to_a_new_table_is_waited_for(tmp_path: Path, database: Database) -> None:
    """What a transaction wrote before the table was published would be missed although it commits after the answer."""
    tables(database, "a", "b")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        cdcd = Reloading(setting)
        one = {"one": setting.trigger("/one", table="a")}
        await cdcd.begin(one)
        try:
            async with await psycopg.AsyncConnection.connect(database.dsn) as writer:
                await writer.execute("INSERT INTO b VALUES (1, 1)")
                reloading = asyncio.create_task(cdcd.reload({**one, "two": setting.trigger("/two", table="b")}))
                await cdcd.daemon.wait_log(
                    "publication.changed", sql=f'ALTER PUBLICATION "{setting.slot}" ADD TABLE "public"."b"'
                )
                await writer.execute("INSERT INTO b VALUES (2, 1)")
                assert not reloading.done()
                await writer.commit()
            assert (await reloading)["added"] == ["two"]
            database.execute("INSERT INTO b VALUES (3, 1)")
            await endpoint.wait_for(1, "/two")
            assert [doc["id"] for doc in docs(endpoint, "/two")] == [3]
        finally:
            assert await cdcd.daemon.stop() == 0, cdcd.daemon.tail()


@pytest.mark.parametrize("capture", ["replication", "triggers"])
async def test_rows_written_during_reloads_go_once_to_the_right_triggers(
    tmp_path: Path, database: Database, capture: str
) -> None:
    tables(database, "a")
    numbers = itertools.count(1)
    over = asyncio.Event()

    async def write() -> None:
        async with await psycopg.AsyncConnection.connect(database.dsn, autocommit=True) as connection:
            while not over.is_set():
                await connection.execute("INSERT INTO a VALUES (%s, 0)", [next(numbers)])
                await asyncio.sleep(0.005)  # no more than is delivered on a busy machine

    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        cdcd = Reloading(setting, databases={"main": {"url": database.dsn, "capture": capture}})
        always = setting.trigger("/always", table="a")
        await cdcd.begin({"always": always})
        try:
            writing = [asyncio.create_task(write()) for _ in range(2)]
            wanted: set[int] = set()  # rows that were surely committed while the other trigger counted
            unwanted: set[int] = set()  # and surely while it did not
            for turn in range(5):
                there = turn % 2 == 0
                triggers = {
                    "always": {**always, "concurrency": 20 + turn},
                    **({"now": setting.trigger("/now", table="a")} if there else {}),
                }
                answer = await cdcd.reload(triggers)
                assert answer["positions"].keys() == {"main"}
                first = next(numbers)  # nobody writes it, and what is written from now on has a higher one
                await asyncio.sleep(0.1)  # for rows to be written
                await _committed(database, last := next(numbers))
                (wanted if there else unwanted).update(set(range(first + 1, last)))
            over.set()
            await asyncio.gather(*writing)
            rows = {row for (row,) in await setting.ask("SELECT id FROM a")}
            await setting.until(
                "SELECT count(*) FROM cdcd.event_logs WHERE trigger = 'always' AND status = 'processed'", len(rows)
            )
            await setting.until("SELECT count(*) FROM cdcd.pending", 0)
        finally:
            over.set()
            assert await cdcd.daemon.stop() == 0, cdcd.daemon.tail()
        came = Counter(request.event["data"]["doc"]["id"] for request in endpoint.to("/always"))
        assert came == Counter(rows)
        now = Counter(request.event["data"]["doc"]["id"] for request in endpoint.to("/now"))
        assert max(now.values()) == 1
        assert (wanted & rows) <= now.keys()
        assert not unwanted & now.keys()
        assert len(wanted & rows) > 5


async def _committed(database: Database, below: int) -> None:
    """Wait until nobody can commit a row with a lower number any more: each writer has gone on to a higher one."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if await asyncio.to_thread(database.execute, "SELECT count(*) FROM a WHERE id > %s", [below + 3]) != [(0,)]:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("nobody writes")


async def test_other_sources_secrets_and_limits(tmp_path: Path, database: Database) -> None:
    """Messages in the WAL, the queue, channels, files, schedules, a second database: each from the answer on."""
    tables(database, "a")
    other = tmp_path / "files"
    other.mkdir()
    (other / "before.txt").write_text("x")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        cdcd = Reloading(setting)
        one = {"one": setting.trigger("/one", table="a")}
        await cdcd.begin(one)
        try:
            custom = {"type": "PAID", "webhook": endpoint.url("/paid")}
            files = {"type": "FILE_CREATE", "storage": "files", "webhook": endpoint.url("/files")}
            daily = {"type": "SCHEDULE", "schedule": "* * * * *", "webhook": endpoint.url("/minute")}
            answer = await cdcd.reload(
                {**one, "paid": custom, "files": files, "daily": daily},
                storage={"files": {"path": str(other), "settle": "50ms"}},
                databases={"main": {"url": database.dsn, "channels": {"paid": "PAID"}}},
                limits={"in_flight": 50, "endpoint_concurrency": 3},
            )
            assert sorted(answer["added"]) == ["daily", "files", "paid"]
            assert {"limits.in_flight", "limits.endpoint_concurrency", "databases.main.channels", "storage.files"} <= set(
                answer["options"]
            )
            database.execute("SELECT pg_logical_emit_message(true, 'cdcd:PAID', '{\"by\": \"message\"}')")
            database.execute('NOTIFY paid, \'{"by": "channel"}\'')
            assert (await cdcd.ask("POST", "/v1/events", {"type": "PAID", "data": {"by": "queue"}}))[0] == 202
            (other / "after.txt").write_text("y")
            await endpoint.wait_until(lambda e: len(e.to("/paid")) == 3 and len(e.to("/files")) == 1)
            assert {request.event["data"]["by"] for request in endpoint.to("/paid")} == {"message", "channel", "queue"}
            assert endpoint.to("/files")[0].event["data"]["path"] == "after.txt"
            assert await setting.ask("SELECT trigger FROM cdcd.schedules") == [("daily",)]
            # Secrets: what is signed from now on, and who may ask.
            fresh = "a secret that is quite another one"
            rotated = await cdcd.reload(
                {**one, "paid": custom}, secret=fresh, storage={}, databases={"main": {"url": database.dsn}}
            )
            assert sorted(rotated["removed"]) == ["daily", "files"]
            assert "secrets" in rotated["options"]
            assert (await cdcd.ask("POST", "/v1/reload"))[0] == 401
            cdcd.secret = fresh
            assert (await cdcd.ask("POST", "/v1/reload"))[0] == 200
            database.execute("INSERT INTO a VALUES (1, 1)")
            (request,) = await endpoint.wait_for(1, "/one")
            signer = Signer((secret_key(fresh, None),), setting.project, "x")
            assert request.headers["webhook-signature"] == signer.signature(
                request.id, int(request.headers["webhook-timestamp"]), request.body
            )
            (other / "unwanted.txt").write_text("y")
            # All triggers of the database go: it is read on, so that nothing holds WAL.
            await cdcd.reload({"paid": custom})
            before = await setting.lsn()
            database.execute("INSERT INTO a SELECT g, 0 FROM generate_series(2, 30000) g")
            await setting.confirmed_beyond(before + 1024 * 1024)
            assert len(endpoint.to("/one")) == 1
            assert len(endpoint.to("/files")) == 1
        finally:
            assert await cdcd.daemon.stop() == 0, cdcd.daemon.tail()
        assert not [line for line in cdcd.daemon.logs if line.get("level") == "error"], cdcd.daemon.tail()


async def test_a_database_comes_and_goes(tmp_path: Path, database: Database) -> None:
    tables(database, "a")
    name = f"second_{os.getpid()}"
    database.execute(f"CREATE DATABASE {name}")
    dsn = psycopg.conninfo.make_conninfo(database.dsn, dbname=name)
    with psycopg.connect(dsn, autocommit=True) as second:
        second.execute("CREATE TABLE c (id int PRIMARY KEY)")
        async with Endpoint() as endpoint:
            setting = Setting(tmp_path, database, endpoint)
            cdcd = Reloading(setting)
            one = {"one": setting.trigger("/one", table="a", database="main")}
            await cdcd.begin(one)
            try:
                both = {"main": {"url": database.dsn}, "second": {"url": dsn}}
                await cdcd.reload({**one, "two": setting.trigger("/two", table="c", database="second")}, databases=both)
                second.execute("INSERT INTO c VALUES (1)")
                await endpoint.wait_for(1, "/two")
                # The same cluster at another URL, and then one that is none.
                again = f"{psycopg.conninfo.make_conninfo(dsn, application_name='cdcd again')}"
                both["second"] = {"url": again}
                answer = await cdcd.reload(
                    {**one, "two": setting.trigger("/two", table="c", database="second")}, databases=both
                )
                assert answer["options"] == ["databases.second.url"]
                second.execute("INSERT INTO c VALUES (2)")
                await endpoint.wait_for(2, "/two")
                await cdcd.reload(one, databases={"main": {"url": database.dsn}})
                assert cdcd.daemon.find("source.left", database="second")
                second.execute("SELECT pg_drop_replication_slot(%s)", [f"cdcd_{setting.project}_second"])
            finally:
                assert await cdcd.daemon.stop() == 0, cdcd.daemon.tail()
    database.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_files_that_are_watched(tmp_path: Path, database: Database) -> None:
    """A half-written text is refused once it stands still, the whole one taken over; `cdcd reload` by the API, and by SIGHUP."""
    tables(database, "a", "b")
    included = tmp_path / "triggers"
    included.mkdir()
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        cdcd = Reloading(setting, include="triggers/*.yaml", reload="watch")
        await cdcd.begin({"one": setting.trigger("/one", table="a")})
        try:
            text = json.dumps({"triggers": {"two": setting.trigger("/two", table="b")}}, indent=1)
            (included / "two.yaml").write_text(text[: len(text) // 2])
            line = await cdcd.daemon.wait_log("reload.refused", who="watch")
            assert all("two.yaml" in mistake for mistake in line["mistakes"])
            (included / "two.yaml").write_text(text)
            await cdcd.daemon.wait_log("reload.taken", who="watch", added=["two"])
            database.execute("INSERT INTO b VALUES (1, 1)")
            await endpoint.wait_for(1, "/two")
            (included / "two.yaml").unlink()
            await cdcd.daemon.wait_log("reload.taken", who="watch", removed=["two"])
        finally:
            assert await cdcd.daemon.stop() == 0, cdcd.daemon.tail()


async def test_asked_for_at_once_they_are_done_one_after_the_other(tmp_path: Path, database: Database) -> None:
    tables(database, "a", "b")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        cdcd = Reloading(setting)
        one = {"one": setting.trigger("/one", table="a")}
        await cdcd.begin(one)
        try:
            cdcd.write({**one, "two": setting.trigger("/two", table="b")})
            answers = await asyncio.gather(*(cdcd.ask("POST", "/v1/reload") for _ in range(4)))
            assert [status for status, _ in answers] == [200] * 4
            assert sorted(len(answer["added"]) for _, answer in answers) == [0, 0, 0, 1]
        finally:
            assert await cdcd.daemon.stop() == 0, cdcd.daemon.tail()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def command(*arguments: str) -> tuple[int, str]:
    """`cdcd reload` as a process: its exit code and what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cdcd", "reload", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_the_command(tmp_path: Path, database: Database) -> None:
    """By SIGHUP where there is no API, by the API where there is one; also while its secret is being rotated."""
    tables(database, "a")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        one = setting.trigger("/one", table="a")
        file = str(setting.configure({"one": one}))
        assert (await command("-c", file))[0] == 2  # nobody runs with it
        async with setting.daemon({"one": one}) as daemon:
            setting.configure({"one": {**one, "concurrency": 2}})
            code, said = await command("-c", file)
            assert (code, f"process {daemon.pid} was asked" in said) == (0, True), said
            await daemon.wait_log("reload.taken", changed=["one"])
            setting.configure({"one": {**one, "tabel": "a"}})
            code, said = await command("-c", file)
            assert (code, "tabel" in said, "nothing was reloaded" in said) == (1, True, True)
        async with setting.daemon({"one": one}, server={"listen": f"127.0.0.1:{free_port()}"}):
            changed = json.loads(setting.directory.joinpath("cdcd.yaml").read_text())
            changed["secrets"] = [{"value": "a secret that is quite another one"}, {"value": changed.pop("secret")}]
            changed["triggers"]["one"]["concurrency"] = 2
            setting.directory.joinpath("cdcd.yaml").write_text(json.dumps(changed))
            code, said = await command("-c", file)
            assert (code, said) == (0, "changed: one\noptions: secrets\n")
            changed["triggers"]["one"]["table"] = "missing"
            setting.directory.joinpath("cdcd.yaml").write_text(json.dumps(changed))
            code, said = await command("-c", file)
            assert (code, "no table is named" in said) == (1, True), said


async def test_one_that_comes_too_late_changes_nothing(tmp_path: Path, database: Database) -> None:
    """SIGHUP, again and again, until the process is gone: it ends in order all the same."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        daemon = setting.daemon({"t": setting.trigger("/t", table="t")})
        async with daemon:
            ending = asyncio.create_task(daemon.stop())
            await daemon.wait_log("stopped")
            while not ending.done():
                if daemon.process is not None and daemon.process.returncode is None:
                    daemon.process.send_signal(signal.SIGHUP)
                await asyncio.sleep(0.001)
            assert await ending == 0
