"""A delivery's event as expressions see it when its request is made: read again from the JSON that is stored.

So a retry after a restart gives what the first attempt gave. It is what `when` saw but for the types that JSON does not tell:
a `numeric` without a point is a whole number here, and NaN and infinity are text.
"""

from collections.abc import Callable, Mapping
from functools import partial

from cdcd.config.model import Kind
from cdcd.errors import ExpressionError
from cdcd.event import Delivery
from cdcd.triggers.exact import Digits, read
from cdcd.triggers.occurrence import Occurrence


class Stored(Occurrence):
    """`roots` hold exact values (`cdcd.triggers.exact`)."""

    __slots__ = ("roots", "trigger")

    def __init__(
        self, trigger: str, kind: str, key: str, time: int, attributes: Mapping[str, object], roots: Mapping[str, object]
    ) -> None:
        super().__init__(kind, key, time, attributes, roots)
        self.trigger = trigger
        self.roots = roots

    def reader(self, root: str) -> Callable[[str], object]:
        """See `expressions.Facts`. A value that CEL would round in silence raises ExpressionError instead."""
        read = super().reader(root)
        return read if root == "event" else partial(self._computable, read, root)

    def _computable(self, read: Callable[[str], object], root: str, name: str) -> object:
        value = read(name)
        if has_digits(value):
            raise ExpressionError(
                f"trigger {self.trigger}: {root}.{name} holds a whole number beyond 64 bits, with which no expression computes",
                hint=f"`${{ {root}.{name} }}` alone passes it on with all its digits",
            )
        return value


def has_digits(value: object) -> bool:
    """Whether any number in it is beyond 64 bits."""
    if isinstance(value, dict):
        return any(has_digits(item) for item in value.values())
    if isinstance(value, list):
        return any(has_digits(item) for item in value)
    return isinstance(value, Digits)


def stored(delivery: Delivery, kind: Kind) -> Stored:
    """What a trigger of this kind sees of its delivery. Raises ValueNotJson when the data is nested too deeply."""
    event = delivery.event
    data = read(event.data)
    parts = data if isinstance(data, dict) else {}
    attributes: dict[str, object] = {
        "id": delivery.id,
        "source": event.source,
        "subject": event.subject,
        "key": event.key,
    }
    roots: dict[str, object]
    if kind is Kind.DATABASE:
        for name, field in (("txid", "txid"), ("database", "db"), ("schema", "schema"), ("table", "col")):
            if field in parts:
                attributes[name] = parts[field]
        roots = {"new": parts.get("doc"), "old": parts.get("before")}
    elif kind is Kind.STORAGE:
        attributes["store"] = parts.get("store")
        roots = {"file": parts, "old": parts.get("before")}
    else:
        roots = {"data": data}
    return Stored(delivery.trigger, event.type, event.key, event.time, attributes, roots)
