"""docs/start.md is true: its commands, as they stand, lead from a server without logical decoding to a verified webhook, and back.

Only what belongs to the reader differs: the addresses, the password, and how he restarts his server. The installation is left out; it
takes too long.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from cdcd.embedded.postgres import PostgresServer, _free_port
from tests.daemon import ROOT
from tests.postgres import OwnServer

PAGE = (ROOT / "docs" / "start.md").read_text("utf-8")
SHELL = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CONFIG = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("psql", "openssl", "bash"))), reason="the page uses psql, openssl and a shell"
)


PSQL = ["psql", "-q", "-v", "ON_ERROR_STOP=1"]


class Reader:
    """Somebody who copies the commands, in one shell: variables of one block are there in the next."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self.folder = folder
        self.ports = {"9000": str(_free_port()), "4122": str(_free_port())}
        self.server = server
        programs = folder / "bin"
        programs.mkdir()
        command = programs / "cdcd"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cdcd "$@"\n')
        command.chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        }

    def own(self, text: str) -> str:
        """A text of the page with the reader's own addresses."""
        port = str(self.server.port)
        text = text.replace("postgresql://postgres@127.0.0.1:5432/shop", self.server.dsn("shop", tcp=True)).replace(
            ":5432/", f":{port}/"
        )
        for shown, mine in self.ports.items():
            text = re.sub(rf"(?<=[: ]){shown}\b", mine, text)
        return text

    def run(self, block: str) -> str:
        """The block's output. What it exports stays."""
        script = f"{self.own(block)}\nenv -0 > .environment\n"
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        self.environment = dict(
            each.split("=", 1) for each in (self.folder / ".environment").read_text().rstrip("\0").split("\0")
        )
        return done.stdout

    @contextmanager
    def running(self, block: str, until: str) -> Iterator[subprocess.Popen[str]]:
        """A block whose last command runs on, once it has written `until`."""
        *before, last = self.own(block).splitlines()
        script = "\n".join([*before, f"exec {last}"])
        process = subprocess.Popen(
            ["bash", "-e", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            line_with(process, until)
            yield process
        finally:
            process.kill()
            process.communicate()


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """The next line that has `text` in it."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        if text in line:
            return line
        seen += line
    raise AssertionError(f"{text!r} was not written, but:\n{seen}")


def block(beginning: str) -> str:
    """The one block that begins so."""
    (found,) = [text for text in SHELL if text.startswith(beginning)]
    return str(found)


def test_the_page_followed_to_the_letter(own_server: OwnServer, tmp_path: Path) -> None:
    server = own_server({"wal_level": "replica"}, port=0)  # as it comes
    reader = Reader(tmp_path, server)
    subprocess.run([*PSQL, server.dsn(tcp=True), "-c", "CREATE DATABASE shop"], check=True)
    reader.run(block("export OWNER_URL"))
    del server._settings["wal_level"]  # given on the command line, it would win over ALTER SYSTEM
    server.restart()
    reader.run(block('psql "$OWNER_URL" -c "CREATE TABLE users'))
    (config,) = CONFIG
    (tmp_path / "cdcd.yaml").write_text(reader.own(config))
    reader.run(block("export CDCD_SECRET"))
    reader.run(block("(umask 077"))
    assert (tmp_path / "cdcd.env").stat().st_mode & 0o77 == 0
    first = block("cdcd check")
    with pytest.raises(AssertionError, match="the publication must be made"):
        reader.run(first)
    assert "All is well." in reader.run(block("cdcd setup --print"))
    with (
        reader.running(block(". ./cdcd.env\ncdcd receive"), "listening on") as endpoint,
        reader.running(block(". ./cdcd.env\ncdcd run"), "ready") as daemon,
    ):
        reader.run(block('psql "$OWNER_URL" -c "INSERT'))
        arrived = line_with(endpoint, "DB_INSERT")
        assert re.search(r"200 DB_INSERT  public\.users/1 .* verified$", arrived.rstrip())
        looked = reader.run(block("cdcd status"))
        assert "welcome-email" in looked
        assert re.search(r"processed\twelcome-email\tDB_INSERT public\.users/1\t1", looked)
        assert "DB_INSERT public.users/1: it fires" in looked
        daemon.terminate()
        daemon.wait(30)
    reader.run(block("cdcd teardown"))
    with psycopg.connect(server.dsn("shop", tcp=True)) as owner:
        left = owner.execute(
            "SELECT slot_name FROM pg_replication_slots UNION ALL SELECT pubname FROM pg_publication"
        ).fetchall()
        assert left == []
