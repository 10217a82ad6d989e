"""Custom events that are due in the same second: how late they arrive, from their due time to the request's arrival."""

import time

from benchmarks.harness import Endpoint, Figure, Server, config_for, daemon, percentile, until

TRIGGERS = """
  reminder:
    type: REMINDER
    webhook: {url}
  nothing:
    type: DB_INSERT
    table: public.items
    webhook: {url}
"""
AHEAD = 6.0  # seconds from queueing to the first that is due


def run(server: Server, *, small: bool) -> list[Figure]:
    count = 500 if small else 10_000
    endpoint = Endpoint(timed=True)
    try:
        dsn = server.database()
        server.execute(dsn, "CREATE TABLE items (id bigint PRIMARY KEY)")
        with daemon(config_for(dsn, TRIGGERS.format(url=endpoint.url("/due")))):
            one = _alone(server, endpoint, dsn, 20 if small else 100)
            endpoint.ask("reset")
            due = int(time.time() + AHEAD) + 1
            query = (
                "SELECT count(cdcd.queue('REMINDER', json_build_object('n', g), at => to_timestamp(%s + g / %s::float8)))"
                " FROM generate_series(0, %s) g"
            )
            server.execute(dsn, query, due, count, count - 1)
            queued_in_time = time.time() < due
            after = endpoint.wait("/due", count, 120)["after"]
            until(lambda: server.execute(dsn, "SELECT count(*) FROM cdcd.queued")[0][0] == 0, 30, "an empty queue")
    finally:
        endpoint.close()
    p50, p99 = percentile(after, 0.5), percentile(after, 0.99)
    first = percentile(one, 0.5)
    note = "" if queued_in_time else "they were queued too late"
    return [
        Figure("a due event alone, p50", f"{first * 1000:.1f} ms", "-", first / 0.1, "< 100 ms", first < 0.1),
        Figure(
            f"{count} due within a second, p50", f"{p50 * 1000:.0f} ms", f"{first * 1000:.1f} ms alone", p50, "told", True, note
        ),
        Figure(
            f"{count} due within a second, p99", f"{p99 * 1000:.0f} ms", f"{first * 1000:.1f} ms alone", p99, "told", True, note
        ),
    ]


def _alone(server: Server, endpoint: Endpoint, dsn: str, count: int) -> list[float]:
    """How late events are that are due 50 ms apart."""
    due = time.time() + 1.0
    query = (
        "SELECT count(cdcd.queue('REMINDER', json_build_object('n', g), at => to_timestamp(%s + g * 0.05)))"
        " FROM generate_series(1, %s) g"
    )
    server.execute(dsn, query, due, count)
    after: list[float] = endpoint.wait("/due", count, 60)["after"]
    return after
