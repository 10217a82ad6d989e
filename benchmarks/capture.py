"""Capture: rows that no trigger wants in the end (`when` false on each), against the bare receive rate of the same WAL."""

import subprocess
import sys

from benchmarks.harness import ROOT, Endpoint, Figure, Server, config_for, daemon, median, setup

TRIGGER = """
  none:
    type: DB_INSERT
    table: public.items
    when: new.amount > 1000000
    webhook: {url}
"""


def run(server: Server, *, small: bool) -> list[Figure]:
    rounds, rows = (1, 50_000) if small else (5, 500_000)
    ratios, rates, bare_rates = [], [], []
    endpoint = Endpoint()
    try:
        for _ in range(rounds):
            dsn = server.database()
            server.execute(
                dsn,
                "CREATE TABLE items (id bigint PRIMARY KEY, amount int, a text, b text, c numeric, d timestamptz, e bool, f int, g int,"
                " h text)",
            )
            config = config_for(dsn, TRIGGER.format(url=endpoint.url("/cdcd")))
            setup(config)
            server.execute(dsn, "SELECT pg_create_logical_replication_slot('bare_' || current_database(), 'pgoutput')")
            row = "i, i % 1000, 'name ' || i, md5(i::text), i / 7.0, now(), true, i, i, 'x'"
            server.execute(dsn, "INSERT INTO items (id, amount) VALUES (-1, 2000000)")
            server.execute(dsn, f"INSERT INTO items SELECT {row} FROM generate_series(1, {rows}) i")
            server.execute(dsn, "INSERT INTO items (id, amount) VALUES (0, 2000000)")
            endpoint.ask("reset")
            name = dsn.rpartition("/")[2].partition("?")[0]
            arguments = [sys.executable, "-m", "benchmarks.reader", dsn, f"bare_{name}", "cdcd_bench_main", str(rows)]
            bare = float(subprocess.run(arguments, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
            server.execute(dsn, "SELECT pg_drop_replication_slot('bare_' || current_database())")
            with daemon(config):
                stats = endpoint.wait("/cdcd", 2, 300)
            rate = rows / (stats["last"] - stats["first"])
            rates.append(rate)
            bare_rates.append(bare)
            ratios.append(rate / bare)
    finally:
        endpoint.close()
    ratio = median(ratios)
    figure = Figure(
        "capture, `when` false",
        f"{median(rates):,.0f} rows/s",
        f"{median(bare_rates):,.0f} rows/s received",
        ratio,
        ">= 0.50",
        ratio >= 0.5,
    )
    return [figure]
