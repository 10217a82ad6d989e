"""The composition root: the only place that knows every part and puts them together.

The order of the parts is the order in which they start; they stop in reverse. A source stops reading first; then the engine
lets attempts end, the recorder writes what they showed, and last of all the source's stream confirms what that settled.
"""

import asyncio
import secrets

import structlog

from cdcd.admin.deliveries import Deliveries
from cdcd.admin.faces import Admin
from cdcd.admin.motion import Watched
from cdcd.admin.operations import Operations
from cdcd.admin.overview import Overview
from cdcd.admin.sampling import Sampler
from cdcd.admin.service import Beginning, Service
from cdcd.clock import SystemClock
from cdcd.config.model import Capture, Config, Kind
from cdcd.delivery.engine import Engine
from cdcd.delivery.following import Following
from cdcd.delivery.sender import Sender
from cdcd.delivery.signing import Signer
from cdcd.delivery.steering import Steering
from cdcd.embedded.service import EmbeddedPostgres
from cdcd.errors import StoreUnavailable
from cdcd.event import Record, Tracked
from cdcd.lifecycle import Part, Supervisor
from cdcd.notify import Notifier
from cdcd.server.api import make_server
from cdcd.server.canary import Canary
from cdcd.server.waiting import Waiting
from cdcd.sources.changelog import ChangelogSource
from cdcd.sources.channels import ChannelSource
from cdcd.sources.ending import StreamEnd
from cdcd.sources.files.source import FilesSource
from cdcd.sources.queue import QueueSource
from cdcd.sources.replication import ReplicationSource
from cdcd.sources.schedule import ScheduleSource
from cdcd.store.inbox import Inbox
from cdcd.store.migrate import migrate
from cdcd.store.pending import Backlog
from cdcd.store.reads import Reads
from cdcd.store.recorder import Recorder
from cdcd.store.retention import Retention
from cdcd.store.sampling import StoreSample
from cdcd.store.schedules import Schedules
from cdcd.store.trees import Trees
from cdcd.triggers.matcher import Index
from cdcd.triggers.trigger import compile_all

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
        self.config = config
        self.supervisor = Supervisor()
        self._overview: Overview | None = None

    async def run(self) -> None:
        """Run until stopped; raises what a part failed with."""
        for warning in self.config.warnings:
            log.warning("config.warning", warning=warning)
        parts = self._parts()
        await self.supervisor.run(parts, self._ready)

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
        triggers = tuple(trigger for trigger in compile_all(config) if trigger.config.enabled)
        parts: list[Part] = []
        if config.eventing.database is None:
            embedded = embedded_store(config, self.supervisor)
            parts.append(embedded)
            dsn = embedded.dsn()
        else:
            dsn = config.databases[config.eventing.database].url
        schema, project = config.eventing.schema, config.project

        signer = Signer(config.secrets, project, f"cdcd-{secrets.token_hex(4)}")
        canary: Canary | None = None
        if config.canary is not None:
            canary = Canary(
                config.canary, project, config.databases[config.canary.database], Inbox(dsn, schema), signer, failed
            )
            triggers = (*triggers, canary.trigger)
        own = [(name, schema) for name, each in config.databases.items() if each.capture is Capture.TRIGGERS]
        if config.eventing.database is not None:
            own.append((config.eventing.database, schema))
        index = Index(triggers, own)
        backlog = Backlog(dsn, schema)
        sender = Sender(config.limits, signer, triggers)
        sources: list[ReplicationSource | ChangelogSource] = []
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
        engine = Engine(triggers, config.limits, sender, recorder, backlog, clock, failed, following=following)
        wanted = {trigger.config.database for trigger in triggers}
        if config.canary is not None:
            wanted.add(config.canary.database)
        for database in config.databases.values():
            if database.name in wanted:
                mine = tuple(trigger for trigger in triggers if trigger.config.database == database.name)
                source = ChangelogSource if database.capture is Capture.TRIGGERS else ReplicationSource
                sources.append(source(config, database, mine, index, engine, recorder, Reads(dsn, schema), self.supervisor))
        tracked.extend(sources)
        channels = [
            ChannelSource(project, database, wanted_channels, Inbox(dsn, schema), clock, failed)
            for database in config.databases.values()
            if (wanted_channels := {channel: kind for channel, kind in database.channels if index.wanted(kind)})
        ]
        files = [
            FilesSource(project, store, mine, engine, Trees(dsn, schema), clock, failed)
            for store in config.storage.values()
            if (mine := index.of(Kind.STORAGE, store.name))
        ]
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
            lambda: [config.databases[source.name.partition(".")[2]] for source in sources],
            StoreSample(dsn, schema),
            lambda: [name for name, each in engine.dispatcher.queues.items() if each.backlog.count],
            failed,
        )
        overview = self._overview = Overview(
            lambda: config,
            Watched(engine, recorder, sources, queue),
            sampler,
            files,
            lambda: self.supervisor.stopping,
            canary.state if canary is not None else lambda: None,
        )
        operations = Operations(
            dsn, schema, Steering(engine, recorder, clock), lambda those: Sender(config.limits, signer, those), clock, failed
        )
        server: list[Part] = (
            []
            if config.server is None
            else [
                make_server(
                    Admin(config, Deliveries(dsn, schema), operations, overview), dsn, waiting, queue.wake, clock, failed
                )
            ]
        )
        notifier = Notifier()
        beginning = Beginning(notifier, failed)
        service = Service(notifier, beginning, overview, lambda: config.limits.shutdown, failed)
        schedule = ScheduleSource(project, index.of(Kind.SCHEDULE), engine, Schedules(dsn, schema), clock, failed)
        return [
            beginning,
            *parts,
            Store(dsn, config, self.supervisor),
            *(StreamEnd(source) for source in sources),
            recorder,
            Retention(dsn, schema, config.eventing.retention, clock, failed),
            sender,
            engine,
            *sources,
            *files,
            queue,
            schedule,
            *channels,
            sampler,
            operations,
            *server,
            *((canary,) if canary is not None else ()),
            service,
        ]
