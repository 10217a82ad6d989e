"""`/v1/operations`: retry, cancel and replay of everything that a filter selects, with progress; and pausing triggers."""

import base64
import binascii
from typing import Any
from uuid import UUID

import orjson

from cdcd.admin.asking import ACTIONS, FASTEST
from cdcd.admin.operations import Operation, Operations, Order, Preview
from cdcd.server.auth import OPERATORS, VIEWERS
from cdcd.server.openapi import TIME, Schema, answer, body, list_, object_, operation, parameter, ref
from cdcd.server.problems import Problem, Reason, Reasons
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Group, Route
from cdcd.server.v1.asked import FILTER, LISTED, MOST_LISTED, answering, no_parameters, read_filter, read_object, time_of, who
from cdcd.server.v1.deliveries import shown

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_OPERATION: dict[str, Schema] = {
    "id": _TEXT,
    "action": {"type": "string", "enum": [*ACTIONS, "send", "pause", "resume"]},
    "state": {"type": "string", "enum": ["running", "done", "stopped", "failed"]},
    "who": _TEXT,
    "filter": {
        "type": "object",
        "description": "What was asked for; `id` for one delivery. Times in it are seconds since 1970.",
    },
    "options": {"type": "object"},
    "total": {**_COUNT, "description": "How many deliveries were selected at the start."},
    "exact": {"type": "boolean", "description": "false: at least `total`."},
    "done": _COUNT,
    "skipped": {**_COUNT, "description": "Selected, but there was nothing to be done for them."},
    "failed": {**_COUNT, "description": "It could not be done for them; `remark` has the first reason."},
    "remark": {"type": "string", "description": "What went wrong first, or what it waits for."},
    "startedAt": TIME,
    "endedAt": {**TIME, "type": ["string", "null"]},
}
_ORDER = object_(
    ["action"],
    {
        "action": {"type": "string", "enum": list(ACTIONS)},
        "filter": FILTER,
        "rate": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": FASTEST,
            "description": "Deliveries a second, at most. Left out: 500.",
        },
        "to": {"type": "string", "maxLength": 2000, "description": "Replay to this URL instead of the trigger's."},
        "today": {"type": "boolean", "description": "Leave out what the trigger, as it is now, would not fire for."},
        "dryRun": {"type": "boolean", "description": "Do nothing; tell what would be done."},
    },
    additionalProperties=False,
)
SCHEMAS: dict[str, Any] = {
    "Operation": object_(list(_OPERATION), _OPERATION),
    "Order": _ORDER,
    "Preview": object_(
        ["count", "exact", "first"],
        {
            "count": _COUNT,
            "exact": {"type": "boolean"},
            "first": list_(
                object_(
                    ["delivery", "whyNot"],
                    {"delivery": ref("Delivery"), "whyNot": {"type": "string", "description": "Empty: it would be done."}},
                ),
                description="The first few in the order in which they would come.",
            ),
        },
    ),
}
_ID = parameter("id", "path", {"type": "string", "minLength": 1}, "The operation's id.")
_NAME = parameter("name", "path", {"type": "string", "minLength": 1}, "The trigger's name.")
_BEGIN = operation(
    "beginOperation",
    "Try again, cancel or replay all deliveries that a filter selects.",
    {
        202: answer("It runs; ask for it by its id.", ref("Operation")),
        200: answer("What would be done (`dryRun`).", ref("Preview")),
    },
    request=body(ref("Order")),
    errors=(409,),
    description="Oldest first (cancel: newest first). What is being sent is waited for. It goes on after a restart of cdcd.",
)
_LIST = operation(
    "listOperations",
    "What operators did, newest first.",
    {
        200: answer(
            "Operations; `next` when there may be more.",
            object_(["operations"], {"operations": list_(ref("Operation")), "next": _TEXT}),
        )
    },
    parameters=[
        parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": LISTED}, "How many."),
        parameter("cursor", "query", {"type": "string"}, "The `next` of the answer before."),
    ],
    errors=(422, 503),
)
_SHOW = operation(
    "showOperation",
    "One operation and how far it has come.",
    {200: answer("The operation.", ref("Operation"))},
    parameters=[_ID],
    errors=(404, 503),
)
_STOP = operation(
    "stopOperation",
    "Stop an operation. What it has done stays done.",
    {202: answer("It stops.", ref("Operation"))},
    parameters=[_ID],
    errors=(404, 503),
)
_PAUSED = object_(["trigger", "paused"], {"trigger": _TEXT, "paused": {"type": "boolean"}})
_PAUSE = operation(
    "pauseTrigger",
    "A trigger goes on capturing and sends nothing until it is resumed, over restarts too.",
    {200: answer("It is paused.", _PAUSED)},
    parameters=[_NAME],
    errors=(404, 422, 503),
)
_RESUME = operation(
    "resumeTrigger",
    "A paused trigger goes on: what waits goes, in order.",
    {200: answer("It is not paused.", _PAUSED)},
    parameters=[_NAME],
    errors=(404, 422, 503),
)


class OperationRoutes:
    """The handlers."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def begin(self, call: Call) -> Reply:
        """`POST /v1/operations`."""
        no_parameters(call)
        order, dry_run = _order(read_object(call, "nothing was begun"))
        with answering("nothing was begun"):
            if dry_run:
                return Reply(200, orjson.dumps(_preview(await self._operations.preview(order))))
            begun = await self._operations.begin(order, who(call.claims))
        return Reply(202, _body(begun), headers={"Location": f"/v1/operations/{begun.id}"})

    async def list(self, call: Call) -> Reply:
        """`GET /v1/operations`."""
        no_parameters(call, "limit", "cursor")
        limit = call.request.query.get("limit", str(LISTED))
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:6]) <= MOST_LISTED:
            raise Problem(422, "nothing was listed", [Reason(f"limit must be 1 to {MOST_LISTED}")])
        with answering("nothing was listed"):
            found = await self._operations.list(int(limit), place_of(call.request.query.get("cursor")))
        more = {"next": cursor_of(found[-1])} if len(found) == int(limit) else {}
        return Reply(200, orjson.dumps({"operations": [operation_shown(each) for each in found], **more}))

    async def show(self, call: Call) -> Reply:
        """`GET /v1/operations/{id}`."""
        with answering("nothing was found"):
            return Reply(200, _body(await self._operations.show(call.parameters["id"])))

    async def stop(self, call: Call) -> Reply:
        """`DELETE /v1/operations/{id}`."""
        with answering("nothing was stopped"):
            return Reply(202, _body(await self._operations.stop_one(call.parameters["id"], who(call.claims))))

    async def pause(self, call: Call) -> Reply:
        """`POST /v1/triggers/{name}/pause`."""
        no_parameters(call)
        with answering("it was not paused"):
            await self._operations.pause(call.parameters["name"], who(call.claims))
        return Reply(200, orjson.dumps({"trigger": call.parameters["name"], "paused": True}))

    async def resume(self, call: Call) -> Reply:
        """`POST /v1/triggers/{name}/resume`."""
        no_parameters(call)
        with answering("it was not resumed"):
            await self._operations.resume(call.parameters["name"], who(call.claims))
        return Reply(200, orjson.dumps({"trigger": call.parameters["name"], "paused": False}))


def routes(operations: Operations) -> Group:
    """The routes."""
    handlers = OperationRoutes(operations)
    one = "/v1/operations/{id}"
    return Group(
        (
            Route("POST", "/v1/operations", handlers.begin, OPERATORS, _BEGIN, body=True),
            Route("GET", "/v1/operations", handlers.list, VIEWERS, _LIST),
            Route("GET", one, handlers.show, VIEWERS, _SHOW),
            Route("DELETE", one, handlers.stop, OPERATORS, _STOP),
            Route("POST", "/v1/triggers/{name}/pause", handlers.pause, OPERATORS, _PAUSE),
            Route("POST", "/v1/triggers/{name}/resume", handlers.resume, OPERATORS, _RESUME),
        ),
        SCHEMAS,
    )


def _order(asked: dict[str, Any]) -> tuple[Order, bool]:
    """Raises Problem 422 with every reason."""
    reasons = Reasons()
    for name in asked.keys() - {"action", "filter", "rate", "to", "today", "dryRun"}:
        reasons.add(f"there is no {str(name)[:50]!a}")
    action, rate, to = asked.get("action"), asked.get("rate"), asked.get("to", "")
    if action not in ACTIONS:
        reasons.add(f"action must be one of {', '.join(ACTIONS)}", "/action")
    wanted = read_filter(asked.get("filter", {}), "/filter", reasons)
    if rate is not None and (not isinstance(rate, int | float) or isinstance(rate, bool)):
        reasons.add("rate must be a number", "/rate")
        rate = None
    if not isinstance(to, str) or len(to) > 2000:
        reasons.add("to must be a URL of at most 2000 characters", "/to")
    for name in ("today", "dryRun"):
        if not isinstance(asked.get(name, False), bool):
            reasons.add(f"{name} must be true or false", f"/{name}")
    reasons.raise_if_any("nothing was begun")
    return Order(str(action), wanted, None if rate is None else float(rate), to, asked.get("today", False)), asked.get(
        "dryRun", False
    )


def operation_shown(one: Operation) -> dict[str, Any]:
    """An operation as it is answered."""
    return {
        "id": one.id,
        "action": one.action,
        "state": one.state,
        "who": one.who,
        "filter": {name: _time(value) if name in ("since", "until") else value for name, value in one.filter.items()},
        "options": one.options,
        "total": one.total,
        "exact": one.exact,
        "done": one.done,
        "skipped": one.skipped,
        "failed": one.failed,
        "remark": one.remark,
        "startedAt": time_of(one.started),
        "endedAt": time_of(one.ended),
    }


def _time(value: object) -> object:
    """Seconds, as an operation keeps them, as the API writes times."""
    return time_of(round(value * 1_000_000)) if isinstance(value, int | float) else value


def _body(one: Operation) -> bytes:
    return orjson.dumps(operation_shown(one))


def _preview(preview: Preview) -> dict[str, Any]:
    return {
        "count": preview.total.number,
        "exact": preview.total.exact,
        "first": [{"delivery": shown(one.delivery), "whyNot": one.why_not} for one in preview.first],
    }


def cursor_of(one: Operation) -> str:
    """Where a list goes on behind it."""
    return base64.urlsafe_b64encode(one.started.to_bytes(8, "big") + UUID(one.id).bytes).decode()


def place_of(cursor: str | None) -> tuple[int, str] | None:
    """What `cursor_of` gave, as `admin.operations.list` takes it. Raises Problem 422."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor, b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 24 or raw[0] > 3:
        raise Problem(422, "nothing was listed", [Reason("the cursor is none that a page gave")])
    return int.from_bytes(raw[:8], "big"), str(UUID(bytes=raw[8:]))
