"""Opening a database for reading: its tables, its publications, its slot, and then the stream.

The order matters: a publication must exist before the WAL that is decoded with it, so it is made before the slot; one that had to be
made after the slot is healed by moving the slot behind it, which is told as a gap.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
import structlog
from psycopg.rows import TupleRow

from cdcd.config.model import Config, Database
from cdcd.errors import PositionLost, SourceNotReady
from cdcd.event import Position
from cdcd.replication import publication, slot
from cdcd.replication.errors import NotPermitted
from cdcd.replication.lsn import format_lsn
from cdcd.replication.refusal import translated as replication_errors
from cdcd.replication.stream import ReplicationStream
from cdcd.replication.walsender import Connection, identify_system
from cdcd.sources.beginning import where_to_begin
from cdcd.sources.tables import Captured, find_tables
from cdcd.sources.translate import SETUP, translated
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()


@dataclass(slots=True)
class Opened:
    """A stream, where it begins, and what is known of the source."""

    stream: ReplicationStream
    start: int
    system: int
    identity: dict[str, str]
    captured: Captured
    primary_keys: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)


async def connect(database: Database, *, application_name: str = "cdcd") -> psycopg.AsyncConnection[TupleRow]:
    """An ordinary connection for the catalog, in autocommit. Raises ReplicationError."""
    with replication_errors():
        return await psycopg.AsyncConnection.connect(
            database.url, autocommit=True, application_name=application_name, connect_timeout=10
        )


async def open_stream(
    config: Config, database: Database, triggers: Sequence[Trigger], known: Position | None, resume: int
) -> Opened:
    """Bring the source in step with the triggers and start streaming.

    `known` is the stored position; `resume` an LSN at which this process had arrived, 0 at its start.
    Raises SourceNotReady, PositionLost, SourceUnavailable, SlotInUse.
    """
    with translated(database):
        who = await identify_system(database.url)
        identity = {"system": who.system_identifier, "timeline": str(who.timeline), "slot": database.slot}
        async with await connect(database) as catalog:
            captured = await find_tables(catalog, config, database, triggers)
            refuse(database, captured)
            state = await slot.inspect(catalog, database.slot)
            if resume:
                if state is None or state.lost:
                    raise PositionLost(
                        f"database {database.name!r}: the slot {database.slot!r} is gone; changes since {format_lsn(resume)} "
                        "cannot be read any more",
                        hint="`cdcd setup --accept-gap` begins anew from now on",
                    )
                start: int | None = resume
            else:
                beginning = where_to_begin(database.name, known, state, identity)
                start = beginning.start
                if beginning.moved:
                    log.warning("source.new_timeline", database=database.name, timeline=who.timeline, position=start)
            made = await keep_in_step(catalog, database, captured)
            if start is None:
                start = await slot.create(catalog, database.slot, failover=catalog.info.server_version >= 170000)
                log.info("slot.created", database=database.name, slot=database.slot, position=format_lsn(start))
            elif made and state is not None:
                start = max(start, await _heal(catalog, database, start))
        stream = await ReplicationStream.connect(database.url, database.slot, list(captured.publications), start)
    keys = {(info.schema, info.name): info.primary_key for info in captured.tables}
    return Opened(stream, start, int(who.system_identifier), identity, captured, keys)


def refuse(database: Database, captured: Captured) -> None:
    """Raise SourceNotReady with everything that keeps the triggers from working."""
    if captured.problems:
        raise SourceNotReady(
            "\n".join(f"database {database.name!r}: {problem.what}" for problem in captured.problems),
            hint="\n       ".join(problem.fix for problem in captured.problems),
        )


async def keep_in_step(catalog: Connection, database: Database, captured: Captured) -> bool:
    """Make the publications hold exactly the captured tables. True when the main one had to be made."""
    made = await publication.inspect(catalog, database.publication) is None
    for name, (tables, publish) in captured.publications.items():
        try:
            statements = await publication.ensure(catalog, name, tables, publish)
        except NotPermitted as error:
            raise SourceNotReady(
                f"database {database.name!r}: the publication {name!r} must be changed for the triggers, and the role may not: {error}",
                hint=SETUP,
            ) from error
        for statement in statements:
            log.info("publication.changed", database=database.name, sql=statement)
    return made


async def _heal(catalog: Connection, database: Database, start: int) -> int:
    """The publication is younger than the slot: WAL from before it cannot be decoded. Move the slot behind it, and say so."""
    behind = await slot.advance(catalog, database.slot, await slot.flushed_lsn(catalog))
    log.error(
        "source.gap",
        database=database.name,
        since=format_lsn(start),
        until=format_lsn(behind),
        hint="the publication had been dropped and was made again; changes committed in between cannot be read and were not delivered",
    )
    return behind
