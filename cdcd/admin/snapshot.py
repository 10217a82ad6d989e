"""How everything stands at one moment, as values: what the overview, the metrics, the health checks and the console show.

Times are wall-clock seconds since the Unix epoch, durations seconds, sizes bytes, rates per second. None: not known (yet).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True, frozen=True)
class Trouble:
    """Something that is not well. `code` names its kind (docs/operations.md has a row for each); `where` is the part it is about: `store`,
    `database main`, `endpoint https://...`, `trigger NAME`, `storage NAME`, `queue`, `canary`. `stands_still`: the pipeline does not
    move, and a restart may help. `not_ready`: no events are taken."""

    code: str
    what: str
    where: str
    fix: str
    since: float
    stands_still: bool = False
    not_ready: bool = False


@dataclass(slots=True, frozen=True)
class Durations:
    """Of `count` things: what half, nine of ten and 99 of 100 of them did not exceed. None when there were none."""

    count: int = 0
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None


@dataclass(slots=True, frozen=True)
class Rates:
    """Deliveries per second over the last minute."""

    delivered: float = 0.0
    failed: float = 0.0
    retried: float = 0.0


@dataclass(slots=True, frozen=True)
class TriggerState:
    """A trigger that is on. `delivered`, `failed` and `retried` count since the start (attempts that are made again, for the last).

    `in_flight`: being sent. `waiting`: in memory, not being sent. `backlog`: staged in the event store; `oldest`: the event's time of
    the oldest of them. `failed_lately`: failed in the last five minutes. `latency`: of the last five minutes, from the event's time to the
    answer that took it; `latency_count` and `latency_sum` the same since the start.
    """

    name: str
    endpoint: str
    delivered: int
    failed: int
    retried: int
    rates: Rates
    in_flight: int
    waiting: int
    backlog: int
    oldest: float | None
    last_error: str
    latency: Durations
    latency_count: int
    latency_sum: float
    failed_lately: int
    paused: bool = False


@dataclass(slots=True, frozen=True)
class EndpointState:
    """An endpoint. `circuit`: `closed` (all is well), `open` (nothing is sent until `open_until`) or `probing`; `down_since`: when it left
    `closed`. `allowed`: requests that may be under way. `answers`: attempts since the start by kind of answer (`2xx`, ..., `none`,
    `refused`). `buckets` and `seconds` are of all attempts since the start, `durations` their quantiles."""

    origin: str
    circuit: str
    open_until: float | None
    down_since: float | None
    in_flight: int
    allowed: int
    backlog: int
    triggers: Sequence[str]
    answers: dict[str, int]
    durations: Durations
    buckets: Sequence[int]
    seconds: float


@dataclass(slots=True, frozen=True)
class DatabaseState:
    """A captured database. Positions are LSNs as numbers, or numbers of changes (`capture` `triggers`).

    `lag`: written by the server and not settled: bytes, or changes. `unsettled`: transactions. `settled_time`: commit time of the last
    settled one. `held`: bytes of WAL that the slot keeps; `budget`: how many it may; `growth`: by how many `held` grows a second (negative:
    it shrinks); `left`: seconds until the budget is used up, None when it does not grow or there is no budget. `slot`: `reserved`,
    `extended`, `unreserved`, `lost`, or `missing`. `sampled_at`: when the server was asked last.
    """

    name: str
    capture: str
    reading: bool
    trouble: str
    received: int
    settled: int
    recorded: int
    settled_time: float | None
    unsettled: int
    lag: int | None = None
    held: int | None = None
    budget: int | None = None
    growth: float | None = None
    left: float | None = None
    slot: str | None = None
    sampled_at: float | None = None


@dataclass(slots=True, frozen=True)
class StoreState:
    """The event store. `waiting`: records that are not durable yet, and their `bytes`. `groups` and `records` that were committed since the
    start took `commit_seconds`; `group_size` and `commit_time` are means over all of them."""

    available: bool
    trouble: str
    waiting: int
    bytes: int
    groups: int
    records: int
    commit_seconds: float
    group_size: float | None
    commit_time: float | None


@dataclass(slots=True, frozen=True)
class FilesState:
    """A store of files. `missing`: why its directory cannot be looked at, empty when it can. `looks`: at all of it, since the start."""

    name: str
    path: str
    missing: str
    entries: int
    looks: int


@dataclass(slots=True, frozen=True)
class QueueState:
    """Custom events. `under_way`: read, and not settled. `queued`: in the table, due or being delivered; `scheduled`: for later.
    Both are counted up to 10,000 (`many`: there are more)."""

    under_way: int
    queued: int | None = None
    scheduled: int | None = None
    many: bool = False


@dataclass(slots=True, frozen=True)
class CanaryState:
    """The canary. `last`: how long the newest that came took; `came_at`: when. `late_since`: since when one is overdue. `sent` and `came`
    count."""

    database: str
    every: float
    last: float | None
    came_at: float | None
    late_since: float | None
    sent: int
    came: int


@dataclass(slots=True, frozen=True)
class Moment:
    """What happened in a few seconds (`seconds`) from `at` on, for charts. Rates per second; quantiles of the latency in seconds."""

    at: float
    seconds: float
    delivered: float
    failed: float
    retried: float
    p50: float | None
    p99: float | None


@dataclass(slots=True, frozen=True)
class Snapshot:
    """How everything stands at `at`. `started_at`: when the daemon did; `ready`: it takes events. `latency`: of the last five minutes, from
    the event's time to the answer that took it; `latency_buckets` (`meter.BOUNDS`) and `latency_sum` the same since the start.
    `memory`: deliveries in memory and `memory_bytes` theirs. `loop_lag`: by how much the event loop was late when it was last tried."""

    project: str
    at: float
    started_at: float
    ready: bool
    troubles: Sequence[Trouble]
    rates: Rates
    latency: Durations
    latency_buckets: Sequence[int]
    latency_sum: float
    in_flight: int
    memory: int
    memory_bytes: int
    loop_lag: float | None
    triggers: Sequence[TriggerState]
    endpoints: Sequence[EndpointState]
    databases: Sequence[DatabaseState]
    store: StoreState
    files: Sequence[FilesState] = ()
    queue: QueueState | None = None
    canary: CanaryState | None = None
    history: Sequence[Moment] = field(default=())

    @property
    def well(self) -> bool:
        """Whether nothing is the matter."""
        return not self.troubles

    @property
    def alive(self) -> bool:
        """Whether the pipeline moves, as far as that is up to this process."""
        return not any(trouble.stands_still for trouble in self.troubles)

    @property
    def backlog(self) -> int:
        """Deliveries that are staged in the event store."""
        return sum(trigger.backlog for trigger in self.triggers)

    def plain(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return {"well": self.well, "backlog": self.backlog, **asdict(self)}
