"""The queue as a source where many queue at a time: nobody notifies, and nothing is missed."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable

from cdcd.clock import SystemClock
from cdcd.config.model import Kind, TriggerConfig, Webhook
from cdcd.lifecycle import Supervisor
from cdcd.sources.queue import QueueSource
from cdcd.store.inbox import Inbox
from cdcd.store.migrate import migrate
from cdcd.store.reads import Reads
from cdcd.triggers.matcher import Index
from cdcd.triggers.trigger import Trigger, compile_trigger
from tests.integration.sources.reader import SCHEMA, Pipeline
from tests.postgres import Database, OwnServer, Postgres

QUEUE = "SELECT cdcd.queue('PAID', '1')"


class Committer:
    def position_moved(self) -> None: ...


def made(store: Database, pipeline: Pipeline, failures: Supervisor, *triggers: str) -> QueueSource:
    inboxes = (Inbox(store.dsn, SCHEMA), Inbox(store.dsn, SCHEMA), Reads(store.dsn, SCHEMA))
    index = Index([paid(name) for name in triggers], [])
    return QueueSource("shop", index, pipeline, Committer(), *inboxes, SystemClock(), failures.failed)


def paid(name: str) -> Trigger:
    return compile_trigger(TriggerConfig(name, frozenset({"PAID"}), "", (), Webhook("http://a/", "http://a"), kind=Kind.CUSTOM))


async def offered(pipeline: Pipeline, count: int) -> None:
    async with asyncio.timeout(10):
        while len(pipeline.deliveries) < count:
            pipeline.changed.clear()
            await pipeline.changed.wait()


async def test_what_triggers_that_are_gone_are_owed(database: Database) -> None:
    """What was queued up to a number, and is due: whatever it says of its time, and also what somebody else holds for a while."""
    await migrate(database.dsn, SCHEMA, "shop")
    for when in ("", ", at => now() - interval '1 day'", ", delay => '1 ms'", ", delay => '1 ms'", ", delay => '1 hour'"):
        database.execute(f"SELECT cdcd.queue('PAID', '1'{when})")
    ((written,),) = database.execute("SELECT max(seq) FROM cdcd.queued")
    pipeline, failures = Pipeline(), Supervisor()
    source = made(database, pipeline, failures, "now", "back")
    with database.connect() as holding:
        holding.execute("BEGIN")
        holding.execute(f"SELECT FROM cdcd.queued WHERE seq = {written - 1} FOR UPDATE")
        database.execute("SELECT pg_sleep(0.01)")
        owed = source.owing([paid("gone"), paid("back")], written)
        database.execute(QUEUE)
        database.execute("SELECT cdcd.queue('PAID', '1', at => now() - interval '1 day')")
        await source.start()
        try:
            await offered(pipeline, 5 * 2 + 3)
            assert not owed.done()
            assert sum(each.trigger == "gone" for each in pipeline.deliveries) == 3
            holding.execute("ROLLBACK")
            await asyncio.wait_for(owed, 10)
            of = Counter(each.trigger for each in pipeline.deliveries)
            assert of == {"now": 6, "back": 6, "gone": 4}
            # In turn: one that is owed nothing waits for those before it, and not for what comes later.
            first, second = source.owing([paid("gone")], written), source.owing([], written)
            await asyncio.wait_for(second, 10)
            assert first.done()
            database.execute("UPDATE cdcd.queued SET due_at = now() WHERE NOT taken")
            source.wake()
            await offered(pipeline, 18)
            assert Counter(each.trigger for each in pipeline.deliveries)["gone"] == 4
        finally:
            await source.stop()


async def test_nobody_notifies_while_it_is_awake(own_server: OwnServer, postgres: Postgres) -> None:
    """Where the server allows no prepared transactions. Who took it to be awake may commit when it sleeps."""
    server = own_server({"max_prepared_transactions": "0", "wal_level": "replica"})
    store = Database("postgres", Postgres(postgres.major, server))
    await migrate(store.dsn, SCHEMA, "shop")
    pipeline, failures = Pipeline(), Supervisor()
    source = made(store, pipeline, failures, "paid")

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
