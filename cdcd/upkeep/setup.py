"""`cdcd setup`: makes the event store, the publications and the slots, and may accept a gap. A second run does nothing.

The rules:
- what would be refused is looked at before anything is made;
- a gap (a slot that was lost, dropped or moved by somebody else, another cluster, a publication that was dropped) is never
  gone over in silence: it is refused, or with `accept_gap` recorded as a new position in the store, and told;
- a position is written only by the owner of the store, so never while a daemon runs.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cdcd.config.model import Capture, Config, Database
from cdcd.errors import PositionLost, SourceNotReady, StoreRefused
from cdcd.event import Position
from cdcd.replication import slot
from cdcd.replication.lsn import format_lsn
from cdcd.replication.slot import SlotState
from cdcd.replication.walsender import Connection, identify_system
from cdcd.sources.beginning import ACCEPT, where_to_begin
from cdcd.sources.opening import MISSING, connect, keep_in_step, publications, refuse
from cdcd.sources.tables import find_tables
from cdcd.sources.translate import translated
from cdcd.store.migrate import migrate
from cdcd.store.ownership import Ownership
from cdcd.store.reads import Reads
from cdcd.store.standing import look
from cdcd.store.trees import accepted
from cdcd.store.writer import Writer
from cdcd.triggers.trigger import Trigger
from cdcd.upkeep.beforehand import look_first
from cdcd.upkeep.check import capturing
from cdcd.upkeep.embedded import store_server
from cdcd.upkeep.logged import prepare_log
from cdcd.upkeep.slots import open_transactions, wrong_slot

Tell = Callable[[str], None]
PATIENCE = 3.0  # seconds until it is told what a new slot waits for


@dataclass(slots=True)
class _Gap:
    """What is missing, from where and when."""

    why: str
    since: int
    since_time: int


async def setup(config: Config, *, accept_gap: bool, tell: Tell, accept_files: Sequence[str] = ()) -> None:
    """Bring store, publications and slots to where `cdcd run` needs them; `tell` hears each thing done. `accept_files` names stores
    of files whose directories, whatever is in them, are the ones.

    Raises SourceNotReady, SourceUnavailable, SlotInUse, PositionLost (a gap that was not accepted), StoreRefused,
    StoreUnavailable, PermanentError.
    """
    schema, project = config.eventing.schema, config.project
    if unknown := sorted(set(accept_files) - config.storage.keys()):
        raise StoreRefused(
            f"there is no store of files {unknown[0]!r} in the configuration",
            hint=f"one of: {', '.join(config.storage) or 'none is configured'}",
        )
    await look_first(config)
    async with store_server(config) as dsn:
        if applied := await migrate(dsn, schema, project):
            tell(f"event store: made or migrated ({schema}, migrations {', '.join(map(str, applied))})")
        owner = (await look(dsn, schema, project)).owner
        if owner and (accept_gap or accept_files):
            raise StoreRefused(
                f"a running cdcd has the event store in use ({owner}): it may not be moved under it",
                hint=f"stop it, run `cdcd setup --accept-{'gap' if accept_gap else 'files'}`, and start it again",
            )
        reads = Reads(dsn, schema)
        writer = Writer(dsn, schema, Ownership(schema, project)) if not owner else None
        try:
            if writer is not None:
                await writer.open()  # from here on no daemon can begin to write
            known = await reads.positions()
            for name, triggers in capturing(config).items():
                database = config.databases[name]
                prepare = prepare_log if database.capture is Capture.TRIGGERS else _prepare
                position = await prepare(config, database, triggers, known.get(name), accept_gap, tell)
                if position is not None and writer is not None:
                    await writer.write([], [position], time.time())
            if accept_files and writer is not None:
                await writer.write([], [], time.time(), [accepted(name) for name in accept_files])
                tell(f"stores of files: what is there at the next start is what they hold ({', '.join(accept_files)})")
        finally:
            await reads.close()
            if writer is not None:
                await writer.close()


async def _prepare(
    config: Config, database: Database, triggers: Sequence[Trigger], known: Position | None, accept_gap: bool, tell: Tell
) -> Position | None:
    """One database; the position to record, None when the stored one holds."""
    with translated(database):
        who = await identify_system(database.url)
        identity = {"system": who.system_identifier, "timeline": str(who.timeline), "slot": database.slot}
        async with await connect(database) as catalog:
            captured = await find_tables(catalog, config, database, triggers)
            refuse(database, captured)
            state = await slot.inspect(catalog, database.slot)
            if state is not None and (wrong := wrong_slot(database, who.database, state)):
                raise SourceNotReady(f"database {database.name!r}: {wrong}", hint=f"set databases.{database.name}.slot")
            standing = await publications(catalog, captured)
            before = known.identity.get("publications", standing) if known is not None else standing
            unpublished = standing != before or MISSING in standing.split(",")
            gap = _gap(database, known, state, identity, unpublished)
            if gap is not None and not accept_gap:
                raise PositionLost(gap.why, hint=ACCEPT)
            if await keep_in_step(catalog, database, captured):
                tell(f"database {database.name}: publications made, for {len(captured.tables)} tables")
            if state is not None and state.lost:
                await slot.drop(catalog, database.slot)
                tell(f"database {database.name}: the lost slot {database.slot} dropped")
                state = None
            if state is None:
                start = await _make_slot(catalog, database, tell)
                tell(f"database {database.name}: slot {database.slot} made, begins at {format_lsn(start)}")
            elif unpublished:
                # WAL from before the publication cannot be decoded with it.
                start = await slot.advance(catalog, database.slot, await slot.flushed_lsn(catalog))
                tell(
                    f"database {database.name}: slot {database.slot} moved behind the new publications, to {format_lsn(start)}"
                )
            elif known is not None and gap is None:
                return None
            else:
                start = state.confirmed_flush or 0
            identity["publications"] = await publications(catalog, captured)
    if gap is not None:
        _tell_gap(database, gap, start, tell)
        identity["gap_since"] = format_lsn(gap.since)
    same = known is not None and known.identity.get("system") == identity["system"]
    recorded = max(start, known.recorded) if same and known is not None else start
    return Position(database.name, start, recorded, time.time_ns() // 1000 if gap is not None else 0, identity)


def _gap(
    database: Database, known: Position | None, state: SlotState | None, identity: dict[str, str], unpublished: bool
) -> _Gap | None:
    """Why reading cannot go on without something missing; None when it can."""
    settled, moment = (known.settled, known.time) if known is not None else (0, 0)
    if known is None and state is not None and not state.lost:
        return None  # nothing was ever read from it
    try:
        where_to_begin(database.name, known, state, identity)
    except PositionLost as error:
        return _Gap(str(error), settled, moment)
    if known is not None and unpublished:
        return _Gap(
            f"database {database.name!r}: a publication was dropped or made again; what was committed since "
            f"{format_lsn(settled)} can no longer be decoded",
            settled,
            moment,
        )
    return None


async def _make_slot(catalog: Connection, database: Database, tell: Tell) -> int:
    """Make the slot; when that takes long, say what it waits for."""
    failover = catalog.info.server_version >= 170000
    making = asyncio.ensure_future(slot.create(catalog, database.slot, failover=failover))
    done, _ = await asyncio.wait({making}, timeout=PATIENCE)
    if not done:
        try:
            async with await connect(database) as other:
                waiting = ", ".join(await open_transactions(other))
            tell(f"database {database.name}: making the slot waits for transactions that are open: {waiting or '?'}")
        except BaseException:
            making.cancel()
            raise
    return await making


def _tell_gap(database: Database, gap: _Gap, until: int, tell: Tell) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    before = "an unknown time" if not gap.since_time else _iso(gap.since_time)
    tell(
        f"database {database.name}: gap accepted: changes committed from {format_lsn(gap.since)} ({before}) to "
        f"{format_lsn(until)} ({now}) were not delivered and never will be; compare these rows by hand"
    )


def _iso(time: int) -> str:
    return datetime.fromtimestamp(time / 1e6, UTC).isoformat(timespec="seconds")
