"""The embedded server: made, adopted by nobody, started over leftovers, revived, and placed where it can be run."""

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cdcd.embedded import unprivileged
from cdcd.embedded.postgres import PostgresServer
from cdcd.embedded.service import EmbeddedPostgres, find_binaries
from cdcd.errors import PermanentError

FAST = {"fsync": "off"}
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run Postgres as another user")


@pytest.fixture
def directory() -> Iterator[Path]:
    """A place that another user can reach (pytest's own is closed when root runs the tests)."""
    with tempfile.TemporaryDirectory(prefix="cdcd-embedded-") as base:
        Path(base).chmod(0o755)
        asked = Path(base) / "postgres"
        yield asked
        PostgresServer(asked, find_binaries()).remove()


def _one(dsn: str, query: str = "SELECT 1") -> object:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]


async def test_both_addresses_work_and_tcp_wants_the_password(directory: Path) -> None:
    server = EmbeddedPostgres(directory, port=0, settings=FAST)
    await server.start()
    await server.start()
    assert _one(server.dsn(), "SHOW wal_level") == "logical"
    assert _one(server.dsn(tcp=True)) == 1
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server.dsn(tcp=True).replace(server.server.password, "wrong"))
    await server.stop()
    await server.stop()
    assert not server.running


async def test_without_a_port_nothing_listens_on_tcp(directory: Path) -> None:
    server = EmbeddedPostgres(directory, settings=FAST)
    await server.start()
    assert _one(server.dsn(), "SHOW listen_addresses") == ""
    with pytest.raises(ValueError, match="TCP"):
        server.dsn(tcp=True)
    await server.stop()


async def test_the_directory_is_closed_and_what_was_committed_survives_stop_restart_and_crash(directory: Path) -> None:
    server = EmbeddedPostgres(directory, settings=FAST)
    await server.start()
    assert server.directory.stat().st_mode & 0o777 == 0o700
    assert (server.directory / "password").stat().st_mode & 0o777 == 0o600
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE t AS SELECT 7 AS n")
    await server.restart()
    await server.restart(crash=True)
    await server.crash()
    await server.start()
    await server.stop()
    again = EmbeddedPostgres(directory, settings=FAST)
    await again.start()
    assert _one(again.dsn(), "SELECT n FROM t") == 7
    await again.stop()


async def test_a_second_owner_is_refused_while_the_first_lives(directory: Path) -> None:
    first, second = EmbeddedPostgres(directory, settings=FAST), EmbeddedPostgres(directory, settings=FAST)
    await first.start()
    with pytest.raises(PermanentError, match=f"pid {os.getpid()}"):
        await second.start()
    assert _one(first.dsn()) == 1
    await first.stop()
    await second.start()
    await second.stop()


def test_a_server_left_by_a_killed_owner_is_stopped_and_started_anew(directory: Path) -> None:
    """kill -9 of the owner leaves the server running; the next owner ends it in good order first."""
    owner = """
import os, pathlib, signal, sys
from cdcd.embedded.service import find_binaries
from cdcd.embedded.postgres import PostgresServer
server = PostgresServer(pathlib.Path(sys.argv[1]), find_binaries(), settings={"fsync": "off"})
server.start()
print(server.process.pid, file=sys.stderr)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", owner, str(directory)], stderr=subprocess.PIPE, check=False)
    assert ended.returncode == -signal.SIGKILL
    left = int(ended.stderr.split()[-1])
    server = PostgresServer(directory, find_binaries(), settings=FAST)
    assert _one(server.dsn()) == 1  # it goes on
    server.start()
    assert server.process is not None
    assert server.process.pid != left
    assert _one(server.dsn()) == 1
    server.stop()


def test_a_stale_pid_file_that_names_an_innocent_process_does_not_prevent_the_start(directory: Path) -> None:
    server = PostgresServer(directory, find_binaries(), settings=FAST)
    server.start()
    pidfile = server.data / "postmaster.pid"
    lines = pidfile.read_text().splitlines()
    server.crash()
    with subprocess.Popen(["/bin/sleep", "1000"]) as innocent:
        try:
            lines[0] = str(innocent.pid)
            pidfile.write_text("\n".join(lines))
            server.start()
            assert _one(server.dsn()) == 1
            assert innocent.poll() is None
        finally:
            innocent.kill()
    server.stop()


async def test_an_interrupted_initdb_leaves_nothing_in_the_way(directory: Path) -> None:
    server = EmbeddedPostgres(directory, settings=FAST)
    half = server.directory / "data.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    await server.start()
    assert _one(server.dsn()) == 1
    await server.stop()


async def test_a_server_that_ends_by_itself_is_revived(directory: Path) -> None:
    failures: list[BaseException] = []
    server = EmbeddedPostgres(directory, settings=FAST, failed=lambda part, error: failures.append(error))
    await server.start()
    first = server.server.process
    assert first is not None
    first.send_signal(signal.SIGKILL)
    async with asyncio.timeout(30):
        while server.server.process is first or not server.running:  # noqa: ASYNC110 -- nothing else shows a revival
            await asyncio.sleep(0)
    await server.restart()  # waits until the revival is through
    assert _one(server.dsn()) == 1
    assert not failures
    await server.stop()


async def test_a_server_that_cannot_start_says_why(directory: Path) -> None:
    server = EmbeddedPostgres(directory, settings={**FAST, "shared_buffers": "nonsense"})
    with pytest.raises(PermanentError, match="shared_buffers") as refusal:
        await server.start()
    assert "postgres.log" in refusal.value.hint
    assert not server.running


async def test_a_path_too_long_for_a_socket_gets_a_short_one(directory: Path) -> None:
    deep = directory.parent / ("d" * 60) / ("e" * 60) / "postgres"
    server = EmbeddedPostgres(deep, settings=FAST)
    await server.start()
    short = server.server.socket_directory
    assert short != server.directory
    assert short.stat().st_mode & 0o777 == 0o700
    assert _one(server.dsn()) == 1
    await server.restart()
    assert server.server.socket_directory == short
    await server.stop()
    assert not short.exists()
    server.server.remove()


def test_without_the_wheel_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PermanentError, match="not installed") as refusal:
        find_binaries()
    assert "cdcd[demo]" in refusal.value.hint
    assert "eventing.database" in refusal.value.hint


@AS_ROOT
async def test_below_a_closed_directory_the_data_goes_elsewhere_and_a_link_says_where(directory: Path) -> None:
    """Nothing is opened; the second start follows the link; removing takes both."""
    closed = directory.parent / "closed"
    closed.mkdir(mode=0o700)
    asked = closed / "state" / "postgres"
    server = EmbeddedPostgres(asked, settings=FAST)
    await server.start()
    assert closed.stat().st_mode & 0o777 == 0o700
    assert asked.is_symlink()
    assert asked.resolve() == server.directory
    assert server.directory.stat().st_uid != 0
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE t AS SELECT 7 AS n")
    await server.stop()
    again = EmbeddedPostgres(asked, settings=FAST)
    await again.start()
    assert again.directory == server.directory
    assert _one(again.dsn(), "SELECT n FROM t") == 7
    again.server.remove()
    assert not server.directory.exists()
    assert not asked.is_symlink()


@AS_ROOT
def test_a_link_to_data_that_is_gone_is_not_silently_begun_anew(directory: Path) -> None:
    directory.symlink_to(directory.parent / "gone")
    with pytest.raises(PermanentError, match="gone"):
        PostgresServer(directory, find_binaries()).start()
    directory.unlink()


@AS_ROOT
def test_binaries_that_cannot_be_reached_are_copied_once(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = directory.parent / "cache"
    monkeypatch.setattr(unprivileged, "CACHE_PLACES", (cache,))
    closed = directory.parent / "closed"
    (closed / "bin").mkdir(parents=True)
    closed.chmod(0o700)
    (closed / "bin" / "postgres").write_text("#!/bin/sh\n")
    (closed / "bin" / "postgres").chmod(0o700)
    account = unprivileged.account_for(directory)
    assert account is not None
    copy = unprivileged.place_binaries(closed, account)
    assert copy.is_relative_to(cache)
    assert (copy / "bin" / "postgres").stat().st_mode & 0o777 == 0o755
    assert unprivileged.place_binaries(closed, account) == copy
    assert len(list(cache.iterdir())) == 1


@AS_ROOT
async def test_a_link_planted_by_the_servers_own_user_is_not_followed(directory: Path) -> None:
    """Root opens files in a directory that belongs to another user: never through a link of theirs."""
    server = EmbeddedPostgres(directory, settings=FAST)
    await server.start()
    await server.stop()
    victim = directory.parent / "victim"
    victim.write_text("root's")
    server.server.log_file.unlink()
    server.server.log_file.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        await server.start()
    assert victim.stat().st_uid == 0
    assert victim.read_text() == "root's"
    server.server.log_file.unlink()
