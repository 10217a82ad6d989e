"""From what happened elsewhere than in a table to deliveries: one for each trigger that wants it.

The rule: what cannot become a request (an expression that raises, data that cannot be read, too much of it) becomes a delivery
that carries its `error`, so that it is recorded as `failed` with the reason.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import orjson

from cdcd.errors import EventError, PayloadTooLarge, ValueNotJson
from cdcd.event import Delivery, Event
from cdcd.sources.matching import LONGEST_ERROR, storable
from cdcd.triggers.matcher import Match


class Parsed(Mapping[str, object]):
    """JSON text as a map for expressions, read when the first of them looks. What is no object has no members.

    Raises ValueNotJson for what JSON's grammar allows and nobody can read: half a surrogate pair, nesting without end.
    """

    __slots__ = ("_members", "_text")

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._members: Mapping[str, object] | None = None

    def _read(self) -> Mapping[str, object]:
        if self._members is None:
            try:
                value = orjson.loads(self._text)
            except ValueError as error:
                problem = f"its data cannot be read: {error}"
                raise ValueNotJson(
                    problem, hint="an expression looks at it; mend what is queued, or take `when` and `key` away"
                ) from error
            self._members = value if isinstance(value, dict) else {}
        return self._members

    def __getitem__(self, name: str) -> object:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())


def deliveries_of(matches: Iterable[Match], event: Event, identify: Callable[[str], str]) -> list[Delivery]:
    """`identify` gives the id of the delivery to a trigger, by its name."""
    deliveries = []
    for trigger, found in matches:
        delivery = Delivery(identify(trigger.name), trigger.name, event, None)
        if isinstance(found, EventError):
            delivery.error = found.explain()[:LONGEST_ERROR]
        elif found is not None:
            delivery.lane = storable(found)
        deliveries.append(delivery)
    return deliveries


def too_large(size: int, limit: int) -> PayloadTooLarge:
    """Why data of `size` bytes is not delivered."""
    return PayloadTooLarge(
        f"its data has {size:,} bytes, more than limits.payload ({limit:,})", hint="raise limits.payload, or queue a reference"
    )
