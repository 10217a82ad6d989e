"""Events in an endpoint's answer: which there are, and which of them cannot be queued. Pure.

An answer carries events in one of two ways:

==============================================  ==================================================================
answer                                          events
==============================================  ==================================================================
a CloudEvent (HTTP binding: structured,         it, or each of the batch
batched, binary)
JSON with `event` and `events` (Space Cloud)    `{type, payload, delay (ms), timestamp, options}` each, `event` first
==============================================  ==================================================================

Whether an answer may carry any is asked of every answer, and so costs next to nothing; only then is it parsed.
"""

from collections.abc import Mapping
from typing import Final

from multidict import CIMultiDictProxy, istr

from cdcd.event import Answer
from cdcd.triggers.cloudevents import PREFIX, Incoming, Malformed, dump, is_cloudevent, kind, moment, parse, read, text

LONGEST_DELAY: Final = 100 * 365 * 86_400_000  # milliseconds
_MARK: Final = b'"event'
_CONTENT_TYPE: Final = istr("Content-Type")
_VERSION: Final = istr("ce-specversion")


def may_carry(headers: CIMultiDictProxy[str], body: bytes) -> bool:
    """Whether it is worth a closer look."""
    if _MARK in body or _VERSION in headers:
        return True
    return "cloudevents" in headers.get(_CONTENT_TYPE, "").lower() if body else False


def headers_of(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """Those of the headers that say what an answer carries, in lower case."""
    return {
        lowered: value
        for name, value in headers.items()
        if (lowered := name.lower()).startswith(PREFIX) or lowered == "content-type"
    }


def events_of(answer: Answer, now: int) -> list["Incoming | Malformed"]:
    """What it carries, in order; `now` is microseconds since the Unix epoch. What cannot be queued is in its place, as the reason."""
    try:
        if is_cloudevent(answer.headers):
            _whole(answer)
            return read(answer.headers, answer.body, now)
        if answer.cut:
            return [Malformed(_CUT)] if _begins_with_events(answer.body) else []
        try:
            body = parse(answer.body)
        except Malformed:
            return []  # any answer is welcome; this one is none of ours
        if not isinstance(body, dict):
            return []
        found = _listed(body)
        if found:
            _whole(answer)
        return [_attempt(each, now) for each in found]
    except Malformed as error:
        return [error]


_CUT: Final = "the answer broke off or is longer than limits.response, so the events that it may carry were not read"


def _whole(answer: Answer) -> None:
    if answer.cut:
        raise Malformed(_CUT)
    if answer.secret:
        raise Malformed("the answer repeats a secret that was sent with the request, so nothing of it is queued")


def _begins_with_events(body: bytes) -> bool:
    return body.lstrip().startswith(b"{") and (b'"event"' in body or b'"events"' in body)


def _listed(body: Mapping[str, object]) -> list[object]:
    single, several = body.get("event"), body.get("events")
    found = [] if single is None else [single]
    if isinstance(several, list):
        found += several
    elif several is not None:
        found.append(several)
    return found


def _attempt(event: object, now: int) -> "Incoming | Malformed":
    try:
        return _space_cloud(event, now)
    except Malformed as error:
        return error


def _space_cloud(event: object, now: int) -> Incoming:
    """An event as Space Cloud's handlers answer it. Raises Malformed."""
    if not isinstance(event, dict):
        raise Malformed("an event is a JSON object with type and payload")
    delay = event.get("delay") or 0
    if isinstance(delay, bool) or not isinstance(delay, int) or not 0 <= delay <= LONGEST_DELAY:
        raise Malformed("delay must be a whole number of milliseconds")
    options = event.get("options")
    if options is not None and not isinstance(options, dict):
        raise Malformed("options must be a JSON object")
    stamp = event.get("timestamp") or None
    time = None if stamp is None else moment(stamp, "timestamp")
    if delay:
        time = (now if time is None else time) + delay * 1000
    key = event.get("key")
    return Incoming(kind(event), dump(event.get("payload")), key=None if key is None else text(event, "key"), time=time)
