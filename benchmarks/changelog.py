"""The change log: rows that no trigger wants in the end (`when` false on each), against replication of the same rows; and what the
triggers cost whoever writes.

`python -m benchmarks.changelog [ROWS]`: one transaction of so many rows (a million), and the daemon's memory while it reads them.
`python -m benchmarks.changelog writers PGBENCH`: commits of one row each by eight clients at a time, with the daemon running.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Endpoint, Figure, Server, config_for, daemon, median, setup

TABLE = "CREATE TABLE items (id bigint PRIMARY KEY, amount int, a text, b text, c numeric, d timestamptz, e bool, f int, g int, h text)"
TRIGGER = """
  none:
    type: DB_INSERT
    table: public.items
    when: new.amount > 1000000
    webhook: {url}
"""
ROW = "i, i % 1000, 'name ' || i, md5(i::text), i / 7.0, now(), true, i, i, 'x'"


def run(server: Server, *, small: bool) -> list[Figure]:
    rounds, rows = (1, 20_000) if small else (3, 200_000)
    by_log, by_stream, with_triggers, without = [], [], [], []
    endpoint = Endpoint()
    try:
        for _ in range(rounds):
            rate, writing, _ = _round(server, endpoint, rows, "triggers")
            by_log.append(rate)
            with_triggers.append(writing)
            rate, writing, _ = _round(server, endpoint, rows, "replication")
            by_stream.append(rate)
            without.append(writing)
    finally:
        endpoint.close()
    read, written = median(by_log) / median(by_stream), median(with_triggers) / median(without)
    return [
        Figure(
            "change log, `when` false",
            f"{median(by_log):,.0f} rows/s",
            f"{median(by_stream):,.0f} rows/s by replication",
            read,
            "told",
            True,
        ),
        Figure(
            "INSERT with the log's triggers",
            f"{median(with_triggers):,.0f} rows/s written",
            f"{median(without):,.0f} rows/s without",
            written,
            "told",
            True,
            f"{1e6 / median(with_triggers) - 1e6 / median(without):.0f} µs more for each row",
        ),
    ]


def _round(server: Server, endpoint: Endpoint, rows: int, capture: str) -> tuple[float, float, str]:
    """Rows/s that the daemon reads, and that one INSERT writes; and the daemon's memory, at its start and at most."""
    dsn = server.database()
    server.execute(dsn, TABLE)
    config = config_for(dsn, TRIGGER.format(url=endpoint.url("/cdcd")))
    config = config.replace(f'url: "{dsn}"', f'url: "{dsn}"\n    capture: {capture}')
    setup(config)
    server.execute(dsn, "INSERT INTO items (id, amount) VALUES (-1, 2000000)")
    began = time.monotonic()
    server.execute(dsn, f"INSERT INTO items SELECT {ROW} FROM generate_series(1, {rows}) i")
    writing = rows / (time.monotonic() - began)
    server.execute(dsn, "INSERT INTO items (id, amount) VALUES (0, 2000000)")
    endpoint.ask("reset")
    with daemon(config) as running:
        resting = running.memory()
        stats = endpoint.wait("/cdcd", 2, 600)
        memory = f"{resting / 2**20:,.0f} MiB at its start, {running.memory('VmHWM') / 2**20:,.0f} MiB at most"
    return rows / (stats["last"] - stats["first"]), writing, memory


def _commits(server: Server, endpoint: Endpoint, pgbench: str, capture: str) -> float:
    """Commits/s of eight clients that insert a row each, in 8 seconds."""
    dsn = server.database()
    server.execute(dsn, "CREATE TABLE items (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, amount int)")
    config = config_for(dsn, TRIGGER.format(url=endpoint.url("/cdcd")))
    config = config.replace(f'url: "{dsn}"', f'url: "{dsn}"\n    capture: {capture}')
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script, daemon(config):
        script.write("INSERT INTO items (amount) VALUES (1);\n")
        script.flush()
        arguments = [pgbench, "-n", "-M", "prepared", "-c", "8", "-j", "1", "-T", "8", "-f", script.name, dsn]
        out = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    return float(out.partition("tps = ")[2].split()[0])


def _writers(pgbench: str) -> None:
    with tempfile.TemporaryDirectory(prefix="cdcd-bench-") as directory:
        Path(directory).chmod(0o755)
        server, endpoint = Server(Path(directory)), Endpoint()
        try:
            for capture in ("replication", "triggers"):
                rates = [_commits(server, endpoint, pgbench, capture) for _ in range(2)]
                print(f"{capture}: {', '.join(f'{rate:,.0f}' for rate in rates)} commits/s by eight clients")
        finally:
            endpoint.close()
            server.close()


def main() -> None:
    if sys.argv[1:2] == ["writers"]:
        _writers(sys.argv[2] if len(sys.argv) > 2 else "pgbench")
        return
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="cdcd-bench-") as directory:
        Path(directory).chmod(0o755)
        server, endpoint = Server(Path(directory)), Endpoint()
        try:
            rate, writing, memory = _round(server, endpoint, rows, "triggers")
            print(f"{rows:,} rows in one transaction: written {writing:,.0f}/s, read {rate:,.0f}/s; memory {memory}")
        finally:
            endpoint.close()
            server.close()


if __name__ == "__main__":
    main()
