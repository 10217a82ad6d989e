"""Delivery: one event a request, 1 KB, every attempt recorded; against a bare poster with the same bytes and concurrency."""

from benchmarks.harness import Endpoint, Figure, Server, config_for, daemon, median, poster, setup

CONCURRENCY = 64
TRIGGER = """
  all:
    type: DB_INSERT
    table: public.items
    webhook: {url}
    concurrency: 64
"""


def run(server: Server, *, small: bool) -> list[Figure]:
    rounds, count = (1, 3_000) if small else (5, 30_000)
    ratios, rates, bare_rates, wal = [], [], [], []
    changed = 0
    endpoint = Endpoint()
    try:
        for _ in range(rounds):
            bare = float(poster(endpoint.url("/bare"), count, CONCURRENCY, 1024))
            dsn = server.database()
            server.execute(dsn, "CREATE TABLE items (id bigint PRIMARY KEY, body text)")
            config = config_for(dsn, TRIGGER.format(url=endpoint.url("/cdcd")))
            setup(config)
            server.execute(dsn, f"INSERT INTO items SELECT i, repeat('x', 700) FROM generate_series(1, {count}) i")
            endpoint.ask("reset")
            before = server.wal(dsn)
            with daemon(config):
                stats = endpoint.wait("/cdcd", count, 300)
                changed += server.changed(dsn)
                wal.append((server.wal(dsn) - before) / count)
            rate = (count - 1) / (stats["last"] - stats["first"])
            rates.append(rate)
            bare_rates.append(bare)
            ratios.append(rate / bare)
    finally:
        endpoint.close()
    ratio = median(ratios)
    return [
        Figure(
            "deliver, 1 KB, 64 in flight",
            f"{median(rates):,.0f}/s",
            f"{median(bare_rates):,.0f}/s bare",
            ratio,
            ">= 0.60",
            ratio >= 0.60,
        ),
        Figure(
            "UPDATE and DELETE in the store",
            f"{changed}",
            "-",
            changed,
            "0",
            changed == 0,
            f"{median(wal):,.0f} bytes of WAL an event",
        ),
    ]
