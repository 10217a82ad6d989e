"""From differences to deliveries: which triggers want a change of a file, under which id and lane. Pure."""

from collections.abc import Iterable
from hashlib import blake2b
from os import fsencode

from cdcd.errors import EventError
from cdcd.event import Delivery, Event
from cdcd.sources.files.describing import Change, changes, describe, encode, readable
from cdcd.sources.files.tree import Difference, Moves
from cdcd.sources.matching import LONGEST_ERROR, storable
from cdcd.triggers.ids import event_delivery_id
from cdcd.triggers.matcher import TriggerSet
from cdcd.triggers.occurrence import Occurrence
from cdcd.triggers.trigger import Trigger


class Matching:
    """The triggers of one store."""

    def __init__(self, project: str, store: str, triggers: tuple[Trigger, ...]) -> None:
        self._project = project
        self._store = store
        self._source = f"cdcd/{project}/{store}"
        self._triggers = triggers
        self._sets: dict[tuple[Trigger, ...], TriggerSet] = {}
        self._types = frozenset(kind for trigger in triggers for kind in trigger.types)

    def match(self, differences: Iterable[Difference], moves: Moves, time: int) -> list[Delivery]:
        """`time` is when they were noticed, microseconds since the Unix epoch."""
        return [
            delivery
            for difference in differences
            for change in changes(difference)
            if change.type in self._types
            for delivery in self._deliveries(change, moves, time)
        ]

    def _deliveries(self, change: Change, moves: Moves, time: int) -> Iterable[Delivery]:
        path = change.path
        covering = tuple(trigger for trigger in self._triggers if trigger.covers_path(path))
        if not covering:
            return
        triggers = self._sets.get(covering)
        if triggers is None:
            triggers = self._sets[covering] = TriggerSet(covering)
        data = describe(change, self._store, moves.to.get(path), moves.come.get(path))
        text = readable(path)
        attributes = {"source": self._source, "subject": text, "key": text, "store": self._store}
        occurrence = Occurrence(change.type, text, time, attributes, {"file": data, "old": data.get("before")})
        matches = triggers.match(occurrence)
        if not matches:
            return
        event = Event(change.type, self._source, text, text, time, encode(data))
        named = blake2b(digest_size=16)
        for part in (self._store.encode(), change.type.encode(), fsencode(path), change.old or b"", change.new or b""):
            named.update(part + b"\0")
        name = named.hexdigest()
        for trigger, found in matches:
            delivery = Delivery(event_delivery_id(self._project, name, trigger.name, time), trigger.name, event, None)
            if isinstance(found, EventError):
                delivery.error = found.explain()[:LONGEST_ERROR]
            elif found is not None:
                delivery.lane = storable(found)
            yield delivery
