"""`POST /v1/triggers/try`: would a trigger fire, why (not), and which request would be sent; and sending it once."""

from typing import Any

import orjson

from cdcd.admin.editing import Draft
from cdcd.admin.samples import NothingToTry, Sample
from cdcd.admin.trying import MOST, Trial, Trying
from cdcd.errors import ConfigError
from cdcd.server.auth import ADMINS, OPERATORS, VIEWERS, Claims, require
from cdcd.server.openapi import TIME, Schema, answer, body, list_, object_, operation, ref
from cdcd.server.problems import Problem, Reason, Reasons
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Group, Route
from cdcd.server.v1.asked import no_parameters, read_object, time_of, who
from cdcd.server.v1.explaining import judged
from cdcd.server.v1.triggers import editing_answers, read_draft
from cdcd.triggers.cloudevents import Malformed, moment

NOTHING = "nothing was tried"
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 1, "maximum": MOST}
_SAMPLE = object_(
    ["type", "data"],
    {
        "type": _TEXT,
        "data": {"description": "The CloudEvent's data. Of a row, `doc` (the row) and `before` (as it was) are enough."},
        **{"source": _TEXT, "subject": _TEXT, "key": _TEXT, "time": TIME},
    },
    additionalProperties=False,
)
_TRY = object_(
    [],
    {
        "trigger": {"type": "string", "description": "One that there is."},
        "draft": {**ref("NamedDraft"), "description": "One that there is not yet, instead. For the role admin."},
        "event": {**_SAMPLE, "description": "Try it on this."},
        "last": {**_COUNT, "description": "Try it on the last events of its types in the event log."},
        "delivery": {"type": "string", "description": "Try it on the event of this delivery."},
        "rows": {
            **object_([], {"table": _TEXT, "type": _TEXT, "count": _COUNT}, additionalProperties=False),
            "description": "Try it on rows as they are now, as if each were changed. For the role admin.",
        },
        "send": {
            "type": "boolean",
            "description": "Send the request, once, marked as a test. For the roles admin and operator.",
        },
    },
    additionalProperties=False,
    examples=[
        {"trigger": "welcome-email", "last": 3},
        {"trigger": "welcome-email", "event": {"type": "DB_INSERT", "data": {"doc": {"id": 1, "email": "ada@example.com"}}}},
    ],
    description="`trigger` or `draft`, and one of `event`, `last`, `delivery` and `rows`. To send, there must be one event.",
)
_REQUEST = object_(
    ["method", "url", "headers", "body", "cut"],
    {
        **{"method": _TEXT, "url": _TEXT, "headers": list_(object_(["name", "value"], {"name": _TEXT, "value": _TEXT}))},
        "body": {"type": ["string", "null"]},
        "cut": {"type": "boolean", "description": "The body is longer."},
    },
    description="What would be sent; what proves who sends it is `***`.",
)
_ATTEMPT = object_(
    ["status", "seconds", "error", "response"],
    {
        "status": {"type": "integer", "description": "0: there was no answer."},
        **{"seconds": {"type": "number"}, "error": _TEXT, "response": _TEXT},
    },
)
SCHEMAS: dict[str, Any] = {
    "Try": _TRY,
    "Trial": object_(
        ["event", "delivery", "judgement", "request", "problem", "attempt"],
        {
            "event": object_(
                ["type", "source", "subject", "key", "time", "data"],
                {**{"type": _TEXT, "source": _TEXT, "subject": _TEXT, "key": _TEXT, "time": TIME}, "data": {}},
            ),
            "delivery": {"type": "string", "description": "The recorded delivery that the event is of; empty: none."},
            "judgement": ref("Judgement"),
            "request": {"oneOf": [{"type": "null"}, _REQUEST]},
            "problem": {"type": "string", "description": "Why it would be recorded as failed without being sent."},
            "attempt": {"oneOf": [{"type": "null"}, _ATTEMPT]},
        },
    ),
}
_OPERATION = operation(
    "tryTrigger",
    "Would a trigger fire for these events, why (not), and which request exactly would be sent.",
    {200: answer("What came of each event.", object_(["trials"], {"trials": list_(ref("Trial"))}))},
    request=body(ref("Try")),
    errors=(404, 409),
    description="Nothing is recorded. What is sent has the header `X-Cdcd-Test: true`.",
)


async def tried(trying: Trying, asked: dict[str, Any], claims: Claims) -> list[Trial]:
    """What came of what is asked for, written as the API's body. Raises Problem with every reason, 403 for what these claims may not."""
    wanted, sample = _read(asked)
    if isinstance(wanted, Draft) or "rows" in asked:
        require(claims, ADMINS)
    if asked.get("send"):
        require(claims, OPERATORS)
    try:
        with editing_answers(NOTHING):
            trials = await _trials(trying, asked, wanted, sample)
            if asked.get("send"):
                if len(trials) != 1:
                    raise Problem(422, NOTHING, [Reason(f"to send, there must be one event, and there are {len(trials)}")])
                trials = [await trying.send(await trying.trigger(wanted), trials[0], who(claims))]
    except NothingToTry as error:
        raise Problem(422, NOTHING, [Reason(str(error))]) from None
    except ConfigError as error:
        raise Problem(422, NOTHING, [Reason(each) for each in error.mistakes]) from None
    return trials


async def _trials(trying: Trying, asked: dict[str, Any], wanted: str | Draft, sample: Sample | None) -> list[Trial]:
    trigger = await trying.trigger(wanted)
    if sample is not None:
        return [await trying.on_sample(trigger, sample)]
    if "delivery" in asked:
        return [await trying.on_delivery(trigger, asked["delivery"])]
    if "rows" in asked:
        rows = asked["rows"]
        return await trying.on_rows(trigger, rows.get("table", ""), rows.get("type", ""), rows.get("count", 1))
    return await trying.on_last(trigger, asked["last"])


class TryingRoutes:
    """The handler."""

    def __init__(self, trying: Trying) -> None:
        self._trying = trying

    async def attempt(self, call: Call) -> Reply:
        """`POST /v1/triggers/try`."""
        no_parameters(call)
        trials = await tried(self._trying, read_object(call, NOTHING), call.claims)
        return Reply(200, orjson.dumps({"trials": [trial_shown(trial) for trial in trials]}))


def routes(trying: Trying) -> Group:
    """The route."""
    handler = TryingRoutes(trying).attempt
    return Group((Route("POST", "/v1/triggers/try", handler, VIEWERS, _OPERATION, body=True),), SCHEMAS)


def _read(asked: dict[str, Any]) -> tuple[str | Draft, Sample | None]:
    """Raises Problem 422 with every reason."""
    reasons = Reasons()
    for name in asked.keys() - {"trigger", "draft", "event", "last", "delivery", "rows", "send"}:
        reasons.add(f"there is no member {name[:50]!a}")
    if ("trigger" in asked) is ("draft" in asked):
        reasons.add("give one of trigger and draft")
    if sum(name in asked for name in ("event", "last", "delivery", "rows")) != 1:
        reasons.add("give one of event, last, delivery and rows")
    for name, kind, told in (
        *(("trigger", str, "text"), ("delivery", str, "text"), ("draft", dict, "an object"), ("event", dict, "an object")),
        *(("rows", dict, "an object"), ("send", bool, "true or false")),
    ):
        if name in asked and not isinstance(asked[name], kind):
            reasons.add(f"{name} must be {told}", f"/{name}")
    reasons.raise_if_any(NOTHING)
    _check_count(asked, "last", "/last", reasons)
    rows = asked.get("rows", {})
    for name in rows.keys() - {"table", "type", "count"}:
        reasons.add(f"there is no member {name[:50]!a}", "/rows")
    _check_count(rows, "count", "/rows/count", reasons)
    if not isinstance(rows.get("table", ""), str):
        reasons.add("table must be text", "/rows/table")
    if rows.get("type", "DB_INSERT") not in ("DB_INSERT", "DB_UPDATE", "DB_DELETE"):
        reasons.add("type must be DB_INSERT, DB_UPDATE or DB_DELETE", "/rows/type")
    sample = _sample(asked["event"], reasons) if "event" in asked else None
    reasons.raise_if_any(NOTHING)
    return (read_draft(asked["draft"], NOTHING) if "draft" in asked else asked["trigger"]), sample


def _check_count(members: dict[str, Any], name: str, pointer: str, reasons: Reasons) -> None:
    value = members.get(name, 1)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST:
        reasons.add(f"{name} must be 1 to {MOST}", pointer)


def _sample(event: dict[str, Any], reasons: Reasons) -> Sample | None:
    for name in event.keys() - {"type", "data", "source", "subject", "key", "time"}:
        reasons.add(f"there is no member {name[:50]!a}", "/event")
    for name in ("type", "source", "subject", "key", "time"):
        value = event.get(name, "")
        if not isinstance(value, str) or len(value) > 2000 or "\0" in value:
            reasons.add(f"{name} must be text of at most 2000 characters", f"/event/{name}")
    for name in ("type", "data"):
        if name not in event:
            reasons.add(f"{name} is missing", "/event")
    at: int | None = None
    if isinstance(event.get("time"), str):
        try:
            at = moment(event["time"], "time")
        except Malformed as error:
            reasons.add(str(error), "/event/time")
    if reasons.found:
        return None
    return Sample(event["type"], event["data"], event.get("source", ""), event.get("subject", ""), event.get("key", ""), at)


def trial_shown(trial: Trial) -> dict[str, Any]:
    """A trial as JSON."""
    event, request, attempt = trial.event, trial.request, trial.attempt
    return {
        "event": {
            "type": event.type,
            "source": event.source,
            "subject": event.subject,
            "key": event.key,
            "time": time_of(event.time),
            "data": orjson.Fragment(event.data),
        },
        "delivery": trial.delivery,
        "judgement": judged(trial.judgement),
        "request": None
        if request is None
        else {
            "method": request.method,
            "url": request.url,
            "headers": [{"name": name, "value": value} for name, value in request.headers],
            "body": request.body,
            "cut": request.cut,
        },
        "problem": trial.problem,
        "attempt": None
        if attempt is None
        else {"status": attempt.status, "seconds": attempt.duration, "error": attempt.error, "response": attempt.response},
    }
