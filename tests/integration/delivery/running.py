"""An engine with its real neighbours: sender, endpoint, recorder and event store.

async with Endpoint() as endpoint, engine(database, endpoint, {"a": {}}) as it:
    it.offer(it.make("a", lane="x"))
    await it.until(lambda: it.statuses() == {"processed": 1})
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from structlog.testing import capture_logs

from cdcd.clock import Clock, SystemClock
from cdcd.config.model import Backoff, Limits, Retries, Secret, TriggerConfig, Webhook
from cdcd.delivery.engine import Engine
from cdcd.delivery.sender import Sender
from cdcd.delivery.signing import Signer
from cdcd.event import Delivery, Event, Record, Status
from cdcd.store.migrate import migrate
from cdcd.store.pending import Backlog
from cdcd.store.recorder import Recorder
from cdcd.triggers.trigger import compile_trigger
from tests.endpoint import Endpoint
from tests.integration.store.shop import Checkpoint, new_id
from tests.postgres import Database

SCHEMA = "cdcd"
SOON = Retries(max=100, backoff=Backoff.FIXED, first=0.05, jitter=0.0)
PATIENCE = 30.0


@dataclass
class Running:
    """The engine and what it said."""

    database: Database
    engine: Engine
    recorder: Recorder
    logs: list[Any]
    failures: list[BaseException] = field(default_factory=list)

    def make(self, trigger: str = "a", lane: str | None = None, data: bytes = b'{"n":1}', also: str | None = None) -> Delivery:
        now = time.time()
        event = Event("DB_INSERT", "cdcd/shop/main", "public.t/1", lane or "", int(now * 1e6), data, 1)
        return Delivery(new_id(now), trigger, event, lane, Checkpoint(), also=also)

    def offer(self, *deliveries: Delivery) -> None:
        self.engine.offer(deliveries)

    async def stage(self, *deliveries: Delivery) -> None:
        """Put these into the store as an earlier run has left them."""
        for delivery in deliveries:
            delivery.staged = True
            self.recorder.record(Record(delivery, Status.STAGED, False, attempt=None))
        await self.committed()

    async def committed(self) -> None:
        await self.until(lambda: self.recorder.queued[0] == 0)

    async def until(self, condition: Callable[[], object]) -> None:
        """Return when `condition` holds; the store does not tell when it changes."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                assert not self.failures, self.failures
                await asyncio.sleep(0.01)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.database.execute(f"SET search_path = {SCHEMA}; {query}")

    def statuses(self) -> dict[str, int]:
        return Counter(status for (status,) in self.rows("SELECT status FROM event_logs"))

    def pending(self) -> int:
        return int(self.rows("SELECT count(*) FROM pending")[0][0])

    def find(self, event: str) -> list[Mapping[str, Any]]:
        return [entry for entry in self.logs if entry["event"] == event]


@contextlib.asynccontextmanager
async def engine(
    database: Database,
    endpoint: Endpoint,
    triggers: Mapping[str, Mapping[str, Any]],
    *,
    limits: Limits | None = None,
    clock: Clock | None = None,
    start: bool = True,
    look_again: float = 60.0,
) -> AsyncIterator[Running]:
    """Triggers by name, each with what differs; `path` and `timeout` are the webhook's."""
    await migrate(database.dsn, SCHEMA, "shop")
    limits = limits or Limits(shutdown=2.0)
    compiled = [compile_trigger(_config(endpoint, name, dict(more))) for name, more in triggers.items()]
    failures: list[BaseException] = []

    def failed(part: str, error: BaseException) -> None:
        failures.append(error)

    def recorded(records: list[Record]) -> None:
        made.recorded(records)

    with capture_logs() as logs:
        recorder = Recorder(database.dsn, SCHEMA, "shop", SystemClock(), failed, [], recorded, deadline=5.0)
        sender = Sender(limits, Signer((Secret(b"k" * 32, "k1"),), "shop", "test"), compiled)
        made = Engine(
            compiled,
            limits,
            sender,
            recorder,
            Backlog(database.dsn, SCHEMA),
            clock or SystemClock(),
            failed,
            look_again=look_again,
        )
        it = Running(database, made, recorder, logs, failures)
        await recorder.start()
        await sender.start()
        try:
            if start:
                await made.start()
            yield it
        finally:
            await made.stop()
            await recorder.stop()
            await sender.stop()
    assert not failures, failures


def _config(endpoint: Endpoint, name: str, more: dict[str, Any]) -> TriggerConfig:
    webhook = Webhook(endpoint.url(more.pop("path", f"/{name}")), endpoint.url(""), timeout=more.pop("timeout", 5.0))
    return TriggerConfig(name, frozenset({"DB_INSERT"}), "main", ("t",), webhook, **({"retries": SOON} | more))
