"""What follows from the end of a delivery: the events that its answer carries, and the last resort of one that failed. Pure.

The rules:
- what follows is queued in the commit that records the end, or not at all;
- its id comes from the delivery and the attempt, so that the same end written twice queues it once;
- it knows where it comes from: `causationid` is the delivery, `correlationid` the first of the chain, `chaindepth` how far down
  it stands; deeper than `limits.max_chain` nothing follows any more;
- what cannot be queued never changes the outcome: it is in the delivery's remark, and told.

The last resort is Space Cloud's: `dlq_<trigger>`, when an enabled trigger wants that type. It is an event like any other, and a
link of its chain: where the trigger for it fails too, the next is `dlq_` and that one's name, if any trigger wants that.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from cdcd.config.model import Limits
from cdcd.config.types import LAST_RESORT
from cdcd.delivery.answers import events_of
from cdcd.event import Answer, Delivery, Event, Queued, Record
from cdcd.triggers.cloudevents import Incoming, Malformed
from cdcd.triggers.payload import rfc3339

CAUSATION, CORRELATION, DEPTH = "causationid", "correlationid", "chaindepth"
MOST_TOLD = 5  # reasons in one remark
HEAD = 1024  # bytes, at most, of a last resort beside the data of what failed


@dataclass(slots=True)
class Trouble:
    """What did not follow: why, and whether it is for the length of the chain."""

    reasons: list[str] = field(default_factory=list)
    loop: int = 0  # the depth that was not reached


class Following:
    """`wanted` tells whether any enabled trigger wants a custom type."""

    def __init__(self, project: str, wanted: Callable[[str], bool], limits: Limits) -> None:
        self._source = f"cdcd/{project}"
        self._wanted = wanted
        self._max_chain = limits.max_chain
        self._largest = limits.payload

    def take_over(self, wanted: Callable[[str], bool], limits: Limits) -> None:
        """What ends from now on is followed by these rules."""
        self._wanted = wanted
        self._max_chain = limits.max_chain
        self._largest = limits.payload

    def answered(self, record: Record, answer: Answer, now: float) -> Trouble | None:
        """Give `record`, of a success, the events of its answer, and a remark on those that cannot be queued: then they are
        returned too. `now` is wall-clock seconds."""
        delivery, moment = record.delivery, int(now * 1_000_000)
        found = events_of(answer, moment)
        if not found:
            return None
        trouble = Trouble([str(each) for each in found if isinstance(each, Malformed)])
        incoming = [(number, each) for number, each in enumerate(found, 1) if not isinstance(each, Malformed)]
        depth = _depth(delivery.event) + 1
        if incoming and depth > self._max_chain:
            trouble.loop = depth
            trouble.reasons.append(
                f"the chain of events is longer than limits.max_chain ({self._max_chain}): it looks like a loop"
            )
        else:
            number_of_attempt = delivery.attempts
            record.follows = [
                self._queued(f"{delivery.id}.{number_of_attempt}.{number}", each, delivery, depth, moment)
                for number, each in incoming
            ]
        if not trouble.reasons:
            return None
        told = trouble.reasons[:MOST_TOLD]
        more = len(trouble.reasons) - len(told)
        record.reason = "not queued from the answer: " + "; ".join(told) + (f"; and {more} more" if more else "")
        return trouble

    def failed(self, record: Record, now: float) -> Trouble | None:
        """Give `record`, of a delivery that has failed, its last resort. What is returned is what did not follow."""
        delivery = record.delivery
        kind = LAST_RESORT + delivery.trigger
        if not self._wanted(kind):
            return None
        depth = _depth(delivery.event) + 1
        if depth > self._max_chain:
            why = f"{kind}: the chain of events is longer than limits.max_chain ({self._max_chain}): it looks like a loop"
            record.reason = f"{record.reason}; not queued: {why}"
            return Trouble([why], depth)
        event = delivery.event
        kept = bool(event.data) and not delivery.unstorable and len(event.data) + HEAD <= self._largest
        data = b'{"event_id":"%s","event_type":%s,"event_payload":%s,"event_timestamp":"%s","event_name":%s}' % (
            delivery.id.encode(),
            orjson.dumps(event.type),
            event.data if kept else b"null",
            rfc3339(event.time),
            orjson.dumps(delivery.trigger),
        )
        identity = f"{delivery.id}.{delivery.attempts}.{LAST_RESORT[:-1]}"
        incoming = Incoming(kind, data, subject=event.subject, key=delivery.lane)
        record.follows = [*record.follows, self._queued(identity, incoming, delivery, depth, int(now * 1_000_000))]
        return None

    def _queued(self, identity: str, incoming: Incoming, parent: Delivery, depth: int, now: int) -> Queued:
        inherited = parent.event.extensions or {}
        extensions = {
            **(incoming.extensions or {}),
            CAUSATION: parent.id,
            CORRELATION: str(inherited.get(CORRELATION) or parent.id),
            DEPTH: depth,
        }
        return Queued(
            id=identity,
            type=incoming.type,
            source=incoming.source or f"{self._source}/{parent.trigger}",
            due=now if incoming.time is None else incoming.time,
            data=incoming.data,
            subject=incoming.subject,
            key=incoming.key,
            extensions=extensions,
            given=True,
            at_once=incoming.time is None,
        )


def _depth(event: Event) -> int:
    """How far down its chain an event stands; 0 for one that nothing caused."""
    depth = (event.extensions or {}).get(DEPTH, 0)
    try:
        return max(0, int(depth))  # from outside it may come as text, or as anything
    except ValueError:
        return 0
