"""What the dispatcher keeps of each endpoint and each trigger. Pure."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from cdcd.config.model import TriggerConfig
from cdcd.delivery.circuit import Circuit, Shut, State
from cdcd.delivery.lanes import Backlog, Lane
from cdcd.delivery.meter import ANSWERS, Histogram
from cdcd.event import Delivery

LEAST_CLAIM = 32  # deliveries: a claim costs as much as sending several

Stored = Mapping[str, tuple[int, dict[str, int] | None]]
"""What the store holds of some triggers: how many, and in which lanes (see `Backlog.restore`)."""


class Endpoint:
    """One webhook origin: the unit of concurrency and of the circuit. `answers` counts attempts by `meter.ANSWERS`."""

    __slots__ = ("answers", "circuit", "durations", "in_flight", "listed", "origin", "turns")

    def __init__(self, origin: str, most: int) -> None:
        self.origin = origin
        self.circuit = Circuit(most)
        self.in_flight = 0
        self.turns: deque[Queue] = deque()
        self.listed = False
        self.answers = [0] * len(ANSWERS)
        self.durations = Histogram()


NOWHERE = Endpoint("", 0)
NOWHERE.circuit = Shut()
"""Where the queues of triggers are that are gone, and may come back."""


class Queue:
    """One trigger's deliveries in memory, and its counters."""

    __slots__ = (
        "backlog",
        "claimed",
        "concurrency",
        "delivered",
        "endpoint",
        "failed",
        "held",
        "in_flight",
        "lanes",
        "last_error",
        "latency",
        "listed",
        "live",
        "moved",
        "name",
        "ready",
        "retried",
    )

    def __init__(self, trigger: TriggerConfig, endpoint: Endpoint, concurrency: int, most_lanes: int) -> None:
        self.name = trigger.name
        self.endpoint = endpoint
        self.concurrency = concurrency
        self.backlog = Backlog(most_lanes)
        self.lanes: dict[str, Lane] = {}
        self.ready: deque[Delivery] = deque()  # first in all their lanes; those that left memory since are passed over
        self.listed = False
        self.in_flight = 0
        self.live = 0  # deliveries in memory that the store does not know
        self.claimed = 0  # deliveries in memory that came from the store
        self.held: dict[str, Delivery] = {}  # staged ones that must not be claimed now
        self.moved: set[str] = set()  # where a delivery was staged in place since the last claim began
        self.delivered = self.failed = self.retried = 0
        self.latency = Histogram()
        self.last_error = ""

    @property
    def claimable(self) -> int:
        """How many to claim: enough to keep the endpoint busy while the next claim runs, in halves so that claims are few."""
        most = min(self.concurrency, self.endpoint.circuit.allowed)
        if most == 1 and self.endpoint.circuit.state is State.PROBING:
            return max(0, 1 - self.claimed)
        most = max(2 * most, LEAST_CLAIM)
        return most - self.claimed if self.claimed <= most // 2 else 0


@dataclass(slots=True)
class Usage:
    """What the deliveries in memory take of the in-flight budget."""

    count: int = 0
    bytes: int = 0
