"""What others ask the event store: which deliveries it knows, how far sources are settled, and how things stand.

Counts of what succeeded are estimates from a sample once there are many: `cdcd status` must not read gigabytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from cdcd.event import Position
from cdcd.store.arrays import timestamps, uuids
from cdcd.store.connection import Session
from cdcd.store.pending import bounds

COUNTED = 200_000  # rows; more are sampled


@dataclass(slots=True)
class TriggerStatus:
    """How a trigger stands. Times are wall-clock seconds; `last_error` is of the newest failure, or of what is tried again."""

    delivered: int = 0
    failed: int = 0
    cancelled: int = 0
    staged: int = 0
    oldest_staged: float | None = None
    last_error: str = ""
    last_failed_at: float | None = None


@dataclass(slots=True, frozen=True)
class TreeStatus:
    """How a store of files stands. Times are wall-clock seconds: when it was first and last looked at whole."""

    seen_from: float
    looked_at: float
    entries: int


@dataclass(slots=True)
class StoreStatus:
    """How the store stands. `estimated`: delivered and cancelled come from a sample. `trees` is filled by who asks for it."""

    triggers: dict[str, TriggerStatus] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    estimated: bool = False
    trees: dict[str, TreeStatus] = field(default_factory=dict)


class Reads:
    """Reads on a connection of their own. Not for use by two tasks at a time. Raises StoreUnavailable, StoreRefused."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._session = Session(dsn, schema)

    async def known(self, deliveries: Iterable[tuple[str, int]]) -> set[str]:
        """Which of these (id, event time in microseconds) event_logs holds, whatever their status."""
        asked = list(deliveries)
        if not asked:
            return set()
        times = [time for _, time in asked]
        rows = await self._session.fetch("known", uuids([identity for identity, _ in asked]), timestamps(times), bounds(times))
        return {row[0] for row in rows}

    async def positions(self) -> dict[str, Position]:
        """The newest recorded position of each source."""
        rows = await self._session.fetch("positions")
        return {
            source: Position(source, settled, recorded, time, orjson.loads(identity))
            for source, settled, recorded, time, identity in rows
        }

    async def status(self, since: float) -> StoreStatus:
        """How each trigger stands, counting events since `since` (wall-clock seconds). What is staged counts at any age."""
        status = StoreStatus(positions=await self.positions())
        moment = timestamps([int(since * 1_000_000)])
        rows = int((await self._session.fetch("sizes"))[0][0])
        percent = min(100.0, 100.0 * COUNTED / max(rows, 1))
        status.estimated = percent < 100
        for name, state, count in await self._session.fetch("outcomes", percent, moment):
            trigger = status.triggers.setdefault(name, TriggerStatus())
            count = round(count * 100 / percent)
            if state == "processed":
                trigger.delivered = count
            else:
                trigger.cancelled = count
        for name, waiting, oldest, error in await self._session.fetch("backlog"):
            trigger = status.triggers.setdefault(name, TriggerStatus())
            trigger.staged, trigger.oldest_staged, trigger.last_error = waiting, oldest, error or ""
        for name, count, why, at in await self._session.fetch("failures", moment):
            trigger = status.triggers.setdefault(name, TriggerStatus())
            trigger.failed, trigger.last_failed_at = count, at
            trigger.last_error = trigger.last_error or why
        return status

    async def trees(self) -> dict[str, TreeStatus]:
        """The stores of files that were looked at."""
        rows = await self._session.fetch("stores_status")
        return {name: TreeStatus(seen_from, looked_at, entries) for name, seen_from, looked_at, entries in rows}

    async def close(self) -> None:
        """Close the connection; the next call makes another."""
        await self._session.close()
