"""`/v1/events`: the routes of queueing, and of what is queued for later."""

from typing import Any

from cdcd.server.auth import OPERATORS, QUEUERS, VIEWERS
from cdcd.server.events import LISTED, MOST_LISTED, Events
from cdcd.server.openapi import TIME, Schema, answer, body, list_, object_, operation, parameter, ref
from cdcd.server.queueing import LONGEST_WAIT
from cdcd.server.routes import Group, Route

TYPE: Schema = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_.:/-]{0,99}$", "examples": ["ORDER_PAID"]}
ID: Schema = {"type": "string", "minLength": 1, "maxLength": 200}
CUT: Schema = {"const": True, "description": "The answer is longer than limits.response, or broke off: `result` is its start."}
KEY: Schema = {"type": ["string", "integer", "null"], "maxLength": 400}

_SCHEMAS: dict[str, Any] = {
    "Event": object_(
        ["type"],
        {
            "type": TYPE,
            "data": {"description": "The payload: any JSON. `payload` is the same."},
            "payload": {"description": "Another name for `data`; give one of them."},
            "key": {**KEY, "description": "Deliveries of one trigger with the same key go one at a time, in order."},
            "id": {**ID, "description": "Yours: the same id and type twice is one event. Left out: one is made."},
            "delay": {
                "type": "string",
                "examples": ["10m"],
                "description": "When it is due, from now on: 250ms, 10m, 1h30m, 7d.",
            },
            "at": {**TIME, "description": "When it is due, as in RFC 3339. The past is at once."},
            "subject": {"type": "string", "maxLength": 2000},
        },
        additionalProperties=False,
        description="A custom event.",
    ),
    "CloudEvent": object_(
        ["specversion", "id", "source", "type"],
        {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1, "maxLength": 2000},
            "source": {"type": "string", "minLength": 1, "maxLength": 2000},
            "type": TYPE,
            "subject": {"type": "string"},
            "time": {**TIME, "description": "When it happened. It is due at once."},
            "data": {},
        },
        description="A CloudEvent 1.0. The same id and type from the same source twice is one event. `partitionkey` is its key.",
    ),
    "Queued": object_(
        ["ids"],
        {
            "ids": {
                "type": "array",
                "items": {"type": "string"},
                "description": "By which they are known, in the order asked for.",
            },
            "duplicates": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Those of them that were queued before; left out when there are none.",
            },
        },
    ),
    "Answered": object_(["ids", "result"], {"ids": {"type": "array", "items": {"type": "string"}}, "result": {}, "cut": CUT}),
    "Scheduled": object_(
        ["id", "type", "at", "source", "subject", "key", "queuedAt"],
        {
            "id": {"type": "string"},
            "type": {"type": "string"},
            "at": TIME,
            "source": {"type": "string"},
            "subject": {"type": "string"},
            "key": {"type": ["string", "null"]},
            "queuedAt": TIME,
        },
    ),
}

_SCHEDULED_ID = parameter("id", "path", {"type": "string", "minLength": 1}, "The event's id.")
_PREFER = parameter(
    "Prefer",
    "header",
    {"type": "string", "pattern": "^wait=[0-9]{1,3}$"},
    f"`wait=10`: wait so many seconds, at most {LONGEST_WAIT:g}, for what the webhook answers (RFC 7240).",
)
_QUEUE = operation(
    "queueEvents",
    "Queue custom events. 202 means that they are durable.",
    {202: answer("They are durable.", ref("Queued")), 200: answer("The webhook's answer, for one who waits.", ref("Answered"))},
    parameters=[_PREFER],
    request={
        "required": True,
        "content": {
            "application/json": {"schema": {"oneOf": [ref("Event"), list_(ref("Event"), minItems=1)]}},
            "application/cloudevents+json": {"schema": ref("CloudEvent")},
            "application/cloudevents-batch+json": {"schema": list_(ref("CloudEvent"), minItems=1)},
        },
    },
    errors=(404, 502, 504),
)
_LIST = operation(
    "listScheduled",
    "Events for later, in the order in which they are due.",
    {
        200: answer(
            "Events; `next` when there may be more.",
            object_(["events"], {"events": list_(ref("Scheduled")), "next": {"type": "string"}}),
        )
    },
    parameters=[
        parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": LISTED}, "How many."),
        parameter("after", "query", {"type": "string"}, "The `next` of the answer before."),
        parameter("type", "query", {"type": "string"}, "Those of this type alone."),
    ],
    errors=(422, 503),
)
_CANCEL = operation(
    "cancelScheduled",
    "Take back an event that is for later.",
    {200: answer("It will not happen.", object_(["id"], {"id": {"type": "string"}}))},
    parameters=[_SCHEDULED_ID],
    errors=(404, 409, 503),
)
_MOVE = operation(
    "moveScheduled",
    "Move an event that is for later to another time.",
    {200: answer("It is due then.", object_(["id", "at"], {"id": {"type": "string"}, "at": TIME}))},
    parameters=[_SCHEDULED_ID],
    request=body(object_(["at"], {"at": TIME}, additionalProperties=False)),
    errors=(404, 409),
)


def routes(events: Events) -> Group:
    """The routes."""
    one = "/v1/events/scheduled/{id}"
    return Group(
        (
            Route("POST", "/v1/events", events.queue, QUEUERS, _QUEUE, body=True),
            Route("GET", "/v1/events/scheduled", events.scheduled, VIEWERS, _LIST),
            Route("DELETE", one, events.cancel, OPERATORS, _CANCEL),
            Route("PATCH", one, events.move, OPERATORS, _MOVE, body=True),
        ),
        _SCHEMAS,
    )
