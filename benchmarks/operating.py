"""Ten thousand deliveries retried by one request: commit to webhook of another trigger at 200 events/s, before and meanwhile."""

import json
import time
import urllib.request

import psycopg

from benchmarks.console import port_of
from benchmarks.harness import SECRET, Endpoint, Figure, Server, config_for, daemon, percentile
from cdcd.config.secrets import secret_key
from cdcd.server.auth import make_token

RATE = 200
TRIGGERS = """
  live:
    type: DB_INSERT
    table: public.items
    webhook: {live}
  failing:
    type: DB_INSERT
    table: public.others
    webhook: {failing}
"""
FAILED = """
INSERT INTO cdcd.event_logs (id, time, type, source, subject, trigger, key, payload, status, attempts, remark, settled_at)
SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - 3600000 + n), 12, '0') || '8' || substr(md5(n::text), 1, 3) || '8'
        || substr(md5(n::text), 4, 15))::uuid,
       to_timestamp(((extract(epoch FROM now()) * 1000)::bigint - 3600000 + n) / 1000.0), 'DB_INSERT', 'cdcd/bench/main',
       'public.others/' || n, 'failing', n::text, json_build_object('find', json_build_object('id', n), 'doc', json_build_object('id', n)),
       'failed', 1, 'answered 500', now()
FROM generate_series(1, %s) AS n
"""


def run(server: Server, *, small: bool) -> list[Figure]:
    count, failed = (400, 1_000) if small else (4_000, 10_000)
    endpoint, other = Endpoint(timed=True), Endpoint()
    try:
        dsn = server.database()
        server.execute(
            dsn, "CREATE TABLE items (id bigint PRIMARY KEY, body text); CREATE TABLE others (id bigint PRIMARY KEY)"
        )
        triggers = TRIGGERS.format(live=endpoint.url("/live"), failing=other.url("/failing"))
        with daemon(config_for(dsn, triggers) + "server: 127.0.0.1:0\n") as running:
            server.execute(dsn, FAILED, failed)
            quiet = insert(dsn, endpoint, 0, count)
            url = f"http://127.0.0.1:{port_of(running)}/v1/operations"
            token = make_token(secret_key(SECRET), "bench", {"role": "operator", "exp": time.time() + 600})
            body = json.dumps({"action": "retry", "filter": {"status": "failed"}}).encode()
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            begun = time.monotonic()
            with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
                assert answer.status == 202
            meanwhile = insert(dsn, endpoint, count, count)
            other.wait("/failing", failed, 300)
            took = time.monotonic() - begun
            memory = running.memory("VmHWM")
    finally:
        endpoint.close()
        other.close()
    before, p50, p99 = percentile(quiet, 0.5), percentile(meanwhile, 0.5), percentile(meanwhile, 0.99)
    note = f"{failed:,} retried within {took:.0f} s, at most {memory / 1e6:.0f} MB resident"
    return [
        Figure(
            "commit to webhook p50 while many are retried",
            f"{p50 * 1000:.1f} ms",
            f"{before * 1000:.1f} ms before",
            p50 / before,
            "< 3 x before",
            p50 < 3 * before,
            note,
        ),
        Figure(
            "the same, p99",
            f"{p99 * 1000:.1f} ms",
            f"{percentile(quiet, 0.99) * 1000:.1f} ms before",
            p99 / 0.5,
            "< 500 ms",
            p99 < 0.5,
        ),
    ]


def insert(dsn: str, endpoint: Endpoint, first: int, count: int) -> list[float]:
    """Commit rows at the rate; how long each took to its webhook, in order of length."""
    endpoint.ask("reset")
    with psycopg.connect(dsn, autocommit=True) as connection:
        begun = time.perf_counter()
        for number in range(count):
            time.sleep(max(0.0, begun + number / RATE - time.perf_counter()))
            connection.execute("INSERT INTO items VALUES (%s, repeat('x', 700))", [first + number])
    return list(endpoint.wait("/live", count, 120)["after"])
