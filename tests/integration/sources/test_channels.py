"""Notifications that were heard, while the store takes nothing."""

import asyncio

import structlog
from psycopg import Notify
from structlog.testing import capture_logs

from cdcd.clock import SystemClock
from cdcd.config import model
from cdcd.lifecycle import Supervisor
from cdcd.sources.channels import ChannelSource
from cdcd.store.inbox import Inbox
from cdcd.store.migrate import migrate
from tests.integration.sources.reader import SCHEMA
from tests.postgres import Database


async def test_they_are_kept_while_the_store_refuses(database: Database) -> None:
    """Until somebody has mended it: here there is no store yet."""
    main = model.Database("main", database.dsn, model.Capture.REPLICATION, "s", "p")
    structlog.reset_defaults()
    with capture_logs() as logs:
        channels = {"orders": "PAID"}
        source = ChannelSource("shop", main, channels, Inbox(database.dsn, SCHEMA), SystemClock(), Supervisor().failed)
        heard = [source._event(Notify("orders", text, 1)) for text in ("one", "two")]
        putting = asyncio.create_task(source._put(heard))
        await asyncio.wait({putting}, timeout=0.1)
        assert not putting.done()
        await migrate(database.dsn, SCHEMA, "shop")
        async with asyncio.timeout(20):
            await putting
        await source.stop()
    assert database.execute("SELECT count(*) FROM cdcd.queued") == [(2,)]
    assert {entry["event"] for entry in logs} == {"channel.waiting"}
