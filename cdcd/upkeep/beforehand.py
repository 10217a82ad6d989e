"""The look before anything is made: what `cdcd setup`, or the first `cdcd run`, would be refused half-way is refused before the
first change, so that a refusal leaves nothing behind.
"""

import asyncio
from collections.abc import Sequence

from cdcd.config.model import Capture, Config, Database
from cdcd.errors import SourceNotReady, TransientError
from cdcd.replication import publication, slot
from cdcd.replication.errors import NotPermitted
from cdcd.replication.refusal import translated as refusals
from cdcd.replication.walsender import Connection, identify_system
from cdcd.sources.opening import connect, refuse
from cdcd.sources.tables import Captured, find_tables
from cdcd.sources.translate import SETUP, translated
from cdcd.store.standing import look
from cdcd.triggers.trigger import Trigger
from cdcd.upkeep.check import capturing
from cdcd.upkeep.home import find_home
from cdcd.upkeep.logged import look_at
from cdcd.upkeep.provider import provider_of
from cdcd.upkeep.server import address
from cdcd.upkeep.slots import wrong_slot

REACH = 15.0  # seconds that the look before a first run may take for a database


async def look_first(config: Config) -> None:
    """Every database with triggers. Raises SourceNotReady, SourceUnavailable."""
    for name, triggers in capturing(config).items():
        await look_at_database(config, config.databases[name], triggers)


async def look_before_first_run(config: Config) -> None:
    """The same where there is no event store yet, so that nothing was made before. What cannot be reached now is passed over: the
    daemon waits for it. Raises SourceNotReady, StoreRefused."""
    home = await asyncio.to_thread(find_home, config)
    if home.embedded and home.made:
        return
    try:
        if home.dsn is not None and (await look(home.dsn, home.schema, config.project)).made:
            return
    except TransientError:
        return
    for name, triggers in capturing(config).items():
        try:
            async with asyncio.timeout(REACH):
                await look_at_database(config, config.databases[name], triggers)
        except (TransientError, TimeoutError):
            continue


async def look_at_database(config: Config, database: Database, triggers: Sequence[Trigger]) -> None:
    """One database, for these triggers. Raises SourceNotReady, SourceUnavailable."""
    if database.capture is Capture.TRIGGERS:
        with translated(database):
            async with await connect(database) as catalog:
                await look_at(catalog, config, database, triggers)
        return
    with translated(database):
        who = await identify_system(database.url)
        async with await connect(database) as catalog:
            captured = await find_tables(catalog, config, database, triggers)
            refuse(database, captured)
            state = await slot.inspect(catalog, database.slot)
            if state is None:
                await _room(catalog, database)
            elif wrong := wrong_slot(database, who.database, state):
                raise SourceNotReady(f"database {database.name!r}: {wrong}", hint=f"set databases.{database.name}.slot")
            await _publications(catalog, database, captured)


async def _room(catalog: Connection, database: Database) -> None:
    """A slot can be made. Not tried: that waits for every transaction that is open."""
    with refusals():
        cursor = await catalog.execute(
            "SELECT pg_catalog.current_setting('wal_level'), pg_catalog.current_setting('max_replication_slots')::int, "
            "(SELECT count(*) FROM pg_catalog.pg_replication_slots)::int"
        )
        row = await cursor.fetchone()
    assert row is not None
    level, most, used = row
    if level != "logical":
        raise SourceNotReady(
            f"database {database.name!r}: wal_level is {level}: the server does not write down what logical replication needs",
            hint=provider_of(address(database.url)[0]).wal_level,
        )
    if used >= most:
        raise SourceNotReady(
            f"database {database.name!r}: all {most} replication slots are taken",
            hint="drop one, or raise max_replication_slots and restart the server",
        )


async def _publications(catalog: Connection, database: Database, captured: Captured) -> None:
    """They can be made or changed: tried, and rolled back."""
    name = ""
    try:
        with refusals():
            async with catalog.transaction(force_rollback=True):
                for name, (tables, publish) in captured.publications.items():
                    await publication.ensure(catalog, name, tables, publish)
    except NotPermitted as error:
        raise SourceNotReady(
            f"database {database.name!r}: the publication {name!r} must be changed for the triggers, and the role may not: {error}",
            hint=SETUP,
        ) from error
