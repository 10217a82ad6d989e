"""What the benchmarks share: a Postgres server, the endpoint, the daemon as a process, and the result's form."""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import psycopg

from cdcd.embedded.postgres import PostgresServer
from cdcd.embedded.service import find_binaries

ROOT = Path(__file__).resolve().parent.parent
SECRET = "benchmark-secret-0123456789abcdef"


@dataclass(slots=True)
class Figure:
    """One line of the table. `ratio` is what is judged: value against baseline, or the value itself."""

    name: str
    value: str
    baseline: str
    ratio: float
    target: str
    met: bool
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Endpoint:
    """The receiver as a process."""

    def __init__(self, *, timed: bool = False) -> None:
        arguments = [sys.executable, "-m", "benchmarks.receiver", *(["--timed"] if timed else [])]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.port = int(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def ask(self, command: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def stats(self, path: str) -> Any:
        return self.ask(f"stats {path}")

    def wait(self, path: str, count: int, timeout: float) -> Any:
        """Wait until `count` requests have come for `path`."""
        return until(lambda: stats if (stats := self.stats(path))["count"] >= count else None, timeout, f"{count} at {path}")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


def until(test: Callable[[], Any], timeout: float, what: str, pause: float = 0.05) -> Any:
    """Ask until the answer is true; that answer."""
    end = time.monotonic() + timeout
    while not (answer := test()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout:.0f} s for {what}")
        time.sleep(pause)
    return answer


class Server:
    """A Postgres server with a database for each benchmark. fsync is on: what is measured is durable."""

    def __init__(self, directory: Path) -> None:
        self.server = PostgresServer(
            directory / "postgres",
            find_binaries(),
            None,
            {"max_wal_size": "8GB", "checkpoint_timeout": "1h", "autovacuum": "on", "max_connections": "200"},
        )
        self.server.start()
        self._number = 0

    def database(self) -> str:
        """A fresh database's DSN. Slots are the server's, not the database's: the one before gives up its own."""
        self.execute(
            self.server.dsn(),
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'cdcd%' AND NOT active",
        )
        self._number += 1
        name = f"bench_{self._number}"
        self.execute(self.server.dsn(), f"CREATE DATABASE {name}")
        return self.server.dsn(name)

    @staticmethod
    def execute(dsn: str, query: str, *params: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(dsn, autocommit=True) as connection:
            cursor = connection.execute(query, params or None)
            return cursor.fetchall() if cursor.description else []

    def wal(self, dsn: str) -> int:
        """The WAL insert position in bytes."""
        return int(self.execute(dsn, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")[0][0])

    def held(self, dsn: str) -> int:
        """Bytes of WAL that the slots of cdcd keep."""
        query = (
            "SELECT coalesce(max(pg_current_wal_lsn() - restart_lsn), 0)::bigint FROM pg_replication_slots"
            " WHERE slot_name LIKE 'cdcd%' AND database = current_database()"
        )
        return int(self.execute(dsn, query)[0][0])

    def changed(self, dsn: str) -> int:
        """UPDATEs and DELETEs in the event store so far, but for `meta`: its row counts the daemons that have owned the store."""
        time.sleep(1.2)  # backends report their statistics at most once a second
        query = (
            "SELECT coalesce(sum(n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_user_tables"
            " WHERE schemaname = 'cdcd' AND relname <> 'meta'"
        )
        return int(self.execute(dsn, query)[0][0])

    def close(self) -> None:
        self.server.remove()


class Daemon:
    """`cdcd run` as a process."""

    def __init__(self, directory: Path, config: str) -> None:
        self.path = directory / "cdcd.yaml"
        self.path.write_text(config)
        self.log: IO[str] = (directory / "cdcd.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cdcd", "run", "-c", str(self.path), "--log-format", "json"],
            stderr=self.log,
            stdout=self.log,
            cwd=ROOT,
        )
        until(self._ready, 60, "ready", 0.02)

    def _ready(self) -> bool:
        text = Path(self.log.name).read_text()
        if self.process.poll() is not None:
            raise RuntimeError(f"the daemon ended:\n{text}")
        return '"event":"ready"' in text

    def memory(self, field: str = "VmRSS") -> int:
        """Resident memory in bytes (`VmHWM`: the most it ever was)."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"no {field}")

    def cpu(self) -> float:
        """Seconds of CPU used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
        self.log.close()


@contextlib.contextmanager
def daemon(config: str) -> Iterator[Daemon]:
    """A running daemon, stopped afterwards."""
    with tempfile.TemporaryDirectory(prefix="cdcd-bench-") as directory:
        running = Daemon(Path(directory), config)
        try:
            yield running
        finally:
            running.stop()


def setup(config: str) -> None:
    """Make slot, publication and store without delivering anything."""
    with daemon(config):
        pass


def config_for(dsn: str, triggers: str, limits: str = "") -> str:
    """A configuration with one database that also holds the event store."""
    return f"""
project: bench
secret: {SECRET}
databases:
  main:
    url: "{dsn}"
eventing:
  database: main
{limits}
triggers:
{triggers}
"""


def poster(url: str, count: int, concurrency: int, size: int, *extra: str) -> str:
    """Run the bare poster; what it printed."""
    arguments = [sys.executable, "-m", "benchmarks.poster", url, str(count), str(concurrency), str(size), *extra]
    return subprocess.run(arguments, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def median(values: list[float]) -> float:
    return statistics.median(values)


def percentile(ordered: list[float], share: float) -> float:
    """Of a sorted list."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
