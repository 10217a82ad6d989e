"""Looks after a source that is being read: every half minute, whether publications and slot are still what they should be.

PostgreSQL 18 skips the changes of a missing publication in silence, and a table that appears later may match a trigger's
pattern. So this is asked of the catalog, while streaming, on a connection that is closed in between.
"""

import asyncio
from collections.abc import Callable

import structlog

from cdcd.config.model import Config
from cdcd.errors import CdcdError, SourceUnavailable
from cdcd.replication import slot
from cdcd.sources.cuts import Cuts
from cdcd.sources.opening import catalog_of, keep_in_step, publications
from cdcd.sources.tables import find_tables
from cdcd.sources.translate import translated

log = structlog.get_logger()

INTERVAL = 30.0  # seconds
KEPT = 16 * 1024 * 1024  # bytes of confirmed WAL that the server may keep until it lets go of it by itself
RELEASES, RELEASE_PAUSE = 10, 0.5  # how often it is made to, and seconds in between


class Watch:
    """Of one source. `intact` is an LSN up to which the publications are known to have been there all the time."""

    def __init__(self, config: Config, cuts: Cuts, interval: float = INTERVAL) -> None:
        self.intact = 0
        self._config = config
        self._cuts = cuts
        self._interval = interval
        self._told: set[tuple[str, str]] = set()
        self._trouble = ""

    async def look(self, reading: str) -> bool:
        """One look: False when the publications are not those that are being read (`Opened.identity`), so that the stream must
        be opened anew. Raises what `translate` makes."""
        database = self._cuts.database
        with translated(database):
            async with catalog_of(database) as catalog:
                lsn = await slot.flushed_lsn(catalog)
                captured = await find_tables(catalog, self._config, database, self._cuts.triggers)
                if await publications(catalog, captured) != reading:
                    return False
                self.intact = lsn
                self._tell({(problem.what, problem.fix) for problem in captured.problems})
                await keep_in_step(catalog, database, captured)
                state = await slot.inspect(catalog, database.slot)
                if state is not None and state.wal_status == "unreserved":
                    log.error("slot.about_to_be_lost", database=database.name, retained=state.retained_bytes)
                return True

    async def run(self, reading: str) -> None:
        """Look again and again; end by SourceUnavailable when a publication is gone. Trouble with looking is only told."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                there = await self.look(reading)
            except CdcdError as error:
                if str(error) != self._trouble:
                    log.error("source.problem", database=self._cuts.database.name, problem=str(error), hint=error.hint)
                self._trouble = str(error)
                continue
            self._trouble = ""
            if not there:
                raise SourceUnavailable(
                    f"database {self._cuts.database.name!r}: a publication was dropped while it was read",
                    hint="it is made again if the role may; changes committed in between are reported as a gap",
                )

    async def release(self, confirm: Callable[[int], None]) -> int:
        """See that the server lets go of the WAL that is confirmed; returns the LSN from which it keeps some.

        Where it keeps more than `KEPT`, it is made to note what transactions there are, a few times: it lets go once a position
        behind such a note is confirmed, which `confirm` is asked for. A transaction that is open for long is waited for by nobody.
        """
        restart = 0
        with translated(self._cuts.database):
            async with catalog_of(self._cuts.database) as catalog:
                for _ in range(RELEASES):
                    state = await slot.inspect(catalog, self._cuts.database.slot)
                    if state is None or state.restart_lsn is None or state.confirmed_flush is None:
                        return restart
                    restart = state.restart_lsn
                    if state.confirmed_flush - restart <= KEPT:
                        return restart
                    confirm(await slot.note_transactions(catalog))
                    await asyncio.sleep(RELEASE_PAUSE)
        return restart

    def _tell(self, problems: set[tuple[str, str]]) -> None:
        """Log what is new; what stays wrong is told once."""
        for what, fix in sorted(problems - self._told):
            log.error("source.problem", database=self._cuts.database.name, problem=what, hint=fix)
        self._told = problems
