"""What a form for trying a trigger has in it at first: an event that looks like a real one. Pure.

Best is the last one that the trigger had. Without one it is made of what its expressions name.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from cdcd.admin.samples import PLAIN_TABLE
from cdcd.config.model import Kind, TriggerConfig
from cdcd.server.console.selecting import types as in_order
from cdcd.server.console.words import pretty
from cdcd.triggers.judging import kind_of

LARGEST = 64 * 1024  # bytes of data that a form begins with
_ROW = ("doc", "before", "schema", "col")
_FILE: Mapping[str, Any] = {"path": "some/file", "type": "file", "size": 1024}
_COMPARED = re.compile(
    r"""\b(new|old|data|file)\.(\w+)\s*(==|!=|>=|<=|>|<)\s*("[^"\\]*"|'[^'\\]*'|-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?\b|true\b|false\b)"""
)


@dataclass(slots=True, frozen=True)
class Filled:
    """The fields. `types` are those that can be chosen, `tables` those whose rows can be taken. `from_delivery`: the delivery that the data
    was taken from, "" for none."""

    type: str
    data: str
    types: tuple[str, ...]
    tables: tuple[str, ...] = ()
    rows: bool = False
    on: str = "sample"
    delivery: str = ""
    from_delivery: str = ""


def filled(
    trigger: TriggerConfig,
    used: Iterable[tuple[str, str]] = (),
    when: str = "",
    last: tuple[str, str, bytes] | None = None,
    delivery: str = "",
) -> Filled:
    """The fields for a trigger. `used` is what its expressions name, as (root, member), `when` its condition; `last` the id, type and data
    of its last delivery; `delivery` one that it is to be tried on."""
    types = tuple(in_order(trigger))
    type_, data, source = types[0], b"", ""
    if last is not None and kind_of(last[1]) is trigger.kind and len(last[2]) <= LARGEST:
        source, type_, data = last
    if type_ not in types:
        types = (*types, type_)
    sample = _bare(trigger, data) if data else ""
    if not sample:
        source, sample = "", pretty(orjson.dumps(_made_up(trigger, type_, used, when)))
    tables = tuple(each for each in trigger.tables if PLAIN_TABLE.fullmatch(each))
    rows = trigger.kind is Kind.DATABASE and bool(trigger.types & {"DB_INSERT", "DB_UPDATE", "DB_DELETE"})
    return Filled(type_, sample, types, tables, rows, "delivery" if delivery else "sample", delivery, source)


def reshaped(type_: str, data: object) -> object:
    """The same row for another type: an insert has no old row, a delete no new one, an update both."""
    if not isinstance(data, dict) or not type_.startswith("DB_"):
        return data
    new, old = data.get("doc"), data.get("before")
    row = new if new is not None else old
    others = {
        name: value for name, value in data.items() if name not in ("doc", "before", "changed", "unchanged", "beforeKind")
    }
    if row is None:
        return data
    if type_ == "DB_INSERT":
        return {"doc": row, **others}
    if type_ == "DB_DELETE":
        return {"before": old if old is not None else row, **others}
    return {"doc": row, "before": old if old is not None else row, **others} if type_ == "DB_UPDATE" else others


def rewritten(type_: str, text: str) -> str:
    """`reshaped` of a text; one that is no JSON, or nested too deeply, stays as it is."""
    try:
        return pretty(orjson.dumps(reshaped(type_, orjson.loads(text))))
    except (ValueError, TypeError):
        return text


def _bare(trigger: TriggerConfig, data: bytes) -> str:
    """The data of an event, without what is put in again; "" for data that is nested more deeply than it can be written again."""
    try:
        return pretty(orjson.dumps(_without(trigger, orjson.loads(data))))
    except (ValueError, TypeError):
        return ""


def _without(trigger: TriggerConfig, found: object) -> object:
    if not isinstance(found, dict):
        return found
    if trigger.kind is Kind.DATABASE:
        several = len(trigger.tables) != 1 or not PLAIN_TABLE.fullmatch(trigger.tables[0])
        return {name: found[name] for name in _ROW if name in found and (several or name not in ("schema", "col"))}
    if trigger.kind is Kind.STORAGE:
        return {name: value for name, value in found.items() if name != "store"}
    return found


def _made_up(trigger: TriggerConfig, type_: str, used: Iterable[tuple[str, str]], when: str) -> object:
    likely = _likely(when)
    members: dict[str, dict[str, object]] = {}
    for root, member in sorted(used):
        members.setdefault(root, {})[member] = likely.get((root, member))
    if trigger.kind is Kind.DATABASE:
        named = {**dict.fromkeys(sorted(trigger.columns)), **members.get("old", {}), **members.get("new", {})}
        old = {"id": 1, **named, **members.get("old", {})}
        return reshaped(type_, {"doc": {"id": 1, **named}, "before": old})
    if trigger.kind is Kind.STORAGE:
        return {**_FILE, **{name: value for name, value in members.get("file", {}).items() if value is not None}}
    if trigger.kind is Kind.SCHEDULE:
        return {}
    return members.get("data", {})


def _likely(when: str) -> dict[tuple[str, str], object]:
    """Values with which the comparisons of a condition hold, where they compare with one that is written there."""
    found: dict[tuple[str, str], object] = {}
    for root, member, sign, text in _COMPARED.findall(when):
        value = text[1:-1] if text[0] in "\"'" else orjson.loads(text)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value += {">": 1, "<": -1}.get(sign, 0)
        found.setdefault((root, member), value if sign != "!=" else None)
    return found
