"""One torture run: a server, a daemon, two endpoints, proxies between all of them, clients, trouble; and the account."""

import asyncio
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import uvloop
from psycopg.rows import TupleRow

from cdcd.changelog.names import LEAF_BITS
from cdcd.embedded.postgres import PostgresServer
from cdcd.replication.lsn import parse_lsn
from tests.daemon import Daemon
from tests.postgres import Servers
from tests.proxy import Proxy
from tests.torture import account
from tests.torture.reloads import Marks, Reloads, Variant
from tests.torture.trouble import Flaky, Trouble
from tests.torture.workload import Client
from tests.torture.world import INSERTED, KEYED, SLOT, TABLES, Numbers, write_config

PATHS = ("/keyed", "/all", "/none")
# Where nothing may come twice: what is not waited for does, and a busy machine may need a second.
PATIENT = {"1s": "30s", "2s": "40s"}
BEHIND = 2 * 1024 * 1024  # bytes of WAL that the slot may be behind a quiet server: the idle step, and what the store writes
SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "wal_sender_timeout": "5s",
    "checkpoint_timeout": "30s",
    "deadlock_timeout": "50ms",
}


@dataclass(slots=True)
class Outcome:
    """What one seed showed."""

    seed: int
    numbers: Numbers
    figures: dict[str, Any] = field(default_factory=dict)
    faults: account.Faults = field(default_factory=account.Faults)

    @property
    def line(self) -> str:
        """The account in a line."""
        told = " ".join(f"{name}={value}" for name, value in self.figures.items())
        return f"seed {self.seed}: {'FAILED' if self.faults else 'ok'} {told}"


class Torture:
    """One run of one seed in `directory`."""

    def __init__(
        self, seed: int, seconds: float, directory: Path, drain: float, capture: str, reloads: int = 0, calm: bool = False
    ) -> None:
        """`reloads`: how many, among the troubles; `calm`: there are no others, so nothing may come twice."""
        self.capture = capture
        self.reloads = reloads
        self.calm = calm
        self.seed = seed
        self.seconds = seconds
        self.directory = directory
        self.drain = drain
        self.outcome = Outcome(seed, Numbers.of(seed))
        self.endpoints = [Flaky(seed, 0.0 if calm else 0.02), Flaky(seed, 0.0 if calm else 0.15)]
        self.marks: Marks | None = None
        self.successes: list[set[str]] = [set(), set()]

    async def run(self, server: PostgresServer) -> Outcome:
        numbers, outcome = self.outcome.numbers, self.outcome
        async with await _connect(server.dsn()) as admin:
            await admin.execute("CREATE DATABASE app")
            await admin.execute("CREATE DATABASE store")
            await admin.execute("CREATE DATABASE neighbour")
        async with await _connect(server.dsn("app")) as admin:
            await admin.execute(TABLES)
        steady, flaky = self.endpoints
        async with (
            steady,
            flaky,
            Proxy.to_postgres(server.dsn()) as to_postgres,
            Proxy(("127.0.0.1", steady.port)) as to_steady,
            Proxy(("127.0.0.1", flaky.port)) as to_flaky,
        ):
            store = to_postgres.dsn(server.dsn("store", tcp=True)) if numbers.own_store else None
            config = self.directory / "cdcd.yaml"
            url = to_postgres.dsn(server.dsn("app", tcp=True))

            def write(variant: Variant | None) -> None:
                if variant is not None and self.calm:
                    variant = replace(variant, timeout=PATIENT[variant.timeout])
                straight = variant is not None and variant.straight
                one, other = (steady.url(""), flaky.url("")) if straight else (to_steady.url(""), to_flaky.url(""))
                write_config(config, numbers, url, store, one, other, self.capture, variant)

            write(Variant() if self.reloads else None)
            daemon, files = Daemon(config), asyncio.Lock()
            trouble = Trouble(self.seed, server, daemon, to_postgres, [to_steady, to_flaky], self.endpoints, files)

            def arrived() -> set[int]:
                return {request.event["data"]["doc"]["id"] for request in steady.to("/marks")}

            reloads = Reloads(self.seed, self.reloads, daemon, config, server.dsn("app"), write, files, arrived)
            await daemon.start()
            try:
                await daemon.ready(60)
                clients = [Client(n, self.seed, server.dsn("app"), numbers) for n in range(numbers.clients)]
                await self._trouble(clients, trouble, reloads)
                if self.reloads:
                    await reloads.heal()
                    self.marks = reloads.marks
                    outcome.figures |= {**reloads.counts, "marks": len(reloads.marks.wanted)}
                for wrong in reloads.wrong:
                    outcome.faults.add("reload", wrong)
                began = time.monotonic()
                if await self._drained(server, daemon):
                    outcome.figures["drained"] = f"{time.monotonic() - began:.1f}s"
                    if (code := await daemon.stop(timeout=60)) != 0:
                        outcome.faults.add("did not end in order", f"exit {code}")
                for ended in trouble.ended:
                    outcome.faults.add("the daemon ended by itself", ended)
                outcome.figures |= {
                    "transactions": sum(client.committed for client in clients),
                    "changes": sum(client.changes for client in clients),
                    "troubles": sum(trouble.counts.values()),
                    "kills": trouble.counts["kill_daemon"],
                    "restarts": trouble.counts["restart_postgres"] + trouble.counts["crash_postgres"],
                }
                await self._account(server)
            finally:
                if daemon.running:
                    await daemon.kill()
                (self.directory / "daemon.log").write_text("\n".join(json.dumps(line) for line in daemon.logs))
        (self.directory / "faults").write_text(str(outcome.faults))
        return outcome

    async def _trouble(self, clients: list[Client], trouble: Trouble, reloads: Reloads) -> None:
        """Workload and trouble at once for as long as it was asked for. What is left of the reloads then comes under load alone: a
        daemon that is killed every few seconds is not often there to be asked."""
        over, healed = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(client.run(over))
            troubling = tasks.create_task(healed.wait() if self.calm else trouble.run(healed))
            reloading = tasks.create_task(reloads.run(self.seconds))
            await asyncio.wait({troubling}, timeout=self.seconds)
            reloads.counts["in_trouble"] = 0 if self.calm else reloads.counts["reloads"]
            healed.set()
            await asyncio.wait({reloading})
            over.set()

    async def _drained(self, server: PostgresServer, daemon: Daemon) -> bool:
        """Wait until everything that was committed is settled and confirmed; a fault when it takes too long."""
        async with await _connect(server.dsn("app")) as connection:
            target = await _lsn(connection)
            # One more row for each trigger: the slot must come to stand behind it.
            for table in INSERTED:
                await connection.execute(f"INSERT INTO {table} (client, step) VALUES (-1, 0)")
            deadline = time.monotonic() + self.drain
            left: object = None
            while time.monotonic() < deadline:
                if not daemon.running:
                    self.outcome.faults.add("the daemon ended by itself", daemon.tail(5))
                    return False
                left = await self._left(server, connection, target)
                if left is None:
                    return True
                await asyncio.sleep(0.1)  # nothing tells when a row of the store is gone
        self.outcome.faults.add("not drained", f"after {self.drain} s: {left}")
        return False

    async def _left(self, server: PostgresServer, connection: psycopg.AsyncConnection[TupleRow], target: int) -> str | None:
        if self.capture == "triggers":
            return await self._left_in_log(server, connection)
        cursor = await connection.execute("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s", [SLOT])
        row = await cursor.fetchone()
        if row is None:
            return "no slot"
        confirmed = parse_lsn(row[0])
        if confirmed <= target:
            return f"the slot stands {target - confirmed} bytes behind the last transaction"
        async with await _connect(self._store(server)) as store:
            cursor = await store.execute("SELECT trigger, count(*) FROM cdcd.pending GROUP BY 1 ORDER BY 1")
            if pending := await cursor.fetchall():
                return f"pending {dict(pending)}"
        behind = await _lsn(connection) - confirmed
        return f"the idle slot stands {behind} bytes behind" if behind > BEHIND else None

    async def _left_in_log(self, server: PostgresServer, connection: psycopg.AsyncConnection[TupleRow]) -> str | None:
        newest = await (await connection.execute("SELECT max(seq), count(*) FROM cdcd.changes")).fetchone()
        assert newest is not None
        async with await _connect(self._store(server)) as store:
            row = await (await store.execute("SELECT settled FROM cdcd.positions ORDER BY seq DESC LIMIT 1")).fetchone()
            if row is None or row[0] < newest[0]:
                return f"settled {row} of {newest[0]}"
            cursor = await store.execute("SELECT trigger, count(*) FROM cdcd.pending GROUP BY 1 ORDER BY 1")
            if pending := await cursor.fetchall():
                return f"pending {dict(pending)}"
        return None if newest[1] <= 2 << LEAF_BITS else f"{newest[1]} changes stay in the log"

    def _store(self, server: PostgresServer) -> str:
        return server.dsn("store" if self.outcome.numbers.own_store else "app")

    async def _account(self, server: PostgresServer) -> None:
        faults, figures = self.outcome.faults, self.outcome.figures
        real: dict[str, list[account.Row]] = {}
        async with await _connect(server.dsn("app")) as connection:
            for table in (*KEYED, *INSERTED):
                cursor = await connection.execute(f"SELECT row_to_json(t) FROM {table} t")
                real[table] = [row for (row,) in await cursor.fetchall()]
        received: dict[str, str] = {}
        figures |= {"receipts": 0, "ids": 0, "again": 0, "after_2xx": 0}
        for name, endpoint in zip(("steady", "flaky"), self.endpoints, strict=True):
            receipts = _receipts(endpoint)
            first = account.firsts(receipts, faults)
            copy = account.Copy(name, faults)
            for receipt in first:
                if receipt.path in PATHS:
                    copy.apply(receipt)
            copy.compare(real)
            if self.marks is not None and name == "steady":
                account.check_marks(first, self.marks, faults, strict=self.calm)
            received |= {receipt.id: receipt.path for receipt in first}
            figures["receipts"] += len(receipts)
            figures["ids"] += len(first)
            figures["again"] += len(receipts) - len(first)
            figures["after_2xx"] += sum(receipt.again for receipt in receipts)
        if self.calm and figures["again"]:
            faults.add("came twice although nothing was the matter", str(figures["again"]))
        async with await _connect(self._store(server)) as store:
            logged = await (await store.execute("SELECT id::text, status, attempts, remark FROM cdcd.event_logs")).fetchall()
            tried: dict[str, list[int]] = defaultdict(list)
            for id_, number in await (
                await store.execute("SELECT event_id::text, number FROM cdcd.invocation_logs")
            ).fetchall():
                tried[id_].append(number)
        rows = [(id_, status, attempts, remark) for id_, status, attempts, remark in logged]
        account.check_store(received, rows, tried, faults)


def _receipts(endpoint: Flaky) -> list[account.Receipt]:
    answered = {request.number for request, status in endpoint.answered if status < 300}
    done: set[str] = set()
    receipts = []
    for request in endpoint.requests:
        receipts.append(account.Receipt(request.id, request.path, request.body, request.number, request.id in done))
        if request.number in answered:
            done.add(request.id)
    return receipts


async def _connect(dsn: str) -> psycopg.AsyncConnection[TupleRow]:
    return await psycopg.AsyncConnection.connect(dsn, autocommit=True)


async def _lsn(connection: psycopg.AsyncConnection[TupleRow]) -> int:
    row = await (await connection.execute("SELECT pg_current_wal_lsn()")).fetchone()
    assert row is not None
    return parse_lsn(row[0])


def torture(
    seed: int,
    seconds: float,
    directory: Path,
    *,
    major: int,
    drain: float = 120.0,
    servers: Servers,
    capture: str = "replication",
    reloads: int = 0,
    calm: bool = False,
    run: Callable[..., Any] = uvloop.run,
) -> Outcome:
    """Run one seed; its logs stay in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    server = servers.new(major, SETTINGS)
    try:
        outcome: Outcome = run(Torture(seed, seconds, directory, drain, capture, reloads, calm).run(server))
        if outcome.faults:
            shutil.copy(server.log_file, directory / "postgres.log")
        return outcome
    finally:
        server.remove()
