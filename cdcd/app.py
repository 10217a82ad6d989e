"""The composition root: the only place that knows every part and puts them together.

The order of the parts is the order in which they start; they stop in reverse. A source stops reading first; then the engine
lets attempts end, the recorder writes what they showed, and last of all the source's stream confirms what that settled.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Iterable

import structlog

from cdcd.admin.deliveries import Deliveries
from cdcd.admin.editing import Editing
from cdcd.admin.explaining import Explaining
from cdcd.admin.faces import Admin
from cdcd.admin.looking import Looking
from cdcd.admin.motion import Watched
from cdcd.admin.operations import Operations
from cdcd.admin.overview import Overview
from cdcd.admin.sampling import Sampler
from cdcd.admin.service import Beginning, Service
from cdcd.admin.ticking import Ticking
from cdcd.admin.triggers import Triggers
from cdcd.admin.trying import Trying
from cdcd.clock import SystemClock
from cdcd.config.model import Config, Kind
from cdcd.delivery.engine import Engine
from cdcd.delivery.following import Following
from cdcd.delivery.sender import Sender
from cdcd.delivery.steering import Steering
from cdcd.delivery.tracing import Tracing
from cdcd.embedded.service import EmbeddedPostgres
from cdcd.errors import ConfigError, StoreUnavailable
from cdcd.event import Record, Tracked
from cdcd.lifecycle import Group, Part, Supervisor
from cdcd.notify import Notifier
from cdcd.reloading.owed import Owed
from cdcd.reloading.parts import Maker, Rules
from cdcd.reloading.reloader import Reloader, read_configuration
from cdcd.reloading.taking import Running
from cdcd.reloading.watching import Watching
from cdcd.server.canary import Canary
from cdcd.server.rules import compile_rules
from cdcd.server.waiting import Waiting
from cdcd.sources.ending import StreamEnd
from cdcd.sources.queue import QueueSource
from cdcd.store.causes import Causes
from cdcd.store.in_force import Configurations
from cdcd.store.inbox import Inbox
from cdcd.store.migrate import migrate
from cdcd.store.pending import Backlog
from cdcd.store.reads import Reads
from cdcd.store.recorder import Recorder
from cdcd.store.retention import Retention
from cdcd.store.sampling import StoreSample
from cdcd.triggers.trigger import Trigger, compile_all

log = structlog.get_logger()


class Store:
    """The event store, ready to use: started first, migrated before anybody writes to it."""

    name = "store"

    def __init__(self, dsn: str, config: Config, supervisor: Supervisor) -> None:
        self._dsn = dsn
        self._config = config
        self._supervisor = supervisor

    async def start(self) -> None:
        wait = 0.5
        while not self._supervisor.stopping:
            try:
                applied = await migrate(self._dsn, self._config.eventing.schema, self._config.project)
            except StoreUnavailable as error:
                log.warning("store.unavailable", error=str(error), retry_in=wait, hint=error.hint)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 10.0)
            else:
                if applied:
                    log.info("store.migrated", migrations=applied, schema=self._config.eventing.schema)
                return

    async def stop(self) -> None:
        return None


def embedded_store(config: Config, supervisor: Supervisor) -> EmbeddedPostgres:
    """The server that holds the event store when no `eventing.database` is named."""
    return EmbeddedPostgres(config.eventing.state_dir / "postgres", failed=supervisor.failed)


class Daemon:
    """Everything that `cdcd run` runs."""

    def __init__(self, config: Config) -> None:
        """`config` is the one in force, here and everywhere."""
        self.config = config
        self.supervisor = Supervisor()
        self._overview: Overview | None = None
        self._reloader: Reloader | None = None

    async def run(self) -> None:
        """Run until stopped; raises what a part failed with."""
        for warning in self.config.warnings:
            log.warning("config.warning", warning=warning)
        parts = self._parts()
        await self.supervisor.run(parts, self._ready)

    def reload(self, who: str) -> None:
        """Read the configuration again, as soon as everything runs; the log says what came of it."""
        if self._reloader is not None:
            self._reloader.soon(who)

    async def _ready(self) -> None:
        if self._overview is not None:
            self._overview.ready = True
        log.info(
            "ready",
            project=self.config.project,
            databases=sorted({t.database for t in self.config.triggers.values() if t.enabled and t.database}),
            triggers=sum(trigger.enabled for trigger in self.config.triggers.values()),
        )

    def _parts(self) -> list[Part]:
        config, clock, failed = self.config, SystemClock(), self.supervisor.failed
        parts: list[Part] = []
        if config.eventing.database is None:
            embedded = embedded_store(config, self.supervisor)
            parts.append(embedded)
            dsn = embedded.dsn()
        else:
            dsn = config.databases[config.eventing.database].url
        schema, project = config.eventing.schema, config.project
        maker = Maker(dsn, schema, project, f"cdcd-{secrets.token_hex(4)}", clock, self.supervisor)
        signer = maker.signer(config)
        canary: Canary | None = None
        if config.canary is not None:
            canary = Canary(
                config.canary, project, config.databases[config.canary.database], Inbox(dsn, schema), signer, failed
            )
        always = () if canary is None else (canary.trigger,)
        rules = Rules.of(config, (*compile_all(config), *always))
        triggers, index = rules.triggers, rules.index
        sender = Sender(config.limits, signer, triggers)
        tracked: list[Tracked] = []

        def recorded(records: list[Record]) -> None:
            engine.recorded(records)

        def unstorable(record: Record) -> None:
            engine.last_resort(record)

        recorder = Recorder(
            *(dsn, schema, project, clock, failed, tracked, recorded),
            on_unstorable=unstorable,
            deadline=config.limits.shutdown,
        )
        following = Following(project, index.wanted, config.limits)
        engine = Engine(triggers, config.limits, sender, recorder, Backlog(dsn, schema), clock, failed, following=following)
        tracing: Tracing | None = None
        if config.tracing is not None:
            tracing = engine.tracing = sender.tracing = Tracing(config.tracing, project, maker.instance, config.path.name)
        wanted = {trigger.config.database for trigger in triggers}
        if config.canary is not None:
            wanted.add(config.canary.database)
        sources = [maker.rows(rules, name, engine, recorder) for name in config.databases if name in wanted]
        tracked.extend(sources)
        channels = [
            maker.channels(database, heard) for database in config.databases.values() if (heard := rules.channels(database))
        ]
        files = [maker.files(rules, store, engine) for store in config.storage.values() if index.of(Kind.STORAGE, store.name)]
        waiting = Waiting(engine)
        queue = QueueSource(
            project,
            index,
            engine,
            recorder,
            Inbox(dsn, schema),
            Inbox(dsn, schema),
            Reads(dsn, schema),
            clock,
            failed,
            waiting.matched,
            largest=config.limits.payload,
        )
        recorder.accompanied.append(queue)
        sampler = Sampler(
            lambda: [source.cuts.database for source in sources],
            StoreSample(dsn, schema),
            lambda: [name for name, each in engine.dispatcher.queues.items() if each.backlog.count],
            failed,
        )
        overview = self._overview = Overview(
            lambda: self.config,
            Watched(engine, recorder, sources, queue),
            sampler,
            files,
            lambda: self.supervisor.stopping,
            canary.state if canary is not None else lambda: None,
        )

        def senders(those: Iterable[Trigger]) -> Sender:
            return Sender(self.config.limits, maker.signer(self.config), those)

        operations = Operations(dsn, schema, Steering(engine, recorder, clock), senders, clock, failed)
        notifier = Notifier()
        beginning = Beginning(notifier, failed)
        service = Service(notifier, beginning, overview, lambda: self.config.limits.shutdown, failed)
        retention = Retention(dsn, schema, config.eventing.retention, clock, failed)
        running = Running(
            *(rules, maker, engine, recorder, sender, following, retention, queue, tracked),
            rows=Group("sources", sources),
            ends=Group("sources.end", [StreamEnd(source) for source in sources]),
            files=Group("sources.files", files),
            channels=Group("sources.channels", channels),
            schedules=Group("sources.schedule", [maker.schedules(rules, engine)]),
            configurations=Configurations(dsn, schema),
            applied=lambda config: applied(config),
            judge=lambda new: None if server is None else server.judge(new.server),
            always=always,
        )
        reloader = self._reloader = Reloader(running, clock, failed)
        overview.reloaded = lambda: reloader.last
        reloader.begins.append(service.reloading)
        reloader.ended.append(lambda what: service.reloaded(what.words))
        event_log = Deliveries(dsn, schema)
        explaining = Explaining(lambda: self.config, event_log, Causes(dsn, schema), operations.paused)
        editing = Editing(lambda: self.config, lambda texts: read_configuration(self.config, texts), reloader.reload)
        listing = Triggers(lambda: self.config, overview, Backlog(dsn, schema), operations.paused)
        trying = Trying(lambda: self.config, editing, event_log, lambda: maker.signer(self.config), senders)
        ticking = Ticking(lambda: self.config, event_log, engine, clock)
        looking = Looking(lambda: self.config)
        admin = Admin(
            *(config, event_log, operations, overview, reloader, explaining),
            *(listing, editing, trying, ticking, looking),
        )
        server = None
        if config.server is not None:
            from cdcd.server.api import make_server  # an eighth of all imports, which a daemon without it does not need

            server = make_server(admin, dsn, waiting, queue.wake, clock, failed)

        def applied(new: Config) -> None:
            self.config = admin.config = new
            if server is not None:
                server.take_over(compile_rules(new))
                with contextlib.suppress(ConfigError):  # `judge` has just read the same files
                    server.renew()
            if canary is not None:
                canary.take_over(maker.signer(new))

        return [
            beginning,
            *parts,
            Store(dsn, config, self.supervisor),
            running.ends,
            *(() if tracing is None else (tracing,)),
            recorder,
            retention,
            Owed(running, failed),
            sender,
            engine,
            running.rows,
            running.files,
            queue,
            running.schedules,
            running.channels,
            sampler,
            operations,
            looking,
            listing,
            *(() if server is None else (server,)),
            *(() if canary is None else (canary,)),
            reloader,
            Watching(reloader, lambda: self.config, failed),
            service,
        ]
