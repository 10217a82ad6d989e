"""The CloudEvent that a delivery sends: a head of context attributes around the event's own JSON.

CloudEvents 1.0, JSON event format, 3.1; attributes in a fixed order, so that the same delivery gives the same bytes on every
attempt. `data` was made JSON when the event was read and is spliced in as it is.
"""

from datetime import UTC, datetime
from functools import lru_cache

from orjson import dumps

from cdcd.event import Delivery, Event


def envelope(delivery: Delivery, event: Event) -> bytes:
    """The body of the request, UTF-8 JSON. `event` is the delivery's event, with `data` loaded."""
    return (
        b'{"specversion":"1.0","id":"%s","source":%s,"type":%s,"subject":%s,"time":"%s","datacontenttype":"application/json","data":%s}'
        % (
            delivery.id.encode(),
            _quoted(event.source),
            _quoted(event.type),
            dumps(event.subject),
            rfc3339(event.time),
            event.data,
        )
    )


def rfc3339(microseconds: int) -> bytes:
    """Microseconds since the Unix epoch as RFC 3339 in UTC with six digits: `2026-11-23T18:00:00.123456Z`."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    return b"%s.%06dZ" % (_second(seconds), fraction)


@lru_cache(maxsize=256)
def _second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0").encode()


@lru_cache(maxsize=1024)
def _quoted(text: str) -> bytes:
    """JSON of a text that many events share."""
    return dumps(text)
