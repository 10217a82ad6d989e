"""The change log: rows that no trigger wants in the end (`when` false on each), against replication of the same rows; and what the
triggers cost whoever writes.
"""

import time

from benchmarks.harness import Endpoint, Figure, Server, config_for, daemon, median, setup

TABLE = "CREATE TABLE items (id bigint PRIMARY KEY, amount int, a text, b text, c numeric, d timestamptz, e bool, f int, g int, h text)"
TRIGGER = """
  none:
    type: DB_INSERT
    table: public.items
    when: new.amount > 1000000
    webhook: {url}
"""
ROW = "i, i % 1000, 'name ' || i, md5(i::text), i / 7.0, now(), true, i, i, 'x'"


def run(server: Server, *, small: bool) -> list[Figure]:
    rounds, rows = (1, 20_000) if small else (3, 200_000)
    by_log, by_stream, with_triggers, without = [], [], [], []
    endpoint = Endpoint()
    try:
        for _ in range(rounds):
            rate, writing = _round(server, endpoint, rows, "triggers")
            by_log.append(rate)
            with_triggers.append(writing)
            rate, writing = _round(server, endpoint, rows, "replication")
            by_stream.append(rate)
            without.append(writing)
    finally:
        endpoint.close()
    read, written = median(by_log) / median(by_stream), median(with_triggers) / median(without)
    return [
        Figure(
            "change log, `when` false",
            f"{median(by_log):,.0f} rows/s",
            f"{median(by_stream):,.0f} rows/s by replication",
            read,
            "told",
            True,
        ),
        Figure(
            "INSERT with the log's triggers",
            f"{median(with_triggers):,.0f} rows/s written",
            f"{median(without):,.0f} rows/s without",
            written,
            "told",
            True,
            f"{1e6 / median(with_triggers) - 1e6 / median(without):.0f} µs more for each row",
        ),
    ]


def _round(server: Server, endpoint: Endpoint, rows: int, capture: str) -> tuple[float, float]:
    """Rows/s that the daemon reads, and that one INSERT writes."""
    dsn = server.database()
    server.execute(dsn, TABLE)
    config = config_for(dsn, TRIGGER.format(url=endpoint.url("/cdcd")))
    config = config.replace(f'url: "{dsn}"', f'url: "{dsn}"\n    capture: {capture}')
    setup(config)
    server.execute(dsn, "INSERT INTO items (id, amount) VALUES (-1, 2000000)")
    began = time.monotonic()
    server.execute(dsn, f"INSERT INTO items SELECT {ROW} FROM generate_series(1, {rows}) i")
    writing = rows / (time.monotonic() - began)
    server.execute(dsn, "INSERT INTO items (id, amount) VALUES (0, 2000000)")
    endpoint.ask("reset")
    with daemon(config):
        stats = endpoint.wait("/cdcd", 2, 300)
    return rows / (stats["last"] - stats["first"]), writing
