"""The account of a demo: what was committed against what arrived. Pure.

Committed counts come from the client that committed, not from cdcd. What arrived is what an endpoint accepted (2xx): `delivered`
counts ids, `repeated` further arrivals of an id. A delivery is out of order when, for its trigger and row (order, file), its commit
(the time for which it was queued) lies before that of one that had arrived for the first time already.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from cdcd.replication.lsn import parse_lsn

RECENT = 2_000  # latencies kept for the live view


@dataclass(slots=True, frozen=True)
class Arrival:
    """One accepted delivery. `place` orders those of one subject: an LSN, for what is no row's change microseconds. `committed` is
    wall-clock seconds when it happened, `after` seconds from then to arrival."""

    id: str
    type: str
    subject: str
    place: int
    committed: float
    after: float

    @classmethod
    def of(cls, body: bytes, arrived_at: float) -> "Arrival":
        """Read it from a request's body."""
        event = orjson.loads(body)
        data = event["data"]
        committed = datetime.fromisoformat(event["time"]).timestamp()
        place = parse_lsn(data["lsn"]) if "lsn" in data else int(committed * 1e6)
        subject = f"order {data['order']}" if "order" in data else event["subject"]
        return cls(event["id"], event["type"], subject, place, committed, arrived_at - committed)


@dataclass(slots=True)
class TriggerAccount:
    """What arrived for one trigger."""

    delivered: int = 0
    repeated: int = 0
    out_of_order: int = 0
    refused: int = 0
    seen: set[str] = field(default_factory=set)
    newest: dict[str, int] = field(default_factory=dict)
    latencies: list[tuple[float, float]] = field(default_factory=list)
    """When it was committed, and how long after it arrived."""
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def take(self, arrival: Arrival) -> bool:
        """Count an accepted delivery; False when it is a repetition."""
        if arrival.id in self.seen:
            self.repeated += 1
            return False
        self.seen.add(arrival.id)
        self.delivered += 1
        if arrival.place < self.newest.get(arrival.subject, 0):
            self.out_of_order += 1
        self.newest[arrival.subject] = max(arrival.place, self.newest.get(arrival.subject, 0))
        self.latencies.append((arrival.committed, arrival.after))
        self.recent.append(arrival.after)
        return True


@dataclass(slots=True)
class Account:
    """All triggers together. `healthy` names those whose latency is told: an endpoint that is down tells nothing of cdcd.
    `down`: from when to when cdcd was down (wall-clock seconds): what is committed then waits for its start, so it is not in the
    latencies."""

    healthy: frozenset[str]
    triggers: dict[str, TriggerAccount]
    expected: dict[str, int] = field(default_factory=dict)
    down: list[tuple[float, float]] = field(default_factory=list)

    @property
    def delivered(self) -> int:
        return sum(each.delivered for each in self.triggers.values())

    @property
    def complete(self) -> bool:
        """Whether everything that was committed has arrived."""
        return all(self.triggers[name].delivered >= count for name, count in self.expected.items())

    def result(self) -> dict[str, int | float]:
        """`committed, delivered, repeated, lost, out_of_order, p50_ms, p99_ms`. `committed` counts a change, an event or a file
        once for each trigger that wants it, and what an endpoint's answers must have queued; the latencies are those of changes
        that were committed while cdcd was up."""
        latencies = sorted(
            after
            for name in self.healthy
            for committed, after in self.triggers[name].latencies
            if not any(begin <= committed <= end for begin, end in self.down)
        )
        return {
            "committed": sum(self.expected.values()),
            "delivered": self.delivered,
            "repeated": sum(each.repeated for each in self.triggers.values()),
            "lost": sum(max(0, count - self.triggers[name].delivered) for name, count in self.expected.items()),
            "out_of_order": sum(each.out_of_order for each in self.triggers.values()),
            "p50_ms": round(percentile(latencies, 0.50) * 1000, 2),
            "p99_ms": round(percentile(latencies, 0.99) * 1000, 2),
        }


def percentile(ordered: list[float], share: float) -> float:
    """Of a sorted list; 0 for an empty one."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
