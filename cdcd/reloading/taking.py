"""Takes another configuration over while everything runs.

The order:
1. prepare: tables join the publications, files of certificates are read, the backlog of triggers that come back is looked up, the new
   triggers are noted (`noting`). Anything may fail here, and then nothing has changed;
2. take over: in one step of the event loop engine, requests, queue, files, channels, API; and each database gets the position behind which
   the new triggers hold. Nothing fails here;
3. begin what is new, end what is left;
4. settle: when the databases have been read up to their positions, and the queue up to where it stood, triggers that are gone are retired,
   and what is in memory of them, or was matched by rules that hold no more, is staged: after a crash nobody would match it again.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from cdcd.config.model import Config, Kind
from cdcd.delivery.engine import Engine
from cdcd.delivery.following import Following
from cdcd.delivery.queues import Stored
from cdcd.delivery.sender import Prepared, Sender
from cdcd.errors import CdcdError
from cdcd.event import Tracked
from cdcd.lifecycle import Group
from cdcd.reloading.noting import distinct, gone, in_force, owing
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
from cdcd.store.in_force import QUEUE, Configurations, Noted, forgotten
from cdcd.store.recorder import Recorder
from cdcd.store.retention import Retention
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()

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
    configurations: Configurations
    applied: Callable[[Config], None]
    judge: Callable[[Config], None] = lambda _: None
    always: tuple[Trigger, ...] = ()


@dataclass(slots=True)
class Ready:
    """What was prepared. `owed` is to triggers that are gone, by databases that nothing reads yet."""

    rules: Rules
    plan: Plan
    requests: Prepared
    positions: dict[str, int] = field(default_factory=dict)
    stored: Stored = field(default_factory=dict)
    noted: Noted | None = None
    owed: Mapping[str, list[Trigger]] = field(default_factory=dict)


@dataclass(slots=True)
class Taken:
    """What was taken over: positions as they are told, and what ends when each database has been read up to it, and the queue as well.
    `number` counts the configurations; 0 where nothing is wanted otherwise."""

    number: int = 0
    positions: dict[str, str] = field(default_factory=dict)
    reached: dict[str, "asyncio.Future[None]"] = field(default_factory=dict)
    queue: "asyncio.Future[None] | None" = None

    @property
    def settling(self) -> "list[asyncio.Future[None]]":
        """What is not over yet."""
        every = [*self.reached.values(), *(() if self.queue is None else (self.queue,))]
        return [each for each in every if not each.done()]


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
            if plan.rematched:  # at last, since what is noted counts
                ready.noted = await running.configurations.note(in_force(rules.triggers, {*self.reading, *plan.opened}))
                left = gone(ready.noted.gone, rules)
                ready.owed = {name: left[name] for name in plan.opened & left.keys()}
                names = [trigger.name for trigger in distinct(ready.owed)]
                ready.stored = {**ready.stored, **await running.engine.stored(names)}
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
        left = [trigger for trigger in running.rules.index.of(Kind.CUSTOM) if trigger.name not in new]
        running.queue.take_over(rules.index, config.limits.payload)
        if ready.noted is not None:
            taken.number = ready.noted.number
            taken.queue = running.queue.owing(left, ready.noted.queued)
        for trigger in distinct(ready.owed):
            running.engine.keep(trigger.config, ready.stored)
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

    async def begin(self, ready: Ready, taken: Taken) -> None:
        """Start what is new and stop what is left. What cannot begin yet goes on trying by itself."""
        running, rules, plan = self._running, self._running.rules, ready.plan
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
            if name in ready.owed:
                taken.reached[name] = owing(source, rules, ready.owed[name])
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
        """When the databases have been read up to their positions, and the queue. What is kept of triggers that are gone."""
        running = self._running
        if left := taken.settling:
            await asyncio.wait(left)
        closed = [source for source in running.rows.parts if source.cuts.database.name in plan.closed]
        for source in closed:
            await running.rows.remove(source)
            source.cuts.leave()
        present = {trigger.name for trigger in running.rules.triggers}  # another reload may have brought them back
        kept = running.engine.retire([name for name in plan.removed if name not in present])
        running.engine.flush(name for name in plan.changed if name in plan.rematched and name in present)
        over = (QUEUE, *(name for name, reached in taken.reached.items() if not reached.cancelled()))
        await running.recorder.submit((), (forgotten(over, taken.number),) if taken.number else ())
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
