"""Notifications that an application already sends, as custom events; and that nobody hears them while cdcd does not listen."""

from pathlib import Path
from typing import Any

import psycopg

from tests.acceptance.setting import SOON, Setting
from tests.endpoint import Endpoint
from tests.postgres import Database, Databases
from tests.proxy import Proxy


def databases_of(url: str, **channels: str) -> dict[str, Any]:
    return {"databases": {"main": {"url": url, "channels": channels}}}


async def test_a_notification_is_an_event(tmp_path: Path, database: Database) -> None:
    """JSON as it is, everything else as text; what is rolled back was never sent; a channel's name may be anything."""
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        triggers = {"orders": {"type": ["ORDER", "ODD"], "order": "all", "webhook": endpoint.url("/"), "retries": SOON}}
        channels = databases_of(setting.url, orders="ORDER", **{'Odd "Name"': "ODD", "unwanted": "NOBODY"})
        async with setting.daemon(triggers, **channels) as daemon, await database.aconnect() as connection:
            payloads = ['{"id": 1}', " [2]", "3", "four", "{five", "", '"six"', r'{"seven": "\ud800"}']
            for payload in payloads:
                await connection.execute("SELECT pg_notify('orders', %s)", [payload])
            async with connection.transaction(force_rollback=True):
                await connection.execute("NOTIFY orders, 'never'")
            await connection.execute("SELECT pg_notify(%s, 'x')", ['Odd "Name"'])
            await connection.execute("NOTIFY unwanted, 'x'")
            await setting.processed(9)
            pid = connection.info.backend_pid
            assert daemon.find("channel.listening")
        assert [request.event["data"] for request in endpoint.requests] == [
            {"id": 1}, [2], {"text": "3"}, {"text": "four"}, {"text": "{five"}, {"text": ""}, {"text": '"six"'},
            {"text": r'{"seven": "\ud800"}'}, {"text": "x"},
        ]  # fmt: skip
        event = endpoint.requests[0].event
        assert (event["type"], event["source"], event["subject"]) == ("ORDER", f"cdcd/{setting.project}/main", "orders")
        assert (event["channel"], event["pid"]) == ("orders", pid)
        assert endpoint.requests[8].event["channel"] == 'Odd "Name"'


async def test_a_connection_that_breaks(tmp_path: Path, databases: Databases) -> None:
    """It listens again, tells that it did not for a while, and what came while the store was away is not lost."""
    database, store = databases(), databases()
    async with Endpoint() as endpoint, Proxy.to_postgres(store.dsn) as proxy:
        setting = Setting(tmp_path, database, endpoint)
        triggers = {"orders": {"type": "ORDER", "webhook": endpoint.url("/"), "retries": SOON}}
        both = {
            "main": {"url": database.dsn, "channels": {"orders": "ORDER"}},
            "store": {"url": proxy.dsn(store.tcp_dsn)},
        }
        async with setting.daemon(triggers, databases=both, eventing={"database": "store"}) as daemon:
            with psycopg.connect(database.dsn, autocommit=True) as connection:
                connection.execute("NOTIFY orders, '1'")
                await endpoint.wait_for(1)
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
                )
                await daemon.wait_log("channel.unavailable")
                await daemon.wait_log("channel.gap")
                connection.execute("NOTIFY orders, '2'")
                await endpoint.wait_for(2)
                await proxy.refuse()
                proxy.reset()
                connection.execute("NOTIFY orders, '3'")
                await daemon.wait_log("channel.waiting")
                connection.execute("NOTIFY orders, '4'")
                await proxy.accept()
                await endpoint.wait_for(4, timeout=30)
        assert sorted(request.event["data"]["text"] for request in endpoint.requests) == ["1", "2", "3", "4"]
