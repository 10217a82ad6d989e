"""Looks after a source that is being read: every half minute, whether publication and slot are still what they should be.

PostgreSQL 18 skips the changes of a missing publication in silence, and a table that appears later may match a trigger's
pattern. So this is asked of the catalog, while streaming, on a connection that is closed in between.
"""

import asyncio
from collections.abc import Sequence

import structlog

from cdcd.config.model import Config, Database
from cdcd.errors import CdcdError, SourceUnavailable
from cdcd.replication import publication, slot
from cdcd.sources.opening import connect, keep_in_step
from cdcd.sources.tables import find_tables
from cdcd.sources.translate import translated
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()

INTERVAL = 30.0  # seconds


async def look(config: Config, database: Database, triggers: Sequence[Trigger]) -> bool:
    """One look: False when the publication is gone, so that the stream must be opened anew. Raises what `translate` makes."""
    with translated(database):
        async with await connect(database) as catalog:
            if await publication.inspect(catalog, database.publication) is None:
                return False
            captured = await find_tables(catalog, config, database, triggers)
            for problem in captured.problems:
                log.error("source.problem", database=database.name, problem=problem.what, hint=problem.fix)
            await keep_in_step(catalog, database, captured)
            state = await slot.inspect(catalog, database.slot)
            if state is not None and state.wal_status == "unreserved":
                log.error("slot.about_to_be_lost", database=database.name, retained=state.retained_bytes)
            return True


async def watch(config: Config, database: Database, triggers: Sequence[Trigger]) -> None:
    """Look again and again; end by SourceUnavailable when the publication is gone. Trouble with looking is only told."""
    while True:
        await asyncio.sleep(INTERVAL)
        try:
            there = await look(config, database, triggers)
        except CdcdError as error:
            log.error("source.problem", database=database.name, problem=str(error), hint=error.hint)
            continue
        if not there:
            raise SourceUnavailable(
                f"database {database.name!r}: the publication {database.publication!r} was dropped while it was read",
                hint="it is made again if the role may; changes committed in between are reported as a gap",
            )
