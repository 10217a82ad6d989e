"""`cdcd status` on stores of files: whether they are there, and when they were looked at; and accepting what is in them."""

import os
from pathlib import Path

import pytest

from cdcd.config.load import load
from cdcd.errors import StoreRefused
from cdcd.upkeep.setup import setup
from tests.acceptance.setting import Setting
from tests.endpoint import Endpoint
from tests.integration.cli.commands import cdcd
from tests.postgres import Database


async def test_stores_of_files(tmp_path: Path, database: Database) -> None:
    (tmp_path / "uploads" / "d").mkdir(parents=True)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        storage = {name: {"path": str(tmp_path / name)} for name in ("uploads", "away")}
        trigger = {"type": "FILE_CREATE", "storage": "uploads", "webhook": endpoint.url("/")}
        async with setting.daemon({"t": trigger}, storage=storage) as daemon:
            await daemon.wait_log("files.first_look")
    told = {store["name"]: store for store in cdcd("status", "--json", "-c", daemon.config).json["files"]}
    assert (told["uploads"]["there"], told["uploads"]["entries"]) == (True, 1)
    assert told["away"] == {"name": "away", "path": str(tmp_path / "away"), "there": False, "entries": None, "looked_at": None}
    shown = cdcd("status", "-c", daemon.config).out
    assert "1 entry, all looked at" in " ".join(shown.split())
    assert "is not there" in " ".join(shown.split())
    config = load(daemon.config, os.environ)
    with pytest.raises(StoreRefused, match="no store of files 'nowhere'"):
        await setup(config, accept_gap=False, tell=print, accept_files=["uploads", "nowhere"])
    await setup(config, accept_gap=False, tell=print, accept_files=["uploads"])
    assert database.execute("SELECT device FROM cdcd.stores WHERE name = 'uploads'") == [(-1,)]
