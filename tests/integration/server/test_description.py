"""schemathesis makes requests from the description, right and wrong ones, at a real daemon: it never meets an error of ours, nor an
answer that is not described."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.acceptance.setting import Setting
from tests.endpoint import Answer, Endpoint
from tests.integration.server.talking import api, token, trigger
from tests.postgres import Database

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method,ignored_auth"


@pytest.mark.timeout(170)
async def test_every_answer_is_described(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint:
        endpoint.always(Answer(body=b'{"response": 1}'))
        setting = Setting(tmp_path, database, endpoint)
        triggers = {"paid": trigger(setting, "ORDER_PAID", order="none")}
        events = {"ORDER_SHIPPED": {"schema": {"type": "object", "required": ["id"]}, "allow": "payload.id > 3"}}
        (tmp_path / "triggers").mkdir()
        async with api(setting, triggers, events=events, include="triggers/*.yaml") as client:
            command = [
                *(sys.executable, "-W", "ignore", "-m", "schemathesis.cli", "run", f"{client.url}/v1/openapi.json"),
                *("--header", f"Authorization: Bearer {token(role='admin', aud=f'cdcd/{setting.project}')}"),
                *("--checks", CHECKS, "--max-examples", "6", "--seed", "1", "--workers", "1", "--no-color"),
                *("--request-timeout", "10", "--phases", "examples,coverage,fuzzing"),
            ]
            (tmp_path / "schemathesis.toml").write_text(f'[parameters]\n"path.project" = "{setting.project}"\n')
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path
            )
            output, _ = await process.communicate()
            print(output.decode(errors="replace"))  # shown when it fails
            assert process.returncode == 0
            assert client.daemon.find("server.failed") == []
