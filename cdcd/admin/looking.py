"""What `cdcd status` and `cdcd check` say, for whoever asks the running daemon: looked at once for all who ask at about the same time.

The rule: looking takes connections to every database, so nobody can make it happen more often than it is worth: an answer is good for
some seconds, and while one is looked for, everybody waits for that one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from cdcd.config.model import Config, Database
from cdcd.errors import SourceUnavailable
from cdcd.replication.tables import TableInfo, resolve_tables
from cdcd.sources.opening import catalog_of
from cdcd.sources.tables import excluded_schemas
from cdcd.sources.translate import translated
from cdcd.upkeep.check import check
from cdcd.upkeep.finding import Section
from cdcd.upkeep.status import Report, status

T = TypeVar("T")

STATUS_FOR, CHECK_FOR, TABLES_FOR = 3.0, 10.0, 10.0  # seconds for which an answer is good
PATIENCE = 5.0  # seconds that a database is given to tell its tables


@dataclass(slots=True, frozen=True)
class Looked(Generic[T]):
    """What was found, and when (wall-clock seconds)."""

    at: float
    found: T


class _Once(Generic[T]):
    def __init__(self, look: Callable[[], Awaitable[T]], good_for: float) -> None:
        self._look = look
        self._good_for = good_for
        self._until = float("-inf")
        self._last: Looked[T] | None = None
        self._task: asyncio.Task[Looked[T]] | None = None

    async def get(self) -> Looked[T]:
        if self._last is not None and time.monotonic() < self._until:
            return self._last
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await asyncio.shield(self._task)

    async def _run(self) -> Looked[T]:
        at = time.time()
        self._last = Looked(at, await self._look())
        self._until = time.monotonic() + self._good_for
        return self._last

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))


class Looking:
    """A part. `config` gives the configuration in force."""

    name = "looking"

    def __init__(self, config: Callable[[], Config]) -> None:
        self._status: _Once[Report] = _Once(lambda: status(config(), time.time() - config().eventing.retention), STATUS_FOR)
        self._check: _Once[Sequence[Section]] = _Once(lambda: check(config()), CHECK_FOR)
        self._config = config
        self._tables: dict[str, _Once[Sequence[TableInfo]]] = {}

    async def status(self) -> Looked[Report]:
        """How all of it stands; counts reach back as far as `eventing.retention`."""
        return await self._status.get()

    async def check(self) -> Looked[Sequence[Section]]:
        """What is in the way, with what mends it."""
        return await self._check.get()

    async def tables(self, name: str) -> Looked[Sequence[TableInfo]]:
        """All tables of a database of the configuration that a trigger can name, by name. Raises SourceUnavailable, SourceNotReady."""
        gone = [self._tables.pop(each) for each in self._tables.keys() - self._config().databases.keys()]
        for each in gone:
            await each.stop()
        known = self._tables.setdefault(name, _Once(lambda: self._look(self._config().databases[name]), TABLES_FOR))
        return await known.get()

    async def _look(self, database: Database) -> Sequence[TableInfo]:
        try:
            async with asyncio.timeout(PATIENCE):
                with translated(database):
                    async with catalog_of(database) as catalog:
                        excluded = excluded_schemas(self._config(), database)
                        return await resolve_tables(catalog, lambda _schema, _name: True, excluded)
        except TimeoutError:
            raise SourceUnavailable(f"database {database.name!r}: no answer in {PATIENCE:g} s") from None

    async def start(self) -> None:
        """Nothing: it looks when it is asked."""

    async def stop(self) -> None:
        """Break off what is under way."""
        await self._status.stop()
        await self._check.stop()
        for each in self._tables.values():
            await each.stop()
