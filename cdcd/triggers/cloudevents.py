"""CloudEvents that come to cdcd over HTTP, as custom events (CloudEvents 1.0, HTTP protocol binding 3.1 to 3.3, JSON format 3 and 4).

The rules:
- structured, batched or binary mode are told apart by the headers alone;
- the event's own `id` does not become a delivery's: who takes it in decides what it counts for;
- `time` says when it happened, and schedules nothing: one that is still to come is taken for now;
- `data` stays exactly what it was, numbers of any length too; what is not JSON becomes a JSON string.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import orjson

from cdcd.config.types import custom_type

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
PREFIX = "ce-"
VERSION_HEADER = "ce-specversion"
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
LONGEST_TEXT = 2000  # characters of an attribute
MOST_EXTENSIONS = 64
_NAME = re.compile(r"[a-z0-9]{1,64}")
_OWN = frozenset({"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data", "data_base64"})


class Malformed(ValueError):
    """It is no event that can be queued; the text says why, without quoting any of its data."""


@dataclass(slots=True)
class Incoming:  # not frozen: that takes three times as long to make
    """A custom event as it came. `time` is microseconds since the Unix epoch, None when it names none. `data` is JSON text."""

    type: str
    data: bytes
    id: str = ""
    source: str = ""
    subject: str = ""
    key: str | None = None
    time: int | None = None
    extensions: Mapping[str, str | int] | None = None


def media_type(content_type: str) -> str:
    """What stands before the parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def is_cloudevent(headers: Mapping[str, str]) -> bool:
    """Whether a message with these headers (lower-case names) is one or more CloudEvents."""
    return VERSION_HEADER in headers or media_type(headers.get("content-type", "")) in (STRUCTURED, BATCH)


def read(headers: Mapping[str, str], body: bytes, now: int) -> list["Incoming | Malformed"]:
    """The events of a message that `is_cloudevent`, in order. `now` is microseconds since the Unix epoch.

    Raises Malformed when it cannot be taken apart at all.
    """
    kind = media_type(headers.get("content-type", ""))
    if kind == STRUCTURED:
        return [_attempt(parse(body), now)]
    if kind == BATCH:
        batch = parse(body)
        if not isinstance(batch, list):
            raise Malformed("a batch of CloudEvents is a JSON array")
        return [_attempt(each, now) for each in batch]
    attributes: dict[str, object] = {
        name[len(PREFIX) :]: unquote(value) for name, value in headers.items() if name.startswith(PREFIX)
    }
    if body:
        attributes["data"] = _content(headers.get("content-type", ""), body)
    return [_attempt(attributes, now)]


def _attempt(attributes: object, now: int) -> "Incoming | Malformed":
    try:
        return of_attributes(attributes, now)
    except Malformed as error:
        return error


def of_attributes(attributes: object, now: int) -> Incoming:
    """One event from its attributes and `data`, as the JSON format has them. Raises Malformed."""
    if not isinstance(attributes, dict):
        raise Malformed("a CloudEvent is a JSON object")
    if attributes.get("specversion") != "1.0":
        raise Malformed("specversion must be 1.0")
    if len(attributes) > len(_OWN) + MOST_EXTENSIONS:
        raise Malformed(f"it has more than {MOST_EXTENSIONS} extensions")
    extensions: dict[str, str | int] = {}
    for name, value in attributes.items():
        if name in _OWN or value is None:
            continue
        if not _NAME.fullmatch(name):
            raise Malformed("an attribute's name has only lower-case letters and digits")
        extensions[name] = value if isinstance(value, int) else text(attributes, name)
    time = attributes.get("time")
    key = extensions.get("partitionkey")
    data = attributes.get("data")
    if "data_base64" in attributes:
        data = text(attributes, "data_base64", math.inf)
    return Incoming(
        kind(attributes),
        dump(data),
        required(attributes, "id"),
        required(attributes, "source"),
        text(attributes, "subject"),
        None if key is None else str(key),
        None if time is None else min(moment(time, "time"), now),
        extensions or None,
    )


def kind(attributes: Mapping[str, object]) -> str:
    """Its `type`, which must be a custom one. Raises Malformed."""
    name = required(attributes, "type")
    try:
        return custom_type(name)
    except ValueError as error:
        shown = name if name.isascii() and name.isprintable() and len(name) <= 100 else "its type"
        raise Malformed(f"{shown}: {error}") from error


def required(attributes: Mapping[str, object], name: str) -> str:
    """A text that must be there. Raises Malformed."""
    value = text(attributes, name)
    if not value:
        raise Malformed(f"{name} is missing")
    return value


def text(attributes: Mapping[str, object], name: str, longest: float = LONGEST_TEXT) -> str:
    """A text that may be missing. Raises Malformed."""
    value = attributes.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value or not _encodable(value):
        raise Malformed(f"{name} must be text")
    if len(value) > longest:
        raise Malformed(f"{name} is longer than {longest} characters")
    return value


def moment(value: object, name: str) -> int:
    """RFC 3339 as microseconds since the Unix epoch. Raises Malformed."""
    try:
        if not isinstance(value, str):
            raise ValueError
        found = datetime.fromisoformat(value)
        if found.tzinfo is None or not EARLIEST <= found < LATEST:
            raise ValueError
        return (found - EARLIEST) // timedelta(microseconds=1)
    except (ValueError, OverflowError) as error:
        raise Malformed(f"{name} must be a time as in RFC 3339, such as 2026-11-23T18:00:00Z") from error


def parse(body: bytes) -> object:
    """JSON, in which numbers keep all their digits. Raises Malformed."""
    try:
        # What a float or 64 bits cannot hold is passed on as it was written.
        return json.loads(body, parse_float=_number, parse_int=_number, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed("it is not JSON") from error


def dump(data: object) -> bytes:
    """JSON text of what `parse` gave. Raises Malformed."""
    try:
        return orjson.dumps(data)
    except orjson.JSONEncodeError as error:
        raise Malformed("its data is nested too deeply, or holds text that is not Unicode") from error


def _number(digits: str) -> object:
    return int(digits) if len(digits) <= 18 and digits.lstrip("-").isdigit() else orjson.Fragment(digits)


def _constant(name: str) -> object:
    raise ValueError(name)


def _content(content_type: str, body: bytes) -> object:
    """The data of a message in binary mode."""
    kind = media_type(content_type)
    if not kind or kind in ("application/json", "text/json") or kind.endswith("+json"):
        return parse(body)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Malformed("its data is neither JSON nor text in UTF-8") from error


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
