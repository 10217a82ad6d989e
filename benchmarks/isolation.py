"""A dead endpoint with a large backlog beside a healthy one: the healthy one's throughput with and without it, and the WAL held."""

import time

from benchmarks.harness import Endpoint, Figure, Server, config_for, daemon, median, until

MIB = 1024 * 1024
HEALTHY = """
  healthy:
    type: DB_INSERT
    table: public.healthy
    webhook: {url}
    concurrency: 64
"""
DEAD = """
  dead:
    type: DB_INSERT
    table: public.dead
    webhook: http://127.0.0.1:9/dead
    retries: 100
"""


def run(server: Server, *, small: bool) -> list[Figure]:
    rounds, count, behind = (1, 3_000, 5_000) if small else (3, 30_000, 100_000)
    endpoint = Endpoint()
    try:
        dsn = server.database()
        server.execute(dsn, "CREATE TABLE healthy (id bigserial PRIMARY KEY, body text)")
        server.execute(dsn, "CREATE TABLE dead (id bigserial PRIMARY KEY, body text)")
        with daemon(config_for(dsn, HEALTHY.format(url=endpoint.url("/healthy")) + DEAD)):
            rate(server, endpoint, dsn, count // 4)
            alone = [rate(server, endpoint, dsn, count) for _ in range(rounds)]
            server.execute(dsn, f"INSERT INTO dead (body) SELECT repeat('x', 700) FROM generate_series(1, {behind})")
            begun = time.monotonic()
            until(lambda: server.held(dsn) < 32 * MIB and staged(server, dsn) >= behind, 120, "the WAL to be released", 0.2)
            seconds = time.monotonic() - begun
            beside = [rate(server, endpoint, dsn, count) for _ in range(rounds)]
    finally:
        endpoint.close()
    ratio = median(beside) / median(alone)
    return [
        Figure(
            "healthy beside a dead endpoint",
            f"{median(beside):,.0f}/s",
            f"{median(alone):,.0f}/s alone",
            ratio,
            ">= 0.90",
            ratio >= 0.9,
        ),
        Figure(f"WAL released, {behind:,} behind it", f"{seconds:.1f} s", "to under 32 MiB", seconds, "< 10 s", seconds < 10),
    ]


def rate(server: Server, endpoint: Endpoint, dsn: str, count: int) -> float:
    endpoint.ask("reset")
    server.execute(dsn, f"INSERT INTO healthy (body) SELECT repeat('x', 700) FROM generate_series(1, {count})")
    stats = endpoint.wait("/healthy", count, 300)
    return float((count - 1) / (stats["last"] - stats["first"]))


def staged(server: Server, dsn: str) -> int:
    return int(server.execute(dsn, "SELECT count(*) FROM cdcd.pending")[0][0])
