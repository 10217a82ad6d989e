"""What the routes of deliveries and operations have in common: filters as they are asked for, who asks, and what refusals become."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from cdcd.admin.deliveries import Filter, NotThere, Status, Unfit
from cdcd.admin.operations import Conflict
from cdcd.server.auth import Claims, roles
from cdcd.server.openapi import TIME, Schema, parameter
from cdcd.server.problems import Problem, Reason, Reasons
from cdcd.server.routes import Call
from cdcd.triggers.cloudevents import Malformed, moment
from cdcd.triggers.payload import rfc3339

MOST_VALUES = 50  # of one member of a filter
LONGEST = 2000  # characters of a value
LISTED, MOST_LISTED = 50, 200
_LIMIT = re.compile(r"[1-9][0-9]{0,2}")
_MANY, _ONE, _TIMES = ("status", "trigger", "type"), ("source", "key", "text", "error"), ("since", "until")
STATUSES = [status.value for status in Status]

_TOLD = {
    "status": "Deliveries with this status.",
    "trigger": "Those of this trigger.",
    "type": "Those of events of this type.",
    "source": "The CloudEvent's source, or its last part: the name of the database or storage.",
    "key": "The row's key as text, or the file's path.",
    "since": "Events from this time on.",
    "until": "Events before this time.",
    "text": "Text in the payload, in upper or lower case.",
    "error": "Text in why it failed, was cancelled or waits, in upper or lower case.",
}


def _schema(name: str) -> Schema:
    if name in _TIMES:
        return TIME
    return {"type": "string", "enum": STATUSES} if name == "status" else {"type": "string", "maxLength": LONGEST}


def _many(name: str) -> Schema:
    return {"type": "array", "items": _schema(name), "maxItems": MOST_VALUES}


FILTER_PARAMETERS = [
    parameter(
        name, "query", _many(name) if name in _MANY else _schema(name), told + (" May be repeated." if name in _MANY else "")
    )
    for name, told in _TOLD.items()
]
FILTER: Schema = {
    "type": "object",
    "properties": {
        name: {**(_many(name) if name in _MANY else _schema(name)), "description": told} for name, told in _TOLD.items()
    },
    "additionalProperties": False,
    "description": "Which deliveries; what is left out excludes nothing.",
}


@contextlib.contextmanager
def answering(what: str) -> Iterator[None]:
    """Within this, what the admin layer refuses becomes a problem; `what` says what was not done."""
    try:
        yield
    except NotThere as error:
        raise Problem(404, str(error), [Reason(error.hint)] if error.hint else []) from None
    except Conflict as error:
        raise Problem(409, what, [Reason(str(error))]) from None
    except Unfit as error:
        raise Problem(422, what, [Reason(str(error))]) from None


def who(claims: Claims) -> str:
    """Who asks, as operations and the log tell it: the token's subject and its role."""
    subject = claims.get("sub")
    role = "+".join(sorted(role.value for role in roles(claims))) or "no role"
    return f"{subject[:200]} ({role})" if isinstance(subject, str) and subject.isprintable() and subject else role


def read_query(call: Call, *others: str) -> tuple[Filter, str | None, int]:
    """Filter, cursor and limit of a list. Raises Problem 422 with every reason. `others` are further parameters that the route has."""
    query = call.request.query
    reasons = Reasons()
    for name in query.keys() - {*_TOLD, "cursor", "limit", *others}:
        reasons.add(f"there is no parameter {name[:50]!a}")
    for name in (*_ONE, *_TIMES, "cursor", "limit"):
        if len(query.getall(name, [])) > 1:
            reasons.add(f"{name} is given twice")
    members: dict[str, Any] = {name: query.getall(name) for name in _MANY if name in query}
    members |= {name: query[name] for name in (*_ONE, *_TIMES) if name in query}
    wanted = read_filter(members, "", reasons)
    limit = query.get("limit", str(LISTED))
    if not _LIMIT.fullmatch(limit) or int(limit) > MOST_LISTED:
        reasons.add(f"limit must be 1 to {MOST_LISTED}")
    reasons.raise_if_any("nothing was listed")
    return wanted, query.get("cursor"), int(limit)


def read_filter(members: object, pointer: str, reasons: Reasons) -> Filter:
    """A filter; what is wrong with it goes to `reasons`, with `pointer` before the member's name where it is a body's."""
    if not isinstance(members, Mapping):
        reasons.add("the filter must be an object", pointer)
        return Filter()
    for name in members.keys() - _TOLD.keys():
        reasons.add(f"a filter has no {str(name)[:50]!a}", pointer)
    found: dict[str, Any] = {}
    for name in _TOLD.keys() & members.keys():
        place = f"{pointer}/{name}" if pointer else ""
        value = members[name]
        if name in _MANY:
            found[name] = _values(name, value, place, reasons)
        elif not isinstance(value, str) or len(value) > LONGEST:
            reasons.add(f"{name} must be text of at most {LONGEST} characters", place)
        elif name in _TIMES:
            try:
                found[name] = moment(value, name) / 1e6
            except Malformed as error:
                reasons.add(str(error), place)
        else:
            found[name] = value
    return Filter(**found)


def _values(name: str, value: object, place: str, reasons: Reasons) -> tuple[str, ...]:
    values: Sequence[object] = [value] if isinstance(value, str) else value if isinstance(value, list) else [None]
    if len(values) > MOST_VALUES or not all(isinstance(one, str) and len(one) <= LONGEST for one in values):
        reasons.add(f"{name} must be up to {MOST_VALUES} texts", place)
        return ()
    texts = tuple(dict.fromkeys(str(one) for one in values))
    if name != "status":
        return texts
    for one in texts:
        if one not in STATUSES:
            reasons.add(f"status must be one of {', '.join(STATUSES)}", place)
            return ()
    return tuple(Status(one) for one in texts)


def read_object(call: Call, what: str) -> dict[str, Any]:
    """The body as an object. Raises Problem 400, 422."""
    try:
        value = orjson.loads(call.body)
    except ValueError:
        raise Problem(400, "the body is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise Problem(422, what, [Reason("the body must be an object")])
    return value


def no_parameters(call: Call, *known: str) -> None:
    """Raises Problem 422 for a parameter of the query that the route has not."""
    reasons = Reasons()
    for name in call.request.query.keys() - set(known):
        reasons.add(f"there is no parameter {name[:50]!a}")
    reasons.raise_if_any("nothing was done")


def time_of(microseconds: int | None) -> str | None:
    """As the API writes times."""
    return None if microseconds is None else rfc3339(microseconds).decode()
