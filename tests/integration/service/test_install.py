"""docs/install.md is followed literally: the role with no rights, what an administrator runs, and the daemon on it."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.acceptance.setting import SECRET
from tests.daemon import ROOT, Daemon
from tests.endpoint import Endpoint
from tests.postgres import Database

PAGE = (ROOT / "docs" / "install.md").read_text()


def block(kind: str, beginning: str) -> str:
    """The code on the page that begins so."""
    (found,) = (text for text in re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) if text.startswith(beginning))
    return str(found)


async def test_the_role_and_the_service_of_the_guide(tmp_path: Path, database: Database) -> None:
    database.execute("CREATE TABLE users (id bigint PRIMARY KEY, email text)")
    name = f"cdcd_{database.name}"
    for statement in block("sql", "CREATE ROLE").replace("ROLE cdcd", f"ROLE {name}").split(";"):
        if statement.strip():
            database.execute(statement)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "secret").write_text(SECRET)
    url = make_conninfo(database.tcp_dsn, user=name, password="choose one")
    (credentials / "database-url").write_text(url)
    environment = {"CREDENTIALS_DIRECTORY": str(credentials), "STATE_DIRECTORY": str(tmp_path)}
    try:
        async with Endpoint() as endpoint:
            config = tmp_path / "cdcd.yaml"
            text = block("yaml", "project: shop").replace("https://hooks.example.com/welcome", endpoint.url("/welcome"))
            config.write_text(text.replace("127.0.0.1:4122", "127.0.0.1:0").replace("canary: 30s", "canary: 1s"))
            printed = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-m", "cdcd", "setup", "--print", "-c", str(config)],
                capture_output=True,
                text=True,
                env={"PYTHONPATH": str(ROOT), **environment},
                check=True,
            )
            psql = [str(database.postgres.bin / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-", database.dsn]
            await asyncio.to_thread(
                subprocess.run, psql, input=printed.stdout, text=True, check=True, stdout=subprocess.DEVNULL
            )
            with psycopg.connect(url, autocommit=True) as role:
                for attempt in ("SELECT * FROM users", "INSERT INTO users VALUES (1)", "CREATE TABLE public.mine ()"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        role.execute(attempt.encode())
            async with Daemon(config, environment) as daemon:
                database.execute("INSERT INTO users VALUES (1, 'a@example.com')")
                await endpoint.wait_for(1)
                assert endpoint.requests[0].event["data"]["doc"]["email"] == "a@example.com"
                came = "SELECT count(*) FROM cdcd.event_logs WHERE trigger = 'cdcd.canary' AND status = 'processed'"
                for _ in range(600):
                    if database.execute(came) != [(0,)]:
                        break
                    await asyncio.sleep(0.05)  # a table does not tell when it changes
                assert database.execute(came) != [(0,)]
                assert daemon.find("source.problem") == daemon.find("canary.unsent") == []
    finally:
        database.execute(
            f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{database.name}'"
        )
        database.execute("DROP SCHEMA IF EXISTS cdcd CASCADE")
        database.execute(f"DROP OWNED BY {name} CASCADE")
        database.execute(f"DROP ROLE {name}")
