"""One huge transaction: how much resident memory grows, and whether everything arrives. And an idle daemon."""

import time

from benchmarks.harness import Endpoint, Figure, Server, config_for, daemon, until

TRIGGER = """
  all:
    type: DB_INSERT
    table: public.items
    webhook: {url}
"""
MIB = 1024 * 1024


def run(server: Server, *, small: bool) -> list[Figure]:
    rows, idle = (20_000, 3.0) if small else (1_000_000, 20.0)
    endpoint = Endpoint()
    try:
        dsn = server.database()
        server.execute(dsn, "CREATE TABLE items (id bigint PRIMARY KEY, body text)")
        with daemon(config_for(dsn, TRIGGER.format(url=endpoint.url("/cdcd")))) as running:
            time.sleep(1.0)
            cpu, begun = running.cpu(), time.monotonic()
            time.sleep(idle)
            share = (running.cpu() - cpu) / (time.monotonic() - begun)
            resident = running.memory()
            server.execute(dsn, f"INSERT INTO items SELECT i, repeat('x', 100) FROM generate_series(1, {rows}) i")
            target = server.wal(dsn)
            query = (
                "SELECT (confirmed_flush_lsn - '0/0') >= %s FROM pg_replication_slots"
                " WHERE slot_name = 'cdcd_bench_main' AND database = current_database()"
            )
            until(
                lambda: server.execute(dsn, query, target)[0][0] or server.held(dsn) < 2 * MIB,
                900,
                "the slot to pass the transaction",
                1.0,
            )
            endpoint.wait("/cdcd", rows, 600)
            known = server.execute(dsn, "SELECT count(*) FROM cdcd.event_logs WHERE status IN ('processed', 'staged')")[0][0]
            grown = (running.memory("VmHWM") - resident) / MIB
    finally:
        endpoint.close()
    return [
        Figure("idle CPU", f"{share * 100:.2f} %", "of one core", share * 100, "< 1 %", share < 0.01),
        Figure("idle resident memory", f"{resident / MIB:.0f} MiB", "-", resident / MIB, "< 120 MiB", resident < 120 * MIB),
        Figure(
            f"memory growth, {rows:,} rows at once",
            f"{grown:.0f} MiB",
            f"{known:,} recorded",
            grown,
            "< 100 MiB, all recorded",
            grown < 100 and known == rows,
        ),
    ]
