"""Events that somebody makes up to try a trigger on: what a real one would have and the sample leaves out is put in."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from cdcd.config.model import Kind, TriggerConfig
from cdcd.errors import CdcdError
from cdcd.event import Event

PLAIN_TABLE = re.compile(r"[A-Za-z0-9_$]+(\.[A-Za-z0-9_$]+)?")


class NothingToTry(CdcdError):
    """What was asked for cannot be tried: a sample that is no event, a table that the trigger does not want."""


@dataclass(slots=True, frozen=True)
class Sample:
    """An event that somebody made up. `data` is the CloudEvent's; of a row, `doc` and `before` are enough. `time` is microseconds since
    the Unix epoch; what is empty is made up."""

    type: str
    data: object
    source: str = ""
    subject: str = ""
    key: str = ""
    time: int | None = None


def event_of(trigger: TriggerConfig, sample: Sample, project: str) -> Event:
    """The event. Raises NothingToTry."""
    data, subject, key = sample.data, sample.subject, sample.key
    if trigger.kind is Kind.DATABASE:
        row = _members(data)
        subject = subject or _row(trigger, sample.type, row)
        key = key or subject.partition("/")[2]
        data = row
    elif trigger.kind is Kind.STORAGE:
        file = {"store": trigger.storage, **_members(data)}
        subject = subject or str(file.get("path", ""))
        key = key or subject
        data = file
    elif trigger.kind is Kind.SCHEDULE:
        assert trigger.schedule is not None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        tick = {"schedule": trigger.schedule.cron, "timezone": trigger.schedule.timezone, "scheduled": now, "missed": 0}
        data = {**tick, **(data if isinstance(data, dict) else {})}
        subject, key = trigger.name, trigger.name
    try:
        encoded = orjson.dumps(data)
    except orjson.JSONEncodeError as error:
        raise NothingToTry("the data is no JSON") from error
    last = trigger.database or trigger.storage or ("schedule" if trigger.kind is Kind.SCHEDULE else "queue")
    moment = int(time.time() * 1e6) if sample.time is None else sample.time
    return Event(sample.type, sample.source or f"cdcd/{project}/{last}", subject, key, moment, encoded)


def _members(data: object) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise NothingToTry("the data of a row's or a file's event is an object")
    return dict(data)


def _row(trigger: TriggerConfig, kind: str, data: dict[str, Any]) -> str:
    """Put in what a row's event has and the sample leaves out. The subject."""
    table = next((each for each in trigger.tables if PLAIN_TABLE.fullmatch(each)), "")
    schema, dot, name = table.partition(".")
    for member, value in (("db", trigger.database), ("schema", schema if dot else "public"), ("col", name if dot else schema)):
        data.setdefault(member, value)
    new, old = data.get("doc"), data.get("before")
    if kind == "DB_UPDATE":
        data.setdefault("unchanged", [])
        if isinstance(new, Mapping) and isinstance(old, Mapping) and "changed" not in data:
            data["changed"] = [column for column in new if column not in old or new[column] != old[column]]
            data.setdefault("beforeKind", "full")
    row = new if isinstance(new, Mapping) else old if isinstance(old, Mapping) else {}
    found = data.get("find")
    if not isinstance(found, Mapping):
        found = {"id": row["id"]} if "id" in row else {}
        data["find"] = found
    path = f"{data['schema']}.{data['col']}"
    return f"{path}/{','.join(map(str, found.values()))}" if found else path
