"""The queue: events that the API accepts and makes durable a second, against bare INSERTs of one row by as many connections.

Each load is a process of its own. On each of its connections one request, or row, is under way at a time, and the next follows when
that is answered, which is after its commit (fsync and synchronous_commit are on). Database, payload and connections are the same:

- the requests go the whole way of `POST /v1/events`: a token, JSON, the rules of the type, an id, the commit, 202. What is judged is
  acceptance: the events are for an hour later, so nothing else happens with them;
- told beside: acceptance of events for now, while the same process matches, delivers and records them;
- the INSERTs that it is judged by are those of an application in Python (psycopg, asyncio, prepared, in binary);
- told beside: the INSERTs of pgbench, whose client costs a tenth of that. Where client, daemon and server share two cores, a client that
  costs less gives a higher rate.
"""

import json
import subprocess
import sys
from pathlib import Path

import jwt

from benchmarks.harness import ROOT, SECRET, Endpoint, Figure, Server, config_for, daemon, median
from benchmarks.queuer import PAYLOAD
from cdcd.embedded.service import find_binaries

CONNECTIONS = 128
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


def pgbench(dsn: str, directory: Path, seconds: float) -> float:
    """The same INSERTs by pgbench; transactions a second."""
    script = directory / "insert.sql"
    script.write_text(f"INSERT INTO bare (type, payload) VALUES ('ORDER_PAID', '{PAYLOAD}');\n")
    command = [str(find_binaries() / "bin" / "pgbench"), "-n", "-M", "prepared", "-c", str(CONNECTIONS), "-f", str(script)]
    printed = subprocess.run([*command, "-T", f"{seconds:.0f}", dsn], check=True, capture_output=True, text=True).stdout
    if "tps = " not in printed:  # not one in so short a time, on a busy machine
        return pgbench(dsn, directory, 2 * seconds)
    return float(printed.rpartition("tps = ")[2].split()[0])


def run(server: Server, *, small: bool) -> list[Figure]:
    rounds, seconds = (1, 1.0) if small else (5, 3.0)
    token = jwt.encode({"role": "bench"}, SECRET, "HS256")
    bare, lean, accepted, delivering, ratios = [], [], [], [], []
    endpoint = Endpoint()
    try:
        for _ in range(rounds):
            dsn = server.database()
            server.execute(
                dsn, "CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, type text, payload json)"
            )
            with daemon(config_for(dsn, TRIGGER % endpoint.url("/queue"), API)) as running:
                port = next(
                    line["port"]
                    for line in map(json.loads, running.path.with_name("cdcd.log").read_text().splitlines())
                    if line["event"] == "server.listening"
                )
                bare.append(load("insert", dsn, CONNECTIONS, seconds))
                accepted.append(load("http", port, CONNECTIONS, seconds, token, "ORDER_LATER", "1h"))
                ratios.append(accepted[-1] / bare[-1])
                lean.append(pgbench(dsn, running.path.parent, seconds))
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
            f"{median(lean):,.0f}/s inserted by pgbench; {median(delivering):,.0f}/s accepted while they are delivered",
        )
    ]
