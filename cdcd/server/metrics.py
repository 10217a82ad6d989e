"""The metrics, as Prometheus reads them (text format 0.0.4, https://prometheus.io/docs/instrumenting/exposition_formats/): made of a
snapshot, off the event loop.

The rules:
- names begin with `cdcd_`, units are seconds and bytes, what only grows ends in `_total`;
- labels are bounded by the configuration: `trigger`, `endpoint`, `database`, `storage`, and a few fixed words (`answer`, `state`, `code`);
- counters are those of this life of the daemon: they begin at 0 when it does.
"""

import time
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from cdcd import __version__
from cdcd.admin.snapshot import DatabaseState, EndpointState, Snapshot, StoreState, TriggerState
from cdcd.delivery.meter import BOUNDS

TYPE = CONTENT_TYPE_PLAIN_0_0_4
PAUSE = 0.0001  # seconds
AT_ONCE = 25  # samples between two pauses
CIRCUITS = ("closed", "open", "probing")
SLOTS = ("reserved", "extended", "unreserved", "lost", "missing")


def exposition(snapshot: Snapshot) -> bytes:
    """The whole text. For a thread: a thousand triggers take a tenth of a second, and as much again in pauses."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(snapshot))
    return generate_latest(registry)


class _Unhurried(list[Sample]):
    """Samples that are taken with pauses: a thread that computes without one keeps the event loop from its interpreter for 5 ms at a
    time (`sys.getswitchinterval`)."""

    def __iter__(self) -> Iterator[Sample]:
        for number, sample in enumerate(super().__iter__(), 1):
            if number % AT_ONCE == 0:
                time.sleep(PAUSE)
            yield sample


class _Snapshot(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> list[Metric]:
        """Nothing: it is collected once."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Everything."""
        for family in self._families():
            family.samples = _Unhurried(family.samples)
            time.sleep(PAUSE)
            yield family

    def _families(self) -> Iterator[Metric]:
        snapshot = self._snapshot
        yield from _daemon(snapshot)
        yield from _triggers(snapshot.triggers)
        yield from _endpoints(snapshot.endpoints)
        yield from _databases(snapshot.databases)
        yield from _store(snapshot.store)
        yield from _rest(snapshot)


def _gauge(name: str, text: str, value: float | None) -> Iterator[Metric]:
    if value is not None:
        yield GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Iterator[Metric]:
    yield CounterMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, label: str, values: Sequence[tuple[str, float | None]], *, counter: bool = False) -> Metric:
    family: Metric
    if counter:
        counted = family = CounterMetricFamily(name, text, labels=[label])
        for of, value in values:
            counted.add_metric([of], value or 0.0)
    else:
        measured = family = GaugeMetricFamily(name, text, labels=[label])
        for of, value in values:
            if value is not None:
                measured.add_metric([of], value)
    return family


def _buckets(counts: Sequence[int]) -> list[tuple[str, float]]:
    cumulated, so_far = [], 0
    for bound, count in zip([*map(_number, BOUNDS), "+Inf"], counts, strict=True):
        so_far += count
        cumulated.append((bound, float(so_far)))
    return cumulated


def _number(bound: float) -> str:
    return str(float(bound))


def _daemon(snapshot: Snapshot) -> Iterator[Metric]:
    info = GaugeMetricFamily("cdcd_info", "1, with the version and the project.", labels=["version", "project"])
    info.add_metric([__version__, snapshot.project], 1.0)
    yield info
    yield from _gauge("cdcd_start_time_seconds", "When the daemon started, seconds since the Unix epoch.", snapshot.started_at)
    yield from _gauge(
        "cdcd_ready", "1: events are taken.", float(snapshot.ready and not any(t.not_ready for t in snapshot.troubles))
    )
    yield from _gauge("cdcd_well", "1: nothing is the matter (/healthz).", float(snapshot.well))
    yield from _gauge("cdcd_alive", "1: the pipeline moves (/livez).", float(snapshot.alive))
    codes: dict[str, int] = {}
    for trouble in snapshot.troubles:
        codes[trouble.code] = codes.get(trouble.code, 0) + 1
    yield _labelled("cdcd_troubles", "What is not well, by kind.", "code", [*codes.items()])
    latency = HistogramMetricFamily(
        "cdcd_delivery_latency_seconds", "From the event's time (a row's commit) to the end of the answer that took it."
    )
    latency.add_metric([], _buckets(snapshot.latency_buckets), snapshot.latency_sum)
    yield latency
    yield from _gauge("cdcd_memory_deliveries", "Deliveries in memory.", snapshot.memory)
    yield from _gauge("cdcd_memory_bytes", "Bytes of deliveries in memory.", snapshot.memory_bytes)
    yield from _gauge("cdcd_loop_lag_seconds", "By how much the event loop was late when it was last tried.", snapshot.loop_lag)


def _triggers(triggers: Sequence[TriggerState]) -> Iterator[Metric]:
    def by(name: str, text: str, values: Sequence[tuple[str, float | None]], *, counter: bool = False) -> Metric:
        return _labelled(f"cdcd_trigger_{name}", text, "trigger", values, counter=counter)

    yield by("delivered_total", "Deliveries that an endpoint took.", [(t.name, t.delivered) for t in triggers], counter=True)
    yield by("failed_total", "Deliveries that failed for good.", [(t.name, t.failed) for t in triggers], counter=True)
    yield by(
        "retried_total", "Attempts after which another one follows.", [(t.name, t.retried) for t in triggers], counter=True
    )
    yield by("in_flight", "Requests under way.", [(t.name, t.in_flight) for t in triggers])
    yield by("waiting", "Deliveries in memory that are not being sent.", [(t.name, t.waiting) for t in triggers])
    yield by("backlog", "Deliveries that are staged in the event store.", [(t.name, t.backlog) for t in triggers])
    yield by(
        "backlog_oldest_timestamp_seconds",
        "The event's time of the oldest of the backlog, seconds since the Unix epoch.",
        [(t.name, t.oldest) for t in triggers],
    )
    yield by("paused", "1: paused by an operator.", [(t.name, float(t.paused)) for t in triggers])
    latency = SummaryMetricFamily(
        "cdcd_trigger_latency_seconds", "From the event's time to the end of the answer that took it.", labels=["trigger"]
    )
    for trigger in triggers:
        latency.add_metric([trigger.name], trigger.latency_count, trigger.latency_sum)
    yield latency


def _endpoints(endpoints: Sequence[EndpointState]) -> Iterator[Metric]:
    circuit = GaugeMetricFamily("cdcd_endpoint_circuit", "1 for the state that it is in.", labels=["endpoint", "state"])
    attempts = CounterMetricFamily("cdcd_endpoint_attempts_total", "Attempts by kind of answer.", labels=["endpoint", "answer"])
    took = HistogramMetricFamily("cdcd_endpoint_attempt_seconds", "How long attempts took.", labels=["endpoint"])
    for endpoint in endpoints:
        for state in CIRCUITS:
            circuit.add_metric([endpoint.origin, state], float(endpoint.circuit == state))
        for kind, count in endpoint.answers.items():
            attempts.add_metric([endpoint.origin, kind], count)
        took.add_metric([endpoint.origin], _buckets(endpoint.buckets), endpoint.seconds)
    yield circuit
    yield attempts
    yield took
    yield _labelled("cdcd_endpoint_in_flight", "Requests under way.", "endpoint", [(e.origin, e.in_flight) for e in endpoints])


def _databases(databases: Sequence[DatabaseState]) -> Iterator[Metric]:
    def by(name: str, text: str, values: Sequence[tuple[str, float | None]]) -> Metric:
        return _labelled(f"cdcd_database_{name}", text, "database", values)

    logged = [database for database in databases if database.capture == "triggers"]
    replicated = [database for database in databases if database.capture != "triggers"]
    yield by("reading", "1: it is being read.", [(d.name, float(d.reading)) for d in databases])
    yield by(
        "unsettled_transactions", "Transactions that are read and not settled.", [(d.name, d.unsettled) for d in databases]
    )
    yield by(
        "settled_timestamp_seconds",
        "Commit time of the last settled transaction, seconds since the Unix epoch.",
        [(d.name, d.settled_time) for d in databases],
    )
    yield by("received_lsn", "How far it was read, as a number.", [(d.name, d.received) for d in replicated])
    yield by("settled_lsn", "Up to where all is settled, as a number.", [(d.name, d.settled) for d in replicated])
    yield by("lag_bytes", "WAL that is written and not settled.", [(d.name, d.lag) for d in replicated])
    yield by("lag_changes", "Changes in the log that are not settled.", [(d.name, d.lag) for d in logged])
    yield by("wal_held_bytes", "WAL that the slot keeps on the server.", [(d.name, d.held) for d in replicated])
    yield by("wal_budget_bytes", "How much it may keep.", [(d.name, d.budget) for d in replicated])
    yield by("wal_left_seconds", "Until the budget is used up at the present rate.", [(d.name, d.left) for d in replicated])
    slot = GaugeMetricFamily("cdcd_database_slot", "1 for the state of its slot.", labels=["database", "state"])
    for database in replicated:
        if database.slot is not None:
            for state in SLOTS:
                slot.add_metric([database.name, state], float(database.slot == state))
    yield slot


def _store(store: StoreState) -> Iterator[Metric]:
    yield from _gauge("cdcd_store_available", "1: the event store takes records.", float(store.available))
    yield from _gauge("cdcd_store_waiting_records", "Records that are not durable yet.", store.waiting)
    yield from _gauge("cdcd_store_waiting_bytes", "Bytes of their deliveries.", store.bytes)
    yield from _counter("cdcd_store_records_total", "Records that were committed.", store.records)
    yield from _counter("cdcd_store_groups_total", "Commits of records.", store.groups)
    yield from _counter("cdcd_store_commit_seconds_total", "Time that these commits took.", store.commit_seconds)


def _rest(snapshot: Snapshot) -> Iterator[Metric]:
    files = snapshot.files
    yield _labelled(
        "cdcd_storage_there", "1: its directory can be looked at.", "storage", [(f.name, float(not f.missing)) for f in files]
    )
    yield _labelled(
        "cdcd_storage_entries", "Files and directories in the kept tree.", "storage", [(f.name, f.entries) for f in files]
    )
    yield _labelled(
        "cdcd_storage_looks_total", "Looks at all of it.", "storage", [(f.name, f.looks) for f in files], counter=True
    )
    queue = snapshot.queue
    if queue is not None:
        yield from _gauge("cdcd_queue_under_way", "Custom events that are read and not settled.", queue.under_way)
        yield from _gauge("cdcd_queue_due", "Custom events in the queue, due or being delivered (up to 10,000).", queue.queued)
        yield from _gauge("cdcd_queue_scheduled", "Custom events for later (up to 10,000).", queue.scheduled)
    canary = snapshot.canary
    if canary is not None:
        yield from _counter("cdcd_canary_sent_total", "Canaries that were sent.", canary.sent)
        yield from _counter("cdcd_canary_came_total", "Canaries that came back.", canary.came)
        yield from _gauge("cdcd_canary_seconds", "How long the newest that came back took.", canary.last)
        yield from _gauge("cdcd_canary_came_timestamp_seconds", "When it came, seconds since the Unix epoch.", canary.came_at)
        yield from _gauge("cdcd_canary_late", "1: one is overdue.", float(canary.late_since is not None))
