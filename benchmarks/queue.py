"""The queue: events accepted and durable a second, one a request; against bare INSERTs of one row by as many connections."""

import json
import subprocess
import sys

import jwt

from benchmarks.harness import ROOT, SECRET, Endpoint, Figure, Server, config_for, daemon, median

CONNECTIONS = 64
API = """
server: 127.0.0.1:0
events: {ORDER_LATER: {}}
"""
TRIGGER = """
  paid:
    type: ORDER_PAID
    webhook: %s
"""


def load(*arguments: object) -> float:
    """A load process; what it printed."""
    command = [sys.executable, "-m", "benchmarks.queuer", *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)


def run(server: Server, *, small: bool) -> list[Figure]:
    rounds, seconds = (1, 1.0) if small else (5, 4.0)
    token = jwt.encode({"role": "bench"}, SECRET, "HS256")
    bare, accepted, delivering, ratios = [], [], [], []
    endpoint = Endpoint()
    try:
        for _ in range(rounds):
            dsn = server.database()
            server.execute(
                dsn, "CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, type text, payload json)"
            )
            rate = load("insert", dsn, CONNECTIONS, seconds)
            bare.append(rate)
            with daemon(config_for(dsn, TRIGGER % endpoint.url("/queue"), API)) as running:
                port = next(
                    line["port"]
                    for line in map(json.loads, running.path.with_name("cdcd.log").read_text().splitlines())
                    if line["event"] == "server.listening"
                )
                accepted.append(load("http", port, CONNECTIONS, seconds, token, "ORDER_LATER", "1h"))
                ratios.append(accepted[-1] / rate)
                delivering.append(load("http", port, CONNECTIONS, seconds, token, "ORDER_PAID", ""))
    finally:
        endpoint.close()
    ratio = median(ratios)
    return [
        Figure(
            f"queue, {CONNECTIONS} connections",
            f"{median(accepted):,.0f}/s",
            f"{median(bare):,.0f}/s inserted",
            ratio,
            ">= 3",
            ratio >= 3,
            f"{median(delivering):,.0f}/s accepted while they are delivered",
        )
    ]
