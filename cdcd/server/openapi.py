"""The description of the API (OpenAPI 3.1), served as it is here. A test compares it with the routes."""

from typing import Any

from cdcd.server.events import LISTED, MOST_LISTED
from cdcd.server.problems import TYPE
from cdcd.server.queueing import LONGEST_WAIT

Schema = dict[str, Any]

_TYPE: Schema = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_.:/-]{0,99}$", "examples": ["ORDER_PAID"]}
_TIME: Schema = {"type": "string", "format": "date-time", "examples": ["2026-11-23T18:00:00Z"]}
_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 200}
_CUT: Schema = {"const": True, "description": "The answer is longer than limits.response, or broke off: `result` is its start."}
_KEY: Schema = {"type": ["string", "integer", "null"], "maxLength": 400}


def _object(required: list[str], properties: Schema, **more: Any) -> Schema:
    return {"type": "object", "required": required, "properties": properties, **more}


_SCHEMAS: Schema = {
    "Event": _object(
        ["type"],
        {
            "type": _TYPE,
            "data": {"description": "The payload: any JSON. `payload` is the same."},
            "payload": {"description": "Another name for `data`; give one of them."},
            "key": {**_KEY, "description": "Deliveries of one trigger with the same key go one at a time, in order."},
            "id": {**_ID, "description": "Yours: the same id and type twice is one event. Left out: one is made."},
            "delay": {
                "type": "string",
                "examples": ["10m"],
                "description": "When it is due, from now on: 250ms, 10m, 1h30m, 7d.",
            },
            "at": {**_TIME, "description": "When it is due, as in RFC 3339. The past is at once."},
            "subject": {"type": "string", "maxLength": 2000},
        },
        additionalProperties=False,
        description="A custom event.",
    ),
    "CloudEvent": _object(
        ["specversion", "id", "source", "type"],
        {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1, "maxLength": 2000},
            "source": {"type": "string", "minLength": 1, "maxLength": 2000},
            "type": _TYPE,
            "subject": {"type": "string"},
            "time": {**_TIME, "description": "When it happened. It is due at once."},
            "data": {},
        },
        description="A CloudEvent 1.0. The same id and type from the same source twice is one event. `partitionkey` is its key.",
    ),
    "Queued": _object(
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
    "Answered": _object(["ids", "result"], {"ids": {"type": "array", "items": {"type": "string"}}, "result": {}, "cut": _CUT}),
    "Scheduled": _object(
        ["id", "type", "at", "source", "subject", "key", "queuedAt"],
        {
            "id": {"type": "string"},
            "type": {"type": "string"},
            "at": _TIME,
            "source": {"type": "string"},
            "subject": {"type": "string"},
            "key": {"type": ["string", "null"]},
            "queuedAt": _TIME,
        },
    ),
    "Problem": _object(
        ["title", "status", "detail"],
        {
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "errors": {
                "type": "array",
                "description": "Every reason, with the place in the body it is about (a JSON Pointer).",
                "items": _object(["detail"], {"detail": {"type": "string"}, "pointer": {"type": "string"}}),
            },
            "id": {"type": "string", "description": "The event that was taken although this is no success."},
            "attempts": {
                "type": "array",
                "description": "What the endpoints said.",
                "items": _object(
                    ["trigger", "number", "status", "error"],
                    {
                        "trigger": {"type": "string"},
                        "number": {"type": "integer"},
                        "status": {"type": "integer", "description": "0: there was no answer."},
                        "error": {"type": "string"},
                    },
                ),
            },
        },
        description="RFC 9457.",
    ),
    "SpaceCloudEvent": _object(
        ["type"],
        {
            "type": _TYPE,
            "payload": {},
            "delay": {"type": ["number", "null"], "minimum": 0, "description": "Milliseconds."},
            "timestamp": {"type": ["string", "number", "null"], "description": "RFC 3339, or milliseconds since 1970."},
            "options": {"type": ["object", "null"], "description": "Not looked at."},
            "isSynchronous": {"type": ["boolean", "null"]},
            "key": _KEY,
            "id": {**_ID, "type": ["string", "null"]},
        },
    ),
    "SpaceCloudError": _object(["error", "rawError"], {"error": {"type": "string"}, "rawError": {"type": "string"}}),
}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(description: str, schema: Schema, kind: str = "application/json") -> Schema:
    return {"description": description, "content": {kind: {"schema": schema}}}


_WORDS = {
    "400": "The body or a parameter cannot be read.",
    "401": "There is no token, or it is not good.",
    "403": "The token may not do this.",
    "404": "There is no such thing.",
    "408": "The body did not come in time.",
    "409": "The event is on its way already.",
    "413": "The body, or an event's data, is too large.",
    "415": "The body is of a kind that is not read.",
    "422": "What is asked for cannot be done; every reason is told.",
    "502": "The delivery has failed for good.",
    "503": "Not now: the event store is away, or too much is asked at once. Try again.",
    "504": "There was no answer in time; the delivery goes on.",
}


def _problems(*codes: int) -> Schema:
    return {str(code): _json(_WORDS[str(code)], _ref("Problem"), TYPE) for code in codes}


def _errors(*codes: int) -> Schema:
    return {str(code): _json(_WORDS[str(code)], _ref("SpaceCloudError")) for code in codes}


def _parameter(name: str, place: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": description}


_SCHEDULED_ID = _parameter("id", "path", {"type": "string", "minLength": 1}, "The event's id.")
_PROJECT = _parameter("project", "path", {"type": "string", "minLength": 1}, "The project's name.")
_PREFER = _parameter(
    "Prefer",
    "header",
    {"type": "string", "pattern": "^wait=[0-9]{1,3}$"},
    f"`wait=10`: wait so many seconds, at most {LONGEST_WAIT:g}, for what the webhook answers (RFC 7240).",
)

_PATHS: Schema = {
    "/v1/events": {
        "post": {
            "operationId": "queueEvents",
            "summary": "Queue custom events. 202 means that they are durable.",
            "parameters": [_PREFER],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {"oneOf": [_ref("Event"), {"type": "array", "items": _ref("Event"), "minItems": 1}]}
                    },
                    "application/cloudevents+json": {"schema": _ref("CloudEvent")},
                    "application/cloudevents-batch+json": {
                        "schema": {"type": "array", "items": _ref("CloudEvent"), "minItems": 1}
                    },
                },
            },
            "responses": {
                "202": _json("They are durable.", _ref("Queued")),
                "200": _json("The webhook's answer, for one who waits.", _ref("Answered")),
                **_problems(400, 401, 403, 404, 408, 413, 415, 422, 502, 503, 504),
            },
        }
    },
    "/v1/events/scheduled": {
        "get": {
            "operationId": "listScheduled",
            "summary": "Events for later, in the order in which they are due. Role admin or operator.",
            "parameters": [
                _parameter(
                    "limit", "query", {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": LISTED}, "How many."
                ),
                _parameter("after", "query", {"type": "string"}, "The `next` of the answer before."),
                _parameter("type", "query", {"type": "string"}, "Those of this type alone."),
            ],
            "responses": {
                "200": _json(
                    "Events; `next` when there may be more.",
                    _object(["events"], {"events": {"type": "array", "items": _ref("Scheduled")}, "next": {"type": "string"}}),
                ),
                **_problems(401, 403, 422, 503),
            },
        }
    },
    "/v1/events/scheduled/{id}": {
        "delete": {
            "operationId": "cancelScheduled",
            "summary": "Take back an event that is for later. Role admin or operator.",
            "parameters": [_SCHEDULED_ID],
            "responses": {
                "200": _json("It will not happen.", _object(["id"], {"id": {"type": "string"}})),
                **_problems(401, 403, 404, 409, 503),
            },
        },
        "patch": {
            "operationId": "moveScheduled",
            "summary": "Move an event that is for later to another time. Role admin or operator.",
            "parameters": [_SCHEDULED_ID],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": _object(["at"], {"at": _TIME}, additionalProperties=False)}},
            },
            "responses": {
                "200": _json("It is due then.", _object(["id", "at"], {"id": {"type": "string"}, "at": _TIME})),
                **_problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
            },
        },
    },
    "/v1/api/{project}/eventing/queue": {
        "post": {
            "operationId": "spaceCloudQueue",
            "summary": "Queue one event, as Space Cloud's clients do.",
            "parameters": [_PROJECT],
            "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("SpaceCloudEvent")}}},
            "responses": {
                "200": _json(
                    "It is durable; `result` is the webhook's response to a synchronous one.",
                    _object([], {"result": {}, "cut": _CUT}, additionalProperties=False),
                ),
                **_errors(400, 401, 403, 404, 408, 409, 413, 415, 422, 502, 503, 504),
            },
        }
    },
    "/v1/api/{project}/eventing/admin-queue": {
        "post": {
            "operationId": "spaceCloudAdminQueue",
            "summary": "Queue many events, without asking `allow`. Role admin.",
            "parameters": [_PROJECT],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": _object(["events"], {"events": {"type": "array", "items": _ref("SpaceCloudEvent")}})
                    }
                },
            },
            "responses": {
                "200": _json("They are durable.", _object([], {}, additionalProperties=False)),
                **_errors(400, 401, 403, 404, 408, 413, 415, 422, 503),
            },
        }
    },
    "/v1/openapi.json": {
        "get": {
            "operationId": "describe",
            "summary": "This description.",
            "security": [],
            "responses": {"200": _json("This description.", {"type": "object"})},
        }
    },
}


def description(version: str) -> Schema:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "cdcd", "version": version, "description": "Custom events in; see docs/queue.md."},
        "paths": _PATHS,
        "security": [{"token": []}],
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }
