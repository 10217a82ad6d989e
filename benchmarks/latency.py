"""Commit to webhook at 200 events/s, from the commit's own timestamp to the request's arrival; against a bare POST's round trip."""

import json
import time

import psycopg

from benchmarks.harness import Endpoint, Figure, Server, config_for, daemon, percentile, poster

RATE = 200
TRIGGER = """
  all:
    type: DB_INSERT
    table: public.items
    webhook: {url}
"""


def run(server: Server, *, small: bool) -> list[Figure]:
    count = 400 if small else 6_000
    endpoint = Endpoint(timed=True)
    try:
        dsn = server.database()
        server.execute(dsn, "CREATE TABLE items (id bigint PRIMARY KEY, body text)")
        with daemon(config_for(dsn, TRIGGER.format(url=endpoint.url("/cdcd")))):
            trips = sorted(json.loads(poster(endpoint.url("/bare"), count, 1, 1024, "--rate", str(RATE))))
            with psycopg.connect(dsn, autocommit=True) as connection:
                for number in range(50):
                    connection.execute("INSERT INTO items VALUES (%s, repeat('x', 700))", [-number - 1])
                endpoint.wait("/cdcd", 50, 60)
                endpoint.ask("reset")
                begun = time.perf_counter()
                for number in range(count):
                    time.sleep(max(0.0, begun + number / RATE - time.perf_counter()))
                    connection.execute("INSERT INTO items VALUES (%s, repeat('x', 700))", [number])
            after = endpoint.wait("/cdcd", count, 60)["after"]
    finally:
        endpoint.close()
    bare = percentile(trips, 0.5)
    p50, p99 = percentile(after, 0.5), percentile(after, 0.99)
    limit = 3 * bare + 0.001
    return [
        Figure(
            "commit to webhook p50",
            f"{p50 * 1000:.2f} ms",
            f"{bare * 1000:.2f} ms bare",
            p50 / limit,
            "<= 1 of 3 x bare + 1 ms",
            p50 <= limit,
        ),
        Figure(
            "commit to webhook p99", f"{p99 * 1000:.2f} ms", f"{p50 * 1000:.2f} ms p50", p99 / p50, "< 10 x p50", p99 < 10 * p50
        ),
    ]
