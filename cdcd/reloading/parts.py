"""How the parts are made that depend on the configuration: at the start, and when a reload makes others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cdcd.clock import Clock
from cdcd.config.model import Capture, Config, Database, Kind, Storage
from cdcd.delivery.engine import Engine
from cdcd.delivery.signing import Signer
from cdcd.lifecycle import Supervisor
from cdcd.sources.changelog import ChangelogSource
from cdcd.sources.channels import ChannelSource
from cdcd.sources.cuts import Wants
from cdcd.sources.files.source import FilesSource
from cdcd.sources.replication import ReplicationSource
from cdcd.sources.schedule import ScheduleSource
from cdcd.store.inbox import Inbox
from cdcd.store.reads import Reads
from cdcd.store.recorder import Recorder
from cdcd.store.schedules import Schedules
from cdcd.store.trees import Trees
from cdcd.triggers.matcher import Index
from cdcd.triggers.trigger import Trigger

Rows = ReplicationSource | ChangelogSource


@dataclass(slots=True, frozen=True)
class Rules:
    """One configuration, ready to be applied: the triggers that count and their index. The same object for all that read it, never
    changed."""

    config: Config
    triggers: tuple[Trigger, ...]
    index: Index

    @classmethod
    def of(cls, config: Config, triggers: Iterable[Trigger]) -> "Rules":
        """`triggers` are compiled; those that are disabled do not count."""
        own = [(name, config.eventing.schema) for name, each in config.databases.items() if each.capture is Capture.TRIGGERS]
        if config.eventing.database is not None:
            own.append((config.eventing.database, config.eventing.schema))
        counting = tuple(trigger for trigger in triggers if trigger.config.enabled)
        return cls(config, counting, Index(counting, own))

    def wants(self, database: str) -> Wants:
        """What is wanted of a database."""
        return Wants(self.index.of(Kind.DATABASE, database), self.index, self.config.limits.payload)

    def channels(self, database: Database) -> dict[str, str]:
        """The channels whose events any trigger wants, and their types."""
        return {channel: kind for channel, kind in database.channels if self.index.wanted(kind)}


@dataclass(slots=True, frozen=True)
class Maker:
    """What all of them need. `instance` names this life of the daemon."""

    dsn: str
    schema: str
    project: str
    instance: str
    clock: Clock
    supervisor: Supervisor

    def signer(self, config: Config) -> Signer:
        return Signer(config.secrets, self.project, self.instance)

    def rows(self, rules: Rules, name: str, engine: Engine, recorder: Recorder, *, patient: bool = False) -> Rows:
        """The source of a database's rows."""
        config, database = rules.config, rules.config.databases[name]
        kind = ChangelogSource if database.capture is Capture.TRIGGERS else ReplicationSource
        triggers = rules.index.of(Kind.DATABASE, name)
        reads = Reads(self.dsn, self.schema)
        return kind(config, database, triggers, rules.index, engine, recorder, reads, self.supervisor, patient=patient)

    def files(self, rules: Rules, store: Storage, engine: Engine) -> FilesSource:
        triggers = rules.index.of(Kind.STORAGE, store.name)
        trees = Trees(self.dsn, self.schema)
        return FilesSource(self.project, store, triggers, engine, trees, self.clock, self.supervisor.failed)

    def channels(self, database: Database, channels: Mapping[str, str]) -> ChannelSource:
        inbox = Inbox(self.dsn, self.schema)
        return ChannelSource(self.project, database, channels, inbox, self.clock, self.supervisor.failed)

    def schedules(self, rules: Rules, engine: Engine) -> ScheduleSource:
        schedules = Schedules(self.dsn, self.schema)
        return ScheduleSource(
            self.project, rules.index.of(Kind.SCHEDULE), engine, schedules, self.clock, self.supervisor.failed
        )
