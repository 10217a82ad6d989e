"""The queue as a source where many queue at a time: nobody notifies, and nothing is missed."""

import asyncio
import contextlib
from collections.abc import Callable

from cdcd.clock import SystemClock
from cdcd.config.model import Kind, TriggerConfig, Webhook
from cdcd.lifecycle import Supervisor
from cdcd.sources.queue import QueueSource
from cdcd.store.inbox import Inbox
from cdcd.store.migrate import migrate
from cdcd.store.reads import Reads
from cdcd.triggers.matcher import Index
from cdcd.triggers.trigger import compile_trigger
from tests.integration.sources.reader import SCHEMA, Pipeline
from tests.postgres import Database, OwnServer, Postgres

QUEUE = "SELECT cdcd.queue('PAID', '1')"


class Committer:
    def position_moved(self) -> None: ...


async def test_nobody_notifies_while_it_is_awake(own_server: OwnServer, postgres: Postgres) -> None:
    """Where the server allows no prepared transactions. Who took it to be awake may commit when it sleeps."""
    server = own_server({"max_prepared_transactions": "0", "wal_level": "replica"})
    store = Database("postgres", Postgres(postgres.major, server))
    await migrate(store.dsn, SCHEMA, "shop")
    config = TriggerConfig("paid", frozenset({"PAID"}), "", (), Webhook("http://a/", "http://a"), kind=Kind.CUSTOM)
    pipeline, failures = Pipeline(), Supervisor()
    source = QueueSource(
        "shop",
        Index([compile_trigger(config)], []),
        pipeline,
        Committer(),
        Inbox(store.dsn, SCHEMA),
        Inbox(store.dsn, SCHEMA),
        Reads(store.dsn, SCHEMA),
        SystemClock(),
        failures.failed,
    )

    async def until(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                pipeline.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(pipeline.changed.wait(), 0.02)

    async def offered(count: int) -> None:  # by itself it looks once a minute
        await until(lambda: len(pipeline.deliveries) >= count)

    await source.start()
    try:
        with store.connect() as listening, store.connect() as late, store.connect() as writing:
            await until(lambda: source._told)
            listening.execute(f"LISTEN cdcd_queued_{store.execute('SELECT %s::regclass::oid', ['cdcd.queued'])[0][0]}")
            for number in range(1, 4):
                writing.execute(QUEUE)
                await offered(number)
            while not source._awake.held:
                number += 1
                writing.execute(QUEUE)
                await asyncio.sleep(0)
            assert list(listening.notifies(timeout=0))
            late.execute("BEGIN")
            late.execute(QUEUE)
            writing.execute(QUEUE)
            assert not list(listening.notifies(timeout=0.05))
            await until(lambda: source._open and not source._awake.held)
            late.execute("COMMIT")
            await offered(number + 2)
            assert not list(listening.notifies(timeout=0.05))
            writing.execute(QUEUE)
            assert list(listening.notifies(timeout=2, stop_after=1))
            await offered(number + 3)
    finally:
        await source.stop()
