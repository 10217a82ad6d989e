"""Writes one group of records in one commit, and can do it again without doing anything twice.

The live path is one statement and one round trip. A group that touches the backlog is a transaction sent as one pipeline.
Every statement of both is written so that a second run of the same group changes nothing: the answer to a commit may be
lost, and the recorder then writes the group again. What is nearly always new (`record`, `stage`) is inserted without looking
for conflicts first, and written by the statement that looks (`..._again`) when there was one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from cdcd.errors import StoreUnavailable
from cdcd.event import Position, Record
from cdcd.store import group
from cdcd.store.connection import Connection, connect, run, translate
from cdcd.store.ownership import Ownership

NEVER_MADE_BEFORE = -366  # days from today: older events go to the default partition, so one odd clock makes no thousand tables
NEVER_MADE_AFTER = 3
POSTPONED = 60.0  # seconds until a partition that could not be made is asked for again


@dataclass(slots=True, frozen=True)
class Effect:
    """A further statement of `queries.sql` that a commit carries: what made the records, or what follows from them. Written again
    it must change nothing."""

    statement: str
    parameters: tuple[object, ...]


class Writer:
    """The recorder's connection. Not for use by two tasks at a time."""

    def __init__(self, dsn: str, schema: str, ownership: Ownership) -> None:
        self._dsn = dsn
        self._schema = schema
        self._ownership = ownership
        self._connection: Connection | None = None
        self._days: set[int] = set()
        self._postponed: dict[int, float] = {}  # day: when to ask for its partition again

    async def open(self) -> Connection:
        """The connection, made anew and owning the store when there was none."""
        if self._connection is None:
            connection = await connect(self._dsn, self._schema)
            try:
                await self._ownership.take(connection)
                self._days = {int(day) for (day,) in await (await run(connection, "days")).fetchall()}
            except BaseException as error:
                await connection.close()
                if isinstance(error, psycopg.Error | OSError):
                    raise translate(error) from error
                raise
            self._connection = connection
        return self._connection

    async def write(
        self, records: Sequence[Record], positions: Sequence[Position], now: float, effects: Sequence[Effect] = ()
    ) -> None:
        """Commit all of it. StoreUnavailable: unknown whether it is committed, write it again. RowRefused: nothing is."""
        connection = await self.open()
        try:
            if missing := group.days(records) - self._days:
                await self._make_days(connection, missing, now)
            if group.live_only(records) and (records or positions):
                parameters = group.live_parameters(records, positions)
                try:
                    await _write_live(connection, "record", parameters, effects)
                except psycopg.errors.UniqueViolation:
                    await _write_live(connection, "record_again", parameters, effects)
            else:
                rows = group.fold(records)
                try:
                    await self._write_mixed(connection, "stage", rows, positions, effects, now)
                except psycopg.errors.UniqueViolation:
                    await self._write_mixed(connection, "stage_again", rows, positions, effects, now)
        except (psycopg.Error, OSError) as error:
            translated = translate(error)
            if isinstance(translated, StoreUnavailable):
                await self.close()
            raise translated from error

    async def _write_mixed(
        self,
        connection: Connection,
        stage: str,
        rows: group.Group,
        positions: Sequence[Position],
        effects: Sequence[Effect],
        now: float,
    ) -> None:
        async with connection.pipeline(), connection.transaction():
            if rows.final or rows.tried or positions:
                await run(connection, "record_again", *group.final_parameters(rows, positions))
            if rows.staged:
                await run(connection, stage, *group.stage_parameters(rows.staged))
            if rows.again:
                await run(connection, "again", *group.again_parameters(rows.again))
            if rows.finished:
                finish = group.finish_parameters(rows.finished)
                await run(connection, "finish", *finish)
                await run(connection, "leave", finish[0])
            # Also for what was staged behind another of this group: that one may have been in event_logs already, and final, or gone.
            behind = [*group.behind(rows.staged), *group.behind(rows.again)]
            if (promote := group.promote_parameters([*rows.finished, *behind], now)) is not None:
                await run(connection, "promote", *promote)
            if rows.restaged:
                await run(connection, "restage", *group.restage_parameters(rows.restaged))
            for effect in effects:
                await run(connection, effect.statement, *effect.parameters)

    async def _make_days(self, connection: Connection, days: set[int], now: float) -> None:
        """Partitions for events of other days. When one cannot be made now, the default partition takes the rows."""
        for day in sorted(days):
            if self._postponed.get(day, now) > now:
                continue
            if NEVER_MADE_BEFORE <= day - int(now // 86400) <= NEVER_MADE_AFTER:
                try:
                    await run(connection, "make_day", day)
                except psycopg.errors.LockNotAvailable:
                    self._postponed[day] = now + POSTPONED
                    continue
            self._days.add(day)

    async def keep(self) -> None:
        """Own the store, with a new connection if the old one broke. StoreUnavailable, StoreRefused."""
        connection = await self.open()
        try:
            await run(connection, "epoch")
        except (psycopg.Error, OSError) as error:
            await self.close()
            raise translate(error) from error

    async def compact(self) -> bool:
        """Rewrite `positions` to its newest rows; False when somebody was reading it, and nothing was done."""
        connection = await self.open()
        try:
            async with connection.transaction():
                await run(connection, "compact_timeout")
                await run(connection, "compact_lock")
                rows = await (await run(connection, "compact_read")).fetchall()
                await run(connection, "compact_empty")
                for row in rows:
                    await run(connection, "compact_write", *row)
        except psycopg.errors.LockNotAvailable:
            return False
        except (psycopg.Error, OSError) as error:
            await self.close()
            raise translate(error) from error
        return True

    async def close(self) -> None:
        """Close the connection, which gives up the store."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def _write_live(connection: Connection, statement: str, parameters: Sequence[object], effects: Sequence[Effect]) -> None:
    """One statement and one round trip; with effects a transaction, as one pipeline."""
    if not effects:
        await run(connection, statement, *parameters)
        return
    async with connection.pipeline(), connection.transaction():
        await run(connection, statement, *parameters)
        for effect in effects:
            await run(connection, effect.statement, *effect.parameters)
