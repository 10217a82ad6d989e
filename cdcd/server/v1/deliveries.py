"""`/v1/deliveries`: the event log, one delivery with its attempts; trying it again, cancelling it, sending it elsewhere."""

from collections.abc import Mapping
from typing import Any

import orjson

from cdcd.admin.deliveries import MOST_BEFORE, Deliveries, Detail, Found
from cdcd.admin.operations import Operations, Sent
from cdcd.event import Attempt
from cdcd.server.auth import OPERATORS, VIEWERS
from cdcd.server.openapi import TIME, Schema, answer, body, list_, object_, operation, parameter, ref
from cdcd.server.problems import Problem, Reason
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Group, Route
from cdcd.server.v1.asked import (
    FILTER_PARAMETERS,
    LISTED,
    MOST_LISTED,
    STATUSES,
    answering,
    no_parameters,
    read_object,
    read_query,
    time_of,
    who,
)

_OPTIONAL_TIME: Schema = {**TIME, "type": ["string", "null"]}
_TEXT: Schema = {"type": "string"}
_DELIVERY: dict[str, Schema] = {
    "id": {"type": "string", "description": "The delivery's id: the CloudEvent's `id` and the `webhook-id`."},
    "time": {**TIME, "description": "When the event happened."},
    "type": _TEXT,
    "source": _TEXT,
    "subject": _TEXT,
    "trigger": _TEXT,
    "key": _TEXT,
    "status": {"type": "string", "enum": STATUSES},
    "attempts": {"type": "integer", "description": "How many were made."},
    "remark": {"type": "string", "description": "Why it failed, was cancelled or waits; empty for none."},
    "createdAt": TIME,
    "settledAt": {**_OPTIONAL_TIME, "description": "When it became final."},
    "dueAt": {
        **_OPTIONAL_TIME,
        "description": "When it is tried next; null for what is final or waits behind others of its lane.",
    },
    "extensions": {"type": "object", "description": "Further attributes of the CloudEvent: causationid, cdcdreplayof, ..."},
}
_ATTEMPT = {
    "number": {"type": "integer"},
    "at": TIME,
    "duration": {"type": "number", "description": "Seconds."},
    "status": {"type": "integer", "description": "The HTTP status; 0: there was no answer."},
    "response": {"type": "string", "description": "The start of the answer's body."},
    "error": {"type": "string", "description": "What went wrong; empty for a success."},
}
SCHEMAS: dict[str, Any] = {
    "Delivery": object_(list(_DELIVERY), _DELIVERY),
    "Attempt": object_(list(_ATTEMPT), _ATTEMPT),
    "DeliveryDetail": object_(
        [*_DELIVERY, "data", "history", "waiting", "sentTo"],
        {
            **_DELIVERY,
            "data": {"description": "The event's data; null when it could not be stored."},
            "history": list_(ref("Attempt"), description="Every attempt, in order."),
            "waiting": {
                "description": "How it waits, while it is staged.",
                "oneOf": [
                    {"type": "null"},
                    object_(
                        ["lane", "before", "first"],
                        {
                            "lane": {"type": ["string", "null"], "description": "null: it is in order with nothing."},
                            "before": {
                                "type": "integer",
                                "maximum": MOST_BEFORE,
                                "description": "How many go before it, counted so far.",
                            },
                            "first": {"type": ["string", "null"], "description": "The id of the first of these."},
                        },
                    ),
                ],
            },
            "sentTo": {"type": ["string", "null"], "description": "The URL, where that was not the trigger's."},
        },
    ),
}

_ID = parameter("id", "path", {"type": "string", "minLength": 1}, "The delivery's id.")
DONE = object_(
    ["id", "operation"], {"id": _TEXT, "operation": {"type": "string", "description": "The operation that notes who did it."}}
)
_LIST = operation(
    "listDeliveries",
    "The event log, newest first.",
    {
        200: answer(
            "Deliveries. `next` is the cursor of the next page, if there may be one.",
            object_(
                ["deliveries"],
                {
                    "deliveries": list_(ref("Delivery")),
                    "next": _TEXT,
                    "searchedUntil": {
                        **TIME,
                        "description": "The page is not full: it stopped looking at this moment of the log. `next` goes on.",
                    },
                },
            ),
        )
    },
    parameters=[
        *FILTER_PARAMETERS,
        parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": LISTED}, "How many."),
        parameter("cursor", "query", {"type": "string"}, "The `next` of the page before."),
    ],
    errors=(422, 503),
)
_COUNT = operation(
    "countDeliveries",
    "How many deliveries a filter selects.",
    {
        200: answer(
            "At least so many, and no more when `exact`.",
            object_(["count", "exact"], {"count": {"type": "integer"}, "exact": {"type": "boolean"}}),
        )
    },
    parameters=FILTER_PARAMETERS,
    errors=(422, 503),
)
_SHOW = operation(
    "showDelivery",
    "One delivery: its data, every attempt, how it waits.",
    {200: answer("The delivery.", ref("DeliveryDetail"))},
    parameters=[_ID],
    errors=(404, 503),
)
_RETRY = operation(
    "retryDelivery",
    "Try a delivery again under the same id: one that has failed or was cancelled at the back of its lane, one that waits now.",
    {200: answer("It is on its way.", DONE)},
    parameters=[
        _ID,
        parameter("processed", "query", {"type": "boolean", "default": False}, "`true`: also one that was delivered."),
    ],
    errors=(404, 409, 422, 503),
)
_CANCEL = operation(
    "cancelDelivery",
    "Take a waiting delivery out of the backlog. The next of its lane may go.",
    {200: answer("It is cancelled.", DONE)},
    parameters=[_ID],
    errors=(404, 409, 422, 503),
)
_SEND = operation(
    "sendDelivery",
    "Send a delivery's event to another URL, once, as a new delivery.",
    {
        200: answer(
            "What came of it. `id` is that of the new delivery.",
            object_(["id", "operation", "attempt"], {"id": _TEXT, "operation": _TEXT, "attempt": ref("Attempt")}),
        )
    },
    parameters=[_ID],
    request=body(
        object_(
            ["url"],
            {"url": {"type": "string", "maxLength": 2000, "examples": ["http://127.0.0.1:9000/again"]}},
            additionalProperties=False,
        )
    ),
    errors=(404, 409),
    description="The trigger's own headers and client certificate go along only to its own origin.",
)


class DeliveryRoutes:
    """The handlers."""

    def __init__(self, deliveries: Deliveries, operations: Operations) -> None:
        self._deliveries = deliveries
        self._operations = operations

    async def list(self, call: Call) -> Reply:
        """`GET /v1/deliveries`."""
        wanted, cursor, limit = read_query(call)
        with answering("nothing was listed"):
            page = await self._deliveries.list(wanted, cursor, limit)
        more: dict[str, Any] = {} if page.next is None else {"next": page.next}
        if page.searched is not None:
            more["searchedUntil"] = time_of(int(page.searched * 1_000_000))
        return Reply(200, orjson.dumps({"deliveries": [shown(one) for one in page.items], **more}))

    async def count(self, call: Call) -> Reply:
        """`GET /v1/deliveries/count`."""
        wanted, _, _ = read_query(call)
        with answering("nothing was counted"):
            count = await self._deliveries.count(wanted)
        return Reply(200, orjson.dumps({"count": count.number, "exact": count.exact}))

    async def show(self, call: Call) -> Reply:
        """`GET /v1/deliveries/{id}`."""
        no_parameters(call)
        with answering("nothing was found"):
            return Reply(200, detailed(await self._deliveries.show(call.parameters["id"])))

    async def retry(self, call: Call) -> Reply:
        """`POST /v1/deliveries/{id}/retry`."""
        no_parameters(call, "processed")
        processed = call.request.query.get("processed", "false")
        if processed not in ("true", "false"):
            raise Problem(422, "nothing was tried again", [Reason("processed must be true or false")])
        identity = call.parameters["id"]
        with answering("it was not tried again"):
            done = await self._operations.retry(identity, who(call.claims), processed=processed == "true")
        return _done(identity, done.id)

    async def cancel(self, call: Call) -> Reply:
        """`POST /v1/deliveries/{id}/cancel`."""
        no_parameters(call)
        identity = call.parameters["id"]
        with answering("it was not cancelled"):
            done = await self._operations.cancel(identity, who(call.claims))
        return _done(identity, done.id)

    async def send(self, call: Call) -> Reply:
        """`POST /v1/deliveries/{id}/send`."""
        no_parameters(call)
        asked = read_object(call, "nothing was sent")
        if asked.keys() != {"url"} or not isinstance(asked["url"], str) or len(asked["url"]) > 2000:
            raise Problem(422, "nothing was sent", [Reason('the body must be an object with `url` alone: {"url": URL}')])
        with answering("nothing was sent"):
            sent = await self._operations.send(call.parameters["id"], asked["url"], who(call.claims))
        return Reply(200, orjson.dumps(_sent(sent)))


def routes(deliveries: Deliveries, operations: Operations) -> Group:
    """The routes."""
    handlers = DeliveryRoutes(deliveries, operations)
    one = "/v1/deliveries/{id}"
    return Group(
        (
            Route("GET", "/v1/deliveries", handlers.list, VIEWERS, _LIST),
            Route("GET", "/v1/deliveries/count", handlers.count, VIEWERS, _COUNT),
            Route("GET", one, handlers.show, VIEWERS, _SHOW),
            Route("POST", f"{one}/retry", handlers.retry, OPERATORS, _RETRY),
            Route("POST", f"{one}/cancel", handlers.cancel, OPERATORS, _CANCEL),
            Route("POST", f"{one}/send", handlers.send, OPERATORS, _SEND, body=True),
        ),
        SCHEMAS,
    )


def shown(one: Found) -> dict[str, Any]:
    """A delivery as lists show it."""
    return {
        "id": one.id,
        "time": time_of(one.time),
        "type": one.type,
        "source": one.source,
        "subject": one.subject,
        "trigger": one.trigger,
        "key": one.key,
        "status": one.status,
        "attempts": one.attempts,
        "remark": one.remark,
        "createdAt": time_of(one.created),
        "settledAt": time_of(one.settled),
        "dueAt": time_of(one.due),
        "extensions": one.extensions,
    }


def detailed(detail: Detail) -> bytes:
    """A delivery whole, as JSON. The data goes into it byte for byte."""
    place = detail.place
    members = {
        **shown(detail.delivery),
        "dueAt": time_of(place.due) if place is not None else None,
        "attempts": place.attempts if place is not None else detail.delivery.attempts,
        "remark": (place.error if place is not None else "") or detail.delivery.remark,
        "history": [
            _attempt(one.number, one.at, one.duration / 1000, one.status, one.response, one.error) for one in detail.attempts
        ],
        "waiting": None if place is None else {"lane": place.lane, "before": place.before, "first": place.first},
        "sentTo": detail.url,
        "data": None if detail.data is None else orjson.Fragment(detail.data),
    }
    return orjson.dumps(members)


def _attempt(number: int, at: int, duration: float, status: int, response: str, error: str) -> Mapping[str, Any]:
    return {
        "number": number,
        "at": time_of(at),
        "duration": round(duration, 6),
        "status": status,
        "response": response,
        "error": error,
    }


def _sent(sent: Sent) -> Mapping[str, Any]:
    attempt: Attempt = sent.attempt
    told = _attempt(
        *(attempt.number, int(attempt.started_at * 1e6), attempt.duration, attempt.status, attempt.response, attempt.error)
    )
    return {"id": sent.id, "operation": sent.operation.id, "attempt": told}


def _done(identity: str, operation_id: str) -> Reply:
    return Reply(200, orjson.dumps({"id": identity, "operation": operation_id}))
