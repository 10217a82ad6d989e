"""What an action means for one delivery as it is now: a change, nothing, or a reason why not.

The rule: nobody is told that something was done that was not. What is being sent is neither cancelled nor tried again; what has no data
cannot be sent; what went to another URL is not sent to its trigger's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cdcd.admin.asking import Order
from cdcd.admin.hands import Hands
from cdcd.admin.lanes import put_in_lane, wanted_today
from cdcd.config.model import Kind
from cdcd.delivery.steering import Change
from cdcd.event import REPLAY_OF, Delivery, Event, Status
from cdcd.store.operations import Subject
from cdcd.triggers.ids import replay_id

OPERATION = "cdcdoperation"
"""The extension of the CloudEvent of a replay: the operation that asked for it."""

BEHIND = "it waits behind others of its lane, which go first"
WAS_DELIVERED = "it was delivered; ask for `processed` to send it again"
A_REPLAY = "it is a replay itself, of a delivery that has its own place here"
NOT_ONCE = "it has not been delivered once"


@dataclass(slots=True, frozen=True)
class Decision:
    """`change` is to be committed; otherwise `skipped` or `failed` says why there is none, or it is `busy`: being sent just now. `send` is
    to be sent to another URL. `ours`: the operation has made it itself."""

    change: Change | None = None
    send: Delivery | None = None
    skipped: str = ""
    failed: str = ""
    busy: bool = False
    ours: bool = False


BUSY = Decision(busy=True)


def decide(order: Order, subject: Subject, operation: str, who: str, hands: Hands) -> Decision:
    """What `order` does to `subject`. A change must be committed at once."""
    if order.wanted.status and subject.status not in order.wanted.status:
        return Decision(skipped=f"it is {subject.status} by now")
    if order.action == "cancel":
        return _cancel(subject, who, hands)
    if order.action == "retry":
        return retry(subject, who, hands, processed=Status.PROCESSED in order.wanted.status)
    return _replay(order, subject, operation, hands)


def _cancel(subject: Subject, who: str, hands: Hands) -> Decision:
    if subject.status is not Status.STAGED:
        return Decision(skipped=f"it is {subject.status} already")
    change = hands.cancel(subject.delivery, _because(f"cancelled by operator ({who})", subject.remark))
    return BUSY if change is None else Decision(change)


def retry(subject: Subject, who: str, hands: Hands, *, processed: bool) -> Decision:
    """Try it again: once more from the beginning when it is final, now when it waits."""
    delivery = subject.delivery
    if why := _unsendable(subject, hands):
        return Decision(failed=why)
    if subject.status is Status.STAGED:
        if not subject.first:
            return Decision(skipped=BEHIND)
        change = hands.hurry(delivery, subject.remark)
        return BUSY if change is None else Decision(change)
    if subject.status is Status.PROCESSED and not processed:
        return Decision(skipped=WAS_DELIVERED)
    trigger = hands.trigger(delivery.trigger)
    assert trigger is not None
    if why := put_in_lane(delivery, trigger):
        return Decision(failed=why)
    delivery.earlier = delivery.attempts
    return Decision(hands.again(delivery, _because(f"to be tried again ({who})", subject.remark)))


def _replay(order: Order, subject: Subject, operation: str, hands: Hands) -> Decision:
    if operation in _extensions(subject).values():
        return Decision(ours=True)
    if not order.single and (why := _not_replayed(order, subject)):
        return Decision(skipped=why)
    if why := _unsendable(subject, hands, elsewhere=bool(order.to)):
        return Decision(failed=why)
    trigger = hands.trigger(subject.delivery.trigger)
    assert trigger is not None
    if order.today and (why := wanted_today(subject.delivery, trigger)):
        return Decision(skipped=why)
    again = repeated(subject.delivery, operation)
    if order.to:
        return Decision(send=again)
    if why := put_in_lane(again, trigger):
        return Decision(failed=why)
    return Decision(hands.stage(again))


def would_not(order: Order, subject: Subject, hands: Hands) -> str:
    """Why `order` would do nothing to `subject`; empty when it would. Nothing is changed."""
    status, trigger = subject.status, hands.trigger(subject.delivery.trigger)
    if order.action == "cancel":
        return "" if status is Status.STAGED else f"it is {status} already"
    if order.action == "replay" and (why := _not_replayed(order, subject)):
        return why
    if why := _unsendable(subject, hands, elsewhere=bool(order.to)):
        return why
    assert trigger is not None
    if order.action == "replay":
        return wanted_today(subject.delivery, trigger) if order.today else ""
    if status is Status.STAGED:
        return "" if subject.first else BEHIND
    return WAS_DELIVERED if status is Status.PROCESSED and Status.PROCESSED not in order.wanted.status else ""


def repeated(delivery: Delivery, operation: str) -> Delivery:
    """A new delivery of the same event, marked as a replay."""
    event = delivery.event
    marked = {**(event.extensions or {}), REPLAY_OF: delivery.id, OPERATION: operation}
    return Delivery(
        replay_id(delivery.id, operation),
        delivery.trigger,
        Event(event.type, event.source, event.subject, event.key, event.time, event.data, event.position, marked),
        None,
    )


def _not_replayed(order: Order, subject: Subject) -> str:
    if REPLAY_OF in _extensions(subject):
        return A_REPLAY
    return NOT_ONCE if subject.status is Status.STAGED and Status.STAGED not in order.wanted.status else ""


def _extensions(subject: Subject) -> Mapping[str, str | int]:
    return subject.delivery.event.extensions or {}


def _unsendable(subject: Subject, hands: Hands, *, elsewhere: bool = False) -> str:
    delivery = subject.delivery
    if not subject.storable:
        return f"its data could not be stored, so it cannot be sent again ({subject.remark})"
    trigger = hands.trigger(delivery.trigger)
    if trigger is None:
        return f"no enabled trigger is called {delivery.trigger!r} any more"
    if subject.url is not None and not elsewhere:
        return f"it was sent to {subject.url} by an operator, not to its trigger's webhook; send it there again, or replay the first one"
    data = delivery.event.data
    if trigger.kind is Kind.DATABASE and not delivery.attempts and subject.status is Status.FAILED and not _has_row(delivery):
        return f"its row could not become JSON within limits.payload, so there is nothing to send ({subject.remark})"
    if (
        trigger.kind is Kind.CUSTOM
        and not delivery.attempts
        and subject.status is Status.FAILED
        and data.startswith(b'{"bytes":')
    ):
        return f"its data was too large to be kept ({subject.remark})"
    return ""


def _has_row(delivery: Delivery) -> bool:
    """Whether the data is more than the summary of an event that could not become a request (`sources.rows.Change.summary`)."""
    return delivery.event.type == "DB_TRUNCATE" or b'"doc":' in delivery.event.data or b'"before":' in delivery.event.data


def _because(what: str, before: str) -> str:
    return f"{what}; before: {before}"[:2000] if before else what
