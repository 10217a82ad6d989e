"""Bodies that ask for events to be queued, in every form that is accepted, become `Asked`. Pure.

==========================================  ==================================================================================
form                                        told by
==========================================  ==================================================================================
a CloudEvent, structured or in a batch      `application/cloudevents+json`, `application/cloudevents-batch+json`
a CloudEvent, binary                        `ce-specversion`
ours: an object, or a list of them          any other JSON: `type, data | payload, key, id, delay | at, subject`
Space Cloud's: an object                    its own routes: `type, payload, delay, timestamp, options, isSynchronous`
==========================================  ==================================================================================

What the body says wrongly is gathered, with its place, and told at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from hashlib import blake2b
from typing import TypeVar

import orjson

from cdcd.config.quantities import duration
from cdcd.config.types import LAST_RESORT, custom_type, reserved
from cdcd.server.problems import Problem, Reasons
from cdcd.triggers import cloudevents
from cdcd.triggers.cloudevents import BATCH, STRUCTURED, VERSION_HEADER, Incoming, Malformed
from cdcd.triggers.cloudevents import media_type as media

MOST_EVENTS = 10_000  # in one request
LONGEST_DELAY = 100 * 365 * 86400.0  # seconds
LONGEST_ID = 200  # characters of one that is given
LONGEST_IDENTITY = 255  # of one by which an event is known
LONGEST_KEY = 400
LONGEST_DURATION = 50
LONGEST_NAME = 50  # of a member that is not known, to be repeated in an answer
MOST_UNKNOWN = 20  # of these, told of one event
OWN = ("type", "data", "payload", "key", "id", "delay", "at", "subject")
_KNOWN = frozenset(OWN)
T = TypeVar("T")
_seconds = lru_cache(1024)(duration)  # an application has few of them
_SHAPE = bytes(
    ord("d") if chr(byte) in "0123456789." else ord("e") if chr(byte) in "eE" else ord(" ") for byte in range(256)
)  # what a number looks like; found in a tenth of the time of a regular expression
_INTEGERS = (int, orjson.Fragment)  # as `parsed` gives them
_LONG, _EXPONENT = b"d" * 17, b"de"


@dataclass(slots=True, eq=False)
class Asked:
    """An event to queue. `pointer` is where in the body it stands, `member` where its payload does within it."""

    incoming: Incoming
    pointer: str = ""
    member: str = ""
    synchronous: bool = False

    def due(self, now: int) -> int:
        """When it happens: the time that it names, else now; microseconds since the Unix epoch."""
        return now if self.incoming.time is None else self.incoming.time


def read_events(headers: Mapping[str, str], body: bytes, now: int, reasons: Reasons) -> list[Asked]:
    """The events of a body of `POST /v1/events`. `headers` have lower-case names; `now` is microseconds since the Unix epoch.

    What is wrong with single events goes to `reasons`. Raises Problem 400 or 415 when nothing can be read.
    """
    kind = media(headers.get("content-type", ""))
    if VERSION_HEADER in headers or kind in (STRUCTURED, BATCH):
        return _cloudevents(headers, body, now, "/data" if kind in (STRUCTURED, BATCH) else "", kind == BATCH, reasons)
    if kind and kind not in ("application/json", "text/json") and not kind.endswith("+json"):
        raise Problem(415, "the body must be JSON: application/json, or a CloudEvent in any of its forms")
    return read_json(body, now, reasons)


def read_json(body: bytes, now: int, reasons: Reasons) -> list[Asked]:
    """As `read_events`, for a body of `application/json`."""
    value = parsed(body)
    if not isinstance(value, list):
        one = _own(value, "", now, reasons)
        return [] if one is None else [one]
    if not value:
        raise Problem(400, "the list of events is empty")
    found = [_own(each, f"/{number}", now, reasons) for number, each in enumerate(_bounded(value))]
    return [each for each in found if each is not None]


def read_space_cloud(value: object, pointer: str, now: int, reasons: Reasons) -> Asked | None:
    """One event as Space Cloud's clients write it. None when something is wrong, which `reasons` then has."""
    if not isinstance(value, dict):
        reasons.add("an event is an object", pointer)
        return None
    event: dict[str, object] = value  # with whatever else its clients write
    before = reasons.count
    due: int | None = None
    if (stamp := event.get("timestamp")) not in (None, ""):
        if (milliseconds := _number(stamp)) is not None:  # as its documentation says
            if 0 <= milliseconds < 220_000_000_000_000:  # the year 8941
                due = round(milliseconds * 1000)
            else:
                reasons.add("must be a time as in RFC 3339, or milliseconds since 1970", f"{pointer}/timestamp")
        else:
            due = _moment(stamp, f"{pointer}/timestamp", reasons)
    delay = event.get("delay")
    if delay is not None:
        number = _number(delay)
        if number is None or not 0 <= number <= LONGEST_DELAY * 1000:
            reasons.add("must be milliseconds, a number that is not negative", f"{pointer}/delay")
        elif number:
            due = (now if due is None else due) + round(number * 1000)
    if not isinstance(event.get("options") or {}, dict):
        reasons.add("must be an object", f"{pointer}/options")
    synchronous = event.get("isSynchronous") or False
    if not isinstance(synchronous, bool):
        reasons.add("must be true or false", f"{pointer}/isSynchronous")
    made = _made(event, event.get("payload"), due, pointer, reasons)
    return Asked(made, pointer, "/payload", synchronous is True) if made and reasons.count == before else None


def parsed(body: bytes) -> object:
    """JSON; numbers that would change are kept as they were written. Raises Problem 400."""
    try:
        value: object = orjson.loads(body)
        shape = body.translate(_SHAPE)
        if _LONG in shape or _EXPONENT in shape:  # there may be a number with more digits than 64 bits hold
            value = cloudevents.parse(body)
    except (ValueError, RecursionError):
        raise Problem(400, "the body is not JSON in UTF-8") from None
    return value


def _bounded(events: list[T]) -> list[T]:
    if len(events) > MOST_EVENTS:
        raise Problem(413, f"more than {MOST_EVENTS} events in one request")
    return events


def _cloudevents(headers: Mapping[str, str], body: bytes, now: int, member: str, batch: bool, reasons: Reasons) -> list[Asked]:
    try:
        found = cloudevents.read(headers, body, now)
    except (Malformed, ValueError, RecursionError) as error:
        raise Problem(400, f"the body is no CloudEvent: {error}") from None
    if not found:
        raise Problem(400, "the batch is empty")
    asked = []
    for number, each in enumerate(_bounded(found)):
        pointer = f"/{number}" if batch else ""
        if isinstance(each, Malformed):
            reasons.add(str(each), pointer)
        else:
            asked.append(Asked(each, pointer, member))
    return asked


def _own(value: object, pointer: str, now: int, reasons: Reasons) -> Asked | None:
    if isinstance(value, dict) and "specversion" in value:
        try:
            return Asked(cloudevents.of_attributes(value, now), pointer, "/data")
        except Malformed as error:
            reasons.add(str(error), pointer)
            return None
    event = _object(value, pointer, reasons)
    if event is None:
        return None
    before = reasons.count
    member = "data"
    if "payload" in event:
        if "data" in event:
            reasons.add("give `data` or `payload`, not both", f"{pointer}/payload")
        member = "payload"
    at, delay = event.get("at"), event.get("delay")
    due: int | None = None
    if at is not None:
        due = _moment(at, f"{pointer}/at", reasons)
        if delay is not None:
            reasons.add("give `at` or `delay`, not both", f"{pointer}/delay")
    if delay is not None:
        try:
            seconds = _seconds(delay if len(delay) <= LONGEST_DURATION else "") if isinstance(delay, str) else duration(delay)
        except ValueError as error:
            reasons.add(str(error), f"{pointer}/delay")
        else:
            if seconds > LONGEST_DELAY:
                reasons.add("is longer than 100 years", f"{pointer}/delay")
            elif seconds:
                due = now + round(seconds * 1_000_000)
    made = _made(event, event.get(member), due, pointer, reasons)
    return Asked(made, pointer, "/" + member) if made and reasons.count == before else None


def _object(value: object, pointer: str, reasons: Reasons) -> dict[str, object] | None:
    if not isinstance(value, dict):
        reasons.add("an event is an object", pointer)
        return None
    if not value.keys() <= _KNOWN:
        unknown = [name for name in value if name not in _KNOWN]
        for name in unknown[:MOST_UNKNOWN]:
            reasons.add("" if reasons.full else _unknown(name), pointer)
        if (more := len(unknown) - MOST_UNKNOWN) > 0:
            reasons.add(f"there are {more} more members that are not known", pointer, times=more)
    return value


def _unknown(name: str) -> str:
    """To look for what was meant costs time that grows with the name's length."""
    if len(name) > LONGEST_NAME or not name.isprintable():
        return "there is no member of that name"
    close = get_close_matches(name, OWN, n=1)
    return f"there is no member {name}" + (f"; did you mean {close[0]}?" if close else "")


def _made(event: Mapping[str, object], payload: object, due: int | None, pointer: str, reasons: Reasons) -> Incoming | None:
    kind = event.get("type")
    if not isinstance(kind, str) or not kind:
        reasons.add("is missing" if kind is None else "must be text that is not empty", f"{pointer}/type")
        return None
    identity, subject, key = event.get("id"), event.get("subject"), event.get("key")
    if isinstance(key, _INTEGERS) and not isinstance(key, bool):
        key = _digits(key)  # an identifier, more often than not
    if identity is not None:
        identity = _text(identity, LONGEST_ID, f"{pointer}/id", reasons)
        if not identity:
            reasons.add("must not be empty", f"{pointer}/id")
    try:
        data = cloudevents.dump(payload)
    except Malformed as error:
        reasons.add(str(error), pointer)
        return None
    return Incoming(
        kind,
        data,
        identity or "",
        "",
        "" if subject is None else _text(subject, cloudevents.LONGEST_TEXT, f"{pointer}/subject", reasons),
        None if key is None else _text(key, LONGEST_KEY, f"{pointer}/key", reasons),
        due,
    )


def _text(value: object, longest: int, pointer: str, reasons: Reasons) -> str:
    if not isinstance(value, str) or "\0" in value:
        reasons.add("must be text", pointer)
        return ""
    if len(value) > longest:
        reasons.add(f"has more than {longest} characters", pointer)
    return value


def _digits(number: int | orjson.Fragment) -> object:
    """A whole number as text, also one that was kept as it was written."""
    digits = orjson.dumps(number).decode()
    return digits if digits.lstrip("-").isdigit() else number


def _moment(value: object, pointer: str, reasons: Reasons) -> int | None:
    try:
        return cloudevents.moment(value, "it")
    except Malformed as error:
        reasons.add(str(error), pointer)
        return None


def _number(value: object) -> float | None:
    """A number, also one that was kept as it was written."""
    if isinstance(value, bool) or not isinstance(value, int | float | orjson.Fragment):
        return None
    try:
        return float(orjson.loads(orjson.dumps(value)))
    except (ValueError, TypeError, OverflowError):
        return None


def type_problem(kind: str) -> str:
    """Why nothing can be queued under this type, whoever asks; empty when that is not so."""
    try:
        custom_type(kind)
    except ValueError as error:
        return str(error) if reserved(kind) and len(kind) <= 100 and kind.isprintable() else _TYPE_RULE
    if kind.startswith(LAST_RESORT):
        return f"{LAST_RESORT} and a trigger's name says that a delivery has failed: cdcd queues it, and others only when `events` names it"
    return ""


_TYPE_RULE = "a type is letters, digits and _ . : / -, begins with a letter, and has at most 100 of them"


def identity_of(incoming: Incoming) -> str:
    """The id under which an event that came with one is known: what it is (type, source, id), so that nobody takes the id of another.

    `TYPE~ID`, or with a source `TYPE~SOURCE~ID`. A type has no `~`, and in what follows it is percent-encoded. What is too long is hashed.
    """
    parts = (incoming.source, incoming.id) if incoming.source else (incoming.id,)
    name = "~".join(part.replace("%", "%25").replace("~", "%7E") if "%" in part or "~" in part else part for part in parts)
    if len(incoming.type) + 1 + len(name) > LONGEST_IDENTITY:
        name = blake2b(name.encode(), digest_size=20).hexdigest()
    return f"{incoming.type}~{name}"
