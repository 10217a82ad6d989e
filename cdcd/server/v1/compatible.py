"""`/v1/api`: the routes that Space Cloud's clients know."""

from typing import Any

from cdcd.server.auth import ADMINS, QUEUERS
from cdcd.server.openapi import Schema, answer, body, list_, object_, operation, parameter, ref
from cdcd.server.routes import Group, Route
from cdcd.server.spacecloud import FORM, SpaceCloud
from cdcd.server.v1.events import CUT, ID, KEY, TYPE

_SCHEMAS: dict[str, Any] = {
    "SpaceCloudEvent": object_(
        ["type"],
        {
            "type": TYPE,
            "payload": {},
            "delay": {"type": ["number", "null"], "minimum": 0, "description": "Milliseconds."},
            "timestamp": {"type": ["string", "number", "null"], "description": "RFC 3339, or milliseconds since 1970."},
            "options": {"type": ["object", "null"], "description": "Not looked at."},
            "isSynchronous": {"type": ["boolean", "null"]},
            "key": KEY,
            "id": {**ID, "type": ["string", "null"]},
        },
    ),
    "SpaceCloudError": object_(["error", "rawError"], {"error": {"type": "string"}, "rawError": {"type": "string"}}),
}

_PROJECT: Schema = parameter("project", "path", {"type": "string", "minLength": 1}, "The project's name.")
_QUEUE = operation(
    "spaceCloudQueue",
    "Queue one event, as Space Cloud's clients do.",
    {
        200: answer(
            "It is durable; `result` is the webhook's response to a synchronous one.",
            object_([], {"result": {}, "cut": CUT}, additionalProperties=False),
        )
    },
    parameters=[_PROJECT],
    request=body(ref("SpaceCloudEvent")),
    errors=(404, 409, 502, 504),
)
_ADMIN_QUEUE = operation(
    "spaceCloudAdminQueue",
    "Queue many events, without asking `allow`.",
    {200: answer("They are durable.", object_([], {}, additionalProperties=False))},
    parameters=[_PROJECT],
    request=body(object_(["events"], {"events": list_(ref("SpaceCloudEvent"))})),
    errors=(404,),
)


def routes(space_cloud: SpaceCloud) -> Group:
    """The routes."""
    under = "/v1/api/{project}/eventing"
    return Group(
        (
            Route("POST", f"{under}/queue", space_cloud.queue, QUEUERS, _QUEUE, body=True, form=FORM),
            Route("POST", f"{under}/admin-queue", space_cloud.admin_queue, ADMINS, _ADMIN_QUEUE, body=True, form=FORM),
        ),
        _SCHEMAS,
    )
