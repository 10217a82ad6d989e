"""`cdcd health` without and with a server, and its exit codes."""

import json
from pathlib import Path

from tests.acceptance.setting import Setting
from tests.endpoint import Endpoint
from tests.integration.cli.commands import cdcd
from tests.postgres import Database


async def test_health(tmp_path: Path, database: Database) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        triggers = {"t": setting.trigger("/t", table="t")}
        config = setting.configure(triggers)
        nobody = cdcd("health", "-c", config)
        assert (nobody.code, nobody.out) == (1, "cdcd: no daemon has the event store in use\n")
        async with setting.daemon(triggers):
            assert (cdcd("health", "-c", config).code, cdcd("health", "--live", "-c", config).out) == (0, "ok\n")
            elsewhere = tmp_path / "other.yaml"
            elsewhere.write_text(json.dumps({**json.loads(config.read_text()), "server": "127.0.0.1:1"}))
            refused = cdcd("health", "--ready", "--json", "-c", elsewhere)
            assert refused.code == 1
            assert "no answer from 127.0.0.1:1" in json.loads(refused.out)["error"]
