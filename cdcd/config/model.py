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


class Order(StrEnum):
    """Which deliveries of a trigger wait for each other."""

    KEY = "key"
    NONE = "none"
    ALL = "all"


class Format(StrEnum):
    """The shape of the request: the same CloudEvent as `application/json`, or in strict structured mode."""

    JSON = "json"
    CLOUDEVENTS = "cloudevents"


class Backoff(StrEnum):
    """How the wait between attempts grows."""

    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    FIXED = "fixed"


class Egress(StrEnum):
    """Which addresses a webhook may be dialled at. Link-local and metadata addresses are refused in every mode."""

    PRIVATE = "private"  # anything but link-local and metadata: the default, operators aim at private services on purpose
    PUBLIC = "public"  # globally routable addresses only


@dataclass(slots=True, frozen=True)
class Secret:
    """A key that signs tokens and webhooks. The first of a list signs tokens; all sign webhooks while they rotate."""

    value: bytes = field(repr=False)
    kid: str


@dataclass(slots=True, frozen=True)
class Database:
    """A database whose changes are captured."""

    name: str
    url: str = field(repr=False)
    capture: Capture
    slot: str
    publication: str


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


@dataclass(slots=True, frozen=True)
class TriggerConfig:
    """One YAML rule. `tables` are patterns as written (`cdcd.config.tables`).

    `where` is `file:line:col` of the trigger and `places` that of its options, for messages.
    """

    name: str
    types: frozenset[str]
    database: str
    tables: tuple[str, ...]
    webhook: Webhook
    columns: frozenset[str] = frozenset()
    when: str = ""
    retries: Retries = Retries()
    order: Order = Order.KEY
    key: str = ""
    format: Format = Format.JSON
    concurrency: int | None = None
    enabled: bool = True
    where: str = ""
    places: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


@dataclass(slots=True, frozen=True)
class Config:
    """A whole, valid configuration. `warnings` are what an operator should know although it works."""

    project: str
    secrets: tuple[Secret, ...]
    databases: dict[str, Database]
    eventing: Eventing
    triggers: dict[str, TriggerConfig]
    limits: Limits = Limits()
    path: Path = Path("cdcd.yaml")
    warnings: tuple[str, ...] = ()
