"""What a group of records means as rows: which are inserted, staged, moved on or finished. Pure.

A delivery may occur several times in a group (staged, tried, finished). Its records are folded into one fate: what it was
before the first of them, what it is after the last, and every attempt between. So each row is written once, and a delivery
that was staged and finished within one group never touches the backlog.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from cdcd.event import Attempt, Delivery, Position, Record, Status
from cdcd.store.arrays import TimestampArray, bigints, integers, jsons, reals, texts, timestamps, uuids, words

DAY = 86_400_000_000  # microseconds


@dataclass(slots=True)
class Fate:
    """Everything that one group says of one delivery."""

    delivery: Delivery
    was_staged: bool
    status: Status
    attempts: int
    due_at: float
    reason: str
    again: bool = False


@dataclass(slots=True)
class Group:
    """The rows of one commit, in the order of their records."""

    final: list[Fate] = field(default_factory=list)
    staged: list[Fate] = field(default_factory=list)
    restaged: list[Fate] = field(default_factory=list)
    finished: list[Fate] = field(default_factory=list)
    again: list[Fate] = field(default_factory=list)
    tried: list[tuple[Delivery, Attempt]] = field(default_factory=list)


def live_only(records: Sequence[Record]) -> bool:
    """True when every record is final and was never staged: one statement writes them all."""
    staged = Status.STAGED
    return not any([record.was_staged or record.status is staged for record in records])  # noqa: C419 - a list is twice as fast


def fold(records: Sequence[Record]) -> Group:
    """One fate for each delivery, sorted by what has to be written."""
    fates: dict[str, Fate] = {}
    group = Group()
    for record in records:
        delivery, attempt = record.delivery, record.attempt
        count = attempt.number if attempt else delivery.attempts
        if attempt is not None:
            group.tried.append((delivery, attempt))
        fate = fates.get(delivery.id)
        if fate is None:
            fates[delivery.id] = Fate(
                delivery, record.was_staged, record.status, count, record.due_at, record.reason, record.again
            )
        else:
            fate.status, fate.due_at, fate.reason = record.status, record.due_at, record.reason
            fate.attempts = max(fate.attempts, count)
    for fate in fates.values():
        if fate.again:
            group.again.append(fate)
            if fate.status is not Status.STAGED:
                group.finished.append(fate)
        elif fate.status is Status.STAGED:
            (group.restaged if fate.was_staged else group.staged).append(fate)
        else:
            (group.finished if fate.was_staged else group.final).append(fate)
    return group


def days(records: Sequence[Record]) -> set[int]:
    """The days (since the Unix epoch, UTC) whose partitions the group needs."""
    return {record.delivery.event.time // DAY for record in records}


def live_parameters(records: Sequence[Record], positions: Sequence[Position]) -> tuple[bytes, ...]:
    """Parameters of the statement `record` for records that are `live_only`."""
    deliveries = [record.delivery for record in records]
    events = _events(deliveries)
    tried = [(record.delivery, record.attempt) for record in records if record.attempt is not None]
    attempts = [record.attempt for record in records if record.attempt is not None]
    same = len(attempts) == len(records)
    processed = Status.PROCESSED
    counts = integers([record.attempt.number if record.attempt else record.delivery.attempts for record in records])
    return (
        *events,
        words([record.status._value_ for record in records]),  # `value` is a property, ten times slower
        counts,
        words([None if record.status is processed and not record.reason else remark(record) for record in records]),
        events[0] if same else uuids([delivery.id for delivery, _ in tried]),
        events[1] if same else timestamps([delivery.event.time for delivery, _ in tried]),
        counts if same else integers([attempt.number for attempt in attempts]),
        *_attempts(attempts),
        *_positions(positions),
    )


def final_parameters(group: Group, positions: Sequence[Position]) -> tuple[bytes, ...]:
    """Parameters of the statement `record` for a folded group: its final rows, and the attempts of all its deliveries."""
    return (
        *_events([fate.delivery for fate in group.final]),
        words([fate.status.value for fate in group.final]),
        integers([fate.attempts for fate in group.final]),
        words([remark(fate) for fate in group.final]),
        uuids([delivery.id for delivery, _ in group.tried]),
        timestamps([delivery.event.time for delivery, _ in group.tried]),
        integers([attempt.number for _, attempt in group.tried]),
        *_attempts([attempt for _, attempt in group.tried]),
        *_positions(positions),
    )


def stage_parameters(fates: Sequence[Fate]) -> tuple[bytes, ...]:
    """Parameters of the statement `stage`."""
    return (
        *_events([fate.delivery for fate in fates]),
        integers([fate.attempts for fate in fates]),
        words([fate.reason or None for fate in fates]),
        texts([fate.delivery.lane for fate in fates]),
        _moments([fate.due_at for fate in fates]),
        integers([fate.delivery.size for fate in fates]),
        texts([fate.delivery.also for fate in fates]),
        integers(_first(fates)),
    )


def again_parameters(fates: Sequence[Fate]) -> tuple[bytes, ...]:
    """Parameters of the statement `again`."""
    return (
        uuids([fate.delivery.id for fate in fates]),
        timestamps([fate.delivery.event.time for fate in fates]),
        words([fate.delivery.trigger for fate in fates]),
        texts([fate.delivery.lane for fate in fates]),
        texts([fate.delivery.also for fate in fates]),
        _moments([fate.due_at for fate in fates]),
        _moments([fate.delivery.since for fate in fates]),
        integers([fate.attempts for fate in fates]),
        integers([fate.delivery.size for fate in fates]),
        words([fate.reason or None for fate in fates]),
        integers(_first(fates)),
    )


def _first(fates: Sequence[Fate]) -> list[int]:
    """1 for each that is the first of this group in all its lanes, 0 for those that stand behind another."""
    taken: set[tuple[str, str]] = set()
    first = []
    for fate in fates:
        delivery = fate.delivery
        if delivery.also is None and delivery.lane is not None:  # the usual case
            before = len(taken)
            taken.add((delivery.trigger, delivery.lane))
            first.append(len(taken) - before)
        else:
            lanes = _lanes(fate)
            first.append(int(taken.isdisjoint(lanes)))
            taken.update(lanes)
    return first


def behind(fates: Sequence[Fate]) -> list[Fate]:
    """Those of `fates` that stand behind another of them."""
    first = _first(fates)
    return [fate for fate, one in zip(fates, first, strict=True) if not one] if 0 in first else []


def _lanes(fate: Fate) -> list[tuple[str, str]]:
    delivery = fate.delivery
    return [(delivery.trigger, lane) for lane in (delivery.lane, delivery.also) if lane is not None]


def finish_parameters(fates: Sequence[Fate]) -> tuple[bytes, ...]:
    """Parameters of the statement `finish`; the first is that of `leave`."""
    return (
        uuids([fate.delivery.id for fate in fates]),
        timestamps([fate.delivery.event.time for fate in fates]),
        words([fate.status.value for fate in fates]),
        integers([fate.attempts for fate in fates]),
        words([remark(fate) for fate in fates]),
    )


def promote_parameters(fates: Sequence[Fate], now: float) -> tuple[bytes, ...] | None:
    """Parameters of the statement `promote` for the lanes that these deliveries leave or stand in; None when there are none."""
    lanes = list(dict.fromkeys(lane for fate in fates for lane in _lanes(fate)))
    if not lanes:
        return None
    return words([trigger for trigger, _ in lanes]), texts([lane for _, lane in lanes]), _moments([now])


def restage_parameters(fates: Sequence[Fate]) -> tuple[bytes, ...]:
    """Parameters of the statement `restage`."""
    return (
        uuids([fate.delivery.id for fate in fates]),
        _moments([fate.due_at for fate in fates]),
        integers([fate.attempts for fate in fates]),
        words([fate.reason or None for fate in fates]),
    )


def remark(fate: Record | Fate) -> str | None:
    """The remark of a final row: a delivery that was not processed always says why."""
    if fate.reason or fate.status is Status.PROCESSED:
        return fate.reason or None
    return fate.delivery.error or "no reason was given"


def _events(deliveries: Sequence[Delivery]) -> tuple[bytes, ...]:
    events = [delivery.event for delivery in deliveries]
    return (
        uuids([delivery.id for delivery in deliveries]),
        timestamps([event.time for event in events]),
        words([event.type for event in events]),
        words([event.source for event in events]),
        texts([event.subject for event in events]),
        words([delivery.trigger for delivery in deliveries]),
        texts([event.key for event in events]),
        bigints([event.position for event in events]),
        jsons([b"" if delivery.unstorable else delivery.event.data for delivery in deliveries]),
        jsons([b"" if event.extensions is None else orjson.dumps(event.extensions) for event in events]),
    )


def _attempts(attempts: Sequence[Attempt]) -> tuple[bytes, ...]:
    return (
        integers([attempt.status for attempt in attempts]),
        words([attempt.response for attempt in attempts]),
        words([attempt.error for attempt in attempts]),
        reals([attempt.duration * 1000 for attempt in attempts]),
        _moments([attempt.started_at for attempt in attempts]),
    )


def _positions(positions: Sequence[Position]) -> tuple[bytes, ...]:
    return (
        words([position.source for position in positions]),
        bigints([position.settled for position in positions]),
        bigints([position.recorded for position in positions]),
        timestamps([position.time for position in positions]),
        texts([orjson.dumps(position.identity).decode() for position in positions]),
    )


def _moments(seconds: Sequence[float]) -> TimestampArray:
    return timestamps([int(value * 1_000_000) for value in seconds])
