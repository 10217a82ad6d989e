"""Is all well, and if not, what and where: a snapshot of everything that an operator looks at first.

What is in memory is read when somebody asks; what needs a server is sampled in the background while somebody watches (`sampling`).
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from cdcd.admin import troubles
from cdcd.admin.live import Live
from cdcd.admin.motion import Database as Source
from cdcd.admin.motion import Motion, Watched
from cdcd.admin.reload import Refused, Reloaded
from cdcd.admin.sampling import FIRST, Sampler, Samples, growth
from cdcd.admin.snapshot import (
    CanaryState,
    DatabaseState,
    Durations,
    EndpointState,
    FilesState,
    Moment,
    QueueState,
    Rates,
    Snapshot,
    StoreState,
    TriggerState,
    Trouble,
)
from cdcd.config.model import Config
from cdcd.delivery.circuit import State
from cdcd.delivery.meter import ANSWERS, SLICE, Counted, quantiles
from cdcd.delivery.queues import Endpoint, Queue
from cdcd.sources.files.source import FilesSource
from cdcd.sources.queue import QueueSource
from cdcd.store.recorder import Recorder

MINUTE, MINUTES = 60.0, 300.0  # seconds: of rates, of latencies
FRESH = 0.25  # seconds for which a snapshot is given to others who ask
AT_ONCE = 50  # triggers that are looked at before others get their turn


class Overview:
    """`config` gives the configuration in force; `canary` how the canary is, when there is one. `ready` is set when all parts run."""

    def __init__(
        self,
        config: Callable[[], Config],
        watched: Watched,
        sampler: Sampler,
        files: Sequence[FilesSource],
        stopping: Callable[[], bool],
        canary: Callable[[], CanaryState | None],
    ) -> None:
        """`reloaded` may be set: what came of the last reload. `live` tells all who watch."""
        self.ready = False
        self.live = Live(self.now)
        self.reloaded: Callable[[], Reloaded | Refused | None] = lambda: None
        self._config = config
        self._watched = watched
        self._sampler = sampler
        self._files = files
        self._stopping = stopping
        self._canary = canary
        self._motion = Motion(watched)
        self._started_at = time.time()
        self._making = asyncio.Lock()
        self._last: Snapshot | None = None
        self._made_at = 0.0

    @property
    def takes_events(self) -> bool:
        """Whether all parts run, and no stop was asked for."""
        return self.ready and not self._stopping()

    def motion(self) -> list[Trouble]:
        """What keeps the pipeline from moving, from memory alone: for whoever asks often."""
        return self._motion.troubles(self._sampler.found.loop_lag)

    async def now(self, patience: float = FIRST) -> Snapshot:
        """How everything stands. The first who asks after a pause waits a moment for the servers (`patience`, seconds); those who ask at
        the same time get the same."""
        samples = await self._sampler.watched(patience)
        async with self._making:
            if self._last is None or time.monotonic() - self._made_at > FRESH:
                self._last = await self._snapshot(samples)
                self._made_at = time.monotonic()
            return self._last

    async def _snapshot(self, samples: Samples) -> Snapshot:
        wall, now = time.time(), time.monotonic()
        config, dispatcher, recorder = self._config(), self._watched.engine.dispatcher, self._watched.recorder
        meter, queues = dispatcher.meter, dispatcher.queues
        minutes, minute = meter.mark(MINUTES, now), meter.mark(MINUTE, now)
        triggers = []
        for number, (name, queue) in enumerate(list(queues.items()), 1):
            last = meter.of(queue, minutes, MINUTES, now)
            rates = _rates(meter.of(queue, minute, MINUTE, now, latency=False))
            triggers.append(_trigger(queue, last, rates, samples.oldest.get(name), paused=name in dispatcher.paused))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        history = [_moment(slice_, wall - now) for slice_ in meter.slices(now)]
        await asyncio.sleep(0)
        served: dict[str, list[Queue]] = {origin: [] for origin in dispatcher.endpoints}
        for queue in queues.values():
            if queue.endpoint.origin in served:  # those of triggers that are gone have none
                served[queue.endpoint.origin].append(queue)
        endpoints = [_endpoint(dispatcher.endpoints[origin], of, wall - now) for origin, of in served.items()]
        databases = [_database(source, config, samples) for source in self._watched.databases]
        files = [
            FilesState(source.store.name, str(source.store.path), source.missing, source.tree.count, source.looks)
            for source in self._files
        ]
        canary = self._canary()
        errors = {queue.endpoint.origin: queue.last_error for queue in queues.values() if queue.last_error}
        down = frozenset(endpoint.origin for endpoint in endpoints if endpoint.down_since is not None)
        return Snapshot(
            project=config.project,
            at=wall,
            started_at=self._started_at,
            ready=self.takes_events,
            troubles=[
                *self.motion(),
                *troubles.of_databases(databases, wall),
                *troubles.of_endpoints(endpoints, errors),
                *troubles.of_triggers(triggers, down, wall),
                *troubles.of_files(files, wall),
                *troubles.of_canary(canary, wall),
                *troubles.of_reload(self.reloaded()),
            ],
            rates=_rates(meter.within(MINUTE, now)),
            latency=_durations(meter.within(MINUTES, now).latency),
            latency_buckets=tuple(meter.latency.counts),
            latency_sum=meter.latency.sum,
            in_flight=dispatcher.in_flight,
            memory=dispatcher.usage.count,
            memory_bytes=dispatcher.usage.bytes,
            loop_lag=samples.loop_lag,
            triggers=triggers,
            endpoints=endpoints,
            databases=databases,
            store=_store(recorder),
            files=files,
            queue=_queue(self._watched.queue, samples),
            canary=canary,
            history=history,
        )


def _rates(counted: Counted) -> Rates:
    return Rates(counted.delivered / counted.at, counted.failed / counted.at, counted.retried / counted.at)


def _durations(buckets: Sequence[int]) -> Durations:
    return Durations(sum(buckets), *quantiles(buckets, (0.5, 0.9, 0.99)))


def _trigger(queue: Queue, minutes: Counted, rates: Rates, oldest: float | None, *, paused: bool) -> TriggerState:
    return TriggerState(
        name=queue.name,
        endpoint=queue.endpoint.origin,
        delivered=queue.delivered,
        failed=queue.failed,
        retried=queue.retried,
        rates=rates,
        in_flight=queue.in_flight,
        waiting=max(0, queue.live + queue.claimed - queue.in_flight),
        backlog=queue.backlog.count,
        oldest=oldest if queue.backlog.count else None,
        last_error=queue.last_error,
        latency=_durations(minutes.latency),
        latency_count=sum(queue.latency.counts),
        latency_sum=queue.latency.sum,
        failed_lately=minutes.failed,
        paused=paused,
    )


def _endpoint(endpoint: Endpoint, queues: Sequence[Queue], since_epoch: float) -> EndpointState:
    circuit = endpoint.circuit
    answers: dict[str, int] = dict.fromkeys(ANSWERS, 0)
    for kind, count in zip(ANSWERS, endpoint.answers, strict=True):
        answers[kind] += count
    return EndpointState(
        origin=endpoint.origin,
        circuit=circuit.state.value,
        open_until=circuit.open_until + since_epoch if circuit.state is State.OPEN else None,
        down_since=None if circuit.state is State.CLOSED else circuit.since + since_epoch,
        in_flight=endpoint.in_flight,
        allowed=circuit.allowed,
        backlog=sum(queue.backlog.count for queue in queues),
        triggers=[queue.name for queue in queues],
        answers=answers,
        durations=_durations(endpoint.durations.counts),
        buckets=tuple(endpoint.durations.counts),
        seconds=endpoint.durations.sum,
    )


def _database(source: Source, config: Config, samples: Samples) -> DatabaseState:
    name, standing = source.name.partition(".")[2], source.standing()
    database = config.databases.get(name)
    slots = samples.slots.get(name, ())
    last = slots[-1] if slots else None
    grows = growth(slots)
    left = None
    if last is not None and last.budget is not None and grows is not None and grows > 0:
        left = max(0.0, last.budget - last.held) / grows
    written = max(standing.written, last.written) if last is not None else standing.written
    return DatabaseState(
        name=name,
        capture=database.capture.value if database is not None else "",
        reading=standing.reading,
        trouble=standing.trouble,
        received=standing.received,
        settled=standing.settled,
        recorded=standing.recorded,
        settled_time=standing.settled_time / 1e6 if standing.settled_time else None,
        unsettled=standing.unsettled,
        lag=max(0, written - standing.settled) if written else None,
        held=last.held if last is not None else None,
        budget=last.budget if last is not None else None,
        growth=grows,
        left=left,
        slot=last.status if last is not None else None,
        sampled_at=last.at if last is not None else None,
    )


def _store(recorder: Recorder) -> StoreState:
    waiting, size = recorder.queued
    groups = recorder.groups
    return StoreState(
        available=recorder.trouble is None,
        trouble=str(recorder.trouble or ""),
        waiting=waiting,
        bytes=size,
        groups=groups,
        records=recorder.recorded,
        commit_seconds=recorder.commit_seconds,
        group_size=recorder.recorded / groups if groups else None,
        commit_time=recorder.commit_seconds / groups if groups else None,
    )


def _queue(queue: QueueSource, samples: Samples) -> QueueState:
    size = samples.queue
    return QueueState(queue.under_way) if size is None else QueueState(queue.under_way, size.queued, size.scheduled, size.many)


def _moment(counted: Counted, since_epoch: float) -> Moment:
    return Moment(
        counted.at + since_epoch,
        SLICE,
        counted.delivered / SLICE,
        counted.failed / SLICE,
        counted.retried / SLICE,
        *quantiles(counted.latency, (0.5, 0.99)),
    )
