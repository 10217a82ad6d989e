"""Making a database that is being read ready for other triggers, before they count.

The rule: no row is missed that is committed behind the position that comes out of it. New tables are published (or get their triggers)
first; then whoever was writing to one of them is waited for, since what was written before is not told; only then is the position
taken.
"""

import asyncio
from collections.abc import Sequence

import structlog

from cdcd.changelog import install
from cdcd.changelog.log import ChangeLog
from cdcd.config.model import Capture, Config, Database
from cdcd.errors import SourceNotReady, SourceUnavailable
from cdcd.replication import publication
from cdcd.replication.publication import Name
from cdcd.replication.refusal import translated as refusals
from cdcd.replication.walsender import Connection, identify_system
from cdcd.replication.writers import mark, writers
from cdcd.sources.cuts import Cuts, Wants
from cdcd.sources.logged import ensure, find_logged, names_of
from cdcd.sources.opening import catalog_of, keep_in_step
from cdcd.sources.tables import find_tables
from cdcd.sources.translate import translated
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()

PATIENCE = 30.0  # seconds that whoever writes to a new table is waited for
SOONEST, LATEST = 0.02, 0.5  # seconds between looks


async def prepare(config: Config, cuts: Cuts, wants: Wants, database: Database) -> int:
    """See that what `wants` asks for comes from now on, beside what is wanted already; the position behind which all of it does: an
    LSN, or a number of the change log. `database`: where it is now, perhaps at another URL. Raises SourceNotReady, SourceUnavailable."""
    cuts.prepare(wants)
    if database.capture is Capture.TRIGGERS:
        return await log_changes(config, database, cuts.triggers, cuts.now.triggers)
    await publish(config, database, cuts.triggers)
    await cuts.reopened()
    with translated(database):
        async with catalog_of(database) as catalog:
            return await mark(catalog)


async def recognise(config: Config, cuts: Cuts, database: Database) -> None:
    """See that what is at the URL of `database` is what was read until now. Raises SourceNotReady, SourceUnavailable."""
    if not cuts.history:
        return
    with translated(database):
        if database.capture is Capture.TRIGGERS:
            async with catalog_of(database) as catalog:
                installed = await install.inspect(catalog, names_of(config))
                there = "" if installed is None else installed.log
        else:
            there = (await identify_system(database.url)).system_identifier
    if there != cuts.history:
        raise SourceNotReady(
            f"databases.{database.name}.url: that is another database than the one that is read, and its changes have other positions",
            hint="to read this one instead, give it another name; `cdcd setup --accept-gap` and a restart if it replaces the former",
        )


async def tidy(config: Config, cuts: Cuts) -> None:
    """Let no more be captured than what is wanted. Raises SourceNotReady, SourceUnavailable."""
    if cuts.database.capture is Capture.TRIGGERS:
        await log_changes(config, cuts.database, cuts.triggers, cuts.now.triggers)
    else:
        await publish(config, cuts.database, cuts.triggers)


async def publish(config: Config, database: Database, triggers: Sequence[Trigger], patience: float = PATIENCE) -> None:
    """Let the publications hold the tables of `triggers`; return when what is committed from now on is decoded with them. Raises
    SourceNotReady, SourceUnavailable."""
    with translated(database):
        async with catalog_of(database) as catalog:
            captured = await find_tables(catalog, config, database, triggers)
            new: set[Name] = set()
            for name, (tables, _) in captured.publications.items():
                state = await publication.inspect(catalog, name)
                new |= set(tables) - (state.tables if state is not None else frozenset())
            await keep_in_step(catalog, database, captured)
            if new:
                await _written(catalog, database, new, patience)


async def _written(catalog: Connection, database: Database, tables: set[Name], patience: float) -> None:
    """Wait for whoever has written to one of these tables."""
    loop = asyncio.get_running_loop()
    until, wait = loop.time() + patience, SOONEST
    before = await writers(catalog, tables)
    while left := before.keys() & (await writers(catalog, tables)).keys():
        if loop.time() >= until:
            who = ", ".join(sorted({before[each] for each in left}))
            raise SourceUnavailable(
                f"database {database.name!r}: a transaction that writes to {', '.join('.'.join(table) for table in sorted(tables))} has "
                f"been open for more than {patience:g} s ({who}): what it wrote already would be missed",
                hint="end it, or reload when it has ended",
            )
        await asyncio.sleep(wait)
        wait = min(wait * 1.5, LATEST)


async def log_changes(config: Config, database: Database, triggers: Sequence[Trigger], former: Sequence[Trigger]) -> int:
    """The same by triggers of the database, with the highest number that was given out: a trigger is made behind whoever was writing
    (it takes a lock), and up to that number is read only when nothing can appear there any more. What `former` do not want may have been
    captured once, and nobody misses what happened since."""
    with translated(database), refusals():
        async with catalog_of(database) as catalog:
            before = {each.info.full_name for each in (await find_logged(catalog, config, database, former)).wanted}
            logged = await find_logged(catalog, config, database, triggers)
            new = {each.info.full_name for each in logged.wanted} - before
            await ensure(catalog, config, database, logged, new)
            return await ChangeLog(catalog, names_of(config)).written()
