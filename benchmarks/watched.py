"""Delivery while somebody has the console open, against the same without.

One daemon under a load that never ends; the console is opened and closed again and again. Each stretch with it is compared with its
neighbour without, in changing order, and the median of the pairs' ratios counts: from one daemon to the next, and from one minute to the
next, the machine's speed wanders by more than what is looked for.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.console import port_of
from benchmarks.harness import ROOT, SECRET, Daemon, Endpoint, Figure, Server, config_for, daemon, median
from cdcd.config.secrets import secret_key
from cdcd.server.auth import make_token

TRIGGER = """
  all:
    type: DB_INSERT
    table: public.items
    webhook: {url}
    concurrency: 64
"""
AHEAD, BATCH = 6_000, 2_000  # rows that are inserted before they are delivered, and at a time
LONGEST = 60.0  # seconds
SETTLES = 1.0  # seconds after opening or closing, which are not counted


@dataclass(slots=True)
class Stretch:
    """Deliveries a second, and the daemon's CPU seconds a delivery."""

    rate: float
    cpu: float


def run(server: Server, *, small: bool) -> list[Figure]:
    pairs, seconds = (1, 1.0) if small else (20, 5.0)
    dsn = server.database()
    server.execute(dsn, "CREATE TABLE items (id bigint PRIMARY KEY, body text)")
    endpoint = Endpoint()
    alone: list[Stretch] = []
    watched: list[Stretch] = []
    try:
        config = config_for(dsn, TRIGGER.format(url=endpoint.url("/cdcd"))) + "server: 127.0.0.1:0\n"
        with daemon(config) as running:
            load = Load(server, dsn, endpoint, running)
            load.stretch(seconds)  # warms everything up
            with visitor(running):
                load.stretch(seconds)
            for number in range(pairs):
                for open_ in (False, True) if number % 2 else (True, False):
                    with visitor(running) if open_ else contextlib.nullcontext():
                        load.stretch(SETTLES)
                        (watched if open_ else alone).append(load.stretch(seconds))
    finally:
        endpoint.close()
    rates = [median([each.rate for each in those]) for those in (watched, alone)]
    cpus = [median([each.cpu for each in those]) for those in (watched, alone)]
    both = list(zip(watched, alone, strict=True))
    rate, cpu = median([one.rate / other.rate for one, other in both]), median([one.cpu / other.cpu for one, other in both])
    spread = sorted(one.rate / other.rate for one, other in both)
    return [
        Figure(
            "deliver with the console open",
            f"{rates[0]:,.0f}/s",
            f"{rates[1]:,.0f}/s without",
            rate,
            ">= 0.95",
            rate >= 0.95,
            f"median of {pairs} pairs, from {spread[0]:.2f} to {spread[-1]:.2f}",
        ),
        Figure(
            "the same, CPU of the daemon",
            f"{cpus[0] * 1e6:.0f} us an event",
            f"{cpus[1] * 1e6:.0f} us without",
            cpu,
            "<= 1.05",
            cpu <= 1.05,
        ),
    ]


class Load:
    """Rows that are inserted as fast as they are delivered."""

    def __init__(self, server: Server, dsn: str, endpoint: Endpoint, running: Daemon) -> None:
        self._server = server
        self._dsn = dsn
        self._endpoint = endpoint
        self._running = running
        self._inserted = 0

    def stretch(self, seconds: float) -> Stretch:
        """Go on for so long, and until something was delivered."""
        began, before, cpu = time.monotonic(), self._delivered(), self._running.cpu()
        while time.monotonic() < began + seconds or self._delivered() == before:
            if time.monotonic() > began + seconds + LONGEST:
                raise TimeoutError(f"nothing was delivered for {LONGEST:g} s")
            if self._inserted - self._delivered() < AHEAD:
                numbers = f"generate_series({self._inserted + 1}, {self._inserted + BATCH})"
                self._server.execute(self._dsn, f"INSERT INTO items SELECT i, repeat('x', 700) FROM {numbers} i")
                self._inserted += BATCH
            else:
                time.sleep(0.02)
        count = self._delivered() - before
        return Stretch(count / (time.monotonic() - began), (self._running.cpu() - cpu) / count)

    def _delivered(self) -> int:
        return int(self._endpoint.stats("/cdcd")["count"])


@contextlib.contextmanager
def visitor(running: Daemon) -> Iterator[None]:
    """Somebody who has the console open."""
    token = make_token(secret_key(SECRET), "bench", {"role": "viewer", "exp": time.time() + 600})
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.visitor", str(port_of(running)), token],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield
    finally:
        process.communicate()
