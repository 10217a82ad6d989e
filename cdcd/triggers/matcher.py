"""Which triggers want what happened. They are indexed by source (a table, a store, or none) and type: what nobody wants costs one
look-up.

The rules:
- nothing is lost: an update whose changed columns cannot be told counts as changed, and an expression that raises makes a
  delivery that is recorded as `failed`, never a silent skip;
- the tables of cdcd's own schema match no pattern, so that what it writes never makes events.
"""

from collections.abc import Iterable
from typing import Protocol

from cdcd.config.model import Kind, Order
from cdcd.errors import EventError
from cdcd.triggers.expressions import Facts
from cdcd.triggers.trigger import Trigger


class Change(Facts, Protocol):
    """What happened, as the matcher sees it."""

    @property
    def key(self) -> str | None:
        """The source's own ordering key as text, the lane where a trigger names no other. None: it is in order with nothing."""
        ...

    def changed(self, column: str) -> bool | None:
        """Whether an update changed the column; None when it cannot be told. Not asked but for rows."""
        ...


Match = tuple[Trigger, "str | EventError | None"]
"""A trigger that wants the change, and its lane: text, None when unordered, or why the event cannot be delivered."""


class TriggerSet:
    """The triggers of one table, one store, or one kind. `by_type` holds them in the order of the configuration."""

    __slots__ = ("by_type", "triggers")

    def __init__(self, triggers: tuple[Trigger, ...]) -> None:
        self.triggers = triggers
        types = sorted({kind for trigger in triggers for kind in trigger.types})
        self.by_type: dict[str, tuple[Trigger, ...]] = {
            kind: tuple(trigger for trigger in triggers if kind in trigger.types) for kind in types
        }

    def match(self, change: Change) -> list[Match]:
        """Pure. Raises nothing of its own: what a value or an expression raises becomes the lane of its trigger."""
        matches: list[Match] = []
        kind = change.type
        for trigger in self.by_type.get(kind, ()):
            try:
                if trigger.columns and kind == "DB_UPDATE" and not _touches(trigger, change):
                    continue
                if trigger.when is not None and not trigger.when.test(change):
                    continue
                matches.append((trigger, lane(trigger, change)))
            except EventError as error:
                matches.append((trigger, error))
        return matches


class Index:
    """All enabled triggers. `own` are (database, schema) pairs whose tables never match."""

    def __init__(self, triggers: Iterable[Trigger], own: Iterable[tuple[str, str]] = ()) -> None:
        self._own = frozenset(own)
        self._by_source: dict[tuple[Kind, str], tuple[Trigger, ...]] = {}
        for trigger in triggers:
            if trigger.config.enabled:
                source = (trigger.kind, trigger.config.database or trigger.config.storage)
                self._by_source[source] = (*self._by_source.get(source, ()), trigger)
        self._known: dict[tuple[str, str, str], TriggerSet | None] = {}
        self.custom = TriggerSet(self._by_source.get((Kind.CUSTOM, ""), ()))

    def lookup(self, database: str, schema: str, table: str) -> TriggerSet | None:
        """The triggers of a table; None when there are none. Remembered for each table."""
        name = (database, schema, table)
        try:
            return self._known[name]
        except KeyError:
            found = self._known[name] = self._find(name)
            return found

    def of(self, kind: Kind, source: str = "") -> tuple[Trigger, ...]:
        """The triggers of one kind, of the database or store of this name."""
        return self._by_source.get((kind, source), ())

    def wanted(self, custom_type: str) -> bool:
        """Whether any trigger wants events of this custom type."""
        return custom_type in self.custom.by_type

    def _find(self, name: tuple[str, str, str]) -> TriggerSet | None:
        database, schema, table = name
        if (database, schema) in self._own:
            return None
        wanting = tuple(trigger for trigger in self.of(Kind.DATABASE, database) if trigger.covers(schema, table))
        return TriggerSet(wanting) if wanting else None


def lane(trigger: Trigger, change: Change) -> str | None:
    """The lane of this change's delivery. Raises EventError."""
    if trigger.order is Order.NONE:
        return None
    if trigger.order is Order.ALL:
        return ""
    if trigger.key is None or change.type == "DB_TRUNCATE":  # which has no row to take a key from
        return change.key
    return trigger.key.text(change)


def _touches(trigger: Trigger, change: Change) -> bool:
    return any(change.changed(column) is not False for column in trigger.columns)
