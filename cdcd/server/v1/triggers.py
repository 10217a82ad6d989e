"""`/v1/triggers`: how they stand, how they are written, changing them, and trying them."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from cdcd.admin.deliveries import NotThere
from cdcd.admin.editing import Draft, Editing, Invalid, Mistake, NoSuchTrigger, NotWritable, Outdated, Written
from cdcd.admin.triggers import IDLE, Listed, State, Triggers
from cdcd.config.masking import shown_url
from cdcd.config.model import TriggerConfig
from cdcd.errors import SourceNotReady, SourceUnavailable
from cdcd.server.auth import ADMINS, VIEWERS
from cdcd.server.openapi import TIME, Schema, answer, list_, object_, operation, parameter, ref
from cdcd.server.problems import Problem, Reason
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Group, Route
from cdcd.server.v1.asked import no_parameters, read_object, time_of, who

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": ["number", "null"]}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_LATENCY = object_(["count", "p50", "p90", "p99"], {"count": _COUNT, "p50": _NUMBER, "p90": _NUMBER, "p99": _NUMBER})
_STATE: dict[str, Schema] = {
    "name": _TEXT,
    "state": {
        "type": "string",
        "enum": [state.value for state in State],
        "description": "`gone`: no trigger has this name any more, and deliveries of it wait.",
    },
    "kind": {"type": ["string", "null"]},
    "types": list_(_TEXT),
    "source": {"type": "string", "description": "The database or storage, empty for what has none."},
    "what": list_(_TEXT, description="Its tables or paths, or its schedule."),
    "endpoint": {"type": "string", "description": "The webhook's origin."},
    "rate": {"type": "number", "description": "Deliveries that ended well a second, in the last minute."},
    "failing": {"type": "number", "description": "Deliveries that failed for good a second, in the last minute."},
    "success": {**_NUMBER, "description": "Their share that ended well, 0 to 1: of the last minute, else since the start."},
    "latency": {**_LATENCY, "description": "Seconds from the event to the answer that took it, in the last five minutes."},
    "delivered": {**_COUNT, "description": "Since the start."},
    "failed": {**_COUNT, "description": "Since the start."},
    "inFlight": _COUNT,
    "backlog": {**_COUNT, "description": "Deliveries that wait in the event store."},
    "oldest": {**TIME, "type": ["string", "null"], "description": "The oldest event in the backlog."},
    "lastError": _TEXT,
    "pausedSince": {**TIME, "type": ["string", "null"]},
}
_WRITTEN: dict[str, Schema] = {
    "yaml": {"type": "string", "description": "Its definition as it is written; `***` stands for a secret."},
    "definition": {"type": "object", "description": "The same as JSON."},
    "file": _TEXT,
    "line": _COUNT,
    "etag": {"type": "string", "description": "As in the header ETag."},
    "readOnly": {"type": "string", "description": "Why it cannot be changed here; empty: it can."},
}
_MISTAKE = object_(
    ["what", "line", "column", "field"],
    {
        "what": _TEXT,
        "line": {**_COUNT, "description": "In the definition, from 1; 0: no one place of it."},
        "column": _COUNT,
        "field": {"type": "string", "description": "The option, as in `webhook.url`; empty: none."},
    },
)
_DRAFT: dict[str, Schema] = {
    "yaml": {"type": "string", "maxLength": 262_144, "description": "The options of the trigger, without its name."},
    "definition": {"type": "object", "description": "The same as JSON. Give one of them."},
    "cloneOf": {"type": "string", "description": "The trigger whose secrets `***` keeps; left out: its own."},
}
_EXAMPLE = {"type": "DB_INSERT", "table": "public.users", "webhook": "http://127.0.0.1:9000/welcome"}
SCHEMAS: dict[str, Any] = {
    "TriggerState": object_(list(_STATE), _STATE),
    "TriggerWritten": object_(["name", *_WRITTEN], {"name": _TEXT, **_WRITTEN}),
    "Trigger": object_(list(_STATE), {**_STATE, **_WRITTEN}),
    "TriggerDraft": object_([], _DRAFT, additionalProperties=False, examples=[{"definition": _EXAMPLE}]),
    "NamedDraft": object_(
        ["name"],
        {"name": _TEXT, **_DRAFT},
        additionalProperties=False,
        examples=[{"name": "welcome-email", "definition": _EXAMPLE}],
    ),
    "Mistake": _MISTAKE,
}
_NAME = parameter("name", "path", {"type": "string", "minLength": 1}, "The trigger's name.")
_MATCH = parameter("If-Match", "header", {"type": "string"}, "The ETag that was read, `*` for any. Left out: it must be new.")
_NEEDS_MATCH = parameter("If-Match", "header", {"type": "string"}, "The ETag that was read, `*` for any.")
_ETAG = {"ETag": "Of the file that it stands in."}
_LIST = operation(
    "listTriggers",
    "All triggers and how they stand, by name.",
    {200: answer("The triggers.", object_(["triggers"], {"triggers": list_(ref("TriggerState"))}))},
    errors=(422, 503),
)
_SHOW = operation(
    "showTrigger",
    "How a trigger stands, and how it is written.",
    {200: answer("The trigger.", ref("Trigger"), headers=_ETAG)},
    parameters=[_NAME],
    errors=(404, 409, 422, 503),
)
_REQUEST: Schema = {
    "required": True,
    "content": {"application/json": {"schema": ref("TriggerDraft")}, "application/yaml": {"schema": {"type": "string"}}},
}
_PUT = operation(
    "putTrigger",
    "Write a trigger into a file that `include` names, and reload.",
    {
        200: answer("It was changed.", ref("TriggerWritten"), headers=_ETAG),
        201: answer("It is new.", ref("TriggerWritten"), headers=_ETAG),
    },
    parameters=[_NAME, _MATCH],
    request=_REQUEST,
    errors=(404, 409, 412, 428),
    description="The configuration is judged whole before; nothing else in the file changes. A reload that refuses it puts the file back.",
)
_DELETE = operation(
    "deleteTrigger",
    "Take a trigger out of its file, and reload. What waits of it is kept.",
    {200: answer("It is gone.", object_(["name"], {"name": _TEXT}))},
    parameters=[_NAME, _NEEDS_MATCH],
    errors=(404, 409, 412, 422, 428, 503),
)


def _switch_operation(verb: str, told: str) -> Schema:
    return operation(
        f"{verb}Trigger",
        told,
        {200: answer("It is so.", ref("TriggerWritten"), headers=_ETAG)},
        parameters=[_NAME],
        errors=(404, 409, 422, 503),
    )


_VALIDATE = operation(
    "validateTrigger",
    "What writing this trigger would be refused for; nothing is written.",
    {
        200: answer(
            "Every mistake; none when it is valid.",
            object_(["valid", "mistakes"], {"valid": {"type": "boolean"}, "mistakes": list_(_MISTAKE)}),
        )
    },
    request={"required": True, "content": {"application/json": {"schema": ref("NamedDraft")}}},
    errors=(404, 409),
)


class TriggerRoutes:
    """The handlers."""

    def __init__(self, triggers: Triggers, editing: Editing) -> None:
        self._triggers = triggers
        self._editing = editing

    async def list(self, call: Call) -> Reply:
        """`GET /v1/triggers`."""
        no_parameters(call)
        return Reply(200, orjson.dumps({"triggers": [_state(each) for each in await self._triggers.list()]}))

    async def show(self, call: Call) -> Reply:
        """`GET /v1/triggers/{name}`."""
        no_parameters(call)
        name = call.parameters["name"]
        with editing_answers("nothing was found"):
            listed = await self._triggers.show(name)
            try:
                written = await self._editing.show(name)
            except NoSuchTrigger:
                if listed is None:
                    raise
                return Reply(200, orjson.dumps(_state(listed)))
        if listed is None:  # written, and not taken over yet
            listed = Listed(name, State.DISABLED, None, IDLE, 0)
        return Reply(200, orjson.dumps({**_state(listed), **_written(written)}), headers={"ETag": f'"{written.etag}"'})

    async def put(self, call: Call) -> Reply:
        """`PUT /v1/triggers/{name}`."""
        no_parameters(call)
        name = call.parameters["name"]
        if call.request.content_type == "application/yaml":
            try:
                draft = Draft(name, call.body.decode())
            except ValueError:
                raise Problem(400, "the body is not UTF-8") from None
        else:
            draft = read_draft({"name": name, **read_object(call, "nothing was written")}, "nothing was written")
        with editing_answers("nothing was written"):
            written, new = await self._editing.put(draft, who(call.claims), _if_match(call))
        return Reply(201 if new else 200, orjson.dumps(_written(written)), headers={"ETag": f'"{written.etag}"'})

    async def delete(self, call: Call) -> Reply:
        """`DELETE /v1/triggers/{name}`."""
        no_parameters(call)
        name = call.parameters["name"]
        with editing_answers("nothing was deleted"):
            await self._editing.delete(name, who(call.claims), _if_match(call))
        return Reply(200, orjson.dumps({"name": name}))

    async def enable(self, call: Call) -> Reply:
        """`POST /v1/triggers/{name}/enable`."""
        return await self._switch(call, enabled=True)

    async def disable(self, call: Call) -> Reply:
        """`POST /v1/triggers/{name}/disable`."""
        return await self._switch(call, enabled=False)

    async def _switch(self, call: Call, *, enabled: bool) -> Reply:
        no_parameters(call)
        with editing_answers("nothing was changed"):
            written = await self._editing.switch(call.parameters["name"], who(call.claims), enabled=enabled)
        return Reply(200, orjson.dumps(_written(written)), headers={"ETag": f'"{written.etag}"'})

    async def validate(self, call: Call) -> Reply:
        """`POST /v1/triggers/validate`."""
        no_parameters(call)
        draft = read_draft(read_object(call, "nothing was judged"), "nothing was judged")
        with editing_answers("nothing was judged"):
            mistakes = await self._editing.validate(draft)
        return Reply(200, orjson.dumps({"valid": not mistakes, "mistakes": [mistake_shown(each) for each in mistakes]}))


def routes(triggers: Triggers, editing: Editing) -> Group:
    """The routes."""
    handlers = TriggerRoutes(triggers, editing)
    one = "/v1/triggers/{name}"
    enable = _switch_operation("enable", "Set `enabled: true` where the trigger is written, and reload.")
    disable = _switch_operation(
        "disable", "Set `enabled: false` where the trigger is written, and reload: it captures nothing any more."
    )
    return Group(
        (
            Route("GET", "/v1/triggers", handlers.list, VIEWERS, _LIST),
            Route("POST", "/v1/triggers/validate", handlers.validate, ADMINS, _VALIDATE, body=True),
            Route("GET", one, handlers.show, VIEWERS, _SHOW),
            Route("PUT", one, handlers.put, ADMINS, _PUT, body=True),
            Route("DELETE", one, handlers.delete, ADMINS, _DELETE),
            Route("POST", f"{one}/enable", handlers.enable, ADMINS, enable),
            Route("POST", f"{one}/disable", handlers.disable, ADMINS, disable),
        ),
        SCHEMAS,
    )


@contextlib.contextmanager
def editing_answers(what: str) -> Iterator[None]:
    """Within this, what editing and trying refuse becomes a problem; `what` says what was not done."""
    try:
        yield
    except (NoSuchTrigger, NotThere) as error:
        raise Problem(404, str(error)) from None
    except Outdated as error:
        raise Problem(428 if error.missing else 412, what, [Reason(str(error)), Reason(error.hint)]) from None
    except (NotWritable, SourceNotReady) as error:
        raise Problem(409, what, [Reason(each) for each in (str(error), error.hint) if each]) from None
    except SourceUnavailable as error:
        raise Problem(503, what, [Reason(str(error))], headers={"Retry-After": "5"}) from None
    except Invalid as error:
        mistakes = [mistake_shown(each) for each in error.mistakes]
        raise Problem(422, what, [Reason(each.what) for each in error.mistakes[:50]], more={"mistakes": mistakes}) from None


def read_draft(asked: Mapping[str, Any], what: str) -> Draft:
    """Raises Problem 422."""
    unknown = asked.keys() - {"name", "yaml", "definition", "cloneOf"}
    reasons = [Reason(f"there is no {str(name)[:50]!a}") for name in sorted(unknown)]
    for name, kind, told in (
        ("name", str, "text"),
        ("yaml", str, "text"),
        ("definition", dict, "an object"),
        ("cloneOf", str, "text"),
    ):
        if name in asked and not isinstance(asked[name], kind):
            reasons.append(Reason(f"{name} must be {told}", f"/{name}"))
    if "name" not in asked:
        reasons.append(Reason("name is missing"))
    if ("yaml" in asked) is ("definition" in asked):
        reasons.append(Reason("give one of yaml and definition"))
    if reasons:
        raise Problem(422, what, reasons)
    return Draft(asked["name"], asked.get("yaml"), asked.get("definition"), asked.get("cloneOf", ""))


def mistake_shown(mistake: Mistake) -> dict[str, Any]:
    """A mistake as it is answered."""
    return {"what": mistake.what, "line": mistake.line, "column": mistake.column, "field": mistake.field}


def _if_match(call: Call) -> str | None:
    given = call.request.headers.get("If-Match")
    return None if given is None else given.strip().removeprefix("W/").strip('"')


def _written(written: Written) -> dict[str, Any]:
    return {
        "name": written.name,
        "yaml": written.yaml,
        "definition": written.definition,
        "file": written.file,
        "line": written.line,
        "etag": f'"{written.etag}"',
        "readOnly": written.read_only,
    }


def _state(listed: Listed) -> dict[str, Any]:
    numbers, config = listed.numbers, listed.config
    return {
        "name": listed.name,
        "state": listed.state.value,
        "kind": None if config is None else config.kind.value,
        "types": [] if config is None else sorted(config.types),
        "source": "" if config is None else config.database or config.storage,
        "what": [] if config is None else _what(config),
        "endpoint": "" if config is None else shown_url(config.webhook.endpoint),
        "rate": numbers.rates.delivered,
        "failing": numbers.rates.failed,
        "success": listed.success,
        "latency": {
            "count": numbers.latency.count,
            "p50": numbers.latency.p50,
            "p90": numbers.latency.p90,
            "p99": numbers.latency.p99,
        },
        "delivered": numbers.delivered,
        "failed": numbers.failed,
        "inFlight": numbers.in_flight,
        "backlog": listed.backlog,
        "oldest": None if numbers.oldest is None else time_of(int(numbers.oldest * 1e6)),
        "lastError": numbers.last_error,
        "pausedSince": None if listed.paused_since is None else time_of(int(listed.paused_since * 1e6)),
    }


def _what(config: TriggerConfig) -> list[str]:
    return list(config.tables or config.paths) or ([config.schedule.cron] if config.schedule is not None else [])
