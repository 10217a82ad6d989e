"""The systemd unit: what systemd says of it, and a daemon that lives by it, under a service manager of the test's own."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.setting import SECRET, Setting
from tests.endpoint import Answer, Endpoint
from tests.integration.service.manager import ROOT, UNIT, Manager
from tests.postgres import Database

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


@needs_systemd
def test_exposure() -> None:
    assert ANALYZE is not None
    told = subprocess.run(
        [ANALYZE, "security", "--offline=true", "--no-pager", "--json=short", "--threshold=20", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr  # an exposure above 2.0 is an error


@needs_systemd
def test_verify(tmp_path: Path) -> None:
    """Nothing to complain of. The program must be there for it."""
    assert ANALYZE is not None
    unit = tmp_path / "cdcd.service"
    unit.write_text(UNIT.read_text().replace("/opt/cdcd/bin/cdcd", sys.executable))
    told = subprocess.run([ANALYZE, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert (told.returncode, [line for line in told.stderr.splitlines() if "cdcd.service" in line]) == (0, [])


def configured(directory: Path, setting: Setting, triggers: dict[str, Any]) -> None:
    """What docs/install.md puts into /etc/cdcd."""
    etc = directory / "etc"
    etc.mkdir(exist_ok=True)
    (etc / "secret").write_text(SECRET + "\n")
    (etc / "database-url").write_text(setting.url + "\n")
    config = {
        "project": setting.project,
        "secret": "${credential:secret}",
        "databases": {"main": {"url": "${credential:database-url}"}},
        "eventing": {"database": "main", "state_dir": "${env:STATE_DIRECTORY}"},
        "triggers": triggers,
    }
    (etc / "cdcd.yaml").write_text(json.dumps(config))


def manager(directory: Path, **more: Any) -> Manager:
    replace = {"/opt/cdcd/bin/cdcd": f"{sys.executable} -m cdcd", "/etc/cdcd": str(directory / "etc")}
    return Manager(directory, replace, {"PYTHONPATH": str(ROOT)}, **more)


async def test_a_watchdog_kill_loses_nothing(tmp_path: Path, database: Database) -> None:
    """It starts, tells that it is ready and alive, blocks in the middle of a delivery, is killed and started anew, and stops."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        configured(tmp_path, setting, {"t": setting.trigger("/t", table="t")})
        async with manager(tmp_path, watchdog=2.0, first={"CDCD_FAILPOINTS": "engine.sent=5:block"}) as service:
            await service.start()
            status = next(told["STATUS"] for told in service.told if "READY" in told)
            assert status == "running"
            database.execute("INSERT INTO t SELECT generate_series(1, 20)")
            await service.until_restarted()
            assert service.killed == [-6]  # SIGABRT: the watchdog's
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", 20)
            assert {request.event["data"]["doc"]["id"] for request in endpoint.to("/t")} == set(range(1, 21))
            await service.until(lambda: any("WATCHDOG" in told for told in service.told), 10.0)
            # Another trigger, and then a mistake: the reload of each is over, and told; the second changes nothing.
            configured(tmp_path, setting, {"t": setting.trigger("/t", table="t"), "u": setting.trigger("/u", table="t")})
            await service.reload()
            database.execute("INSERT INTO t VALUES (100)")
            await endpoint.wait_until(lambda those: bool(those.to("/u")))
            configured(tmp_path, setting, {"t": {"type": "DB_INSERT", "table": "t", "webhook": "no url"}})
            await service.reload()
            status = next(told["STATUS"] for told in reversed(service.told) if "READY" in told)
            assert "refused" in status
            # A delivery is under way when it is stopped: it ends first.
            gate = endpoint.hold("/t")
            before = len(endpoint.requests)
            database.execute("INSERT INTO t VALUES (21)")
            await endpoint.wait_for(before + 1)
            endpoint.script(Answer(200), path="/t")
            stopping = asyncio.ensure_future(service.stop())
            await service.until(lambda: any(told.get("STOPPING") == "1" for told in service.told), 10.0)
            gate.set()
            assert await stopping == 0
            assert any("EXTEND_TIMEOUT_USEC" in told for told in service.told if "STOPPING" in told)
        await setting.processed(24)


async def test_a_start_that_waits_asks_for_time(tmp_path: Path, database: Database) -> None:
    """The store is away: the start is not over, and not given up."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint, url="postgresql://nobody@127.0.0.1:1/x?connect_timeout=1")
        configured(tmp_path, setting, {"t": setting.trigger("/t", table="t")})
        async with manager(tmp_path) as service:
            starting = asyncio.ensure_future(service.start())
            await service.until(lambda: any("EXTEND_TIMEOUT_USEC" in told for told in service.told), 30.0)
            assert "waiting for the event store" in service.told[0]["STATUS"]
            assert not starting.done()
            assert await service.stop() == 0
            starting.cancel()
