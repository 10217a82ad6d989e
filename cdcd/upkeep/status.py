"""`cdcd status`: how each database's slot and each trigger stands, read from the store and the databases themselves.

Nothing is started for it: the embedded event store can be read only while `cdcd run` runs. What cannot be reached is said, and the
rest is shown.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cdcd.config.model import Capture, Config, Database
from cdcd.errors import CdcdError, PositionLost
from cdcd.event import Position
from cdcd.replication import slot
from cdcd.replication.errors import ReplicationError
from cdcd.replication.lsn import format_lsn
from cdcd.replication.refusal import translated as refusals
from cdcd.replication.slot import SlotState
from cdcd.replication.tables import TableInfo
from cdcd.replication.walsender import Connection, identify_system
from cdcd.sources.beginning import ACCEPT, where_to_begin
from cdcd.sources.opening import MISSING, connect, publications
from cdcd.sources.tables import Captured, find_tables
from cdcd.sources.translate import translate, translated
from cdcd.store.reads import Reads, StoreStatus, TriggerStatus
from cdcd.store.standing import look
from cdcd.triggers.trigger import Trigger
from cdcd.upkeep.check import capturing
from cdcd.upkeep.home import Home, find_home
from cdcd.upkeep.logged import LogReport, report_log
from cdcd.upkeep.slots import open_transactions, reader
from cdcd.upkeep.words import ago, size

NEAR = 1 << 20  # bytes: positions of an idle database are recorded only in steps of this
REACH = 15.0  # seconds


@dataclass(slots=True)
class SlotReport:
    """A slot. Sizes in bytes. `why_held`: what keeps the WAL that it holds, in words."""

    name: str
    active: bool
    reader: str
    wal_status: str
    held_bytes: int
    why_held: str
    confirmed_lsn: str
    restart_lsn: str
    catalog_xmin_age: int | None


@dataclass(slots=True, frozen=True)
class Trouble:
    """What keeps changes from being read until somebody acts, and what mends it."""

    what: str
    fix: str


@dataclass(slots=True, frozen=True)
class TableReport:
    """A table that is captured, and the triggers that want it. `inserts_only`: its rows have no replica identity, so that its updates and
    deletes are not published."""

    name: str
    triggers: Sequence[str]
    inserts_only: bool = False


@dataclass(slots=True)
class DatabaseReport:
    """A captured database. `lag_bytes`: written by the server and not settled yet; `settled_time`: of the last settled commit,
    wall-clock seconds. `others`: slots of other consumers that hold more WAL than ours. `error`: why it could not be looked at;
    then `missing_slot` is None: not known. Captured by triggers, it has a `log` (None: not made yet) and neither slot nor LSNs."""

    name: str
    error: str = ""
    slot: SlotReport | None = None
    missing_slot: bool | None = None
    trouble: list[Trouble] = field(default_factory=list)
    server_lsn: str = ""
    settled_lsn: str = ""
    settled_time: float | None = None
    lag_bytes: int | None = None
    others: list[str] = field(default_factory=list)
    capture: str = Capture.REPLICATION.value
    log: LogReport | None = None
    tables: list[TableReport] = field(default_factory=list)


@dataclass(slots=True)
class TriggerReport:
    """A trigger. Times are wall-clock seconds. Counts are None when the store could not be read."""

    name: str
    enabled: bool
    endpoint: str
    delivered: int | None = None
    failed: int | None = None
    cancelled: int | None = None
    backlog: int | None = None
    oldest_unsettled: float | None = None
    last_error: str = ""
    last_failed_at: float | None = None


@dataclass(slots=True)
class FilesReport:
    """A store of files. `there`: whether its directory is. `entries`: files and directories in the kept tree, None when it is not
    known; `looked_at`: when all of it was last looked at, wall-clock seconds, None when it never was."""

    name: str
    path: str
    there: bool
    entries: int | None = None
    looked_at: float | None = None


@dataclass(slots=True)
class Report:
    """How all of it stands. `running`: who owns the store, in words; empty: nobody, so cdcd is not running; None: unknown.

    `store_made` False: there is no store yet; None: not known. `store_error`: why it could not be read. `estimated`: delivered and
    cancelled come from a sample.
    """

    project: str
    at: float
    since: float
    store: str
    store_made: bool | None = None
    store_error: str = ""
    running: str | None = None
    estimated: bool = False
    databases: list[DatabaseReport] = field(default_factory=list)
    files: list[FilesReport] = field(default_factory=list)
    triggers: list[TriggerReport] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether everything could be looked at."""
        return not self.store_error and not any(database.error for database in self.databases)

    @property
    def troubled(self) -> bool:
        """Whether something waits for somebody to act."""
        return any(database.trouble for database in self.databases)

    def plain(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return {"complete": self.whole, **asdict(self)}


async def status(config: Config, since: float) -> Report:
    """Look at everything; counts are of events since `since` (wall-clock seconds)."""
    home = await asyncio.to_thread(find_home, config)
    report = Report(config.project, time.time(), since, home.words)
    stored = await _read_store(config, home, report)
    report.databases = list(
        await asyncio.gather(
            *(
                _database(config, name, triggers, stored.positions.get(name) if stored else None, report.running)
                for name, triggers in capturing(config).items()
            )
        )
    )
    for store in config.storage.values():
        tree = stored.trees.get(store.name) if stored else None
        there = await asyncio.to_thread(store.path.is_dir)
        about = FilesReport(store.name, str(store.path), there)
        if tree is not None:
            about.entries, about.looked_at = tree.entries, tree.looked_at
        report.files.append(about)
    known = stored.triggers if stored else {}
    for trigger in config.triggers.values():
        row = TriggerReport(trigger.name, trigger.enabled, trigger.webhook.endpoint)
        if stored is not None:
            _count(row, known.get(trigger.name, TriggerStatus()))
        report.triggers.append(row)
    for name in sorted(known.keys() - config.triggers.keys()):  # removed from the file, but not from the store
        if known[name].staged or known[name].failed:
            row = TriggerReport(name, False, "")
            _count(row, known[name])
            report.triggers.append(row)
    return report


def _count(row: TriggerReport, found: TriggerStatus) -> None:
    row.delivered, row.failed, row.cancelled, row.backlog = found.delivered, found.failed, found.cancelled, found.staged
    row.oldest_unsettled, row.last_error, row.last_failed_at = found.oldest_staged, found.last_error, found.last_failed_at


async def _read_store(config: Config, home: Home, report: Report) -> StoreStatus | None:
    if home.dsn is None and not home.made:
        report.running, report.store_made = "", False
        return StoreStatus()
    if home.dsn is None:
        report.running = None if home.denied else ""
        report.store_error = (
            "belongs to another user: run as the one that runs cdcd, or as root"
            if home.denied
            else "runs only while `cdcd run` does, and it does not run now"
        )
        report.store_made = None if home.denied else True
        return None
    reads = Reads(home.dsn, home.schema)
    try:
        async with asyncio.timeout(REACH):
            standing = await look(home.dsn, home.schema, config.project)
            if not standing.made:
                report.running, report.store_made = "", False
                return StoreStatus()
            report.running, report.store_made = standing.owner, True
            found = await reads.status(report.since)
            if config.storage:
                found.trees = await reads.trees()
    except TimeoutError:
        report.store_error = "no answer in time"
    except CdcdError as error:
        report.store_error = error.explain()
    else:
        report.estimated = found.estimated
        return found
    finally:
        await reads.close()
    return None


async def _database(
    config: Config, name: str, triggers: Sequence[Trigger], known: Position | None, running: str | None
) -> DatabaseReport:
    database = config.databases[name]
    report = DatabaseReport(database.name, capture=database.capture.value)
    by_log = database.capture is Capture.TRIGGERS
    if known is not None:
        report.settled_lsn = "" if by_log else format_lsn(known.settled)
        report.settled_time = known.time / 1e6 if known.time else None
    try:
        async with asyncio.timeout(REACH):
            with translated(database):
                async with await connect(database, application_name="cdcd status") as catalog:
                    if by_log:
                        report.log, found, tables = await report_log(catalog, config, database, triggers, known)
                        report.trouble = [Trouble(what, fix) for what, fix in found]
                        report.tables = _tables(tables, triggers)
                        return report
                    state = await slot.inspect(catalog, database.slot)
                    captured = await find_tables(catalog, config, database, triggers)
                    report.tables = _tables(captured.tables, triggers, frozenset(captured.insert_only))
                    report.trouble = await _trouble(catalog, captured, database, known, state)
                    await _ask(catalog, report, known, running, state)
    except TimeoutError:
        report.error = "no answer in time"
    except CdcdError as error:
        report.error = error.explain()
    return report


def _tables(
    tables: Iterable[TableInfo], triggers: Sequence[Trigger], insert_only: frozenset[tuple[str, str]] = frozenset()
) -> list[TableReport]:
    return [
        TableReport(
            each.full_name,
            [trigger.name for trigger in triggers if trigger.covers(each.schema, each.name)],
            (each.schema, each.name) in insert_only,
        )
        for each in sorted(tables, key=lambda each: each.full_name)
    ]


async def _trouble(
    catalog: Connection, captured: Captured, database: Database, known: Position | None, state: SlotState | None
) -> list[Trouble]:
    """What the source refuses at its start, asked as it asks."""
    found = [Trouble(problem.what, problem.fix) for problem in captured.problems]
    standing = await publications(catalog, captured)
    before = known.identity.get("publications", standing) if known is not None else standing
    remade = known is not None and (standing != before or MISSING in standing.split(","))
    if state is None or state.active_pid is None:  # otherwise it is being read: the source has looked itself
        try:
            who = await identify_system(database.url, application_name="cdcd status", timeout=REACH)
            identity = {"system": who.system_identifier, "timeline": str(who.timeline), "slot": database.slot}
            where_to_begin(database.name, known, state, identity, remade=remade)
        except PositionLost as error:
            found.append(Trouble(str(error).removeprefix(f"database {database.name!r}: "), error.hint))
        except ReplicationError as error:
            refused = translate(error, database)
            found.append(Trouble(f"no replication connection: {error}", refused.hint))
    if known is not None and remade:
        found.append(
            Trouble(
                f"a publication was dropped or made again after {format_lsn(known.settled)}: what was committed in between cannot "
                "be decoded, and is not delivered",
                "cdcd makes it again within a minute, or at its start, if its role may, and tells the gap; otherwise, cdcd stopped: "
                + ACCEPT,
            )
        )
    return found


async def _ask(
    catalog: Connection, report: DatabaseReport, known: Position | None, running: str | None, state: SlotState | None
) -> None:
    flushed = await slot.flushed_lsn(catalog)
    report.server_lsn = format_lsn(flushed)
    report.missing_slot = state is None
    if state is None:
        return
    settled = max(known.settled if known is not None else 0, state.confirmed_flush or 0)
    report.lag_bytes = max(0, flushed - settled)
    with refusals():
        cursor = await catalog.execute(
            """
            SELECT (SELECT age(catalog_xmin) FROM pg_catalog.pg_replication_slots WHERE slot_name = %(slot)s),
                   ARRAY(SELECT slot_name::text || ' holds ' || pg_catalog.pg_size_pretty(%(flushed)s::pg_lsn - restart_lsn)
                                || CASE WHEN active THEN '' ELSE ', not active' END
                         FROM pg_catalog.pg_replication_slots
                         WHERE slot_name <> %(slot)s AND restart_lsn < %(restart)s::pg_lsn
                           AND %(flushed)s::pg_lsn - restart_lsn > %(much)s
                         ORDER BY restart_lsn LIMIT 5)
            """,
            {
                "slot": state.name,
                "flushed": report.server_lsn,
                "restart": format_lsn(state.restart_lsn or flushed),
                "much": 64 << 20,
            },
        )
        row = await cursor.fetchone()
    assert row is not None
    age, report.others = row
    report.slot = SlotReport(
        name=state.name,
        active=state.active_pid is not None,
        reader=await reader(catalog, state.active_pid) if state.active_pid is not None else "",
        wal_status=state.wal_status or "",
        held_bytes=state.retained_bytes,
        why_held=await _why_held(catalog, state, flushed, known, running, bool(report.trouble)),
        confirmed_lsn=format_lsn(state.confirmed_flush or 0),
        restart_lsn=format_lsn(state.restart_lsn or 0),
        catalog_xmin_age=age,
    )


async def _why_held(
    catalog: Connection, state: SlotState, flushed: int, known: Position | None, running: str | None, troubled: bool
) -> str:
    """What keeps the WAL behind `restart_lsn`, in words."""
    if state.lost:
        return f"the slot was invalidated ({state.invalidation_reason or 'lost'}): `cdcd setup --accept-gap` begins anew"
    if state.active_pid is None:
        if running and troubled:
            return "cdcd runs, but has stopped reading: see the trouble below"
        if running:
            return "nobody reads the slot although cdcd runs: it is connecting, or see its log"
        return "nobody reads the slot: cdcd is not running" + ("" if running == "" else ", or cannot connect")
    confirmed, restart = state.confirmed_flush or 0, state.restart_lsn or 0
    unconfirmed = flushed - confirmed
    if known is not None and known.settled > confirmed + NEAR:
        return f"{size(known.settled - confirmed)} is settled and about to be confirmed"
    if unconfirmed > max(NEAR, confirmed - restart):
        return f"{size(unconfirmed)} is not settled yet: cdcd is reading it, or waits for room or for the event store (see its log)"
    if confirmed - restart > 16 * NEAR:
        waiting = await open_transactions(catalog)
        return "the server keeps it for transactions that are open, or moves on at its next checkpoint" + (
            f": {', '.join(waiting[:3])}" if waiting else ""
        )
    return "the usual: the server frees WAL in whole segments, at checkpoints"


def behind(report: DatabaseReport, now: float) -> str:
    """How far a database is behind, in words."""
    if report.lag_bytes is None:
        return ""
    last = f"; last settled commit {ago(now - report.settled_time)} ago" if report.settled_time else ""
    if report.slot is not None and not report.slot.active:
        return (f"{size(report.lag_bytes)} of WAL not read" if report.lag_bytes else "everything") + last
    if report.lag_bytes < NEAR and not report.trouble:
        return f"up to date{last}"
    return f"{size(report.lag_bytes)} behind{last}"
