"""What the acceptance tests share: a configuration for a database and an endpoint, and questions to the event store.

setting = Setting(tmp_path, database, endpoint)
daemon = setting.daemon({"users": setting.trigger("/users", table="users")})
async with daemon:
    ...
    await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", 3)
"""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg

from cdcd.replication.lsn import parse_lsn
from tests.daemon import Daemon
from tests.endpoint import Endpoint
from tests.postgres import Database

SECRET = "whsec_" + "c2VjcmV0cyBvZiB0aGUgYWNjZXB0YW5jZSB0ZXN0cyE="
EVERY = ("DB_INSERT", "DB_UPDATE", "DB_DELETE")
SOON = {"max": 100, "backoff": "fixed", "first": "50ms", "max_interval": "200ms"}
"""Retries that are over quickly, and never end."""


class Setting:
    """One database that is captured, with its event store in it, and one endpoint."""

    def __init__(self, directory: Path, database: Database, endpoint: Endpoint, *, url: str = "") -> None:
        self.directory = directory
        self.database = database
        self.endpoint = endpoint
        self.url = url or database.dsn
        self.project = f"p{next(_numbers)}"

    @property
    def slot(self) -> str:
        """The name of slot and publication."""
        return f"cdcd_{self.project}_main"

    def trigger(self, path: str, *, table: str | list[str], type: str | tuple[str, ...] = EVERY, **more: Any) -> dict[str, Any]:
        """A trigger to `path` of the endpoint; `timeout` and `url` are the webhook's."""
        webhook = {"url": more.pop("url", self.endpoint.url(path)), "timeout": more.pop("timeout", "5s")}
        return {"type": type, "table": table, "webhook": webhook, "retries": SOON, **more}

    def configure(self, triggers: Mapping[str, Any], **more: Any) -> Path:
        """Write the configuration; `more` replaces whole sections."""
        config = {
            "project": self.project,
            "secret": SECRET,
            "databases": {"main": {"url": self.url}},
            "eventing": {"database": "main"},
            "triggers": triggers,
            **more,
        }
        path = self.directory / "cdcd.yaml"
        path.write_text(json.dumps(config, indent=2))  # JSON is YAML
        return path

    def daemon(self, triggers: Mapping[str, Any], *, failpoints: str = "", **more: Any) -> Daemon:
        return Daemon(self.configure(triggers, **more), failpoints=failpoints)

    # Questions

    async def ask(self, query: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a query, without holding the event loop up."""
        return await asyncio.to_thread(self.database.execute, query, parameters)

    async def until(self, query: str, wanted: int | str | Callable[[Any], bool], timeout: float = 30.0) -> None:
        """Wait until `query` gives the one value `wanted`, or one that `wanted`, a predicate, takes."""
        deadline = time.monotonic() + timeout
        async with contextlib.AsyncExitStack() as open_:
            connection = None
            while True:
                if connection is None or connection.closed:  # one for all looks: one for each would keep the server busy
                    connection = await open_.enter_async_context(await self.database.aconnect())
                try:
                    ((value,),) = await (await connection.execute(query)).fetchall()
                except psycopg.OperationalError:
                    if not connection.closed:
                        raise
                    continue  # it was cut
                if wanted(value) if callable(wanted) else value == wanted:
                    return
                if time.monotonic() > deadline:
                    raise AssertionError(f"{query}: {value!r} after {timeout} s, not {wanted!r}")
                await asyncio.sleep(0.02)  # a table does not tell when it changes

    async def processed(self, count: int, timeout: float = 30.0) -> None:
        """Wait until so many deliveries are processed, and nothing else is left."""
        await self.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", count, timeout)
        assert await self.ask("SELECT status FROM cdcd.event_logs WHERE status <> 'processed'") == []
        assert await self.ask("SELECT id FROM cdcd.pending") == []

    async def confirmed(self) -> int:
        """The LSN that the slot was confirmed to."""
        ((lsn,),) = await self.ask("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s", [self.slot])
        return parse_lsn(lsn)

    async def lsn(self) -> int:
        """Where the server's WAL ends now."""
        ((lsn,),) = await self.ask("SELECT pg_current_wal_lsn()")
        return parse_lsn(lsn)

    async def confirmed_beyond(self, lsn: int, timeout: float = 30.0) -> None:
        """Wait until the slot stands at or beyond `lsn`."""
        query = f"SELECT confirmed_flush_lsn - '0/0'::pg_lsn FROM pg_replication_slots WHERE slot_name = '{self.slot}'"
        await self.until(query, lambda at: at >= lsn, timeout)


_numbers = itertools.count(1)


def docs(endpoint: Endpoint, path: str) -> list[Any]:
    """The new rows of the first request for each id, in order of arrival."""
    seen: dict[str, Any] = {}
    for request in endpoint.to(path):
        seen.setdefault(request.id, request.event["data"].get("doc"))
    return list(seen.values())
