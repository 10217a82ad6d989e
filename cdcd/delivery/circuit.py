"""When an endpoint is left alone: the circuit of one endpoint. Pure.

The rule: `THRESHOLD` failures in a row (no answer, 5xx, 429) open it. While open nothing is sent, and waiting costs no
delivery an attempt. After `wait` seconds one real delivery is let through as a probe; a success closes the circuit and
concurrency grows from one, doubling, so that a backlog does not fall on an endpoint that has just come back; a failure opens
it for twice as long, up to `LONGEST`.

         failures >= THRESHOLD              open_until passed
  CLOSED ---------------------> OPEN ---------------------------> PROBING
    ^                            ^                                   |
    |        success             |             failure               |
    +----------------------------+-----------------------------------+
"""

from enum import Enum
from math import inf

THRESHOLD = 10
SHORTEST = 1.0
LONGEST = 30.0


class State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


class Circuit:
    """Decides how many requests an endpoint may have under way. Times are monotonic seconds."""

    __slots__ = ("_failures", "_most", "_wait", "allowed", "open_until", "since", "state")

    def __init__(self, most: int) -> None:
        self._most = most
        self._failures = 0
        self._wait = SHORTEST
        self.state = State.CLOSED
        self.allowed = most
        self.open_until = 0.0
        self.since = 0.0  # when it left CLOSED

    def limit(self, most: int) -> None:
        """So many from now on, at most."""
        if self.state is State.CLOSED and self.allowed == self._most:
            self.allowed = most
        self.allowed, self._most = min(self.allowed, most), most

    def ready(self, now: float) -> bool:
        """Whether anything may be sent now; lets the probe through once an open circuit has waited long enough."""
        if self.state is State.OPEN and now >= self.open_until:
            self.state = State.PROBING
        return self.state is not State.OPEN

    def succeeded(self) -> None:
        """An endpoint that answers at all, even with a refusal of this one event, is alive."""
        self._failures = 0
        if self.state is State.CLOSED and self.allowed == self._most:
            return
        self.state = State.CLOSED
        self._wait = SHORTEST
        self.allowed = min(self._most, self.allowed * 2)

    def failed(self, now: float) -> bool:
        """Count a failure; True when this one opened the circuit."""
        self._failures += 1
        if self.state is State.OPEN:
            return False
        if self.state is State.CLOSED and self._failures < THRESHOLD:
            return False
        if self.state is State.PROBING:
            self._wait = min(LONGEST, self._wait * 2)
        else:
            self.since = now
        self.state = State.OPEN
        self.allowed = 1
        self.open_until = now + self._wait
        return True


class Shut(Circuit):
    """Of no endpoint: nothing is let through, ever."""

    def __init__(self) -> None:
        super().__init__(0)
        self.state = State.OPEN
        self.open_until = inf
