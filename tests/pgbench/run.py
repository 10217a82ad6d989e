"""pgbench, captured: its own tables and scripts run against a server, every change goes to a webhook, and the tables are rebuilt from that.

`pgbench_history` has no primary key, so only its inserts are captured; the others have one, and need no other replica identity.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from cdcd.embedded.postgres import PostgresServer
from cdcd.replication.lsn import parse_lsn
from tests.daemon import Daemon
from tests.endpoint import Endpoint, Request

KEYS = {"pgbench_accounts": "aid", "pgbench_branches": "bid", "pgbench_tellers": "tid"}
HISTORY = "pgbench_history"
SCRIPTS = ("tpcb-like", "simple-update")
SLOT = "cdcd_pgbench_main"

Row = dict[str, Any]


@dataclass(slots=True)
class Account:
    """What a run showed. `faults` is empty when the rebuilt tables equal the real ones."""

    transactions: int = 0
    events: int = 0
    repeated: int = 0
    seconds: float = 0.0
    drained: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        return (
            f"pgbench: {'FAILED' if self.faults else 'ok'} transactions={self.transactions} in {self.seconds:.0f}s "
            f"events={self.events} repeated={self.repeated} drained={self.drained:.1f}s after the end"
        )


async def run(
    server: PostgresServer, directory: Path, seconds: float, *, clients: int = 4, scale: int = 1, drain: float = 600.0
) -> Account:
    """Run pgbench for `seconds` beside a daemon, wait until everything has arrived, compare."""
    account = Account(seconds=seconds)
    dsn = server.dsn("bench")
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute("CREATE DATABASE bench")
    await _pgbench(server, dsn, "--initialize", f"--scale={scale}", "--quiet")
    begin = await asyncio.to_thread(_tables, dsn)
    async with Endpoint() as endpoint:
        daemon = Daemon(_configure(directory, dsn, endpoint))
        async with daemon:
            scripts = [f"--builtin={script}" for script in SCRIPTS]
            said = await _pgbench(
                server,
                dsn,
                *scripts,
                f"--client={clients}",
                f"--time={max(1, round(seconds))}",
                "--no-vacuum",
                "--random-seed=1",
            )
            account.transactions = int(said.split("number of transactions actually processed: ")[1].split()[0].split("/")[0])
            began = time.monotonic()
            await _settled(dsn, drain, account, daemon)
            account.drained = time.monotonic() - began
        real = await asyncio.to_thread(_tables, dsn)
        account.events = len(set(endpoint.ids()))
        account.repeated = len(endpoint.requests) - account.events
        account.faults += compare(rebuild(begin, endpoint.requests, account.faults), real)
    return account


def _configure(directory: Path, dsn: str, endpoint: Endpoint) -> Path:
    hook = {"url": endpoint.url("/")}
    config = {
        "project": "pgbench",
        "secret": "a secret of the pgbench test",
        "databases": {"main": {"url": dsn}},
        "eventing": {"database": "main"},
        "triggers": {
            "rows": {"type": ["DB_INSERT", "DB_UPDATE", "DB_DELETE"], "table": list(KEYS), "webhook": hook, "retries": 20},
            "history": {"type": "DB_INSERT", "table": HISTORY, "webhook": hook, "retries": 20},
        },
    }
    path = directory / "cdcd.yaml"
    path.write_text(json.dumps(config))
    return path


async def _pgbench(server: PostgresServer, dsn: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        str(server.bin / "pgbench"), *arguments, dsn, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def _settled(dsn: str, drain: float, account: Account, daemon: Daemon) -> None:
    """Wait until the slot stands behind the last transaction and nothing is staged."""
    query = """
        SELECT (SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s), (SELECT count(*) FROM cdcd.pending)
    """
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        row = await (await connection.execute("SELECT pg_current_wal_lsn()")).fetchone()
        assert row is not None
        target = parse_lsn(row[0])
        await connection.execute(f"INSERT INTO {HISTORY} (tid, bid, aid, delta) VALUES (0, 0, 0, 0)")
        deadline = time.monotonic() + drain
        while time.monotonic() < deadline and daemon.running:
            row = await (await connection.execute(query, [SLOT])).fetchone()
            assert row is not None
            if parse_lsn(row[0]) > target and not row[1]:
                return
            await asyncio.sleep(0.1)  # nothing tells when a row of the store is gone
        account.faults.append(f"not settled after {drain} s: {row}\n{daemon.tail(5)}")


def _tables(dsn: str) -> dict[str, list[Row]]:
    with psycopg.connect(dsn) as connection:
        return {
            table: [row for (row,) in connection.execute(f"SELECT row_to_json(t) FROM {table} t")] for table in (*KEYS, HISTORY)
        }


def rebuild(begin: Mapping[str, Sequence[Row]], requests: Sequence[Request], faults: list[str]) -> dict[str, Any]:
    """The tables after the first request of each id, in order of arrival, on top of how they were at the beginning."""
    copy: dict[str, Any] = {table: {row[key]: row for row in begin[table]} for table, key in KEYS.items()}
    history = copy[HISTORY] = Counter(_frozen(row) for row in begin[HISTORY])
    seen: dict[str, bytes] = {}
    for request in requests:
        if seen.setdefault(request.id, request.body) != request.body:
            faults.append(f"{request.id} came with another body")
            continue
        if seen[request.id] is not request.body:
            continue
        data = request.event["data"]
        table = data["col"]
        if table == HISTORY:
            history[_frozen(data["doc"])] += 1
            continue
        (key,) = data["find"].values()
        if request.event["type"] == "DB_DELETE":
            del copy[table][key]
        else:
            copy[table][key] = data["doc"]
    return copy


def _frozen(row: Row) -> str:
    return json.dumps({name: row[name] for name in ("tid", "bid", "aid", "delta", "mtime")}, sort_keys=True)


def compare(copy: Mapping[str, Any], real: Mapping[str, Sequence[Row]]) -> list[str]:
    """What differs."""
    faults = []
    for table, key in KEYS.items():
        wanted = {row[key]: row for row in real[table]}
        wrong = [name for name in wanted.keys() | copy[table].keys() if wanted.get(name) != copy[table].get(name)]
        faults += [f"{table} {name}: {copy[table].get(name)} is really {wanted.get(name)}" for name in wrong[:5]]
    history = Counter(_frozen(row) for row in real[HISTORY])
    if history != copy[HISTORY]:
        faults.append(
            f"{HISTORY}: missing {list((history - copy[HISTORY]).items())[:3]}, too many {list((copy[HISTORY] - history).items())[:3]}"
        )
    return faults
