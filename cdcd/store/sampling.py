"""What of the store is looked at again and again while somebody watches: bounded, however much waits."""

from collections.abc import Sequence
from dataclasses import dataclass

from cdcd.store.arrays import texts
from cdcd.store.connection import Session


@dataclass(slots=True, frozen=True)
class QueueSize:
    """Custom events: due or being delivered, and for later. Counted up to 10,000 in all; `many`: there are more."""

    queued: int
    scheduled: int
    many: bool


class StoreSample:
    """On a connection of its own. Not for use by two tasks at a time. Raises StoreUnavailable, StoreRefused."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._session = Session(dsn, schema)

    async def oldest(self, triggers: Sequence[str]) -> dict[str, float]:
        """Of each of these triggers that has a backlog, the event's time of the oldest in it, wall-clock seconds."""
        if not triggers:
            return {}
        rows = await self._session.fetch("oldest_staged", texts(list(triggers)))
        return {name: oldest for name, oldest in rows if oldest is not None}

    async def queue(self) -> QueueSize:
        """How many custom events there are."""
        [(queued, scheduled, many)] = await self._session.fetch("queue_size")
        return QueueSize(queued, scheduled, many)

    async def close(self) -> None:
        """Close the connection; the next call makes another."""
        await self._session.close()
