"""A pipeline that stands still though nothing is known to be away: judged, told, and over when it moves again."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cdcd.admin import motion
from cdcd.admin.snapshot import Trouble
from cdcd.app import Daemon
from cdcd.config import load
from tests.acceptance.setting import Setting
from tests.endpoint import Answer, Endpoint
from tests.postgres import Database


async def until(daemon: Daemon, wanted: Callable[[dict[str, Trouble]], bool]) -> dict[str, Trouble]:
    assert daemon._overview is not None
    deadline = time.monotonic() + 30
    while not wanted(found := {trouble.code: trouble for trouble in daemon._overview.motion()}):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.02)  # nothing tells when time has passed
    return found


async def forgotten(daemon: Daemon) -> None:
    """What only a mistake of ours could bring about, put there by hand: something is due, and nobody is at it."""
    assert daemon._overview is not None
    engine = daemon._overview._watched.engine
    engine.dispatcher.queues["t"].backlog.restore(3, {})
    engine._due["t"] = 0.0  # and nobody advances it
    found = await until(daemon, lambda found: "backlog.overdue" in found and found["backlog.overdue"].stands_still)
    assert found["backlog.overdue"].where == "trigger t"
    engine._advance()  # looks at the store, which holds nothing
    assert await until(daemon, lambda found: not found) == {}


async def test_locks_and_the_store(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """With shorter patience: somebody locks the store's tables, so that commits do not end; then its server is down, which is no
    standing still, but nothing is taken."""
    for name, seconds in (("NOTICED", 0.2), ("STILL", 0.4), ("WAITED", 0.8), ("UNREADY", 0.3)):
        monkeypatch.setattr(motion, name, seconds)
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        daemon = Daemon(
            load(setting.configure({"t": setting.trigger("/t", table="t", retries={"first": "2s", "jitter": 0})}), {})
        )
        running = asyncio.ensure_future(daemon.run())
        try:
            async with asyncio.timeout(30):
                while daemon._overview is None or not daemon._overview.takes_events:
                    assert not running.done()
                    await asyncio.sleep(0.02)  # as above
            assert await until(daemon, lambda found: not found) == {}
            async with await database.aconnect() as other, other.transaction():
                await other.execute("LOCK TABLE cdcd.event_logs IN ACCESS EXCLUSIVE MODE")
                async with await database.aconnect() as writer:
                    await writer.execute("INSERT INTO t VALUES (1)")
                found = await until(daemon, lambda found: "store.stuck" in found)
                assert not found["store.stuck"].stands_still  # not yet
                found = await until(daemon, lambda found: "store.stuck" in found and found["store.stuck"].not_ready)
                found = await until(daemon, lambda found: "store.stuck" in found and found["store.stuck"].stands_still)
                assert found["store.stuck"].not_ready
                assert time.time() - found["store.stuck"].since >= 0.8
                snapshot = await daemon._overview.now()
                assert (snapshot.alive, snapshot.well) == (False, False)
            assert await until(daemon, lambda found: not found) == {}
            await setting.processed(1)
            # A delivery is due in the store, and whoever wants to read the backlog waits for a lock.
            endpoint.script(Answer(500), path="/t")
            database.execute("INSERT INTO t VALUES (2)")
            await setting.until("SELECT count(*) FROM cdcd.pending", 1)
            async with await database.aconnect() as other, other.transaction():
                await other.execute("LOCK TABLE cdcd.pending IN ACCESS EXCLUSIVE MODE")
                found = await until(daemon, lambda found: "backlog.stuck" in found and found["backlog.stuck"].stands_still)
                assert found["backlog.stuck"].where == "store"
            assert await until(daemon, lambda found: not found) == {}
            await setting.processed(2)
            async with await database.aconnect() as other, other.transaction():
                await other.execute("LOCK TABLE cdcd.queued IN ACCESS EXCLUSIVE MODE")
                await until(daemon, lambda found: "queue.stuck" in found and found["queue.stuck"].stands_still)
            assert await until(daemon, lambda found: not found) == {}
            await forgotten(daemon)
            server = database.postgres.server
            await asyncio.to_thread(server.stop)
            found = await until(daemon, lambda found: "store.unavailable" in found and found["store.unavailable"].not_ready)
            assert not any(trouble.stands_still for trouble in found.values())
            assert "source.unavailable" in await until(daemon, lambda found: "source.unavailable" in found)
            await asyncio.to_thread(server.start)
            assert await until(daemon, lambda found: not found) == {}
            assert daemon._overview.takes_events
        finally:
            daemon.supervisor.stop()
            await running
        assert not daemon._overview.takes_events
