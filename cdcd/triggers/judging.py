"""Why a trigger wants what happened, or does not: every check that the matcher makes, in words. For people; the live path never asks.

The rule: it never disagrees with the matcher (`cdcd.triggers.matcher`). A condition that raises makes a delivery that is recorded as
`failed`, so it counts as wanted, with its `problem`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from cdcd.config.model import Kind
from cdcd.errors import EventError
from cdcd.event import Delivery
from cdcd.triggers.conditions import Part, take_apart
from cdcd.triggers.exact import read
from cdcd.triggers.matcher import Change, lane
from cdcd.triggers.stored import Stored, stored
from cdcd.triggers.trigger import Trigger
from cdcd.triggers.vocabulary import VOCABULARIES

MOST_VALUES = 10_000
"""Of data that is judged for somebody who looks: so many take a tenth of a second. The live path has no such bound: each event is
decided upon once."""


@dataclass(slots=True, frozen=True)
class Scene:
    """Where something happened: of which kind, in which database or store (""), in which table (schema, name) or at which path."""

    kind: Kind
    source: str = ""
    table: tuple[str, str] | None = None
    path: str = ""


@dataclass(slots=True, frozen=True)
class Check:
    """One thing that was looked at: `enabled`, `source`, `type`, `table`, `path`, `columns`, `when` or `key`. `holds`: None when it
    raised. `condition` is what became of each part of `when`."""

    name: str
    holds: bool | None
    words: str
    condition: Part | None = None


@dataclass(slots=True, frozen=True)
class Judgement:
    """Whether a trigger wants it. `lane`: its ordering key, None when there is none. `problem`: why it would be recorded as `failed`
    without being sent."""

    trigger: str
    fires: bool
    checks: tuple[Check, ...]
    lane: str | None = None
    problem: str = ""

    @property
    def near(self) -> bool:
        """Whether it is about this table, path or type at all, so that its other checks are of interest."""
        return all(check.holds for check in self.checks if check.name in ("source", "table", "path"))

    @property
    def why(self) -> str:
        """In a sentence: what said no, or that nothing did."""
        if self.problem:
            return f"it fires, and fails: {self.problem}"
        return "; ".join(check.words for check in self.checks if check.holds is False) or "it fires"


def judge(trigger: Trigger, facts: Change, scene: Scene) -> Judgement:
    """Whether and why. Checks that have no meaning after one that said no are left out."""
    checks = [_enabled(trigger), *_place(trigger, scene), _type(trigger, facts)]
    if not all(check.holds for check in checks[1:]):
        return Judgement(trigger.name, fires=False, checks=tuple(checks))
    problem = ""
    if trigger.columns and facts.type == "DB_UPDATE":
        checks.append(_columns(trigger, facts))
    if trigger.when is not None:
        checks.append(_when(trigger, facts))
        if checks[-1].holds is None and all(check.holds for check in checks[1:-1]):
            problem = checks[-1].words
    fires = all(check.holds is not False for check in checks)
    order: str | None = None
    if fires and not problem:
        try:
            order = lane(trigger, facts)
            checks.append(Check("key", holds=True, words=_ordered(order)))
        except EventError as error:
            problem = error.explain()
            checks.append(Check("key", holds=None, words=problem))
    return Judgement(trigger.name, fires, tuple(checks), order, problem if fires else "")


class Remembered(Stored):
    """A delivery's event again, from what the event log keeps of it, as the matcher asks: which columns changed, and its own key."""

    __slots__ = ("_changed", "_unchanged")

    def __init__(self, facts: Stored, key: str | None, data: object) -> None:
        super().__init__(facts.trigger, facts.type, "", facts._time, facts._attributes, facts.roots)
        self.key = key
        parts = data if isinstance(data, Mapping) else {}
        changed, unchanged = parts.get("changed"), parts.get("unchanged")
        self._changed = frozenset(changed) if isinstance(changed, list) else None
        self._unchanged = frozenset(unchanged) if isinstance(unchanged, list) else frozenset()

    def changed(self, column: str) -> bool | None:
        """Whether an update changed the column; None when it cannot be told."""
        if column in self._unchanged:
            return False
        return None if self._changed is None else column in self._changed


def remembered(delivery: Delivery, kind: Kind) -> tuple[Remembered, Scene]:
    """What is known of a recorded delivery's event, and where it happened. Raises EventError for what cannot be judged."""
    facts = stored(delivery, kind)
    event = delivery.event
    check_size(event.data)
    data = read(event.data)
    parts = data if isinstance(data, Mapping) else {}
    if kind is Kind.DATABASE:
        table = (str(parts.get("schema", "")), str(parts.get("col", "")))
        return Remembered(facts, event.subject, data), Scene(kind, str(parts.get("db", "")), table)
    if kind is Kind.STORAGE:
        return Remembered(facts, event.key, data), Scene(kind, str(parts.get("store", "")), path=str(parts.get("path", "")))
    return Remembered(facts, event.key or None, data), Scene(kind)


def check_size(data: bytes) -> None:
    """Raises EventError for data of so many values that looking at them for somebody would hold up deliveries."""
    if sum(map(data.count, b",[{")) > MOST_VALUES:
        raise EventError(
            f"its data has more than {MOST_VALUES} values, too many to be looked at for this",
            hint="try the trigger on a smaller event",
        )


def kind_of(type_: str) -> Kind:
    """Which kind of source events of a type come from."""
    if type_.startswith("DB_"):
        return Kind.DATABASE
    if type_.startswith("FILE_"):
        return Kind.STORAGE
    return Kind.SCHEDULE if type_ == "SCHEDULE" else Kind.CUSTOM


def _enabled(trigger: Trigger) -> Check:
    enabled = trigger.config.enabled
    return Check("enabled", enabled, "it is enabled" if enabled else "it is not enabled")


def _place(trigger: Trigger, scene: Scene) -> list[Check]:
    config = trigger.config
    if scene.kind is not trigger.kind:
        return [Check("source", holds=False, words=f"its events are of another kind of source ({trigger.kind.value})")]
    if scene.kind is Kind.DATABASE and scene.table is not None:
        same = Check("source", config.database == scene.source, f"its database is {config.database}")
        name = ".".join(scene.table)
        covers = trigger.covers(*scene.table)
        patterns = ", ".join(config.tables)
        return [same, Check("table", covers, f"{name} {'is' if covers else 'is not'} among its tables ({patterns})")]
    if scene.kind is Kind.STORAGE:
        same = Check("source", config.storage == scene.source, f"its store is {config.storage}")
        if not config.paths:
            return [same]
        covers = trigger.covers_path(scene.path)
        return [
            same,
            Check("path", covers, f"{scene.path} {'is' if covers else 'is not'} among its paths ({', '.join(config.paths)})"),
        ]
    return []


def _type(trigger: Trigger, facts: Change) -> Check:
    holds = facts.type in trigger.types
    return Check(
        "type", holds, f"{facts.type} {'is' if holds else 'is not'} among its types ({', '.join(sorted(trigger.types))})"
    )


def _columns(trigger: Trigger, facts: Change) -> Check:
    told = {column: facts.changed(column) for column in sorted(trigger.columns)}
    changed = [column for column, found in told.items() if found]
    unknown = [column for column, found in told.items() if found is None]
    if changed:
        return Check("columns", holds=True, words=f"{', '.join(changed)} changed")
    if unknown:
        return Check(
            "columns",
            holds=True,
            words=f"whether {', '.join(unknown)} changed cannot be told, since the old row is not known whole; that counts as changed",
        )
    return Check("columns", holds=False, words=f"none of its columns changed ({', '.join(told)})")


def _when(trigger: Trigger, facts: Change) -> Check:
    assert trigger.when is not None
    found = take_apart(trigger.name, trigger.when.source, VOCABULARIES[trigger.kind], facts)
    if found.holds is None:
        return Check("when", holds=None, words=found.error, condition=found)
    if found.holds:
        return Check("when", holds=True, words=f"`when: {found.text}` is true", condition=found)
    said = " and ".join(_seen(part) for part in found.decisive())
    return Check("when", holds=False, words=f"`when` is false: {said}", condition=found)


def _seen(part: Part) -> str:
    values = ", ".join(f"{name} = {_written(value)}" for name, value in part.values.items())
    return f"`{part.text}`" + (f" ({values})" if values else "")


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _ordered(order: str | None) -> str:
    if order is None:
        return "in order with nothing"
    return f"in order with what has the key {order}" if order else "in order with all that it sends"
