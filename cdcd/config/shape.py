"""The shape of the file: which options there are, of which kind, with which default. The JSON Schema is made from this (`json_schema`), and
from what stands below each option.

What one value must be is said here. What values must be to each other, and what needs the place of a part of a value (headers,
URLs, names), is in `checks`.
"""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema

from cdcd.config import quantities
from cdcd.config.model import Backoff, Capture, Egress, Existing, Format, Metrics, Missed, Order, Reload
from cdcd.config.types import BUILT_IN, TYPE, custom_type, event_type


def _whole(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a whole number")
    return value


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _one_or_more(item: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]})


Duration = Annotated[
    float,
    BeforeValidator(quantities.duration),
    WithJsonSchema({"type": "string", "pattern": f"^{quantities.DURATION}$", "examples": ["5s", "1h30m"]}),
]
Size = Annotated[
    int,
    BeforeValidator(quantities.size),
    WithJsonSchema({"type": "string", "pattern": f"^{quantities.SIZE}$", "examples": ["64MiB"]}),
]
Count = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, BeforeValidator(_whole)]
Positive = Annotated[Duration, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]
EventType = Annotated[str, AfterValidator(event_type)]
CustomName = Annotated[str, AfterValidator(custom_type)]


class Shape(BaseModel):
    """A mapping with known options."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Shorthand(Shape):
    """A mapping that may also be written as one value, which then is its main option."""

    @classmethod
    def main(cls) -> str:
        """The option that a single value means."""
        raise NotImplementedError

    @classmethod
    def single(cls) -> dict[str, Any]:
        """The JSON Schema of the single value."""
        raise NotImplementedError

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, data: object) -> object:
        return data if isinstance(data, dict) else {cls.main(): data}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [cls.single(), handler.resolve_ref_schema(handler(core))], "description": cls.__doc__}


class SecretShape(Shape):
    """One of several keys that sign."""

    value: Text
    """The key: `whsec_` and base64 of 24 to 64 bytes, or any text of at least 16 bytes. Best put in by `${env:NAME}`."""
    kid: Text | None = None
    """The name of the key in the token's header. By default the first 16 hexadecimal digits of its SHA-256."""


class DatabaseShape(Shape):
    """A PostgreSQL database whose changes are captured."""

    url: Text
    """Where it is: `postgresql://user:password@host:5432/name`, or libpq's `key=value` form. No connection pooler."""
    capture: Capture = Capture.REPLICATION
    """How changes are read: `replication` (logical replication, `wal_level = logical`), or `triggers` (AFTER triggers that
    `cdcd setup` installs, and a change log in cdcd's schema), for databases that refuse replication."""
    slot: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,63}$")] | None = None
    """The name of the replication slot. By default `cdcd_PROJECT_DATABASE`."""
    publication: Annotated[str, Field(min_length=1, max_length=56)] | None = None
    """The name of the publication. By default `cdcd_PROJECT_DATABASE`. Tables without a key go to `NAME_insert`."""
    channels: dict[Annotated[str, Field(min_length=1, max_length=63)], CustomName] = Field(default_factory=dict)
    """Notifications (NOTIFY) that become custom events: the channel and the type of its events. What is notified while cdcd does
    not listen is lost."""
    wal_budget: Annotated[Size, Field(ge=2**20)] | None = None
    """How much WAL the slot may hold before that is told as trouble. By default what the server allows (`max_slot_wal_keep_size`)."""


class CanaryShape(Shorthand):
    """A message through a database and back as a webhook, timed. A single text is `every`."""

    every: Annotated[Duration, Field(ge=1)] = Field(default=30.0, json_schema_extra={"default": "30s"})
    """How often."""
    database: Text | None = None
    """Through which database, one of `databases`. May be left out when there is one."""
    late: Positive = Field(default=10.0, json_schema_extra={"default": "10s"})
    """After how long one that has not come is told as trouble."""

    @classmethod
    def main(cls) -> str:
        return "every"

    @classmethod
    def single(cls) -> dict[str, Any]:
        return {"type": "string", "pattern": rf"^{quantities.DURATION}$"}


class TracingShape(Shorthand):
    """OpenTelemetry traces. A single text is `endpoint`. Needs the extra `cdcd[otel]`."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^/?#\s@]")]
    """Where spans are sent by OTLP over HTTP: `http://127.0.0.1:4318/v1/traces`."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers of these requests."""
    sample: Annotated[Number, Field(ge=0, le=1)] = 1.0
    """The share of traces that are sent, of those that begin here: 0 to 1. One that began elsewhere is sent when it was there."""

    @classmethod
    def main(cls) -> str:
        return "endpoint"

    @classmethod
    def single(cls) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^(https?://|\$\{)"}


class StorageShape(Shape):
    """A directory whose files are watched."""

    path: Text
    """The directory. Relative to the file it is written in."""
    recursive: bool = True
    """`false`: only what lies directly in it."""
    ignore: Annotated[list[Text], BeforeValidator(_listed), _one_or_more({"type": "string"})] = Field(default_factory=list)
    """Paths, relative to `path`, that make no events: globs such as `**/*.tmp` or `cache/**`."""
    settle: Positive = Field(default=1.0, json_schema_extra={"default": "1s"})
    """How long size and time of a file must stand still before it is reported, where its writer's close cannot be seen."""
    follow_symlinks: bool = False
    """`true`: what a symbolic link points to counts as the file or directory itself."""
    hash: bool = False
    """`true`: events carry the SHA-256 of the file's content."""
    existing: Existing = Existing.IGNORE
    """What the first start does with the files that are there: `ignore`, or `report` them as created."""


class EventShape(Shape):
    """What may be queued under a custom type."""

    schema_: Annotated[dict[str, Any] | bool | None, Field(alias="schema")] = None
    """A JSON Schema (draft 2020-12) that the payload must satisfy."""
    allow: Text | None = None
    """Who may queue it: a condition in CEL over `auth` (the token's claims) and `payload`."""


ORIGIN = r"^(\*|[a-z][a-z0-9+.-]*://[^/?#\s*A-Z]+)$"


PUBLIC_URL = r"^https?://[^/?#\s@]+/?$"


class TlsShape(Shorthand):
    """What the server shows to whoever connects. A text is `cert`."""

    cert: Text
    """A file with the certificate chain (PEM)."""
    key: Text | None = None
    """The file with its key (PEM), when it is not in the same file."""

    @classmethod
    def main(cls) -> str:
        return "cert"

    @classmethod
    def single(cls) -> dict[str, Any]:
        return {"type": "string"}


class ServerShape(Shorthand):
    """The HTTP API. Left out: there is none."""

    listen: Annotated[str, AfterValidator(quantities.address)] = "127.0.0.1:4122"
    """Where it listens: `host:port`."""
    secrets: Annotated[list[SecretShape], Field(min_length=1)] | None = None
    """The keys of the API's tokens, instead of the project's, which whoever verifies webhooks has. The first signs those of
    `cdcd token`, any is good."""
    cors: Annotated[list[Annotated[str, Field(pattern=ORIGIN)]], BeforeValidator(_listed), _one_or_more({"type": "string"})] = (
        Field(default_factory=list)
    )
    """Whose pages may call it from a browser: origins (`https://shop.example.com`), or `"*"` for any. Left out: nobody's."""
    body: Annotated[Size, Field(ge=1024)] = Field(default=2**20, json_schema_extra={"default": "1MiB"})
    """The largest body of a request."""
    metrics: Metrics = Metrics.LOCAL
    """Who may read `/metrics`, and why `/healthz` says no: `local` (this machine without a token, others with one whose role is
    `viewer` or more), `token` (nobody without), `open` (everybody)."""
    tls: TlsShape | None = None
    """Serve https alone, with this certificate. Left out: http, which beyond loopback needs a proxy that speaks TLS."""
    public_url: Annotated[str, Field(pattern=PUBLIC_URL)] | None = None
    """The address under which browsers and people reach it, when that is another than `listen`: `https://cdcd.example.com`."""

    @classmethod
    def main(cls) -> str:
        return "listen"

    @classmethod
    def single(cls) -> dict[str, Any]:
        return {"type": "string"}


class EventingShape(Shape):
    """Where the event store is: event_logs and invocation_logs."""

    database: Text | None = None
    """The database that holds it, one of `databases`. Left out: a server of cdcd's own, in `state_dir`."""
    schema_: Annotated[str, Field(alias="schema", min_length=1, max_length=63, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "cdcd"
    """The schema that holds its tables. It must be cdcd's own."""
    retention: Annotated[Duration, Field(ge=3600)] = Field(default=7 * 86400.0, json_schema_extra={"default": "7d"})
    """How long finished deliveries are kept. What is still to be delivered is kept for as long as that takes."""
    state_dir: Text = "./.cdcd"
    """Where cdcd keeps files of its own (the embedded server). Relative to the file it is written in."""


class LimitsShape(Shape):
    """Bounds on memory and concurrency, for the whole daemon."""

    in_flight: Annotated[Count, Field(ge=1)] = 1024
    """Deliveries in memory at once. A source pauses when they are reached."""
    in_flight_bytes: Annotated[Size, Field(ge=1024)] = Field(default=64 * 2**20, json_schema_extra={"default": "64MiB"})
    """Bytes of event data in memory at once."""
    payload: Annotated[Size, Field(ge=1024)] = Field(default=16 * 2**20, json_schema_extra={"default": "16MiB"})
    """The largest event data that is sent. What is larger is recorded as `failed`."""
    response: Annotated[Size, Field(ge=0)] = Field(default=64 * 2**10, json_schema_extra={"default": "64KiB"})
    """How much of an endpoint's answer is read and recorded."""
    concurrency: Annotated[Count, Field(ge=1)] = 256
    """Requests under way at once, in all."""
    endpoint_concurrency: Annotated[Count, Field(ge=1)] = 64
    """Requests under way at once to one endpoint (scheme, host, port)."""
    spill_after: Positive = Field(default=1.0, json_schema_extra={"default": "1s"})
    """A delivery that is not settled after this long is parked in the event store."""
    shutdown: Annotated[Duration, Field(ge=0)] = Field(default=10.0, json_schema_extra={"default": "10s"})
    """How long a stop waits for attempts that are under way."""
    max_chain: Annotated[Count, Field(ge=1, le=1000)] = 16
    """How long a chain of events may be, in which the answer to one queues the next. A longer one is stopped as a loop."""


class EgressShape(Shorthand):
    """Which addresses may be dialled. Link-local and metadata addresses are refused always."""

    mode: Egress = Egress.PRIVATE
    """`private`: any other address. `public`: only globally routable ones."""
    allow: Annotated[list[Text], BeforeValidator(_listed), _one_or_more({"type": "string"})] = Field(default_factory=list)
    """Networks (CIDR) that may be dialled although the mode is `public`."""

    @classmethod
    def main(cls) -> str:
        return "mode"

    @classmethod
    def single(cls) -> dict[str, Any]:
        return {"type": "string", "enum": [mode.value for mode in Egress]}


class WebhookShape(Shorthand):
    """Where deliveries are sent. A single text is the URL."""

    url: Text
    """Absolute, http or https. No user and password in it: give an Authorization header. `${ CEL }` may stand in path and query."""
    method: Annotated[str, Field(pattern=r"^(POST|PUT|PATCH|DELETE|GET)$")] = "POST"
    """The request's method: `POST`, `PUT`, `PATCH`, `DELETE` or `GET`."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers added to each request; `${ CEL }` in them is evaluated. Those that cdcd sets itself are refused."""
    timeout: Positive = Field(default=5.0, json_schema_extra={"default": "5s"})
    """How long one attempt may take, from dialling to the end of the answer."""
    ca: Text | None = None
    """A file of certificates (PEM) to trust instead of the system's."""
    client_cert: Text | None = None
    """A file with the certificate chain (PEM) that cdcd shows to the endpoint."""
    client_key: Text | None = None
    """The file with the key (PEM) of `client_cert`, when it is not in the same file."""
    egress: EgressShape = Field(default_factory=EgressShape, json_schema_extra={"default": "private"})
    """Which addresses may be dialled: `private` or `public`, or a mapping with `mode` and `allow`."""

    @classmethod
    def main(cls) -> str:
        return "url"

    @classmethod
    def single(cls) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^(https?://|\$\{)"}


class RetriesShape(Shorthand):
    """When a delivery is tried again. A single number is `max`."""

    max: Annotated[Count, Field(ge=0, le=1000)] = 3
    """How often it is tried again after the first attempt."""
    backoff: Backoff = Backoff.EXPONENTIAL
    """How the wait grows: `exponential` (times `factor`), `linear` (plus `first`), `fixed`."""
    first: Positive = Field(default=1.0, json_schema_extra={"default": "1s"})
    """The wait before the first retry."""
    factor: Annotated[Number, Field(ge=1, le=100)] = 5.0
    """What the wait is multiplied by each time, with `exponential`."""
    max_interval: Positive = Field(default=3600.0, json_schema_extra={"default": "1h"})
    """The longest wait between two attempts."""
    jitter: Annotated[Number, Field(ge=0, le=1)] = 0.2
    """The part of each wait that is left to chance, so that retries spread: 0 to 1."""
    max_age: Positive = Field(default=3 * 86400.0, json_schema_extra={"default": "3d"})
    """A delivery older than this is not tried again. It counts from the event's time, or from when cdcd took it if that is later."""
    no_retry: Annotated[
        list[Annotated[Count, Field(ge=300, le=599)]],
        BeforeValidator(_listed),
        _one_or_more({"type": "integer", "minimum": 300, "maximum": 599}),
    ] = Field(default_factory=list)
    """Status codes that end a delivery at once. 410 always does."""

    @classmethod
    def main(cls) -> str:
        return "max"

    @classmethod
    def single(cls) -> dict[str, Any]:
        return {"type": "integer", "minimum": 0, "maximum": 1000}


class TriggerShape(Shape):
    """Which events, under which condition, go to which webhook, how."""

    type: Annotated[
        list[EventType],
        BeforeValidator(_listed),
        Field(min_length=1),
        _one_or_more({"anyOf": [{"type": "string", "enum": list(BUILT_IN)}, {"type": "string", "pattern": TYPE}]}),
    ]
    """What happened: `DB_INSERT`, `DB_UPDATE`, `DB_DELETE`, `DB_TRUNCATE`; `FILE_CREATE`, `FILE_UPDATE`, `FILE_DELETE`; `SCHEDULE`;
    a custom type of your own; or a list of one kind."""
    database: Text | None = None
    """For `DB_*`: the database, one of `databases`. May be left out when there is one."""
    table: Annotated[list[Text], BeforeValidator(_listed), _one_or_more({"type": "string"})] = Field(default_factory=list)
    """For `DB_*`: the table, `schema.table` or `table` (in `public`), a glob such as `sales.*`, or a list of them."""
    storage: Text | None = None
    """For `FILE_*`: the store, one of `storage`. May be left out when there is one."""
    path: Annotated[list[Text], BeforeValidator(_listed), _one_or_more({"type": "string"})] = Field(default_factory=list)
    """For `FILE_*`: the path within the store, a glob such as `**/*.{jpg,png}`, or a list of them. By default all."""
    schedule: Text | None = None
    """For `SCHEDULE`: when, as cron's five fields: `0 9 * * 1-5`."""
    timezone: Text = "UTC"
    """For `SCHEDULE`: the time zone of `schedule`, as in `Europe/Berlin`."""
    missed: Missed = Missed.ONCE
    """For `SCHEDULE`: what a start does about the times that passed while cdcd was down: fire `once`, `skip` them, or fire `all`."""
    columns: Annotated[list[Text], BeforeValidator(_listed), _one_or_more({"type": "string"})] = Field(default_factory=list)
    """An update fires only when one of these columns changed. All changes fire when it cannot be told."""
    when: Text | None = None
    """A condition in CEL; only what it is true for is delivered. It sees `type` and `event`, with `new` and `old` for rows, `file` and
    `old` for files, `data` for custom events."""
    webhook: WebhookShape
    """Where deliveries are sent: a URL, or a mapping."""
    retries: RetriesShape = Field(default_factory=RetriesShape, json_schema_extra={"default": 3})
    """When a delivery is tried again: a number of retries, or a mapping."""
    order: Order = Order.KEY
    """`key`: deliveries with the same key one at a time, in order. `all`: all of them. `none`: in any order."""
    key: Text | None = None
    """The key, as an expression in CEL. By default the row's primary key, the file's path, the key that was queued."""
    format: Format = Format.JSON
    """`json`: the CloudEvent as `application/json`. `cloudevents`: as `application/cloudevents+json`. `cloudevents-binary`: attributes
    as headers, data as the body. `hasura`: what Hasura's event triggers send. `raw`: the data alone."""
    payload: Any = None
    """The body, instead of what `format` makes: any value, in whose text `${ CEL }` is evaluated. It sees what `when` sees."""
    claims: dict[str, Any] = Field(default_factory=dict)
    """Claims added to the token in `X-SC-Token`; `${ CEL }` in them is evaluated."""
    concurrency: Annotated[Count, Field(ge=1)] | None = None
    """Requests of this trigger under way at once. By default only the limits of the endpoint and the daemon hold."""
    enabled: bool = True
    """`false` switches the trigger off without removing it."""


class IncludedShape(Shape):
    """A file that `include` names."""

    triggers: dict[str, TriggerShape] = Field(default_factory=dict)
    """Triggers by name."""


class ConfigShape(Shape):
    """The configuration of cdcd."""

    project: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,23}$")]
    """The name of this installation: lowercase letters, digits and `_`. Slots, publications and events bear it."""
    secret: Text | None = None
    """The key that signs requests: `whsec_` and base64 of 24 to 64 bytes, or any text of at least 16 bytes."""
    secrets: Annotated[list[SecretShape], Field(min_length=1)] | None = None
    """Several keys, while they rotate, instead of `secret`. The first signs tokens, all sign webhooks."""
    databases: dict[str, DatabaseShape] = Field(default_factory=dict)
    """The databases whose changes are captured, by name: lowercase letters, digits and `_`."""
    storage: dict[str, StorageShape] = Field(default_factory=dict)
    """The directories whose files are watched, by name: lowercase letters, digits and `_`."""
    events: dict[CustomName, EventShape | None] = Field(default_factory=dict)
    """What may be queued, by custom type. Types that only triggers name take any payload from any valid token."""
    server: ServerShape | None = None
    """The server: console, admin API, custom events by HTTP. Left out: there is none."""
    canary: CanaryShape | None = None
    """Send a message through a database and back, again and again, and time it. Left out: none."""
    tracing: TracingShape | None = None
    """OpenTelemetry traces. Left out: none."""
    eventing: EventingShape = Field(default_factory=EventingShape, json_schema_extra={"default": {}})
    """Where the event store is."""
    limits: LimitsShape = Field(default_factory=LimitsShape, json_schema_extra={"default": {}})
    """Bounds on memory and concurrency."""
    triggers: dict[str, TriggerShape] = Field(default_factory=dict)
    """Triggers by name: letters, digits, `_` and `-`."""
    include: Annotated[list[Text], BeforeValidator(_listed), _one_or_more({"type": "string"})] = Field(default_factory=list)
    """Files (globs) with more triggers, relative to this file. Each holds a mapping with `triggers`."""
    reload: Reload = Reload.MANUAL
    """When this file and those that it includes are read again: `manual` (SIGHUP, the API, `cdcd reload`), or `watch`: also whenever
    one of them was changed."""
