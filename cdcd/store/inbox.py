"""The queue of custom events: how they come in, and which of them are due.

The rule: an event is accepted when `put` has returned, and leaves `queued` in the commit that settles its last delivery.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import orjson

from cdcd.errors import StoreUnavailable
from cdcd.event import Queued
from cdcd.store.arrays import integers, jsons, texts, timestamps, words
from cdcd.store.connection import Session, translated
from cdcd.store.writer import Effect

BATCH = 500  # events that are read at once, of those for now and of scheduled ones each
BATCH_BYTES = 16 * 1024 * 1024  # of their data


@dataclass(slots=True, frozen=True)
class Due:
    """Events that are due, in order, and when (wall-clock seconds) the first of the others will be: one that is due already is just
    being cancelled or moved by somebody.

    `oversize`: those whose data was left out since it is too large, by id, and how many bytes it has. `last`: the highest number of an
    event for now that is among them; 0: none.
    """

    events: list[Queued]
    next_due: float | None
    oversize: Mapping[str, int]
    last: int = 0


class Inbox:
    """A connection to `queued`. Not for use by two tasks at a time. Raises StoreUnavailable, StoreRefused, RowRefused."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._session = Session(dsn, schema)

    async def put(self, events: Sequence[Queued]) -> set[str]:
        """Make them durable, and tell the daemon. The ids of those that are new; the others were queued before."""
        new = await self._put(events)
        await self._session.fetch("wake")
        return new

    async def put_first(self, events: Sequence[Queued]) -> set[str]:
        """As `put`, for the daemon, which need not be told, and for events that nobody has tried to put before."""
        if any(event.given for event in events):
            return await self._put(events)
        await self._session.execute("enqueue_first", *_columns(events))
        return {event.id for event in events}

    async def _put(self, events: Sequence[Queued]) -> set[str]:
        effect = enqueue(events)
        return {row[0] for row in await self._session.fetch(effect.statement, *effect.parameters)}

    async def take(self, now: float, largest: int, held: Sequence[str] = (), floor: int = 0) -> Due:
        """What is due at `now` (wall-clock seconds), but for `held` (ids): too late to cancel it from here on. `largest`: bytes.
        `floor`: up to this number there is nothing for now that is not held."""
        moment = timestamps([int(now * 1_000_000)])
        rows = await self._session.fetch("queue_take", moment, BATCH, BATCH_BYTES, largest, texts(list(held)), floor)
        upcoming = [] if rows else await self._session.fetch("queue_next", moment, texts(list(held)))
        events: list[Queued] = []
        oversize: dict[str, int] = {}
        last = 0
        for identity, due, kind, source, subject, key, data, extensions, size, number, at_once in rows:
            last = max(last, number if at_once else 0)
            if data is None:
                oversize[identity] = size
                data = b'{"bytes":%d}' % size
            further = orjson.loads(extensions) if extensions else None
            events.append(Queued(identity, kind, source, due, data, subject, key, further, at_once=at_once, number=number))
        return Due(events, float(upcoming[0][0]) if upcoming else None, oversize, last)

    async def notifies(self) -> bool:
        """Whether whoever queues may notify: not where transactions can be prepared for a commit in two phases."""
        return bool((await self._session.fetch("queue_notifies"))[0][0])

    async def stay_awake(self) -> bool:
        """Tell those who queue that they need not notify, until `sleep` or the end of the connection. False: not just now."""
        return bool((await self._session.fetch("queue_awake"))[0][0])

    async def sleep(self) -> None:
        """They shall notify again. The transactions that are open now (`writers`) may not."""
        await self._session.fetch("queue_sleep")

    async def left(self, number: int, due: int, held: Sequence[str]) -> bool:
        """Whether one is left, beside `held` (ids), of the events up to `number` that are for now or were due at `due` (microseconds)."""
        return bool((await self._session.fetch("queue_left", number, timestamps([due]), texts(list(held))))[0][0])

    async def written(self) -> int:
        """The highest number given out so far."""
        return int((await self._session.fetch("queue_written"))[0][0])

    async def writers(self) -> list[tuple[str | None, str | None]]:
        """The transactions that have written to the queue and have not ended: names of those that run, or of what was prepared."""
        return [(session, prepared) for session, prepared in await self._session.fetch("queue_writers")]

    async def wakes(self) -> AsyncIterator[None]:
        """Once now, and then whenever something may have been queued. Ends by StoreUnavailable when the connection does."""
        connection = await self._session.connection()
        with translated():
            channel = (await self._session.fetch("queue_channel"))[0][0]
            await connection.execute(f'LISTEN "{channel}"'.encode())
            yield
            async for _ in connection.notifies():
                yield
        raise StoreUnavailable("the event store's connection ended")

    async def close(self) -> None:
        """Close the connection; the next call makes another."""
        await self._session.close()


def enqueue(events: Sequence[Queued]) -> Effect:
    """The statement that queues these, for a commit of the recorder."""
    return Effect("enqueue", (*_columns(events), integers([int(event.given) for event in events])))


def _columns(events: Sequence[Queued]) -> tuple[object, ...]:
    return (
        texts([event.id for event in events]),
        timestamps([event.due for event in events]),
        words([event.type for event in events]),
        words([event.source for event in events]),
        words([event.subject for event in events]),
        texts([event.key for event in events]),
        jsons([event.data for event in events]),
        jsons([b"" if event.extensions is None else orjson.dumps(event.extensions) for event in events]),
        integers([int(event.at_once) for event in events]),
        integers([len(event.data) for event in events]),
    )


def dequeue(events: Sequence[str]) -> Effect:
    """The statement that takes these (ids) from the queue, for the commit that settles their deliveries."""
    return Effect("dequeue", (texts(events),))
