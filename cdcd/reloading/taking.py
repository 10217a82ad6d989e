"""Takes another configuration over while everything runs.

The order:
1. prepare: tables join the publications, files of certificates are read, the backlog of triggers that come back is looked up, the new
   triggers are noted (`former`). Anything may fail here, and then nothing has changed;
2. take over: in one step of the event loop engine, requests, queue, files, channels, API; and each database gets the position behind which
   the new triggers hold. Nothing fails here;
3. begin what is new, end what is left;
4. settle: when the databases have been read up to their positions, triggers that are gone are retired, and what is in memory of them, or
   was matched by rules that hold no more, is staged: after a crash nobody would match it again.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import structlog

from cdcd.config.model import Config, Kind
from cdcd.delivery.engine import Engine
from cdcd.delivery.following import Following
from cdcd.delivery.queues import Stored
from cdcd.delivery.sender import Prepared, Sender
from cdcd.errors import CdcdError, StoreUnavailable
from cdcd.event import Tracked
from cdcd.lifecycle import Group
from cdcd.reloading.parts import Maker, Rows, Rules
from cdcd.reloading.plan import Plan
from cdcd.replication.lsn import format_lsn
from cdcd.sources.changelog import ChangelogSource
from cdcd.sources.channels import ChannelSource
from cdcd.sources.ending import StreamEnd
from cdcd.sources.files.source import FilesSource
from cdcd.sources.preparing import prepare, tidy
from cdcd.sources.queue import QueueSource
from cdcd.sources.schedule import ScheduleSource
from cdcd.store.in_force import InForce, forgotten
from cdcd.store.recorder import Recorder
from cdcd.store.retention import Retention
from cdcd.triggers.definition import definitions
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()

RETRY = 1.0  # seconds until a store that is away is asked again
FIRST_LOOK = 5.0  # seconds that the first look at a store of files is waited for


@dataclass(slots=True)
class Running:
    """The parts that run, as a reload needs them. `always` are triggers that no file names. `applied` is told the configuration that is in
    force from then on, within the step that takes it over; `judge` raises ConfigError for what it would not take."""

    rules: Rules
    maker: Maker
    engine: Engine
    recorder: Recorder
    sender: Sender
    following: Following
    retention: Retention
    queue: QueueSource
    tracked: list[Tracked]
    rows: Group[Rows]
    ends: Group[StreamEnd]
    files: Group[FilesSource]
    channels: Group[ChannelSource]
    schedules: Group[ScheduleSource]
    in_force: InForce
    applied: Callable[[Config], None]
    judge: Callable[[Config], None] = lambda _: None
    always: tuple[Trigger, ...] = ()


@dataclass(slots=True)
class Ready:
    """What was prepared."""

    rules: Rules
    plan: Plan
    requests: Prepared
    positions: dict[str, int] = field(default_factory=dict)
    stored: Stored = field(default_factory=dict)


@dataclass(slots=True)
class Taken:
    """What was taken over: positions as they are told, and what ends when each database has been read up to it."""

    positions: dict[str, str] = field(default_factory=dict)
    reached: dict[str, "asyncio.Future[None]"] = field(default_factory=dict)


async def forget(running: Running, names: Iterable[str]) -> None:
    """Commit what is staged: that is all that the triggers of these names are owed, unless a reload has brought them back."""

    def present() -> set[str]:
        return {trigger.name for trigger in running.rules.triggers}

    gone = sorted(set(names) - present())
    await running.recorder.submit((), (forgotten(gone),) if gone else ())
    while not present().isdisjoint(gone):  # one that was about to come back
        try:
            await running.in_force.note(definitions(running.rules.triggers))
            break
        except StoreUnavailable:
            await asyncio.sleep(RETRY)


class Taking:
    """Over the parts of one daemon. One call at a time, but for `settle`."""

    def __init__(self, running: Running) -> None:
        self._running = running

    @property
    def reading(self) -> list[str]:
        """The databases whose rows are read."""
        return [source.cuts.database.name for source in self._running.rows.parts]

    # 1

    async def prepare(self, rules: Rules, plan: Plan, requests: Prepared) -> Ready:
        """Raises SourceNotReady, SourceUnavailable, StoreUnavailable; then everything is as it was."""
        ready = Ready(rules, plan, requests)
        running = self._running
        sources = [source for source in running.rows.parts if source.cuts.database.name in plan.cut]
        found = await asyncio.gather(*(self._prepare(source, rules) for source in sources), return_exceptions=True)
        try:
            for source, position in zip(sources, found, strict=True):
                if isinstance(position, BaseException):
                    raise position
                ready.positions[source.cuts.database.name] = position
            ready.stored = await running.engine.stored(plan.added)
            if not plan.rematched.isdisjoint(trigger.name for trigger in rules.triggers):
                await running.in_force.note(definitions(rules.triggers))  # at last, since what is noted counts
        except BaseException:
            for source in sources:
                source.cuts.prepare(None)
            await self.tidy(plan.cut)
            raise
        return ready

    async def _prepare(self, source: Rows, rules: Rules) -> int:
        database = rules.config.databases[source.cuts.database.name]
        return await prepare(rules.config, source.cuts, rules.wants(database.name), database)

    # 2

    def take_over(self, ready: Ready) -> Taken:
        """One step: whatever happens behind it goes by the new rules."""
        running, rules, plan = self._running, ready.rules, ready.plan
        config, taken = rules.config, Taken()
        new = {trigger.name for trigger in rules.triggers}
        staying = {name for name in running.sender.triggers - new if running.engine.trigger(name) is not None}
        running.sender.take_over(ready.requests, staying)
        running.engine.take_over(rules.triggers, config.limits, ready.stored)
        running.following.take_over(rules.index.wanted, config.limits)
        running.queue.take_over(rules.index, config.limits.payload)
        running.retention.take_over(config.eventing.retention)
        running.recorder.deadline = config.limits.shutdown
        for store in running.files.parts:
            if store.store.name not in plan.stores | plan.left:
                store.take_over(rules.index.of(Kind.STORAGE, store.store.name))
        for source in running.rows.parts:
            name = source.cuts.database.name
            if name in plan.rerouted:
                source.cuts.reroute(config.databases[name])
            if name in plan.cut:
                position = ready.positions[name]
                taken.reached[name] = source.cuts.add(position, rules.wants(name))
                taken.positions[name] = str(position) if isinstance(source, ChangelogSource) else format_lsn(position)
        running.rules = rules
        running.applied(config)
        return taken

    # 3

    async def begin(self, plan: Plan) -> None:
        """Start what is new and stop what is left. What cannot begin yet goes on trying by itself."""
        running, rules = self._running, self._running.rules
        for files in [each for each in running.files.parts if each.store.name in plan.left | plan.stores]:
            await running.files.remove(files)
        if plan.schedules:
            for schedules in list(running.schedules.parts):
                await running.schedules.remove(schedules)
        await running.recorder.submit(())  # what they staged is in the store: those that follow begin with it
        if plan.schedules:
            await running.schedules.add(running.maker.schedules(rules, running.engine))
        for name in sorted(plan.opened):
            source = running.maker.rows(rules, name, running.engine, running.recorder, patient=True)
            running.tracked.append(source)
            await running.ends.add(StreamEnd(source))
            await running.rows.add(source)
        fresh = [running.maker.files(rules, rules.config.storage[name], running.engine) for name in sorted(plan.stores)]
        for files in fresh:
            await running.files.add(files)
        await self._listen(rules)
        if fresh:
            looks = [asyncio.ensure_future(files.begun.wait()) for files in fresh]
            _, late = await asyncio.wait(looks, timeout=FIRST_LOOK)
            for look in late:
                look.cancel()

    async def _listen(self, rules: Rules) -> None:
        """To the channels that are wanted. Those that are listened to already go on, so that nothing is missed meanwhile."""
        running = self._running
        missing = {name: rules.channels(database) for name, database in rules.config.databases.items()}
        for source in list(running.channels.parts):
            wanted = missing.get(source.database, {})
            kept = {channel: wanted.pop(channel) for channel in source.channels if channel in wanted}
            if kept:
                source.take_over(kept, rules.config.databases[source.database])
            else:
                await running.channels.remove(source)
        for name, channels in missing.items():
            if channels:
                await running.channels.add(running.maker.channels(rules.config.databases[name], channels))

    # 4

    async def settle(self, plan: Plan, taken: Taken, former: Config) -> dict[str, int]:
        """When the databases have been read up to their positions. What is kept of triggers that are gone."""
        running = self._running
        if taken.reached:
            await asyncio.wait(taken.reached.values())
        closed = [source for source in running.rows.parts if source.cuts.database.name in plan.closed]
        for source in closed:
            await running.rows.remove(source)
        present = {trigger.name for trigger in running.rules.triggers}  # another reload may have brought them back
        kept = running.engine.retire([name for name in plan.removed if name not in present])
        running.engine.flush(name for name in plan.changed if name in plan.rematched and name in present)
        await forget(running, plan.removed)
        await self._end(closed, former)
        return kept

    async def _end(self, closed: Iterable[Rows], former: Config) -> None:
        for source in closed:
            running, database = self._running, former.databases[source.cuts.database.name]
            running.recorder.position_moved()
            await running.recorder.submit(())  # with the position that all of that settled
            for end in [each for each in running.ends.parts if each.source is source]:
                await running.ends.remove(end)
            running.tracked.remove(source)
            log.warning(
                "source.left",
                database=database.name,
                hint="it is not read any more, and its slot holds WAL, or its change log grows: put it back with `cdcd teardown`, "
                f"or drop the slot by hand: SELECT pg_drop_replication_slot('{database.slot}')",
            )

    async def tidy(self, names: Collection[str]) -> None:
        """Let these databases publish no more than what is wanted. What is refused is told, and tried again by their sources."""
        running = self._running
        for source in running.rows.parts:
            if source.cuts.database.name in names:
                try:
                    await tidy(running.rules.config, source.cuts)
                except CdcdError as error:
                    log.warning("reload.untidy", database=source.cuts.database.name, error=str(error), hint=error.hint)
