"""What a delivery sends, by format: a CloudEvent around the event's own JSON or beside it, or what Hasura sends.

CloudEvents 1.0, JSON event format, 3.1; attributes in a fixed order, so that the same delivery gives the same bytes on every
attempt. `data` was made JSON when the event was read and is spliced in as it is.
"""

from datetime import datetime, timedelta
from functools import lru_cache
from urllib.parse import quote

from orjson import dumps

from cdcd.event import Delivery, Event
from cdcd.triggers.exact import read, write


def envelope(delivery: Delivery, event: Event) -> bytes:
    """The body of the request, UTF-8 JSON. `event` is the delivery's event, with its `data`."""
    # join, since formatting bytes costs twice as much
    return b"".join(
        (
            b'{"specversion":"1.0","id":"',
            delivery.id.encode(),
            _shared(event.source, event.type),
            dumps(event.subject),
            b',"time":"',
            rfc3339(event.time),
            b'","datacontenttype":"application/json","data":'
            if event.extensions is None
            else b'","datacontenttype":"application/json",%s,"data":' % dumps(event.extensions)[1:-1],
            event.data,
            b"}",
        )
    )


def attributes(delivery: Delivery) -> list[tuple[str, str]]:
    """The `ce-` headers of CloudEvents' binary mode (HTTP binding, 3.1.3), but for `datacontenttype`, which is the Content-Type."""
    event = delivery.event
    found: list[tuple[str, str]] = [
        ("ce-specversion", "1.0"),
        ("ce-id", delivery.id),
        ("ce-source", _header(event.source)),
        ("ce-type", _header(event.type)),
    ]
    if event.subject:
        found.append(("ce-subject", _header(event.subject)))
    found.append(("ce-time", rfc3339(event.time).decode()))
    found += ((f"ce-{name}", _header(_text(value))) for name, value in (event.extensions or {}).items())
    return found


def _text(value: str | int) -> str:
    """An attribute's value in CloudEvents' canonical form (1.0, 3.1)."""
    return ("false", "true")[value] if isinstance(value, bool) else str(value)


def hasura(delivery: Delivery, max_retries: int) -> bytes:
    """What Hasura's event triggers send for a row (docs: "Event Trigger Payload"), as UTF-8 JSON.

    `delivery_info.current_retry` counts the attempts, so it is not the same on every attempt. Raises ValueNotJson.
    """
    event = delivery.event
    data = read(event.data)
    parts = data if isinstance(data, dict) else {}
    return write(
        {
            "created_at": rfc3339(event.time).decode(),
            "delivery_info": {"current_retry": delivery.attempts, "max_retries": max_retries},
            "event": {
                "data": {"new": parts.get("doc"), "old": parts.get("before")},
                "op": event.type.removeprefix("DB_"),
                "session_variables": None,
                "trace_context": None,
            },
            "id": delivery.id,
            "table": {"name": parts.get("col"), "schema": parts.get("schema")},
            "trigger": {"name": delivery.trigger},
        }
    )


def _header(text: str) -> str:
    """Percent-encoded as the HTTP binding says (3.1.3.2): all but printable ASCII, and space, quote and percent."""
    return quote(text, safe=_PLAIN, errors="replace")


_PLAIN = "".join(map(chr, range(0x21, 0x7F))).translate({ord('"'): None, ord("%"): None})


def rfc3339(microseconds: int) -> bytes:
    """Microseconds since the Unix epoch as RFC 3339 in UTC with six digits: `2026-11-23T18:00:00.123456Z`."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    return b"%s.%06dZ" % (_second(seconds), fraction)


@lru_cache(maxsize=256)
def _second(seconds: int) -> bytes:
    return (datetime(1970, 1, 1) + timedelta(seconds=seconds)).isoformat().encode()


@lru_cache(maxsize=256)
def _shared(source: str, kind: str) -> bytes:
    """What the events of one source and type have in common."""
    return b'","source":%s,"type":%s,"subject":' % (dumps(source), dumps(kind))
