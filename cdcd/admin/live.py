"""How everything stands, every two seconds, for all who watch at once, and what the last minutes looked like.

The rules:
- however many watch, one snapshot is made for all of them; it is made only while somebody watches;
- the last `KEPT` seconds are kept, so that who comes later sees them at once. For the time in which nobody watched, rates and latencies
  are known all the same (`Snapshot.history`), and what nobody looked at is None;
- nothing waits for one who watches and is slow: he misses what was told meanwhile.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cdcd.admin.snapshot import Moment, Snapshot
from cdcd.delivery.meter import quantiles

EVERY = 2.0  # seconds
KEPT = 300.0  # seconds
SPAN = 3  # turns over which rates and latencies are taken
STEP = 4.0  # seconds between samples of the time in which nobody watched


@dataclass(slots=True, frozen=True)
class Sample:
    """What a chart draws at one moment (`at`, wall-clock seconds). Rates per second and quantiles of the latency (seconds) are of the few
    seconds before it; `commit` is how long a commit to the event store took meanwhile; `held` bytes of WAL by database."""

    at: float
    delivered: float
    failed: float
    retried: float
    p50: float | None = None
    p99: float | None = None
    backlog: int | None = None
    in_flight: int | None = None
    commit: float | None = None
    held: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Turn:
    """What is told at once: how everything stands, and the samples that are new to whoever is told."""

    snapshot: Snapshot
    samples: Sequence[Sample]


class Live:
    """See the module. `look` makes a snapshot. All of it runs on the event loop."""

    def __init__(self, look: Callable[[], Awaitable[Snapshot]], every: float = EVERY) -> None:
        self._look = look
        self._every = every
        self._samples: deque[Sample] = deque()
        self._counted: deque[Snapshot] = deque(maxlen=SPAN + 1)
        self._watching = 0
        self._turn: asyncio.Task[Turn] | None = None
        self._due = 0.0  # monotonic seconds

    async def follow(self) -> AsyncGenerator[Turn]:
        """The last minutes, and from then on each turn, until it is closed."""
        self._watching += 1
        try:
            snapshot = await self._look()
            if not self._counted:
                self._begin(snapshot)
            yield Turn(snapshot, tuple(self._samples))
            while True:
                yield await asyncio.shield(self._next())
        finally:
            self._watching -= 1
            if not self._watching:
                self._counted.clear()
                if self._turn is not None:
                    self._turn.cancel()
                    self._turn = None

    def _begin(self, snapshot: Snapshot) -> None:
        self._forget(snapshot.at)
        last = self._samples[-1].at if self._samples else 0.0
        self._samples.extend(past(snapshot, max(last + STEP / 2, snapshot.at - KEPT)))
        self._counted.append(snapshot)
        self._due = time.monotonic() + self._every

    def _next(self) -> asyncio.Task[Turn]:
        if self._turn is None or self._turn.done():
            self._turn = asyncio.create_task(self._take(), name="live")
        return self._turn

    async def _take(self) -> Turn:
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))
        self._due = time.monotonic() + self._every
        snapshot = await self._look()
        sample = between(self._counted[0], snapshot)
        self._counted.append(snapshot)
        self._samples.append(sample)
        self._forget(sample.at)
        return Turn(snapshot, (sample,))

    def _forget(self, now: float) -> None:
        while self._samples and not now - KEPT <= self._samples[0].at <= now:
            self._samples.popleft()


def following(live: Live) -> contextlib.AbstractAsyncContextManager[AsyncGenerator[Turn]]:
    """`live.follow()`, which ends with the block."""
    return contextlib.aclosing(live.follow())


def between(first: Snapshot, last: Snapshot) -> Sample:
    """What happened from one to the other, and how it stands then."""
    span = max(last.at - first.at, 0.1)
    before, now = _totals(first), _totals(last)
    # A trigger that is gone takes its counts with it.
    delivered, failed, retried = (max(0, new - old) / span for old, new in zip(before, now, strict=True))
    latency = [max(0, new - old) for old, new in zip(first.latency_buckets, last.latency_buckets, strict=True)]
    p50, p99 = quantiles(latency, (0.5, 0.99))
    groups = last.store.groups - first.store.groups
    return Sample(
        at=last.at,
        delivered=delivered,
        failed=failed,
        retried=retried,
        p50=p50,
        p99=p99,
        backlog=last.backlog,
        in_flight=last.in_flight,
        commit=(last.store.commit_seconds - first.store.commit_seconds) / groups if groups > 0 else None,
        held=_held(last),
    )


def past(snapshot: Snapshot, since: float) -> list[Sample]:
    """What is known of the time from `since` to now, at even steps. Where nothing ended, nothing was delivered."""
    moments = [*snapshot.history]
    if len(moments) > 1 and snapshot.at - moments[-1].at < moments[-1].seconds / 2:
        moments.pop()  # it has hardly begun: the one before it tells more
    ends = [*(after.at for after in moments[1:]), snapshot.at]
    known = [_even(moment, end) for moment, end in zip(moments, ends, strict=False) if end > moment.at]
    begin = max(since, snapshot.started_at)
    steps = max(0, int((snapshot.at - begin) // STEP))
    found, samples = 0, []
    for at in (snapshot.at - STEP * number for number in range(steps, -1, -1)):
        while found < len(known) and known[found][1] < at:
            found += 1
        here = known[found][0] if found < len(known) and known[found][0].at <= at else None
        samples.append(
            Sample(at, 0.0, 0.0, 0.0)
            if here is None
            else Sample(at, here.delivered, here.failed, here.retried, here.p50, here.p99)
        )
    samples[-1] = replace(samples[-1], backlog=snapshot.backlog, in_flight=snapshot.in_flight, held=_held(snapshot))
    return samples


def _even(moment: Moment, end: float) -> tuple[Moment, float]:
    """A slice with its end. It goes on until the first thing that ends after its time: soon under load; after a pause, all of it was at its
    beginning."""
    lasts = end - moment.at
    if lasts > 2 * moment.seconds:
        return moment, moment.at + moment.seconds
    share = moment.seconds / max(lasts, moment.seconds / 2)
    rates = (moment.delivered * share, moment.failed * share, moment.retried * share)
    return Moment(moment.at, lasts, *rates, moment.p50, moment.p99), end


def _held(snapshot: Snapshot) -> dict[str, int]:
    return {each.name: each.held for each in snapshot.databases if each.held is not None}


def _totals(snapshot: Snapshot) -> tuple[int, int, int]:
    triggers = snapshot.triggers
    return (
        sum(each.delivered for each in triggers),
        sum(each.failed for each in triggers),
        sum(each.retried for each in triggers),
    )
