"""What followed from a delivery: deliveries of the events that its answer or its failure queued, and its replays."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from cdcd.store.arrays import texts, timestamps
from cdcd.store.connection import Session
from cdcd.store.finding import Found, read_found

MOST = 100  # deliveries


@dataclass(slots=True, frozen=True)
class Waiting:
    """A custom event that is queued and no delivery yet. `due` is microseconds since the Unix epoch."""

    id: str
    type: str
    due: int


class Causes:
    """Raises StoreUnavailable, StoreRefused. May be used by any number of tasks."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._session = Session(dsn, schema)
        self._turn = asyncio.Lock()

    async def caused(self, identity: str, time: int) -> list[Found]:
        """The first `MOST` deliveries that followed from the one with this id, whose event happened at `time` (microseconds)."""
        async with self._turn:
            rows = await self._session.fetch("caused", identity, timestamps([time]), MOST)
        return [read_found(row) for row in rows]

    async def queued(self, ids: Sequence[str]) -> list[Waiting]:
        """Which of these custom events wait in the queue."""
        async with self._turn:
            return [Waiting(*row) for row in await self._session.fetch("caused_and_queued", texts(list(ids)))]

    async def close(self) -> None:
        """Close the connection; the next call makes another."""
        await self._session.close()
