"""Files through the daemon as a process: every change arrives once, also what happened while it was down or looked away."""

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.setting import SOON, Setting
from tests.endpoint import Endpoint
from tests.files_torture.run import torture
from tests.postgres import Database, Servers, chosen_majors

EVERY = ["FILE_CREATE", "FILE_UPDATE", "FILE_DELETE"]


def trigger(endpoint: Endpoint, path: str = "/files", **more: Any) -> dict[str, Any]:
    return {"type": EVERY, "storage": "uploads", "webhook": endpoint.url(path), "retries": SOON, **more}


async def test_a_file_s_life(tmp_path: Path, database: Database) -> None:
    """Created, changed, replaced, renamed and deleted: one request each, with what it is and what it was."""
    root = tmp_path / "uploads"
    root.mkdir()
    (root / "there.txt").write_text("before the first start")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"files": trigger(endpoint)}, storage={"uploads": {"path": str(root)}}) as daemon:
            await daemon.wait_log("files.first_look")
            (root / "a.txt").write_text("one")
            await endpoint.wait_for(1)
            (root / "a.txt").write_text("three")
            await endpoint.wait_for(2)
            (root / ".a.tmp").write_text("replaced")
            (root / ".a.tmp").replace(root / "a.txt")
            await endpoint.wait_for(3)
            (root / "a.txt").rename(root / "b.txt")
            await endpoint.wait_for(5)
            (root / "b.txt").unlink()
            await endpoint.wait_for(6)
            await setting.processed(6)
            assert await daemon.stop() == 0
        events = [request.event for request in endpoint.requests]
    told = [(event["type"], event["subject"], event["data"]["size"]) for event in events]
    assert told[:3] == [("FILE_CREATE", "a.txt", 3), ("FILE_UPDATE", "a.txt", 5), ("FILE_UPDATE", "a.txt", 8)]
    assert sorted(told[3:5]) == [("FILE_CREATE", "b.txt", 8), ("FILE_DELETE", "a.txt", 8)]
    assert told[5] == ("FILE_DELETE", "b.txt", 8)
    renamed = {event["type"]: event["data"] for event in events[3:5]}
    assert renamed["FILE_DELETE"]["movedTo"] == "b.txt"
    assert renamed["FILE_CREATE"]["movedFrom"] == "a.txt"
    first = events[0]
    assert first["source"] == f"cdcd/{setting.project}/uploads"
    assert {name: first["data"][name] for name in ("store", "path", "type", "contentType", "meta")} == {
        "store": "uploads",
        "path": "a.txt",
        "type": "file",
        "contentType": "text/plain",
        "meta": {},
    }
    assert events[1]["data"]["before"]["size"] == 3


async def test_a_crash_before_and_after_the_commit(tmp_path: Path, database: Database) -> None:
    """Killed before what a change became is durable, it is found again; killed after, it is sent from the store. Each is one delivery,
    which a kill between its attempt and the record of it sends again."""
    root = tmp_path / "uploads"
    root.mkdir()
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        storage = {"uploads": {"path": str(root), "settle": "50ms"}}
        daemon = setting.daemon({"files": trigger(endpoint)}, storage=storage)
        async with daemon:
            await daemon.wait_log("files.first_look")
        for number, failpoint in enumerate(("recorder.before_commit", "recorder.committed")):
            daemon.failpoints = f"{failpoint}=2"  # the first commit says that the store was looked at
            await daemon.start()
            await daemon.wait_log("files.looked")
            (root / f"{number}.txt").write_text("x")
            assert await daemon.wait() == -9
            daemon.failpoints = ""  # and settled before the next, whose commits are counted
            await daemon.start()
            await setting.processed(number + 1)
            assert await daemon.stop() == 0
        assert sorted({request.id: request.event["subject"] for request in endpoint.requests}.values()) == ["0.txt", "1.txt"]


def test_torture_in_short(servers: Servers, tmp_path: Path) -> None:
    """Five seconds of trouble; then the tree that the events tell is the tree that is there."""
    outcome = torture(1, 5.0, tmp_path / "torture", chosen_majors()[-1], 60.0, servers)
    assert not outcome.faults, "\n".join((outcome.line, *outcome.faults))


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 21))
def test_torture(servers: Servers, tmp_path: Path, seed: int) -> None:
    """Twenty seconds of it."""
    outcome = torture(seed, 20.0, tmp_path / "torture", chosen_majors()[-1], 120.0, servers)
    assert not outcome.faults, "\n".join((outcome.line, *outcome.faults))
