"""Delivery while somebody has the console open, against the same without.

In pairs of rounds, one of each right after the other in changing order, and the median of the pairs' ratios: the machine's speed wanders
by more than what is looked for.
"""

import subprocess
import sys
import time
from dataclasses import dataclass

from benchmarks.console import port_of
from benchmarks.harness import ROOT, SECRET, Endpoint, Figure, Server, config_for, daemon, median
from cdcd.config.secrets import secret_key
from cdcd.server.auth import make_token

TRIGGER = """
  all:
    type: DB_INSERT
    table: public.items
    webhook: {url}
    concurrency: 64
"""


@dataclass(slots=True)
class Round:
    """Deliveries a second, and the daemon's CPU seconds a delivery."""

    rate: float
    cpu: float


def run(server: Server, *, small: bool) -> list[Figure]:
    rounds, count = (1, 3_000) if small else (12, 25_000)
    endpoint = Endpoint()
    alone: list[Round] = []
    watched: list[Round] = []
    try:
        for number in range(rounds):
            for open_ in (False, True) if number % 2 else (True, False):
                (watched if open_ else alone).append(_round(server, endpoint, count, open_=open_))
    finally:
        endpoint.close()
    rates = [median([each.rate for each in those]) for those in (watched, alone)]
    cpus = [median([each.cpu for each in those]) for those in (watched, alone)]
    pairs = list(zip(watched, alone, strict=True))
    rate, cpu = median([one.rate / other.rate for one, other in pairs]), median([one.cpu / other.cpu for one, other in pairs])
    spread = sorted(one.rate / other.rate for one, other in pairs)
    return [
        Figure(
            "deliver with the console open",
            f"{rates[0]:,.0f}/s",
            f"{rates[1]:,.0f}/s without",
            rate,
            ">= 0.95",
            rate >= 0.95,
            f"median of {rounds} pairs, from {spread[0]:.2f} to {spread[-1]:.2f}",
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


def _round(server: Server, endpoint: Endpoint, count: int, *, open_: bool) -> Round:
    dsn = server.database()
    server.execute(dsn, "CREATE TABLE items (id bigint PRIMARY KEY, body text)")
    config = config_for(dsn, TRIGGER.format(url=endpoint.url("/cdcd"))) + "server: 127.0.0.1:0\n"
    endpoint.ask("reset")
    with daemon(config) as running:
        visitor = None
        if open_:
            token = make_token(secret_key(SECRET), "bench", {"role": "viewer", "exp": time.time() + 600})
            visitor = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.visitor", str(port_of(running)), token],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            )  # fmt: skip
            assert visitor.stdout is not None
            assert visitor.stdout.readline() == "open\n"
        try:
            # The first ones warm everything up and are not counted.
            server.execute(dsn, "INSERT INTO items SELECT -i, repeat('x', 700) FROM generate_series(1, 500) i")
            endpoint.wait("/cdcd", 500, 60)
            endpoint.ask("reset")
            before = running.cpu()
            server.execute(dsn, f"INSERT INTO items SELECT i, repeat('x', 700) FROM generate_series(1, {count}) i")
            stats = endpoint.wait("/cdcd", count, 300)
            return Round((count - 1) / (stats["last"] - stats["first"]), (running.cpu() - before) / count)
        finally:
            if visitor is not None:
                visitor.communicate()
