"""Killed, stopped, stopped at once: nothing is lost, ids stay, and what was recorded is not sent again."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.acceptance.setting import Setting
from tests.endpoint import Answer, Endpoint
from tests.postgres import Database

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v int)"

FAILPOINTS = (
    "source.matched",
    "source.offered",
    "engine.taken",
    "engine.sent",
    "recorder.before_commit",
    "recorder.committed",
    "source.recorded",
)


def account(endpoint: Endpoint, rows: int, versions: int) -> None:
    """Every row's versions arrived in order, each id always with the same body."""
    bodies: dict[str, bytes] = {}
    seen: dict[int, list[int]] = {}
    for request in endpoint.requests:
        if bodies.setdefault(request.id, request.body) != request.body:
            raise AssertionError(f"{request.id} came with two bodies")
        row = request.event["data"]["doc"]
        arrived = seen.setdefault(row["id"], [])
        if row["v"] not in arrived:
            arrived.append(row["v"])
    assert seen == {row: list(range(versions)) for row in range(rows)}


@pytest.mark.parametrize(("failing", "count"), [(False, 1), (True, 4)], ids=["delivering-first", "failing-fourth"])
@pytest.mark.parametrize("failpoint", FAILPOINTS)
async def test_killed_between_read_and_confirm(
    tmp_path: Path, database: Database, failpoint: str, failing: bool, count: int
) -> None:
    """Killed the first or fourth time it passes each step, while deliveries succeed or fail; then started again without."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        if failing:
            endpoint.script(*[Answer(500)] * 6)
        setting = Setting(tmp_path, database, endpoint)
        triggers = {"t": setting.trigger("/t", table="t")}
        if count == 1:  # a life that makes the slot records where that begins, which is a first time already
            async with setting.daemon(triggers):
                pass
        daemon = setting.daemon(triggers, failpoints=f"{failpoint}={count}")
        async with daemon:  # ready: what is committed from now on is captured
            await setting.ask("INSERT INTO t SELECT g, 0 FROM generate_series(0, 4) g")
            ended = asyncio.create_task(daemon.wait(60))
            versions = 1
            while not ended.done():  # several transactions may be read at once: as many as it takes
                await setting.ask("UPDATE t SET v = v + 1")
                versions += 1
                await asyncio.wait({ended}, timeout=0.1)
            assert await ended == -signal.SIGKILL
            daemon.failpoints = ""
            await daemon.start()
            await setting.processed(5 * versions)
        account(endpoint, rows=5, versions=versions)
        assert await setting.ask("SELECT count(*) FROM cdcd.event_logs") == [(5 * versions,)]


async def test_what_was_recorded_is_not_sent_again(tmp_path: Path, database: Database) -> None:
    """Killed while one delivery hangs: those behind it were processed and recorded, and only the hanging one comes again."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        triggers = {
            "t": setting.trigger("/t", table="t", timeout="60s"),
            "slow": setting.trigger("/slow", table="t", when="new.id == 0", timeout="60s"),
        }
        endpoint.always(Answer(hang=True), path="/slow")
        daemon = setting.daemon(triggers, limits={"spill_after": "60s"})
        async with daemon:
            for number in range(20):
                await setting.ask("INSERT INTO t VALUES (%s, 0)", [number])
            await setting.until("SELECT count(*) FROM cdcd.event_logs", 20)
            await daemon.kill()
            endpoint.always(Answer(), path="/slow")
            await daemon.start()
            await setting.processed(21)
        assert len(endpoint.to("/t")) == 20
        assert len(endpoint.to("/slow")) == 2
        assert len(set(endpoint.ids("/slow"))) == 1


async def test_the_first_signal_lets_attempts_end(tmp_path: Path, database: Database) -> None:
    """SIGINT: the attempt under way is answered and recorded, the exit code is 0, and nothing is sent again afterwards."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        gate = endpoint.hold()
        setting = Setting(tmp_path, database, endpoint)
        daemon = setting.daemon({"t": setting.trigger("/t", table="t")})
        async with daemon:
            await setting.ask("INSERT INTO t VALUES (0, 0)")
            await endpoint.wait_for(1)
            stopping = asyncio.create_task(daemon.stop(signal.SIGINT))
            await daemon.wait_log("stopping")
            gate.set()
            assert await stopping == 0
            assert daemon.find("stopped")
            lsn = await setting.confirmed()
            ((position,),) = await setting.ask("SELECT position FROM cdcd.event_logs")
            assert lsn > position  # the last word to the server
            await daemon.start()
            await daemon.ready()
            await setting.ask("INSERT INTO t VALUES (1, 0)")
            await setting.processed(2)
        assert len(endpoint.requests) == 2


async def test_the_second_signal_ends_at_once(tmp_path: Path, database: Database) -> None:
    """The attempt is broken off, and made again after the next start."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        gate = endpoint.hold()
        setting = Setting(tmp_path, database, endpoint)
        daemon = setting.daemon({"t": setting.trigger("/t", table="t", timeout="60s")}, limits={"shutdown": "60s"})
        async with daemon:
            await setting.ask("INSERT INTO t VALUES (0, 0)")
            await endpoint.wait_for(1)
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGINT)
            await daemon.wait_log("stopping")
            assert await daemon.stop(signal.SIGINT) == 130
            gate.set()
            await daemon.start()
            await setting.processed(1)
        assert len(endpoint.requests) == 2
        assert len(set(endpoint.ids())) == 1


async def test_a_stop_breaks_off_what_does_not_end_in_time(tmp_path: Path, database: Database) -> None:
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        gate = endpoint.hold()
        setting = Setting(tmp_path, database, endpoint)
        daemon = setting.daemon({"t": setting.trigger("/t", table="t", timeout="60s")}, limits={"shutdown": "200ms"})
        async with daemon:
            await setting.ask("INSERT INTO t VALUES (0, 0)")
            await endpoint.wait_for(1)
            assert await daemon.stop() == 0
            assert daemon.find("attempts.broken_off")
            gate.set()
            await daemon.start()
            await setting.processed(1)
        assert len(set(endpoint.ids())) == 1
