"""The backlog as the dispatcher sees it: how much waits, and what of it may be sent now.

The rule: only the head of a lane carries `due_at`, so what stands behind a head that is not due costs a claim nothing. A claim
writes nothing: there is one owner of the store, and it names what it holds already (`exclude`). Whoever holds a delivery of a
lane must exclude all that it holds of this lane.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
from psycopg.rows import TupleRow

from cdcd.event import Delivery, Event
from cdcd.store.arrays import TimestampArray, timestamps, uuids
from cdcd.store.connection import Session, run

RUN = 64  # how many of one lane are claimed behind its head


@dataclass(slots=True, frozen=True)
class Claim:
    """What may be sent now, in order, and when (wall-clock seconds) to look again if nothing else happens."""

    deliveries: list[Delivery]
    next_due: float | None


class Backlog:
    """Reads of `pending` on a connection of their own. Not for use by two tasks at a time.

    Raises StoreUnavailable, StoreRefused.
    """

    def __init__(self, dsn: str, schema: str) -> None:
        self._session = Session(dsn, schema)

    async def counts(self) -> dict[str, int]:
        """How many deliveries are staged, by trigger."""
        return dict(await self._session.fetch("counts"))

    async def lanes(self, trigger: str, limit: int) -> dict[str, int] | None:
        """How many are staged in each lane of `trigger`, leaving out the unordered; None when the lanes are more than `limit`."""
        rows = await self._session.fetch("lanes", trigger, limit + 1)
        return None if len(rows) > limit else dict(rows)

    async def paused(self) -> set[str]:
        """The triggers of which nothing is to be sent until they are resumed."""
        return {row[0] for row in await self._session.fetch("paused")}

    async def claim(self, trigger: str, exclude: Sequence[str], limit: int, max_bytes: int, now: float) -> Claim:
        """Up to `limit` staged deliveries of `trigger` that may be sent, of about `max_bytes` together (but at least one).

        Due heads come first, in the order of their due time. When they are fewer than `limit`, those behind them follow, lane
        by lane and in order, up to `RUN` of a lane. `exclude` are the ids of what the caller holds.
        """
        moment = timestamps([int(now * 1_000_000)])
        async with self._session.pipeline() as connection:
            claimed = await run(connection, "claim", trigger, uuids(exclude), moment, limit, RUN)
            upcoming = await run(connection, "next_due", trigger, moment)
        rows = _within(await claimed.fetchall(), max_bytes)
        next_due = await upcoming.fetchone()
        found = await self._events(rows) if rows else {}
        deliveries = [_delivery(trigger, row, found.get(row[0])) for row in rows]
        return Claim(deliveries, float(next_due[0]) if next_due else None)

    async def close(self) -> None:
        """Close the connection; the next call makes another."""
        await self._session.close()

    async def _events(self, rows: Sequence[TupleRow]) -> dict[str, TupleRow]:
        times = [row[1] for row in rows]
        found = await self._session.fetch("events", uuids([row[0] for row in rows]), timestamps(times), bounds(times))
        return {row[0]: row for row in found}


def bounds(times: Iterable[int]) -> TimestampArray:
    """The first and the last of `times` (microseconds), for leaving out partitions."""
    times = list(times)
    return timestamps([min(times), max(times)])


def _within(rows: list[TupleRow], max_bytes: int) -> list[TupleRow]:
    total = 0
    for number, row in enumerate(rows):
        total += row[4]
        if total > max_bytes and number:
            return rows[:number]
    return rows


def _delivery(trigger: str, row: TupleRow, found: TupleRow | None) -> Delivery:
    identity, time, lane, attempts, _, also, earlier, again_since = row
    if found is None:
        event, since = Event(type="", source="", subject="", key="", time=time, data=b""), 0.0
        error = "its row in event_logs is gone"
    else:
        _, type_, source, subject, key, position, data, extensions, since = found
        event = Event(type_, source, subject, key, time, data, position, orjson.loads(extensions) if extensions else None)
        error = ""
    since = again_since or since
    return Delivery(
        *(identity, trigger, event, lane), also=also, attempts=attempts, staged=True, since=since, error=error, earlier=earlier
    )
