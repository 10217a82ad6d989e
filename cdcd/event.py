"""The values that cross rooms: Event, Delivery, Attempt, Outcome, Checkpoint.

An Event happens once. Each trigger that wants it makes a Delivery of it, which shares the Event. Each HTTP request made
for a Delivery is an Attempt, and what the Attempt showed is its Outcome.

Event, Attempt and the outcomes are never changed after they are made. They are not `frozen` only because a frozen
dataclass costs three times as much to build, and one of each is built per event. A Delivery is owned by the dispatcher
(`cdcd.delivery`) from the moment it is offered until it is recorded; nobody else writes to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

REPLAY_OF = "cdcdreplayof"
"""The extension of the CloudEvent of a replay: the id of the delivery that it repeats."""


class Status(StrEnum):
    """The state of a delivery in `event_logs`. `staged` is the only one that is not final."""

    STAGED = "staged"
    PROCESSED = "processed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Checkpoint(Protocol):
    """A place in a source. It is passed once every delivery that holds it is settled.

    `settle` is called once for each delivery, by the recorder, when the delivery's row is about to be committed.
    """

    def settle(self) -> None: ...


@dataclass(slots=True, eq=False)
class Event:
    """One thing that happened.

    `data` is the JSON text of the CloudEvent's `data` (UTF-8). `time` is microseconds since the Unix epoch.
    `key` is the source's own ordering key (a row's primary key, a file's path), as text. `database` etc. are in `data`.
    `extensions` are further attributes of the CloudEvent (1.0, 3.1): names in lower case, values text or integers.
    """

    type: str
    source: str
    subject: str
    key: str
    time: int
    data: bytes
    position: int = 0
    extensions: Mapping[str, str | int] | None = None


@dataclass(slots=True, eq=False)
class Queued:
    """A custom event on its way in: not matched yet, in the store's `queued`.

    `id` is unique within the project; `given` tells that whoever queued it chose it, so that the same id again is the same event.
    `at_once`: it is not for later, so it is due whatever a clock that was set says of `due`. `number` counts what was queued; 0 before.
    `due` is when it happens (microseconds since the Unix epoch): the CloudEvent's time. `data` is JSON text, `key` its ordering
    key, None for none.
    """

    id: str
    type: str
    source: str
    due: int
    data: bytes
    subject: str = ""
    key: str | None = None
    extensions: Mapping[str, str | int] | None = None
    given: bool = False
    at_once: bool = False
    number: int = 0


@dataclass(slots=True, eq=False)
class Delivery:
    """One event for one trigger.

    `id` is a UUID in its canonical text; it is the CloudEvent's `id`, the `webhook-id` and the key of `event_logs`.
    `lane` is the ordering key within the trigger: deliveries of one trigger with the same lane go one at a time, in order;
    None means unordered. `also` is a second lane, for a row whose key changed: it is in the lane of its new key and in that of
    its old one, and waits for both. `attempts` counts those already recorded or being recorded. `staged` tells that `event_logs`
    holds (or is about to hold) a `staged` row for it. `taken_at` is monotonic seconds when it entered memory.
    `since` is when the store first took it, wall-clock seconds, for one that was claimed from there; 0 for one that is in memory
    since it was made. `earlier` counts those attempts that the retry policy no longer counts: an operator has asked to try again since
    (and `since` is when).
    `error`, when set, says why this event cannot be sent at all; it goes to the recorder as `failed` unsent.
    `unstorable`: the store refused its data, so it is in no backlog and cannot be tried again; the recorder sets it.
    The rest is the dispatcher's: `number` counts arrivals, `gates` is in how many of its lanes something stands before it,
    `sending` that an attempt is under way, `gone` that it has left memory, `counted` that it is counted as backlog. `holds`
    counts why a staged one must not be claimed again yet: it is in memory, or a record of it is not committed.
    """

    id: str
    trigger: str
    event: Event
    lane: str | None
    checkpoint: Checkpoint | None = None
    attempts: int = 0
    staged: bool = False
    taken_at: float = 0.0
    since: float = 0.0
    error: str = ""
    also: str | None = None
    number: int = 0
    gates: int = 0
    sending: bool = False
    gone: bool = False
    counted: bool = False
    holds: int = 0
    unstorable: bool = False
    earlier: int = 0

    @property
    def size(self) -> int:
        """Bytes this delivery counts for in the in-flight budget."""
        return len(self.event.data) + 512


@dataclass(slots=True, eq=False)
class Answer:
    """A 2xx answer that may carry events (`cdcd.delivery.answers`): its head, in lower-case names, and its body.

    `cut`: the body went on beyond `limits.response` or broke off, and only its start is here. `secret`: it repeats something that
    was sent to prove who we are, and must not be kept.
    """

    headers: Mapping[str, str]
    body: bytes
    cut: bool = False
    secret: bool = False


@dataclass(slots=True, eq=False)
class Attempt:
    """One HTTP request for a delivery; a row in `invocation_logs`.

    `number` counts from 1. `started_at` is wall-clock seconds, `duration` seconds. `status` is the HTTP status code, 0 when
    there was no answer. `response` is the start of the body, redacted, at most `limits.response` bytes, decoded leniently.
    `error` is empty for a success, otherwise what went wrong in words. `retry_after` is seconds, as the endpoint asked.
    `refused`: cdcd itself would not send it (address not allowed, payload over the limit), so no later attempt can differ.
    `answer` is there when a success may carry events. `cut`: the answer of a success had more than `response` tells.
    """

    number: int
    started_at: float
    duration: float
    status: int
    response: str
    error: str = ""
    retry_after: float | None = None
    refused: bool = False
    answer: Answer | None = None
    cut: bool = False


@dataclass(slots=True, frozen=True)
class Delivered:
    """Outcome: the endpoint took it (any 2xx)."""


@dataclass(slots=True, frozen=True)
class Retry:
    """Outcome: try again at `due_at` (wall-clock seconds)."""

    due_at: float
    why: str


@dataclass(slots=True, frozen=True)
class GiveUp:
    """Outcome: never try again; `why` becomes the delivery's remark."""

    why: str


Outcome = Delivered | Retry | GiveUp


@dataclass(slots=True, eq=False)
class Record:
    """What the recorder is asked to make durable about one delivery, in one commit.

    `delivery.staged` (as it was *before* this record, kept in `was_staged`) and `status` select what is written:

    ==========  ==========  =======================================================================
    was_staged  status      written
    ==========  ==========  =======================================================================
    no          final       event_logs row already final (+ attempt)
    no          staged      event_logs row `staged`, pending row (+ attempt)
    yes         staged      pending.due_at and attempts moved on (+ attempt)
    yes         final       event_logs row becomes final, pending row leaves, the lane's next becomes due (+ attempt)
    no, again   staged      event_logs row becomes `staged` again, pending row at the back of its lane
    ==========  ==========  =======================================================================

    `due_at` is wall-clock seconds for `staged`. `reason` is the remark of a final row, or the last error of a staged one.
    `follows` are the events that its end queues, in the same commit. `again`: it was final, and an operator asked to try it again.
    """

    delivery: Delivery
    status: Status
    was_staged: bool
    attempt: Attempt | None = None
    due_at: float = 0.0
    reason: str = ""
    follows: Sequence[Queued] = ()
    again: bool = False


@dataclass(slots=True, frozen=True)
class Position:
    """How far a source has been read, as the store keeps it.

    `settled`: everything up to here is settled. `recorded`: nothing after here has been recorded, so what is read again
    above it needs no look-up by id. `identity` says of which source this is the position (for Postgres: system identifier,
    timeline and slot), so that a position is never applied to another one. `time` is that of the last settled commit (µs).
    """

    source: str
    settled: int
    recorded: int
    time: int = 0
    identity: dict[str, str] = field(default_factory=dict)


class Tracked(Protocol):
    """A source whose position the recorder writes in the same commit as the rows that the position covers."""

    def position_to_record(self) -> Position | None:
        """The position that will hold once everything settled so far is committed; None when it has not moved."""
        ...

    def position_recorded(self, position: Position) -> None:
        """`position` is durable: the source may acknowledge it."""
        ...
