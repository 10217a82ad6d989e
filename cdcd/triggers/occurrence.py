"""What happened elsewhere than in a table, as expressions and the matcher see it: plain maps, already JSON values.

A file that appeared, a custom event, a tick of a schedule; and any stored event again, when its request is made from it.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

_NONE: Mapping[str, object] = {}


class Occurrence:
    """`roots` are the maps that expressions see beside `event`; one that is None or missing has no members."""

    __slots__ = ("_attributes", "_roots", "_time", "key", "type")

    def __init__(
        self,
        kind: str,
        key: str | None,
        time: int,
        attributes: Mapping[str, object],
        roots: Mapping[str, object],
    ) -> None:
        """`kind` is the event's type, `time` microseconds since the Unix epoch, `attributes` the others of `event`."""
        self.type = kind
        self.key = key
        self._time = time
        self._attributes = attributes
        self._roots = roots

    def reader(self, root: str) -> Callable[[str], object]:
        """See `expressions.Facts`."""
        if root == "event":
            return self._attribute
        members = self._roots.get(root)
        return partial(_member, members if isinstance(members, Mapping) else _NONE)

    def members(self, root: str) -> Iterable[str]:
        """See `expressions.Facts`."""
        members = self._roots.get(root)
        return members.keys() if isinstance(members, Mapping) else ()

    def changed(self, column: str) -> bool | None:
        """Of rows alone it is asked."""
        return None

    def _attribute(self, name: str) -> object:
        if name == "type":
            return self.type
        if name == "time":
            return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self._time)
        return self._attributes[name]


def _member(members: Mapping[str, object], name: str) -> object:
    return members[name]
