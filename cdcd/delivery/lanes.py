"""Lanes and what stands behind them in the store. Pure.

The rule that keeps order: a lane whose deliveries are partly in the store takes new ones only at the end of the store's part.
So the queue of a lane in memory holds either live deliveries (never stored) or claimed ones (the front of the store's part),
never both. A trigger that has more backlogged lanes than `MOST_LANES` stops counting them singly: it is *flooded*, and all its
new deliveries join the backlog until that has drained.
"""

from collections import deque

from cdcd.event import Delivery

MOST_LANES = 10_000


class Lane:
    """Deliveries of one trigger with one key: one is sent at a time (`sending`), the rest wait in `queue`."""

    __slots__ = ("key", "queue", "sending")

    def __init__(self, key: str) -> None:
        self.key = key
        self.queue: deque[Delivery] = deque()
        self.sending: Delivery | None = None


class Backlog:
    """How much of one trigger stands in the store: the number of deliveries, and per lane while these are few."""

    __slots__ = ("_lanes", "count")

    def __init__(self) -> None:
        self.count = 0
        self._lanes: dict[str, int] | None = {}

    def restore(self, count: int, lanes: dict[str, int] | None) -> None:
        """Take over what the store holds. `lanes` None: more than `MOST_LANES`."""
        self.count = count
        self._lanes = lanes if count else {}

    @property
    def flooded(self) -> bool:
        return self._lanes is None

    def holds(self, lane: str | None) -> bool:
        """Whether a new delivery of `lane` must join the backlog. Unordered ones never must."""
        if lane is None or not self.count:
            return False
        return self._lanes is None or lane in self._lanes

    def add(self, lane: str | None) -> bool:
        """A delivery was given to the recorder as staged. True when this flooded the trigger."""
        self.count += 1
        if lane is None or self._lanes is None:
            return False
        self._lanes[lane] = self._lanes.get(lane, 0) + 1
        if len(self._lanes) > MOST_LANES:
            self._lanes = None
            return True
        return False

    def remove(self, lane: str | None) -> None:
        """A staged delivery is final, and that is committed."""
        self.count = max(0, self.count - 1)
        if not self.count:
            self._lanes = {}
        elif lane is not None and self._lanes is not None:
            left = self._lanes.get(lane, 0) - 1
            if left > 0:
                self._lanes[lane] = left
            else:
                self._lanes.pop(lane, None)
