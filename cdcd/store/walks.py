"""The ways through `event_logs` in the order of time: which index a filter is served by, and which partitions it visits. Pure.

The rule: ids begin with the event's time in milliseconds, so a span of time is a span of ids, and every index that ends in the id
gives its rows in the order of time. Partitions are visited one after the other, so that a page costs what it shows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from cdcd.event import Status

DAY = 86_400_000_000  # microseconds
FIRST, BEYOND = 0, 1 << 128  # ids as numbers
EARLIEST, LATEST = -(1 << 63) + 946_684_800_000_000, (1 << 63) - 1 + 946_684_800_000_000  # -infinity and infinity on the wire
KEY_INDEXED = 200  # characters of a key that its index holds
_OPEN = (Status.STAGED, Status.FAILED, Status.CANCELLED)


@dataclass(slots=True, frozen=True)
class Filter:
    """Which deliveries are meant; what is empty or None excludes nothing.

    `source` is the CloudEvent's source, whole or its last part (the name of the database or storage). `key` is the row's key, the
    file's path. `since` (inclusive) and `until` (exclusive) bound the event's time, wall-clock seconds. `text` is looked for in the
    payload, `error` in why a delivery failed, was cancelled or waits; both as they stand, in upper or lower case.
    """

    status: tuple[Status, ...] = ()
    trigger: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    source: str = ""
    key: str | None = None
    since: float | None = None
    until: float | None = None
    text: str = ""
    error: str = ""

    @property
    def statuses(self) -> tuple[Status, ...]:
        """Those that can match: what was processed has no error."""
        if not self.error:
            return self.status
        return tuple(status for status in self.status or _OPEN if status is not Status.PROCESSED)

    @property
    def impossible(self) -> bool:
        """Whether nothing can match."""
        return bool(self.error and not self.statuses)

    @property
    def walk(self) -> str:
        """The walk (`statements.WALKS`) that serves it."""
        if self.key:
            return "by_key"
        if self.statuses and Status.PROCESSED not in self.statuses:
            return "by_status_and_trigger" if self.trigger else "by_status"
        return "by_trigger" if self.trigger else "by_id"

    @property
    def indexed(self) -> bool:
        """Whether every row that its walk visits matches."""
        if self.type or self.source or self.text or self.error:
            return False
        match self.walk:
            case "by_key":
                return not self.statuses and not self.trigger and len(self.key or "") < KEY_INDEXED
            case "by_trigger":
                return not self.statuses and self.key is None
            case "by_id":
                return not self.statuses and self.key is None
        return self.key is None

    def parameters(self) -> tuple[list[str] | str | None, ...]:
        """Its parameters of a walk, from the fourth on."""
        return (
            list(dict.fromkeys(self.statuses)) or None,
            list(dict.fromkeys(self.trigger)) or None,
            self.key,
            list(self.type) or None,
            self.source or None,
            f"%/{_literal(self.source)}",
            f"%{_literal(self.text)}%" if self.text else None,
            f"%{_literal(self.error)}%" if self.error else None,
        )


@dataclass(slots=True, frozen=True)
class Span:
    """Ids from `low` to before `high` as numbers, and times likewise in microseconds. One partition, or a part of the default one."""

    low: int
    high: int
    since: int
    until: int


def first_id(time: int) -> int:
    """The least id that a delivery of an event at `time` (microseconds) can have."""
    return min((max(time, 0) // 1000) << 80, BEYOND)


def time_of(identity: int) -> int:
    """Microseconds: the start of the millisecond in which the event of this id happened."""
    return (identity >> 80) * 1000


def to_text(identity: int) -> str:
    """The id as text; what lies beyond all ids is the last of them."""
    return str(UUID(int=min(identity, BEYOND - 1)))


def spans(days: Iterable[int], span: Span, *, newest: bool) -> Iterator[Span]:
    """The parts of `span` in order, one for each of `days` (since 1970-01-01) that has a partition and one for each gap between."""
    edges = sorted({edge for day in days for edge in (day * DAY, (day + 1) * DAY)})
    bounds = list(zip([EARLIEST, *edges], [*edges, LATEST], strict=True))
    for since, until in reversed(bounds) if newest else bounds:
        low, high = max(span.low, _lower(since)), min(span.high, _upper(until))
        begin, end = max(since, span.since), min(until, span.until)
        if low < high and begin < end:
            yield Span(low, high, begin, end)


def whole(since: float | None, until: float | None) -> Span:
    """Everything between two moments (seconds)."""
    begin = EARLIEST if since is None else round(since * 1_000_000)
    end = LATEST if until is None else round(until * 1_000_000)
    return Span(_lower(begin), _upper(end), begin, end)


def _lower(time: int) -> int:
    return FIRST if time <= 0 else first_id(time)


def _upper(time: int) -> int:
    return BEYOND if time >= LATEST else first_id(time - 1 + 1000)


def _literal(text: str) -> str:
    """As LIKE takes it literally."""
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")


def known_ids(texts: Sequence[str]) -> list[int]:
    """Ids as numbers; raises ValueError for what is no UUID."""
    return [UUID(text).int for text in texts]
