"""Which triggers count, as the store keeps it: so that a start without one of them knows what it was owed."""

import asyncio
from collections.abc import Iterable, Mapping

from cdcd.store.arrays import words
from cdcd.store.connection import Session
from cdcd.store.writer import Effect


class InForce:
    """A connection of its own. Raises StoreUnavailable, StoreRefused."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._session = Session(dsn, schema)
        self._turn = asyncio.Lock()

    async def all(self) -> dict[str, str]:
        """Their definitions (JSON), by name."""
        async with self._turn:
            return dict(await self._session.fetch("in_force"))

    async def note(self, definitions: Mapping[str, str]) -> None:
        """These count too, and are defined like this."""
        async with self._turn:
            await self._session.execute("in_force_note", words(list(definitions)), words(list(definitions.values())))

    async def close(self) -> None:
        """Close the connection; the next call makes another."""
        async with self._turn:
            await self._session.close()


def forgotten(names: Iterable[str]) -> Effect:
    """The statement that says that nothing is owed to these any more but what is in the backlog."""
    return Effect("in_force_forget", (words(list(names)),))
