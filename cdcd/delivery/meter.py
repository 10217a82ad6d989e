"""Measures deliveries while they end: how long each took, how many in the last minutes. Pure.

The rules:
- an end costs additions into fixed buckets, and no timer runs: who asks pays for the rest;
- every `SLICE` seconds in which something ends, the counts as they stood before are kept, for the last `KEPT` of these. So what happened
  within a span is the difference of what is counted now and what was kept at its beginning.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Protocol

SLICE = 5.0  # seconds
KEPT = 120  # slices
EACH = 3  # slices after which what each trigger has counted is kept
KEPT_EACH = 20  # of these
BOUNDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 300.0, 1800.0, 3600.0, 6 * 3600.0, 24 * 3600.0),
)
"""Seconds: upper bounds of the buckets; what is longer has one more."""
ANSWERS = ("none", "1xx", "2xx", "3xx", "4xx", "5xx", "other", "other", "other", "other", "refused")
"""Kinds of answers, by the first digit of the status. `none`: there was no answer, `refused`: cdcd itself did not send it."""
REFUSED = ANSWERS.index("refused")
NONE = (0,) * (len(BOUNDS) + 1)
"""Empty buckets."""


class Histogram:
    """Durations in the buckets of `BOUNDS`. `sum` is in seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds


class Endpoint(Protocol):
    """What of an endpoint is measured: attempts by kind of answer, and how long those took that were made."""

    answers: list[int]
    durations: Histogram


class Queue(Protocol):
    """What of a trigger is measured: `latency` is from the event's time to the end of the answer that took it."""

    name: str
    delivered: int
    failed: int
    retried: int
    latency: Histogram


@dataclass(slots=True, frozen=True)
class Counted:
    """What was counted until a moment (monotonic seconds). `latency` are buckets."""

    at: float
    delivered: int
    failed: int
    retried: int
    latency: Sequence[int]


Mark = tuple[float, Mapping[str, Counted]]
"""What each trigger had counted at a moment (monotonic seconds)."""


def quantile(counts: Sequence[int], share: float) -> float | None:
    """As `quantiles`, one of them."""
    return quantiles(counts, (share,))[0]


def quantiles(counts: Sequence[int], shares: Sequence[float]) -> list[float | None]:
    """The durations that these shares of what is in the buckets do not exceed, in seconds, by a straight line within each bucket. None when
    they are empty; what lies behind the last bound counts as that."""
    reached = list(accumulate(counts))
    total = reached[-1] if reached else 0
    if not total:
        return [None for _ in shares]
    found: list[float | None] = []
    for share in shares:
        bucket = bisect_left(reached, share * total)
        if bucket >= len(BOUNDS):
            found.append(BOUNDS[-1])
            continue
        low = BOUNDS[bucket - 1] if bucket else 0.0
        left = share * total - (reached[bucket] - counts[bucket])
        found.append(low + (BOUNDS[bucket] - low) * left / counts[bucket] if counts[bucket] else low)
    return found


class Meter:
    """Of all triggers. Times are monotonic seconds."""

    def __init__(self, queues: Mapping[str, Queue]) -> None:
        self.latency = Histogram()
        """Of all triggers together."""
        self._queues = queues
        self._slices: deque[Counted] = deque(maxlen=KEPT)
        self._each: deque[tuple[float, Mapping[str, Counted]]] = deque(maxlen=KEPT_EACH)
        self._turns_at = 0.0
        self._each_at = 0.0

    def attempted(
        self, queue: Queue, endpoint: Endpoint, answer: int, seconds: float, latency: float | None, now: float
    ) -> None:
        """An attempt has ended, with an answer of this kind (a place in `ANSWERS`) after so many seconds; `latency` when it was taken."""
        if now >= self._turns_at:
            self._turn(now)
        endpoint.answers[answer] += 1
        if answer != REFUSED:
            durations = endpoint.durations  # written out: two calls would be half of what this costs
            durations.counts[bisect_left(BOUNDS, seconds)] += 1
            durations.sum += seconds
            if latency is not None:
                taken, every, bucket = queue.latency, self.latency, bisect_left(BOUNDS, latency)
                taken.counts[bucket] += 1
                taken.sum += latency
                every.counts[bucket] += 1
                every.sum += latency

    def _turn(self, now: float) -> None:
        self._turns_at = now + SLICE
        self._slices.append(self.counted(now))
        if now >= self._each_at:
            self._each_at = now + EACH * SLICE
            before = self._each[-1][1] if self._each else {}
            self._each.append((now, {queue.name: _kept(queue, now, before) for queue in self._queues.values()}))

    def counted(self, now: float) -> Counted:
        """All triggers together, until now."""
        queues = self._queues.values()
        return Counted(
            now,
            sum(queue.delivered for queue in queues),
            sum(queue.failed for queue in queues),
            sum(queue.retried for queue in queues),
            tuple(self.latency.counts),
        )

    def within(self, seconds: float, now: float) -> Counted:
        """What was counted in the last `seconds`; `at` is how many seconds that really are."""
        found = next((kept for kept in self._slices if kept.at >= now - seconds), None)
        current = self.counted(now)
        return _between(found or current, current, seconds, SLICE)

    def mark(self, seconds: float, now: float) -> Mark | None:
        """Where the last `seconds` begin, for `of`."""
        return next((mark for mark in self._each if mark[0] >= now - seconds), None)

    def of(self, queue: Queue, mark: Mark | None, seconds: float, now: float, *, latency: bool = True) -> Counted:
        """As `within`, of one trigger; without `latency` that is left empty, which costs a tenth."""
        if mark is None:
            return Counted(seconds, 0, 0, 0, NONE)
        at, marked = mark
        span = _span(now - at, seconds, SLICE * EACH)
        before = marked.get(queue.name)
        delivered, failed, retried = queue.delivered, queue.failed, queue.retried
        counts: Sequence[int] = queue.latency.counts if latency else NONE
        if before is not None:
            delivered, failed, retried = delivered - before.delivered, failed - before.failed, retried - before.retried
            if not delivered:
                counts = NONE
            elif latency:
                counts = [new - old for new, old in zip(counts, before.latency, strict=True)]
        return Counted(span, delivered, failed, retried, counts)

    def slices(self, now: float) -> list[Counted]:
        """What was counted in each slice of the last ten minutes in which something ended, the oldest first; `at` is its beginning."""
        kept = [*self._slices, self.counted(now)]
        return [Counted(first.at, *_difference(first, second)) for first, second in pairwise(kept) if second.at > first.at]


def _counted(queue: Queue, now: float) -> Counted:
    return Counted(now, queue.delivered, queue.failed, queue.retried, tuple(queue.latency.counts))


def _kept(queue: Queue, now: float, before: Mapping[str, Counted]) -> Counted:
    """As it stands; what has not changed takes no room twice."""
    last = before.get(queue.name)
    if last is not None and (last.delivered, last.failed, last.retried) == (queue.delivered, queue.failed, queue.retried):
        return last
    return _counted(queue, now)


def _between(first: Counted, last: Counted, wanted: float, step: float) -> Counted:
    return Counted(_span(last.at - first.at, wanted, step), *_difference(first, last))


def _span(span: float, wanted: float, step: float) -> float:
    """What was kept is from when something ended after a pause, or from about `wanted` seconds ago: only then is the span shorter."""
    return span if wanted - span < 2 * step and span > 0 else wanted


def _difference(first: Counted, last: Counted) -> tuple[int, int, int, Sequence[int]]:
    return (
        max(0, last.delivered - first.delivered),
        max(0, last.failed - first.failed),
        max(0, last.retried - first.retried),
        [new - old for old, new in zip(first.latency, last.latency, strict=True)],
    )
