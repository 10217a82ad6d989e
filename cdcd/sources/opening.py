"""Opening a database for reading: its tables, its publications, its slot, and then the stream.

The order matters: a publication must exist before the WAL that is decoded with it, so it is made before the slot; one that had to be
made after the slot is healed by moving the slot behind it, which is told as a gap.

A source that starts refuses what its triggers cannot work with. One that runs goes on with what it can read and tells the rest: a
table that somebody else made or dropped must not stop the others.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from cdcd.config.model import Config, Database
from cdcd.errors import SourceNotReady, SourceUnavailable
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

# A server that fell silent is given up after about 25 s. A URL that says otherwise wins.
_CONNECT = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}


class HistoryChanged(SourceUnavailable):
    """A running source cannot go on behind what it has read. It begins again from the stored position, as after a restart, once
    nothing that it has read is unsettled."""


@dataclass(slots=True)
class Opened:
    """A stream, where it begins, and what is known of the source.

    `identity` is what a position belongs to: system identifier, timeline, slot, and the OIDs of the publications.
    `intact`: up to this LSN the publications are known to have been there.
    """

    stream: ReplicationStream
    start: int
    system: int
    identity: dict[str, str]
    captured: Captured
    intact: int


async def connect(database: Database, *, application_name: str = "cdcd") -> psycopg.AsyncConnection[TupleRow]:
    """An ordinary connection for the catalog, in autocommit. Raises ReplicationError."""
    with replication_errors():
        given = conninfo_to_dict(database.url)
        dsn = make_conninfo(
            database.url, **{name: value for name, value in _CONNECT.items() if name not in given}, client_encoding="UTF8"
        )
        return await psycopg.AsyncConnection.connect(dsn, autocommit=True, application_name=application_name)


@contextlib.asynccontextmanager
async def catalog_of(database: Database) -> AsyncIterator[Connection]:
    """A connection as `connect` makes it, for a few questions. Whatever breaks within comes out as ReplicationError."""
    with replication_errors():
        async with await connect(database) as catalog:
            yield catalog


async def open_stream(
    config: Config,
    database: Database,
    triggers: Sequence[Trigger],
    known: Position | None,
    *,
    running: bool = False,
    resuming: bool = False,
    intact: int = 0,
    undecodable: bool = False,
    messages: bool = False,
) -> Opened:
    """Bring the source in step with the triggers and start streaming.

    `known` is the stored position; with `resuming` the one that this process has arrived at, which must be of the same history.
    `running`: the source is past its start. `undecodable`: the server could not decode for lack of a publication. `messages`: those
    of `pg_logical_emit_message` are asked for too.
    Raises SourceNotReady, PositionLost, SourceUnavailable (HistoryChanged), SlotInUse.
    """
    with translated(database):
        who = await identify_system(database.url)
        identity = {"system": who.system_identifier, "timeline": str(who.timeline), "slot": database.slot}
        async with catalog_of(database) as catalog:
            captured = await find_tables(catalog, config, database, triggers)
            if not running:
                refuse(database, captured)
            state = await slot.inspect(catalog, database.slot)
            standing = await publications(catalog, captured)
            before = known.identity.get("publications", standing) if known is not None else standing
            remade = undecodable or standing != before or MISSING in standing.split(",")
            beginning = where_to_begin(database.name, known, state, identity, remade=remade)
            start = beginning.start
            if resuming and (remade or beginning.moved):
                raise HistoryChanged(
                    f"database {database.name!r}: its publications or its timeline are not what they were",
                    hint="reading begins again at the stored position",
                )
            if beginning.moved:
                log.warning(
                    "source.new_timeline", database=database.name, timeline=who.timeline, position=format_lsn(start or 0)
                )
            await keep_in_step(catalog, database, captured, lenient=running)
            # Never more than the slot says itself: what was read before and is unsettled is not in the store, nor confirmed.
            confirmed = state.confirmed_flush if state is not None else None
            if start is None:
                start = await slot.create(catalog, database.slot, failover=catalog.info.server_version >= 170000)
                log.info("slot.created", database=database.name, slot=database.slot, position=format_lsn(start))
            elif remade:
                start = max(start, await _heal(catalog, database, min(start, intact or start)))
                confirmed = None
            intact = await slot.flushed_lsn(catalog)
            identity["publications"] = await publications(catalog, captured)
        stream = await ReplicationStream.connect(
            *(database.url, database.slot, list(captured.publications), start), confirmed=confirmed or start, messages=messages
        )
    return Opened(stream, start, int(who.system_identifier), identity, captured, intact)


def refuse(database: Database, captured: Captured) -> None:
    """Raise SourceNotReady with everything that keeps the triggers from working."""
    if captured.problems:
        raise SourceNotReady(
            "\n".join(f"database {database.name!r}: {problem.what}" for problem in captured.problems),
            hint="\n       ".join(problem.fix for problem in captured.problems),
        )


MISSING = "-"


async def publications(catalog: Connection, captured: Captured) -> str:
    """The OIDs of the publications, joined by commas; MISSING for one that is not there. One that was made again has another,
    and what was written while there was none is lost."""
    states = [await publication.inspect(catalog, name) for name in captured.publications]
    return ",".join(MISSING if state is None else str(state.oid) for state in states)


async def keep_in_step(catalog: Connection, database: Database, captured: Captured, *, lenient: bool = False) -> bool:
    """Make the publications hold exactly the captured tables, all at once, so that a table that moves from one to the other is
    always in one. True when one had to be made. `lenient`: a change that the role may not make is only told, if all are there."""
    made = MISSING in (await publications(catalog, captured)).split(",")
    statements: list[str] = []
    name = ""
    try:
        async with catalog.transaction():
            for name, (tables, publish) in captured.publications.items():
                statements += await publication.ensure(catalog, name, tables, publish)
    except NotPermitted as error:
        refused = SourceNotReady(
            f"database {database.name!r}: the publication {name!r} must be changed for the triggers, and the role may not: {error}",
            hint=SETUP,
        )
        if made or not lenient:
            raise refused from error
        log.error("source.problem", database=database.name, problem=str(refused), hint=SETUP)
        return False
    for statement in statements:
        log.info("publication.changed", database=database.name, sql=statement)
    return made


async def _heal(catalog: Connection, database: Database, since: int) -> int:
    """The publications are younger than the slot: WAL from before them cannot be decoded. Move the slot behind, and say so."""
    behind = await slot.advance(catalog, database.slot, await slot.flushed_lsn(catalog))
    log.error(
        "source.gap",
        database=database.name,
        since=format_lsn(since),
        until=format_lsn(behind),
        hint="a publication had been dropped and was made again; changes committed in between cannot be read and were not delivered",
    )
    return behind
