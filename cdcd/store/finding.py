"""Finding deliveries in the event store: pages, counts, one of them whole.

The rule: an answer takes a bounded time whatever it is asked for. What an index answers is read along it; what none does (text in a
payload, say) is looked for row by row until the page is full or the time is over, and then it says how far it has come. The time begins
when there is something to look at, and one step is always taken: a connection that took long to make costs no answer its progress.

A few connections, made when they are needed, each used by one caller at a time.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import orjson
from psycopg.rows import TupleRow

from cdcd.store.arrays import texts, timestamps, uuids
from cdcd.store.connection import Session
from cdcd.store.walks import BEYOND, Filter, Span, first_id, known_ids, spans, to_text, whole

CONNECTIONS = 3
FIRST_STEP, LONGEST_STEP = 256, 10_000  # rows that are looked at together
STEP_SECONDS = 0.02  # that a step shall take


@dataclass(slots=True, frozen=True)
class Found:
    """A delivery as lists show it. Times are microseconds since the Unix epoch. `due`: when it is tried again, if it is the first of its
    lane."""

    id: str
    time: int
    type: str
    source: str
    subject: str
    trigger: str
    key: str
    status: str
    attempts: int
    remark: str
    created: int
    settled: int | None
    extensions: dict[str, str | int]
    due: int | None = None


@dataclass(slots=True, frozen=True)
class Tried:
    """An attempt. `at` is microseconds since the Unix epoch, `duration` milliseconds, `status` 0 when there was no answer."""

    number: int
    at: int
    duration: float
    status: int
    response: str
    error: str


@dataclass(slots=True, frozen=True)
class Place:
    """How a staged delivery stands. `before`: how many stand before it in its lane, counted up to `MOST_BEFORE`; `first` is the id of
    the first of those. `earlier`: attempts that the retry policy no longer counts."""

    lane: str | None
    due: int | None
    attempts: int
    error: str
    earlier: int
    before: int
    first: str | None


MOST_BEFORE = 1000


@dataclass(slots=True, frozen=True)
class Whole:
    """A delivery with everything that is known of it. Not `stored`: its data has no JSON form, or could not be stored. `data` is None
    then, and when it was not asked for. `url`: where an operator had it sent instead of to its trigger's webhook."""

    found: Found
    position: int
    stored: bool
    data: bytes | None
    url: str | None
    attempts: tuple[Tried, ...]
    place: Place | None


@dataclass(slots=True, frozen=True)
class Stretch:
    """What a walk found. `reached`: behind which id (newest first: below it) to go on, None when there is nothing more."""

    found: list[Found]
    reached: int | None


class Finder:
    """Raises StoreUnavailable, StoreRefused. May be used by any number of tasks."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn = dsn
        self._schema = schema
        self._free: list[Session] = []
        self._turns = asyncio.Semaphore(CONNECTIONS)

    async def find(
        self, wanted: Filter, limit: int, *, cursor: int | None = None, newest: bool = True, seconds: float | None = None
    ) -> Stretch:
        """Up to `limit` deliveries in order of time, behind the id `cursor`; looks for them for about so many `seconds`."""
        found: list[Found] = []
        async with self._session() as session:
            walk = _Walk(session, wanted, newest, seconds)
            async for rows in walk.pages(_from(wanted, cursor, newest), limit):
                found += rows
                if len(found) > limit:
                    break
            if len(found) > limit:
                found = found[:limit]
                last = known_ids([found[-1].id])[0]
                reached: int | None = last if newest else last + 1
            else:
                reached = walk.reached
            return Stretch(await _with_backlog(session, found), reached)

    async def count(self, wanted: Filter, most: int, *, seconds: float | None = None) -> tuple[int, bool]:
        """How many match, counted up to `most`; False when there may be more."""
        total = 0
        async with self._session() as session:
            walk = _Walk(session, wanted, True, seconds)
            async for count in walk.counts(_from(wanted, None, True), most):
                total += count
                if total > most:
                    return most, False
            return total, walk.reached is None

    async def whole(self, identity: str, *, with_data: bool = True) -> Whole | None:
        """One delivery; None when it is not there. Raises ValueError for what is no id."""
        number = known_ids([identity])[0]
        moment = (number >> 80) * 1000
        ids, times = uuids([to_text(number)]), timestamps([moment, moment + 1000])
        async with self._session() as session:
            rows = await session.look("delivery", ids, times, with_data)
            if not rows:
                return None
            *columns, position, stored, data, url = rows[0]
            tried = await session.look("attempts", ids, times)
            places = await session.fetch("place", ids, MOST_BEFORE)
        found = read_found(tuple(columns))
        place = None
        if places and found.status == "staged":
            lane, due, attempts, error, earlier, before, first = places[0]
            place = Place(lane, due, attempts, error or "", earlier, before, first)
        return Whole(found, position, stored, data, url, tuple(Tried(*row) for row in tried), place)

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        async with self._turns:
            session = self._free.pop() if self._free else Session(self._dsn, self._schema, "walking")
            try:
                yield session
            except BaseException:
                with contextlib.suppress(Exception):
                    await session.close()  # it may be in the middle of something
                raise
            self._free.append(session)

    async def close(self) -> None:
        """Close the connections; the next call makes others."""
        free, self._free = self._free, []
        for session in free:
            await session.close()


def _from(wanted: Filter, cursor: int | None, newest: bool) -> Span:
    span = whole(wanted.since, wanted.until)
    if cursor is None:
        return span
    if newest:
        return Span(span.low, min(span.high, cursor), span.since, span.until)
    return Span(max(span.low, cursor), span.high, span.since, span.until)


class _Walk:
    """One walk in steps. `reached` is None at its end, and otherwise where the time was over."""

    def __init__(self, session: Session, wanted: Filter, newest: bool, seconds: float | None) -> None:
        self._session = session
        self._wanted = wanted
        self._newest = newest
        self._statement = f"{wanted.walk}.{'newest' if newest else 'oldest'}"
        self._parameters = tuple(texts(value) if isinstance(value, list) else value for value in wanted.parameters())
        self._seconds = seconds
        self._step = FIRST_STEP if not wanted.text else FIRST_STEP // 8  # payloads may be large
        self.reached: int | None = None

    async def pages(self, span: Span, limit: int) -> AsyncIterator[list[Found]]:
        """What is found, a step at a time."""
        async for part in self._parts(span):
            rows = await self._look(self._statement, part, limit + 1)
            yield [read_found(row) for row in rows]

    async def counts(self, span: Span, most: int) -> AsyncIterator[int]:
        """How many are found, a step at a time."""
        async for part in self._parts(span):
            yield int((await self._look(f"{self._statement}.count", part, most + 1))[0][0])

    async def _parts(self, span: Span) -> AsyncIterator[Span]:
        if self._wanted.impossible:
            return
        days = [day for (day,) in await self._session.fetch("days")]
        ends, moved = None if self._seconds is None else time.monotonic() + self._seconds, False
        for part in spans(days, span, newest=self._newest):
            rest: Span | None = part
            while rest is not None:
                began = time.monotonic()
                if moved and ends is not None and began > ends:
                    self.reached = rest.high if self._newest else rest.low
                    return
                step, rest = (rest, None) if self._wanted.indexed else await self._cut(rest)
                yield step
                moved = True
                took = time.monotonic() - began
                if took < STEP_SECONDS / 2:
                    self._step = min(self._step * 2, LONGEST_STEP)
                elif took > STEP_SECONDS * 2:
                    self._step = max(self._step // 2, 16)

    async def _cut(self, span: Span) -> tuple[Span, Span | None]:
        """The next `_step` rows of it, and the rest."""
        rows = await self._look(f"{self._statement}.edge", span, self._step)
        if not rows:
            return span, None
        edge = known_ids([rows[0][0]])[0]
        if self._newest:
            return Span(edge, span.high, span.since, span.until), Span(span.low, edge, span.since, span.until)
        return Span(span.low, edge + 1, span.since, span.until), Span(edge + 1, span.high, span.since, span.until)

    async def _look(self, statement: str, span: Span, limit: int) -> list[TupleRow]:
        if span.low >= min(span.high, BEYOND):
            return []
        ids = uuids([to_text(span.low), to_text(span.high)])
        return await self._session.look(statement, ids, timestamps([span.since, span.until]), limit, *self._parameters)


async def _with_backlog(session: Session, found: list[Found]) -> list[Found]:
    """Those that are staged with what the backlog says of them."""
    staged = [one.id for one in found if one.status == "staged"]
    if not staged:
        return found
    waiting = {row[0]: row[1:] for row in await session.fetch("waiting", uuids(staged))}
    return [_waiting(one, waiting[one.id]) if one.id in waiting else one for one in found]


def _waiting(one: Found, row: TupleRow) -> Found:
    due, attempts, error = row
    return replace(one, due=due, attempts=attempts, remark=error or one.remark)


def read_found(row: TupleRow) -> Found:
    """A row of the columns that lists show."""
    *_, remark, created, settled, extensions = row
    identity, moment, kind, source, subject, trigger, key, status, attempts = row[:9]
    return Found(
        *(identity, moment, kind, source, subject, trigger, key, status, attempts),
        *(remark or "", created, settled, orjson.loads(extensions) if extensions else {}),
    )


def until_of(identity: int) -> float:
    """Seconds: everything later than this has been looked at when a walk (newest first) has reached this id."""
    return min(identity, first_id(1 << 53)) / (1 << 80) / 1000
