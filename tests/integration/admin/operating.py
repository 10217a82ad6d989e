"""Operations on a running engine with its store and a real endpoint.

async with operating(database, endpoint, {"a": {}}) as it:
    failed = await it.fail("a", "1")                     # a delivery that has failed for good
    await it.operations.retry(failed.id, "me")
"""

import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from cdcd.admin.deliveries import Deliveries
from cdcd.admin.operations import Operations
from cdcd.clock import SystemClock
from cdcd.config.model import Limits, Secret
from cdcd.delivery.sender import Sender
from cdcd.delivery.signing import Signer
from cdcd.delivery.steering import Steering
from cdcd.event import Delivery, Event, Record, Status
from tests.endpoint import Endpoint
from tests.integration.delivery.running import SCHEMA, Running, engine
from tests.integration.store.shop import new_id
from tests.postgres import Database

DATA = b'{"find": {"id": 1}, "doc": {"id": 1, "kind": "new"}}'


@dataclass
class Operating:
    """The engine, and what an operator has."""

    running: Running
    operations: Operations
    deliveries: Deliveries

    def make(self, trigger: str = "a", key: str = "1", data: bytes = DATA, at: float | None = None) -> Delivery:
        """A delivery of a row, in the row's lane."""
        moment = at or time.time()
        event = Event("DB_INSERT", "cdcd/shop/main", f"public.t/{key}", key, int(moment * 1e6), data, 1)
        return Delivery(new_id(moment), trigger, event, event.subject)

    async def final(self, *deliveries: Delivery, status: Status = Status.FAILED, reason: str = "answered 500") -> None:
        """As if an earlier run had brought them to their end without an attempt that was recorded."""
        for delivery in deliveries:
            delivery.attempts = 1
            self.running.recorder.record(Record(delivery, status, False, reason="" if status is Status.PROCESSED else reason))
        await self.running.committed()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.running.rows(query)

    def status(self, delivery: Delivery) -> str:
        return str(self.rows(f"SELECT status FROM event_logs WHERE id = '{delivery.id}'")[0][0])

    async def settled(self) -> None:
        """Nothing waits any more, in the store or in memory."""
        await self.running.until(lambda: self.running.pending() == 0 and self.running.recorder.queued[0] == 0)


@contextlib.asynccontextmanager
async def operating(
    database: Database, endpoint: Endpoint, triggers: Mapping[str, Mapping[str, Any]]
) -> AsyncIterator[Operating]:
    """See the module."""
    async with engine(database, endpoint, triggers) as running:
        signer = Signer((Secret(b"k" * 32, "k1"),), "shop", "test")
        operations = Operations(
            *(database.dsn, SCHEMA, Steering(running.engine, running.recorder, SystemClock())),
            lambda those: Sender(Limits(), signer, those),
            SystemClock(),
            lambda part, error: running.failures.append(error),
        )
        await operations.start()
        deliveries = Deliveries(database.dsn, SCHEMA)
        try:
            yield Operating(running, operations, deliveries)
        finally:
            await operations.stop()
            await deliveries.close()
