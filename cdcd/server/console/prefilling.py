"""What a form for trying a trigger has in it at first: an event that looks like a real one. Pure.

Best is the last one that the trigger had. Without one it is made of what its expressions name.
"""

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
_FILE: Mapping[str, Any] = {"path": "", "type": "file", "size": 1024, "contentType": ""}


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
    trigger: TriggerConfig, used: Iterable[tuple[str, str]] = (), last: tuple[str, str, bytes] | None = None, delivery: str = ""
) -> Filled:
    """The fields for a trigger. `used` is what its expressions name, as (root, member); `last` the id, type and data of its last
    delivery; `delivery` one that it is to be tried on."""
    types = tuple(in_order(trigger))
    type_, data, source = types[0], b"", ""
    if last is not None and kind_of(last[1]) is trigger.kind and len(last[2]) <= LARGEST:
        source, type_, data = last
    if type_ not in types:
        types = (*types, type_)
    sample = _bare(trigger, data) if data else _made_up(trigger, type_, used)
    tables = tuple(each for each in trigger.tables if PLAIN_TABLE.fullmatch(each))
    rows = trigger.kind is Kind.DATABASE and bool(trigger.types & {"DB_INSERT", "DB_UPDATE", "DB_DELETE"})
    return Filled(
        type_, pretty(orjson.dumps(sample)), types, tables, rows, "delivery" if delivery else "sample", delivery, source
    )


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


def _bare(trigger: TriggerConfig, data: bytes) -> object:
    """The data of an event, without what is put in again."""
    found = orjson.loads(data)
    if not isinstance(found, dict):
        return found
    if trigger.kind is Kind.DATABASE:
        several = len(trigger.tables) != 1 or not PLAIN_TABLE.fullmatch(trigger.tables[0])
        return {name: found[name] for name in _ROW if name in found and (several or name not in ("schema", "col"))}
    if trigger.kind is Kind.STORAGE:
        return {name: value for name, value in found.items() if name != "store"}
    return found


def _made_up(trigger: TriggerConfig, type_: str, used: Iterable[tuple[str, str]]) -> object:
    members: dict[str, set[str]] = {}
    for root, member in used:
        members.setdefault(root, set()).add(member)
    if trigger.kind is Kind.DATABASE:
        names = members.get("new", set()) | members.get("old", set()) | trigger.columns
        row = {"id": 1, **dict.fromkeys(sorted(names - {"id"}))}
        return reshaped(type_, {"doc": row, "before": row})
    if trigger.kind is Kind.STORAGE:
        return {**_FILE, "path": "some/file"}
    if trigger.kind is Kind.SCHEDULE:
        return {}
    return dict.fromkeys(sorted(members.get("data", ())))
