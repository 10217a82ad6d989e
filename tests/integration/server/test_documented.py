"""docs/queue.md is true: its configuration loads, its commands run in order against a daemon, and give what it shows."""

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from tests.acceptance.setting import Setting
from tests.daemon import ROOT
from tests.endpoint import Answer, Endpoint
from tests.integration.server.talking import connected
from tests.postgres import Database

PAGE = (ROOT / "docs" / "queue.md").read_text("utf-8")
CONFIG = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
COMMANDS = re.findall(r"^```sh\n(curl .*?)^```\n\n```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TOKEN = re.findall(r"^```sh\n(export TOKEN=.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]


def plain(text: str) -> object:
    """JSON without what differs each time."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID", text)
    return json.loads(re.sub(r'("(?:queuedAt|at)": ?)"20[12][0-9]-[^"]*"', r'\1"TIME"', text))


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_the_page_is_true(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint:
        endpoint.always(Answer(body=b'{"response": {"shipped": true}}'))
        setting = Setting(tmp_path, database, endpoint)
        setting.project = "shop"
        shown = yaml.safe_load(
            CONFIG.replace("127.0.0.1:4122", "127.0.0.1:0").replace("127.0.0.1:9000", f"127.0.0.1:{endpoint.port}")
        )
        path = setting.configure(**shown)
        async with setting.daemon(**shown) as daemon, connected(daemon, "shop") as client:
            script = [TOKEN.replace("$(cdcd token", f"$({sys.executable} -m cdcd token -c {path}")]
            for command, _ in COMMANDS:
                script += [command.replace("127.0.0.1:4122", f"127.0.0.1:{client.port}"), "echo; echo ---"]
            process = await asyncio.create_subprocess_exec(
                *("sh", "-euc", "\n".join(script)),
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            output, _ = await process.communicate()
            assert process.returncode == 0
            answers = output.decode().split("---\n")[:-1]
            assert len(answers) == len(COMMANDS) >= 9
            for (command, expected), answer in zip(COMMANDS, answers, strict=True):
                assert plain(answer) == plain(expected), command
            await endpoint.wait_for(5, "/ship")
