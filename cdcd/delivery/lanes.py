"""Lanes and what stands behind them in the store. Pure.

The rule that keeps order: a lane whose deliveries are partly in the store takes new ones only at the end of the store's part.
So a lane in memory holds either live deliveries (never stored) or claimed ones (the front of the store's part), never both; and
lanes that share a delivery (a row whose key changed is in two) are alike in this. A trigger that has more backlogged lanes than
`MOST_LANES` stops counting them singly: it is *flooded*, and all its new deliveries join the backlog until that has drained.
"""

from collections import deque
from collections.abc import Iterable

from cdcd.event import Delivery

Lane = deque[Delivery]
"""Deliveries of one trigger with one key, in order; only the first may be under way."""

MOST_LANES = 10_000


class Backlog:
    """How much of one trigger stands in the store: the number of deliveries, and per lane while these are few."""

    __slots__ = ("_lanes", "_most", "count")

    def __init__(self, most_lanes: int = MOST_LANES) -> None:
        self.count = 0
        self._most = most_lanes
        self._lanes: dict[str, int] | None = {}

    def restore(self, count: int, lanes: dict[str, int] | None) -> None:
        """Take over what the store holds. `lanes` None: more than `MOST_LANES`."""
        self.count = count
        self._lanes = lanes if count else {}

    @property
    def flooded(self) -> bool:
        return self._lanes is None

    def holds(self, delivery: Delivery) -> bool:
        """Whether a new delivery must join the backlog. An unordered one never must."""
        if delivery.lane is None or not self.count:
            return False
        return self._lanes is None or delivery.lane in self._lanes or delivery.also in self._lanes

    def add(self, delivery: Delivery) -> None:
        """A delivery was given to the recorder as staged."""
        self.count += 1
        if self._lanes is None:
            return
        for lane in lanes_of(delivery):
            self._lanes[lane] = self._lanes.get(lane, 0) + 1
        if len(self._lanes) > self._most:
            self._lanes = None

    def remove(self, delivery: Delivery) -> None:
        """A staged delivery is final, and that is committed."""
        self.count = max(0, self.count - 1)
        if not self.count:
            self._lanes = {}
        elif self._lanes is not None:
            for lane in lanes_of(delivery):
                left = self._lanes.get(lane, 0) - 1
                if left > 0:
                    self._lanes[lane] = left
                else:
                    self._lanes.pop(lane, None)


def lanes_of(delivery: Delivery) -> Iterable[str]:
    """The lanes in which order binds it: none, one or two."""
    if delivery.lane is None:
        return ()
    return (delivery.lane,) if delivery.also is None else (delivery.lane, delivery.also)
