"""What operators did and do, as the store keeps it: one row an action, and the statements that go with what it changes.

The rule: the progress of a long operation is written in the commit of what it did, so that after a `kill -9` it goes on behind the last
delivery that it dealt with.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from psycopg.rows import TupleRow

from cdcd.event import Delivery, Event, Status
from cdcd.store import group
from cdcd.store.arrays import timestamps, uuids
from cdcd.store.connection import Session
from cdcd.store.finding import Found
from cdcd.store.pending import bounds
from cdcd.store.walks import LATEST
from cdcd.store.writer import Effect

SLICE_BYTES = 4 * 1024 * 1024  # of compressed data that is in memory at a time
_LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"


@dataclass(slots=True)
class Operation:
    """One action of an operator. `filter` and `options` are as they were asked for. `total` is how many the filter selected at the start,
    at least so many unless `exact`. `done`, `skipped` (nothing was to be done for it) and `failed` count deliveries. `state`: running,
    done, stopped, failed. `remark` says in words what is amiss, or what it waits for. Times are microseconds since the Unix epoch."""

    id: str
    action: str
    filter: Mapping[str, Any]
    options: Mapping[str, Any]
    who: str
    state: str = "running"
    total: int = 0
    exact: bool = True
    done: int = 0
    skipped: int = 0
    failed: int = 0
    reached: str | None = None
    remark: str = ""
    started: int = 0
    ended: int | None = None


@dataclass(slots=True)
class Subject:
    """A delivery that an operator means, as the store has it now. `delivery.lane` and `also` are those of the backlog, where it is there.
    `first`: it is the first of its lane. `url`: it was sent there instead of to its trigger's webhook."""

    delivery: Delivery
    status: Status
    remark: str
    first: bool = False
    url: str | None = None

    @property
    def storable(self) -> bool:
        """Whether the store has its data."""
        return bool(self.delivery.event.data)


@dataclass(slots=True, frozen=True)
class Paused:
    """A trigger that is paused. `since`: wall-clock seconds."""

    trigger: str
    since: float
    who: str


@dataclass(slots=True)
class OperationStore:
    """A connection of its own. Not for use by two tasks at a time. Raises StoreUnavailable, StoreRefused."""

    dsn: str = field(repr=False)
    schema: str = ""
    _session: Session = field(init=False)

    def __post_init__(self) -> None:
        self._session = Session(self.dsn, self.schema)

    async def subjects(self, found: Sequence[Found]) -> AsyncIterator[list[Subject]]:
        """These as they are now, in their order, so many at a time that their data fits memory. Those that are gone are left out."""
        if not found:
            return
        ids, times = uuids([one.id for one in found]), [one.time for one in found]
        weights: dict[str, int] = dict(await self._session.fetch("weights", ids, timestamps(times), bounds(times)))
        part: list[Found] = []
        size = 0
        for one in found:
            weight = weights.get(one.id, 0)
            if part and size + weight > SLICE_BYTES:
                yield await self._subjects(part)
                part, size = [], 0
            part.append(one)
            size += weight
        yield await self._subjects(part)

    async def _subjects(self, found: Sequence[Found]) -> list[Subject]:
        times = [one.time for one in found]
        rows = await self._session.fetch("subjects", uuids([one.id for one in found]), timestamps(times), bounds(times))
        by_id = {row[0]: _subject(row) for row in rows}
        return [by_id[one.id] for one in found if one.id in by_id]

    async def known(self, deliveries: Sequence[Delivery]) -> set[str]:
        """The ids of those that the store has already."""
        if not deliveries:
            return set()
        times = [delivery.event.time for delivery in deliveries]
        ids = uuids([delivery.id for delivery in deliveries])
        return {row[0] for row in await self._session.fetch("known", ids, timestamps(times), bounds(times))}

    async def operations(self, limit: int, before: tuple[int, str] | None = None, *, running: bool = False) -> list[Operation]:
        """Newest first, behind the place (started, id)."""
        moment, identity = before or (LATEST, _LAST)
        rows = await self._session.fetch("operations", timestamps([moment]), uuids([identity]), running, limit)
        return [_operation(row) for row in rows]

    async def get(self, identity: str) -> Operation | None:
        """One of them."""
        rows = await self._session.fetch("operation", uuids([identity]))
        return _operation(rows[0]) if rows else None

    async def paused(self) -> list[Paused]:
        """The triggers that are paused."""
        return [Paused(*row) for row in await self._session.fetch("paused")]

    async def close(self) -> None:
        """Close the connection; the next call makes another."""
        await self._session.close()


def begun(operation: Operation) -> Effect:
    """It is written down."""
    return Effect(
        "operation_begun",
        (
            *(uuids([operation.id]), operation.action, orjson.dumps(operation.filter).decode()),
            *(orjson.dumps(operation.options).decode(), operation.who, operation.state, operation.total, operation.exact),
            *(operation.done, operation.remark),
        ),
    )


def progressed(operation: Operation) -> Effect:
    """How far it has come."""
    reached = uuids([operation.reached]) if operation.reached else None
    return Effect(
        "operation_progress",
        (uuids([operation.id]), operation.done, operation.skipped, operation.failed, reached, operation.remark),
    )


def ended(operation: Operation) -> Effect:
    """It is over, as its `state` and `remark` say."""
    return Effect("operation_ended", (uuids([operation.id]), operation.state, operation.remark))


def pausing(trigger: str, who: str) -> Effect:
    """A trigger is paused."""
    return Effect("pause", (trigger, who))


def resuming(trigger: str) -> Effect:
    """A trigger goes on."""
    return Effect("resume", (trigger,))


def redirecting(deliveries: Sequence[str], url: str, operation: str) -> Effect:
    """These (ids) are sent to `url`."""
    return Effect("redirect", (uuids(deliveries), [url] * len(deliveries), uuids([operation])))


def cancelling(deliveries: Sequence[Delivery], why: str, now: float) -> list[Effect]:
    """Staged deliveries become `cancelled`: for those that no dispatcher knows."""
    if not deliveries:
        return []
    fates = [group.Fate(delivery, True, Status.CANCELLED, delivery.attempts, 0.0, why) for delivery in deliveries]
    finish = group.finish_parameters(fates)
    effects = [Effect("finish", finish), Effect("leave", (finish[0],))]
    if (promote := group.promote_parameters(fates, now)) is not None:
        effects.append(Effect("promote", promote))
    return effects


def _operation(row: TupleRow) -> Operation:
    identity, action, wanted, options, *rest = row
    return Operation(identity, action, orjson.loads(wanted), orjson.loads(options), *rest)


def _subject(row: TupleRow) -> Subject:
    identity, time, kind, source, subject, trigger, key, status, attempts, remark, position, data, extensions = row[:13]
    lane, also, first, tries, error, url = row[13:]
    event = Event(kind, source, subject, key, time, data or b"", position, orjson.loads(extensions) if extensions else None)
    staged = status == Status.STAGED
    delivery = Delivery(identity, trigger, event, lane, also=also, attempts=tries if staged and tries is not None else attempts)
    return Subject(delivery, Status(status), (error if staged else remark) or "", staged and bool(first), url)
