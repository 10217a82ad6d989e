"""In which lane a stored delivery stands, by its trigger as it is today. Pure."""

import orjson

from cdcd.config.model import Kind
from cdcd.errors import EventError
from cdcd.event import Delivery
from cdcd.sources.matching import LONGEST_ERROR, storable
from cdcd.triggers.matcher import TriggerSet, lane
from cdcd.triggers.stored import Stored, stored
from cdcd.triggers.trigger import Trigger


def occurrence(delivery: Delivery, trigger: Trigger) -> Stored:
    """What happened, as the matcher sees it. Raises EventError when the data cannot be read."""
    event = delivery.event
    facts = stored(delivery, trigger.kind)
    facts.key = event.subject if trigger.kind is Kind.DATABASE else event.key
    if trigger.kind is Kind.CUSTOM and not event.key:
        facts.key = None
    return facts


def put_in_lane(delivery: Delivery, trigger: Trigger) -> str:
    """Give `delivery` its lanes. Why that cannot be done; empty when it is."""
    delivery.lane = delivery.also = None
    try:
        found = lane(trigger, occurrence(delivery, trigger))
    except EventError as error:
        return error.explain()[:LONGEST_ERROR]
    if found is not None:
        delivery.lane = storable(found)
        if trigger.kind is Kind.DATABASE and found == delivery.event.subject and (old := _old_subject(delivery)) is not None:
            delivery.also = storable(old)
    return ""


def wanted_today(delivery: Delivery, trigger: Trigger) -> str:
    """Why the trigger as it is today would not fire for it; empty when it would. An expression that raises would."""
    try:
        facts = occurrence(delivery, trigger)
    except EventError as error:
        return error.explain()[:LONGEST_ERROR]
    if delivery.event.type not in trigger.types:
        return f"the trigger does not name {delivery.event.type} any more"
    return "" if TriggerSet((trigger,)).match(facts) else "its condition says no"


def _old_subject(delivery: Delivery) -> str | None:
    """The row before an update that changed its key: `find` has the old key, `doc` the new one."""
    event = delivery.event
    if event.type != "DB_UPDATE" or not event.key:
        return None
    data = orjson.loads(event.data)
    old, new = data.get("find"), data.get("doc")
    if not isinstance(old, dict) or not isinstance(new, dict) or not old:
        return None
    if all(name not in new or new[name] == value for name, value in old.items()):
        return None
    return event.subject[: -len(event.key)] + ",".join(_text(value) for value in old.values())


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
