"""The Dockerfile: what a linter says of it, and what it runs, run here as written on a real daemon."""

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.acceptance.setting import SECRET, Setting
from tests.daemon import ROOT
from tests.endpoint import Endpoint
from tests.postgres import Database

TEXT = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n", " ", "\n".join(line for line in TEXT.splitlines() if not line.startswith("#")))


def instruction(name: str) -> str:
    """The arguments of the last instruction of this name."""
    return str(re.findall(rf"^{name}\s+(.*)$", INSTRUCTIONS, re.MULTILINE)[-1])


def command(name: str) -> list[str]:
    """The same, of one in the form of a JSON list."""
    text = instruction(name)
    found = json.loads(text[text.index("[") :])
    assert isinstance(found, list)
    return found


async def test_linted() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint is not installed: there is none for this machine")
    process = await asyncio.create_subprocess_exec(hadolint, ROOT / "Dockerfile", stdout=asyncio.subprocess.PIPE)
    words, _ = await process.communicate()
    assert (process.returncode, words.decode()) == (0, "")


def test_what_is_in_it() -> None:
    """An unprivileged user by number, no secret, only what is needed of the repository, and that is there."""
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", instruction("USER"))
    assert not re.search(r"^(ENV|ARG).*(SECRET|TOKEN|PASSWORD)", INSTRUCTIONS, re.MULTILINE)
    wanted = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        part.removeprefix("./")
        for line in re.findall(r"^COPY (?!--from)(.*)$", INSTRUCTIONS, re.MULTILINE)
        for part in line.split()[:-1]
    }
    assert copied == wanted
    assert all((ROOT / name).exists() for name in wanted)
    assert command("VOLUME") == ["/var/lib/cdcd"]
    extras = re.search(r'"\.\[([a-z,]+)\]"', INSTRUCTIONS)
    assert extras is not None
    assert set(extras[1].split(",")) == {"otel", "demo"}  # the embedded server is the demo's


@pytest.mark.skipif("CDCD_TEST_INSTALL" not in os.environ, reason="downloads: run with CDCD_TEST_INSTALL=1")
@pytest.mark.timeout(600)  # it downloads what an image holds
async def test_installation(tmp_path: Path) -> None:
    """What the build stage runs, in a directory with only what is copied; the program runs."""
    (tmp_path / "build").mkdir()
    for name in (line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / "build" / name)
        else:
            shutil.copy(ROOT / name, tmp_path / "build" / name)
    steps = re.findall(r"^RUN (.*)$", INSTRUCTIONS, re.MULTILINE)[0].replace("/opt/cdcd", str(tmp_path / "opt"))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec("/bin/sh", "-ec", steps, cwd=tmp_path / "build", env=environment)
    assert await process.wait() == 0
    process = await asyncio.create_subprocess_exec(tmp_path / "opt" / "bin" / "cdcd", "--version")
    assert await process.wait() == 0
    assert not (tmp_path / "opt" / "bin" / "pip").exists()


async def test_entrypoint_and_healthcheck(tmp_path: Path, database: Database) -> None:
    """The daemon starts by them; the health check says yes, and no when it is gone. The root file system is not written to."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        port = _free_port()
        setting.configure({"t": setting.trigger("/t", table="t")}, server={"listen": f"127.0.0.1:{port}"}, secret=SECRET)
        start = [*command("ENTRYPOINT"), *command("CMD")]
        check = command("HEALTHCHECK")
        daemon = await _run(start, tmp_path)
        assert daemon.stderr is not None
        try:
            async with asyncio.timeout(30):
                while b'"event":"ready"' not in (line := await daemon.stderr.readline()).replace(b" ", b""):
                    assert line, "it ended"
            assert await _result(check, tmp_path) == (0, "ok\n")
            database.execute("INSERT INTO t VALUES (1)")
            await endpoint.wait_for(1)
        finally:
            daemon.send_signal(signal.Signals[instruction("STOPSIGNAL")])
            rest = asyncio.create_task(daemon.stderr.read())
            assert await daemon.wait() == 0
            await rest
        code, words = await _result(check, tmp_path)
        assert code == 1
        assert f"no answer from 127.0.0.1:{port}" in words


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def _run(line: list[str], directory: Path) -> asyncio.subprocess.Process:
    program = shutil.which("cdcd", path=str(Path(sys.executable).parent))
    assert line[0] == "cdcd"
    assert program is not None
    words = [part.replace("/etc/cdcd", str(directory)) for part in line[1:]]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        **dict(pair.split("=", 1) for pair in shlex.split(instruction("ENV")) if not pair.startswith("PATH")),
    }
    return await asyncio.create_subprocess_exec(
        program, *words, cwd=directory, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def _result(line: list[str], directory: Path) -> tuple[int | None, str]:
    process = await _run(line, directory)
    words, _ = await process.communicate()
    return process.returncode, words.decode()
