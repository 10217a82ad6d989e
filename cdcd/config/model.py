"""What a configuration means, as frozen values: the only form in which the rest of cdcd sees it.

Durations are seconds, sizes are bytes, secrets are resolved. `repr` of anything that holds a secret does not show it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Capture(StrEnum):
    """How changes are read from a database."""

    REPLICATION = "replication"
    TRIGGERS = "triggers"


class Kind(StrEnum):
    """Which source a trigger's events come from. All types of one trigger are of one kind."""

    DATABASE = "database"  # DB_INSERT, DB_UPDATE, DB_DELETE, DB_TRUNCATE
    STORAGE = "storage"  # FILE_CREATE, FILE_UPDATE, FILE_DELETE
    SCHEDULE = "schedule"  # SCHEDULE
    CUSTOM = "custom"  # any other name


class Existing(StrEnum):
    """What becomes of the files that are in a store when it is first seen."""

    IGNORE = "ignore"
    REPORT = "report"


class Missed(StrEnum):
    """What becomes of the ticks of a schedule that passed while the daemon was down."""

    ONCE = "once"
    SKIP = "skip"
    ALL = "all"


class Order(StrEnum):
    """Which deliveries of a trigger wait for each other."""

    KEY = "key"
    NONE = "none"
    ALL = "all"


class Format(StrEnum):
    """The shape of the request."""

    JSON = "json"  # the CloudEvent as application/json
    CLOUDEVENTS = "cloudevents"  # the same in strict structured mode
    CLOUDEVENTS_BINARY = "cloudevents-binary"  # attributes as ce- headers, data as the body
    HASURA = "hasura"  # as Hasura's event triggers send it
    RAW = "raw"  # the data alone


class Backoff(StrEnum):
    """How the wait between attempts grows."""

    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    FIXED = "fixed"


class Metrics(StrEnum):
    """Who may read `/metrics` and the reasons in `/healthz`."""

    LOCAL = "local"  # this machine without a token, everybody else with one of a role that may look
    KNOWN = "token"  # nobody without such a token
    OPEN = "open"  # everybody


class Egress(StrEnum):
    """Which addresses a webhook may be dialled at. Link-local and metadata addresses are refused in every mode."""

    PRIVATE = "private"  # anything but link-local and metadata: the default, operators aim at private services on purpose
    PUBLIC = "public"  # globally routable addresses only


class Reload(StrEnum):
    """What makes cdcd read its configuration again."""

    MANUAL = "manual"  # somebody asks: SIGHUP, the API, `cdcd reload`
    WATCH = "watch"  # that, and each change of the files


@dataclass(slots=True, frozen=True)
class Secret:
    """A key that signs tokens and webhooks. The first of a list signs tokens; all sign webhooks while they rotate."""

    value: bytes = field(repr=False)
    kid: str


@dataclass(slots=True, frozen=True)
class Database:
    """A database whose changes are captured. `channels` are the notifications that become custom events: channel, type. `wal_budget` is
    bytes of WAL that its slot should not exceed, None where only the server's own bound counts."""

    name: str
    url: str = field(repr=False)
    capture: Capture
    slot: str
    publication: str
    channels: tuple[tuple[str, str], ...] = ()
    wal_budget: int | None = None


@dataclass(slots=True, frozen=True)
class Storage:
    """A directory whose files are watched. `ignore` are globs (`cdcd.config.globs`) of paths relative to `path`.

    `settle` is seconds that a file's size and time must stand still where its writer's close cannot be seen. `where` is
    `file:line:col`, for messages.
    """

    name: str
    path: Path
    recursive: bool = True
    ignore: tuple[str, ...] = ()
    settle: float = 1.0
    follow_symlinks: bool = False
    hash: bool = False
    existing: Existing = Existing.IGNORE
    where: str = ""


@dataclass(slots=True, frozen=True)
class CustomType:
    """What may be queued under a type: `schema` is a JSON Schema (None: anything), `allow` a CEL expression ("": anybody)."""

    name: str
    schema: Mapping[str, object] | bool | None = None
    allow: str = ""
    where: str = ""


@dataclass(slots=True, frozen=True)
class Schedule:
    """When a SCHEDULE trigger fires. `cron` has five fields; `timezone` is an IANA name."""

    cron: str
    timezone: str = "UTC"
    missed: Missed = Missed.ONCE


@dataclass(slots=True, frozen=True)
class Server:
    """Where the server listens, and for whom. `secrets` are those of its tokens where they are not the project's; `cors` the origins
    of pages that may call it, `*` for any; `body` bytes of a request's, at most. `tls` are the files of certificate and key, None for plain
    http. `public_url` is the origin under which it is reached, "" where that is its address."""

    host: str
    port: int
    secrets: tuple[Secret, ...] = ()
    cors: tuple[str, ...] = ()
    body: int = 1024 * 1024
    metrics: Metrics = Metrics.LOCAL
    tls: tuple[Path, Path] | None = None
    public_url: str = ""

    @property
    def url(self) -> str:
        """The origin under which people reach it: `https://cdcd.example.com`."""
        if self.public_url:
            return self.public_url
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls else ''}://{host}:{self.port}"


@dataclass(slots=True, frozen=True)
class Canary:
    """A message through `database` and back as a webhook, each `every` seconds; late after `late` seconds."""

    database: str
    every: float = 30.0
    late: float = 10.0


@dataclass(slots=True, frozen=True)
class Tracing:
    """Where spans go: an OTLP/HTTP endpoint for traces, with `headers`; `sample` is the share of traces that begin here."""

    endpoint: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    sample: float = 1.0


@dataclass(slots=True, frozen=True)
class Eventing:
    """Where the event store lives. `database` None means the embedded server under `state_dir`."""

    database: str | None
    schema: str
    retention: float
    state_dir: Path


@dataclass(slots=True, frozen=True)
class Limits:
    """Bounds on memory and concurrency, for the whole daemon."""

    in_flight: int = 1024
    in_flight_bytes: int = 64 * 1024 * 1024
    payload: int = 16 * 1024 * 1024
    response: int = 64 * 1024
    concurrency: int = 256
    endpoint_concurrency: int = 64
    spill_after: float = 1.0
    shutdown: float = 10.0
    max_chain: int = 16


@dataclass(slots=True, frozen=True)
class Retries:
    """When a delivery is tried again. `max` retries follow the first attempt; `max_age` ends them all."""

    max: int = 3
    backoff: Backoff = Backoff.EXPONENTIAL
    first: float = 1.0
    factor: float = 5.0
    max_interval: float = 3600.0
    jitter: float = 0.2
    max_age: float = 3 * 86400.0
    no_retry: frozenset[int] = frozenset()


@dataclass(slots=True, frozen=True)
class Webhook:
    """Where and how a trigger's deliveries are sent. `endpoint` is the URL's origin: `scheme://host:port`.

    `allow` are networks (CIDR) that may be dialled although `egress` is public.
    """

    url: str = field(repr=False)
    endpoint: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout: float = 5.0
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    egress: Egress = Egress.PRIVATE
    allow: tuple[str, ...] = ()
    method: str = "POST"


@dataclass(slots=True, frozen=True)
class TriggerConfig:
    """One YAML rule. `kind` says which of its selectors have a meaning.

    `tables` are patterns as written (`cdcd.config.tables`), `paths` globs of files (`cdcd.config.globs`). `payload` is the YAML
    value that makes the body, its text with `${ CEL }` in it; None when the format makes it. `claims` likewise, added to the token.
    `put_in` are the texts that `${env:...}` and `${file:...}` gave where expressions may stand: what an endpoint echoes of them is
    not kept. `where` is `file:line:col` of the trigger and `places` that of its options (`webhook.headers.X-Id`), for messages.
    """

    name: str
    types: frozenset[str]
    database: str
    tables: tuple[str, ...]
    webhook: Webhook
    kind: Kind = Kind.DATABASE
    storage: str = ""
    paths: tuple[str, ...] = ()
    schedule: Schedule | None = None
    payload: object = field(default=None, repr=False)
    claims: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)
    columns: frozenset[str] = frozenset()
    when: str = ""
    retries: Retries = Retries()
    order: Order = Order.KEY
    key: str = ""
    format: Format = Format.JSON
    concurrency: int | None = None
    enabled: bool = True
    put_in: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
    where: str = ""
    places: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def place(self, option: str) -> str:
        """Where an option stands, or the nearest thing around it."""
        while option and option not in self.places:
            option = option[: max(option.rfind("."), option.rfind("["), 0)]
        return self.places.get(option, self.where)


@dataclass(slots=True, frozen=True)
class Config:
    """A whole, valid configuration. `warnings` are what an operator should know although it works. `include` are the globs of
    included files, absolute."""

    project: str
    secrets: tuple[Secret, ...]
    databases: dict[str, Database]
    eventing: Eventing
    triggers: dict[str, TriggerConfig]
    limits: Limits = Limits()
    storage: dict[str, Storage] = field(default_factory=dict)
    events: dict[str, CustomType] = field(default_factory=dict)
    server: Server | None = None
    canary: Canary | None = None
    tracing: Tracing | None = None
    reload: Reload = Reload.MANUAL
    include: tuple[str, ...] = ()
    path: Path = Path("cdcd.yaml")
    warnings: tuple[str, ...] = ()

    @property
    def token_secrets(self) -> tuple[Secret, ...]:
        """Those whose tokens the API takes. The first signs them."""
        return (self.server is not None and self.server.secrets) or self.secrets
