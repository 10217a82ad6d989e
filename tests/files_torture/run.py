"""One file torture: a directory that several processes work on, a daemon that is killed and held up, and the account."""

import asyncio
import contextlib
import itertools
import json
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import uvloop

from cdcd.embedded.postgres import PostgresServer
from tests.daemon import ROOT, Daemon
from tests.endpoint import Answer, Endpoint
from tests.files_torture.account import Copy, Entry, real
from tests.postgres import Servers

QUEUED = Path("/proc/sys/fs/inotify/max_queued_events")
WORKERS = 4


@dataclass(slots=True)
class Outcome:
    """What one seed showed."""

    seed: int
    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """The account in a line."""
        told = " ".join(f"{name}={value}" for name, value in self.figures.items())
        return f"seed {self.seed}: {'FAILED' if self.faults else 'ok'} {told}"


@contextlib.contextmanager
def short_queue(length: int) -> Iterator[bool]:
    """Inotify instances that are made meanwhile overflow after so many events, where that may be set."""
    before = QUEUED.read_text() if QUEUED.exists() else ""
    try:
        QUEUED.write_text(str(length))
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        QUEUED.write_text(before)


class Torture:
    """One run of one seed in `directory`."""

    def __init__(self, seed: int, seconds: float, directory: Path, drain: float) -> None:
        self.chosen = random.Random(f"files {seed}")
        self.seed, self.seconds, self.drain = seed, seconds, drain
        self.directory = directory
        self.root, self.outside = directory / "root", directory / "outside"
        self.hashed = self.chosen.random() < 0.3
        self.report = self.chosen.random() < 0.3
        self.outcome = Outcome(seed)
        self.troubles: Counter[str] = Counter()
        self.stopping = False

    async def run(self, server: PostgresServer) -> Outcome:
        shutil.rmtree(self.directory, ignore_errors=True)
        for place in (self.root, self.outside):
            place.mkdir(parents=True)
        for number in range(50):
            (self.root / f"{number}").write_text("there before")
        async with await psycopg.AsyncConnection.connect(server.dsn(), autocommit=True) as admin:
            await admin.execute("CREATE DATABASE store")
        async with Endpoint() as endpoint:
            endpoint.script(*[Answer(500) if self.chosen.random() < 0.05 else Answer() for _ in range(2000)])
            daemon = Daemon(self._configure(server.dsn("store"), endpoint))
            copy = Copy(self.hashed, {} if self.report else real(self.root, False))
            copy.entries = {path: Entry(e.type, e.size, e.mtime) for path, e in copy.entries.items()}
            workers: list[asyncio.subprocess.Process] = []
            await daemon.start()
            try:
                await daemon.wait_log("files.first_look", timeout=60)
                for number in range(WORKERS):
                    arguments = ("tests.files_torture.workload", str(self.root), str(self.outside), f"{self.seed} {number}")
                    workers.append(await asyncio.create_subprocess_exec(sys.executable, "-m", *arguments, cwd=ROOT))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.seconds):
                        await self._trouble(daemon)
                for worker in workers:
                    if worker.returncode is not None:
                        self.outcome.faults.append(f"a worker ended by itself: {worker.returncode}")
                        continue
                    worker.kill()
                    await worker.wait()
                if self.stopping and daemon.running:
                    await daemon.wait()
                if not daemon.running:
                    await daemon.start()
                await self._told(daemon, endpoint, copy)
                await self._nothing_more(daemon, endpoint)
            finally:
                for worker in workers:
                    with contextlib.suppress(ProcessLookupError):
                        worker.kill()
                if daemon.running:
                    await daemon.kill()
                (self.directory / "daemon.log").write_text("\n".join(json.dumps(line) for line in daemon.logs))
            self.outcome.figures |= {
                "events": len(set(endpoint.ids())), "moved": copy.moved, "entries": len(copy.entries), "hash": self.hashed,
                "overflows": sum(line["event"] == "files.overflow" for line in daemon.logs), **self.troubles,
            }  # fmt: skip
            self.outcome.faults += copy.faults
        return self.outcome

    def _configure(self, dsn: str, endpoint: Endpoint) -> Path:
        store = {
            "path": str(self.root), "hash": self.hashed, "existing": "report" if self.report else "ignore",
            "settle": self.chosen.choice(("50ms", "300ms")),
        }  # fmt: skip
        trigger = {
            "type": ["FILE_CREATE", "FILE_UPDATE", "FILE_DELETE"], "storage": "root", "webhook": endpoint.url("/files"),
            "retries": {"max": 1000, "backoff": "fixed", "first": "50ms", "max_interval": "200ms"},
        }  # fmt: skip
        config = {
            "project": "torture", "secret": "a secret of the torture test", "databases": {"store": {"url": dsn}},
            "eventing": {"database": "store"}, "storage": {"root": store}, "triggers": {"files": trigger},
        }  # fmt: skip
        path = self.directory / "cdcd.yaml"
        path.write_text(json.dumps(config))
        return path

    async def _trouble(self, daemon: Daemon) -> None:
        """Kill it, hold it up, take the root away for a while; as the seed says, until cancelled."""
        held = False
        try:
            while True:
                await asyncio.sleep(self.chosen.uniform(0.2, 1.5))
                trouble = self.chosen.choice(("kill", "kill", "hold", "hold", "root", "stop"))
                self.troubles[trouble] += 1
                if trouble == "kill":
                    await daemon.kill()
                    await asyncio.sleep(self.chosen.uniform(0, 0.5))
                    await daemon.start()
                elif trouble == "stop":
                    ready = bool(daemon.find("ready"))
                    self.stopping = True
                    if (code := await daemon.stop()) != 0 and ready:
                        self.outcome.faults.append(f"did not end in order: {code}\n{daemon.tail(5)}")
                    self.stopping = False
                    await daemon.start()
                elif trouble == "hold":
                    held = True
                    daemon_pid = daemon.process
                    assert daemon_pid is not None
                    daemon_pid.send_signal(signal.SIGSTOP)
                    await asyncio.sleep(self.chosen.uniform(0.1, 0.8))
                    daemon_pid.send_signal(signal.SIGCONT)
                    held = False
                else:
                    away = self.root.with_name("away")
                    self.root.rename(away)
                    if self.chosen.random() < 0.3:
                        self.root.mkdir()
                    await asyncio.sleep(self.chosen.uniform(0, 0.5))
                    self._put_back(away)
                if daemon.process is not None and daemon.process.returncode not in (None, 0):
                    self.outcome.faults.append(f"the daemon ended by itself\n{daemon.tail(10)}")
                    return
        finally:
            away = self.root.with_name("away")
            if away.exists():
                self._put_back(away)
            if held and daemon.process is not None:
                daemon.process.send_signal(signal.SIGCONT)

    def _put_back(self, away: Path) -> None:
        """The root comes back, in place of what was made there meanwhile."""
        for number in itertools.count():
            with contextlib.suppress(FileNotFoundError):
                self.root.rename(self.directory / f"trash-{self.troubles.total()}-{number}")
            try:
                away.rename(self.root)
            except OSError:  # somebody has made it once more
                continue
            return

    async def _told(self, daemon: Daemon, endpoint: Endpoint, copy: Copy) -> None:
        """Wait until the events tell the tree as it is."""
        tree = await asyncio.to_thread(real, self.root, self.hashed)
        if self.hashed and not self.report:  # what was there before has no hash
            tree = {path: self._unhashed(entry) for path, entry in tree.items()}
        applied, ids = 0, set[str]()
        deadline = asyncio.get_running_loop().time() + self.drain
        different: list[str] = []
        while asyncio.get_running_loop().time() < deadline:
            requests = endpoint.requests[applied:]
            applied += len(requests)
            fresh = []
            for request in requests:
                if request.id not in ids:
                    ids.add(request.id)
                    fresh.append(request.event)
            copy.apply(fresh)
            told = Copy(self.hashed, {p: self._unhashed(e) for p, e in copy.entries.items()}) if not self.report else copy
            different = told.differences(tree)
            if not different or not daemon.running:
                break
            await asyncio.sleep(0.1)  # the endpoint tells of a request, not of the last one
        if different:
            self.outcome.faults += [f"{len(different)} paths differ", *different[:10], daemon.tail(5)]

    def _unhashed(self, entry: Entry) -> Entry:
        """What was there before the first start has no hash, so none is compared."""
        return Entry(entry.type, entry.size, entry.mtime)

    async def _nothing_more(self, daemon: Daemon, endpoint: Endpoint) -> None:
        """After another start everything has been told already."""
        before = len(set(endpoint.ids()))
        await daemon.stop()
        await daemon.start()
        line = await daemon.wait_log("files.looked", timeout=60)
        await daemon.stop()
        if line["changed"] or len(set(endpoint.ids())) != before:
            self.outcome.faults.append(f"told again after a start: {line}, {len(set(endpoint.ids())) - before} more")


def torture(seed: int, seconds: float, directory: Path, major: int, drain: float, servers: Servers) -> Outcome:
    """Run one seed; its logs stay in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    server = servers.new(major)
    try:
        with short_queue(random.Random(seed).choice((16384, 40, 10))) as shortened:
            outcome: Outcome = uvloop.run(Torture(seed, seconds, directory, drain).run(server))
        if not shortened:
            outcome.figures["queue"] = "as it is"
        return outcome
    finally:
        server.remove()
