"""Custom events for later: which there are, taking one back, moving one to another time.

An event that is due is on its way (`taken`) from the moment that the daemon has read it, and can be neither taken back nor moved.
"""

from dataclasses import dataclass
from enum import StrEnum

from cdcd.store.arrays import timestamps
from cdcd.store.connection import Session


@dataclass(slots=True, frozen=True)
class Scheduled:
    """A custom event for later. Times are microseconds since the Unix epoch; `seq` orders those that are due at the same time."""

    id: str
    due: int
    seq: int
    type: str
    source: str
    subject: str
    key: str | None
    queued: int


class Found(StrEnum):
    """What became of a wish to take back or move an event."""

    DONE = "done"
    ON_ITS_WAY = "on its way"
    UNKNOWN = "unknown"


class Schedule:
    """A connection of its own. Not for use by two tasks at a time. Raises StoreUnavailable, StoreRefused, RowRefused."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._session = Session(dsn, schema)

    async def list(self, after: tuple[int, int], kind: str, limit: int) -> list[Scheduled]:
        """Those behind the place `after` (due, seq), of the type `kind` or, when it is "", of any; at most `limit`."""
        due, seq = after
        rows = await self._session.fetch("scheduled", timestamps([due]), seq, kind, limit)
        return [Scheduled(*row) for row in rows]

    async def cancel(self, event: str) -> Found:
        """Take it back."""
        return await self._done("cancel_scheduled", event)

    async def move(self, event: str, due: int) -> Found:
        """Move it to `due`; the past means now."""
        return await self._done("move_scheduled", event, timestamps([due]))

    async def _done(self, statement: str, event: str, *parameters: object) -> Found:
        if (await self._session.fetch(statement, event, *parameters))[0][0]:
            return Found.DONE
        return Found.ON_ITS_WAY if (await self._session.fetch("scheduled_known", event))[0][0] else Found.UNKNOWN

    async def close(self) -> None:
        """Close the connection; the next call makes another."""
        await self._session.close()
