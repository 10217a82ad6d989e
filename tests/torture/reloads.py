"""Reloads while everything else befalls a run: valid and invalid ones, by SIGHUP, each with an account of what it must have done.

One trigger comes and goes. It stands on a table of its own, `marks`, into which only this module writes: a mark that was committed after
the answer to a reload that brought the trigger must come, one committed after the answer to a reload that took it away must not. Where
the daemon died in between, it read its file again, and what was not settled is matched by that: such marks are certain of nothing, until
the daemon reads the database.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.daemon import Daemon

ANSWER = 60.0  # seconds that a reload may take while nothing is the matter with the daemon


@dataclass(slots=True, frozen=True)
class Variant:
    """What a valid reload may change without a difference to what arrives, and whether the one trigger is there."""

    marked: bool = True
    straight: bool = False  # past the proxies: another origin
    concurrency: int | None = None
    timeout: str = "1s"
    first: str = "100ms"
    spill_after: float | None = None
    scratch: bool = False  # one more table, which is emptied now and then


@dataclass(slots=True)
class Marks:
    """Numbers of marks: those that must have come, that must not have, and that may have."""

    wanted: set[int] = field(default_factory=set)
    unwanted: set[int] = field(default_factory=set)
    uncertain: set[int] = field(default_factory=set)


class Reloads:
    """`count` of them, in the order of a seed. `write` writes a configuration; `files` is held while the file on disk is not to be
    started with; `arrived` gives the marks that have come."""

    def __init__(
        self,
        seed: int,
        count: int,
        daemon: Daemon,
        path: Path,
        dsn: str,
        write: Callable[[Variant], None],
        files: asyncio.Lock,
        arrived: Callable[[], set[int]],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.marks = Marks()
        self.wrong: list[str] = []
        self._random = random.Random(f"reloads {seed}")
        self._count = count
        self._daemon = daemon
        self._path = path
        self._dsn = dsn
        self._write = write
        self._files = files
        self._variant = Variant()
        self._known: bool | None = True  # whether the trigger is there; None: cannot be told
        self._arrived = arrived
        self._next = 0

    async def run(self, seconds: float) -> None:
        """All of them, about evenly over so many seconds."""
        for number in range(self._count):
            await self._mark(2)
            await self._one(last=number == self._count - 1)
            self.counts["reloads"] += 1
            await self._mark(2)
            await asyncio.sleep(self._random.uniform(0, 1.2 * seconds / self._count))

    async def heal(self) -> None:
        """At the end the trigger is there, so that what is kept of it can go. Nothing else is the matter any more."""
        for _ in range(20):
            async with self._files:
                self._write(Variant(scratch=True))
                if await self._asked() == "taken":
                    return
            await asyncio.sleep(0.5)
        self.wrong.append(f"the last reload was not taken: {self._daemon.tail(5)}")

    async def _one(self, *, last: bool) -> None:
        while True:
            await self._until_ready()
            async with self._files:
                if self._ready:  # else whoever starts it waits for the lock
                    await (self._invalid() if not last and self._random.random() < 0.35 else self._valid())
                    break
        await self._until_ready()
        if self._known is None:
            await self._until_reading()
            self._known = self._variant.marked  # it has read its file again

    async def _valid(self) -> None:
        variant, former = self._chosen(), self._path.read_bytes()
        self._write(variant)
        answer = await self._asked()
        if answer == "refused":
            self.counts["refused_valid"] += 1
            self._replace(former)
            return
        self.counts["taken" if answer == "taken" else "ended_in"] += 1
        if answer != "taken" or not self._ready:
            self._forget_unsettled()
        self._variant, self._known = variant, variant.marked if answer == "taken" else None

    async def _invalid(self) -> None:
        former = self._path.read_bytes()
        kind, wrong = self._random.choice(
            [
                ("half", former[: len(former) * 2 // 3] + b"\n  half: [written"),
                ("option", former.replace(b"  endpoint_concurrency:", b"  endpoint_concurency:")),
                ("table", former + b"  new:\n    type: DB_INSERT\n    table: nobody.knows\n    webhook: http://127.0.0.1:9/\n"),
                ("schema", former.replace(b"eventing: {", b"eventing: { schema: elsewhere,")),
                (
                    "expression",
                    former
                    + b"  new:\n    type: DB_INSERT\n    table: marks\n    when: new.(\n    webhook: http://127.0.0.1:9/\n",
                ),
            ]
        )
        self._replace(wrong)
        answer = await self._asked()
        self._replace(former)
        if answer == "taken":
            self.wrong.append(f"an invalid configuration was taken over ({kind})")
        elif answer == "refused":
            self.counts[f"refused_{kind}"] += 1

    def _chosen(self) -> Variant:
        chance = self._random
        return Variant(
            chance.random() < 0.5,
            chance.random() < 0.4,
            chance.choice((None, 1, 5)),
            chance.choice(("1s", "2s")),
            chance.choice(("100ms", "200ms")),
            chance.choice((None, 0.2)),
            chance.random() < 0.3,
        )

    def _replace(self, text: bytes) -> None:
        beside = self._path.with_suffix(".new")
        beside.write_bytes(text)
        os.replace(beside, self._path)  # noqa: PTH105

    @property
    def _ready(self) -> bool:
        return self._daemon.running and bool(self._daemon.find("ready"))

    async def _until_ready(self) -> None:
        while not self._ready:  # noqa: ASYNC110  # a daemon that dies and comes back is no event
            await asyncio.sleep(0.02)

    async def _until_reading(self) -> None:
        """A daemon is ready also where its database cannot be reached; the table of a trigger that is new is published when it can."""
        while not (self._ready and self._daemon.find("source.reading")):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async def _asked(self) -> str:
        """SIGHUP; `taken`, `refused`, or `ended` when the daemon did so first."""
        life, begun = self._daemon.process, len(self._daemon.logs)
        if life is None or not self._ready:
            return "ended"
        life.send_signal(signal.SIGHUP)
        async with asyncio.timeout(ANSWER):
            while True:
                for line in self._daemon.logs[begun:]:
                    if line["event"] in ("reload.taken", "reload.refused"):
                        return str(line["event"]).partition(".")[2]
                if self._daemon.process is not life or life.returncode is not None:
                    return "ended"
                await asyncio.sleep(0.01)

    async def _mark(self, count: int) -> None:
        """Commit some marks, while nothing is being reloaded."""
        known = self._known
        into = self.marks.uncertain if known is None else self.marks.wanted if known else self.marks.unwanted
        for _ in range(count):
            self._next += 1
            number = self._next
            try:
                async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True, connect_timeout=5) as connection:
                    await connection.execute("INSERT INTO marks VALUES (%s)", [number])
            except psycopg.OperationalError:  # perhaps committed
                self.marks.uncertain.add(number)
                continue
            into.add(number)

    def _forget_unsettled(self) -> None:
        """The daemon ended while it was reloading: what had not come by then is matched by what it read at its next start."""
        unsettled = self.marks.wanted - self._arrived()
        self.marks.uncertain |= unsettled
        self.marks.wanted -= unsettled
