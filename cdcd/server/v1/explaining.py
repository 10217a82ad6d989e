"""`/v1/explain`: why a delivery came to be and what became of it; why a row makes deliveries, or none."""

import contextlib
from collections.abc import Iterator
from typing import Any

import orjson

from cdcd.admin.explaining import Explaining, Explanation
from cdcd.admin.unfired import TYPES, Asked, Unfired
from cdcd.errors import SourceNotReady, SourceUnavailable
from cdcd.server.auth import ADMINS, VIEWERS
from cdcd.server.openapi import TIME, Schema, answer, body, list_, object_, operation, parameter, ref
from cdcd.server.problems import Problem, Reason, Reasons
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Group, Route
from cdcd.server.v1.asked import answering, no_parameters, read_object, time_of
from cdcd.server.v1.deliveries import shown
from cdcd.triggers.conditions import Part
from cdcd.triggers.judging import Judgement

NOTHING = "nothing was explained"
LONGEST = 2000  # characters of a table, a key
_TEXT: Schema = {"type": "string"}
_VERDICT: Schema = {"type": ["boolean", "null"], "description": "null: it raised, or is neither."}
_SCHEMAS: dict[str, Any] = {
    "Step": object_(
        ["name", "at", "words", "good"],
        {
            "name": {
                "type": "string",
                "enum": ["happened", "matched", "staged", "attempt", "answered", "recorded", "waiting", "due"],
            },
            "at": {**TIME, "type": ["string", "null"], "description": "null: nobody kept it."},
            "words": _TEXT,
            "good": _VERDICT,
        },
    ),
    "Condition": object_(
        ["text", "holds", "values", "error", "joined", "parts"],
        {
            "text": _TEXT,
            "holds": _VERDICT,
            "values": {"type": "object", "description": "What it saw, by name."},
            "error": _TEXT,
            "joined": {"type": "string", "enum": ["", "&&", "||"]},
            "parts": list_(ref("Condition")),
        },
        description="A condition, and the parts that it is joined of.",
    ),
    "Judgement": object_(
        ["trigger", "fires", "why", "lane", "problem", "checks"],
        {
            "trigger": _TEXT,
            "fires": {"type": "boolean"},
            "why": {"type": "string", "description": "In a sentence."},
            "lane": {"type": ["string", "null"], "description": "Its ordering key."},
            "problem": {"type": "string", "description": "It would be recorded as failed with this."},
            "checks": list_(
                object_(
                    ["name", "holds", "words", "condition"],
                    {
                        "name": {
                            "type": "string",
                            "enum": ["enabled", "source", "table", "path", "type", "columns", "when", "key"],
                        },
                        "holds": _VERDICT,
                        "words": _TEXT,
                        "condition": {"oneOf": [{"type": "null"}, ref("Condition")]},
                    },
                )
            ),
        },
    ),
    "Explanation": object_(
        ["delivery", "steps", "judgement", "unjudged", "causes", "origin", "caused", "queued", "unknown"],
        {
            "delivery": ref("Delivery"),
            "steps": list_(ref("Step")),
            "judgement": {"oneOf": [{"type": "null"}, ref("Judgement")], "description": "Of the trigger as it is now."},
            "unjudged": {"type": "string", "description": "Why there is no judgement."},
            "causes": list_(ref("Delivery"), description="What it comes from, the first cause first."),
            "origin": {"type": "string", "description": "Where the chain begins, when that is no delivery that is known."},
            "caused": list_(ref("Delivery"), description="What followed from it, and its replays."),
            "queued": list_(object_(["id", "type", "dueAt"], {"id": _TEXT, "type": _TEXT, "dueAt": TIME})),
            "unknown": list_(_TEXT, description="What cannot be known."),
        },
    ),
    "RowExplanation": object_(
        ["database", "table", "key", "there", "obstacles", "judgements", "recent", "unknown"],
        {
            "database": _TEXT,
            "table": _TEXT,
            "key": _TEXT,
            "there": {"type": ["boolean", "null"], "description": "Whether the row was found; null: it was not looked for."},
            "obstacles": list_(
                object_(["what", "fix"], {"what": _TEXT, "fix": _TEXT}), description="What stands in the way, whatever the row."
            ),
            "judgements": list_(object_(["type", "triggers"], {"type": _TEXT, "triggers": list_(ref("Judgement"))})),
            "recent": list_(ref("Delivery"), description="The newest deliveries of the row."),
            "unknown": list_(_TEXT),
        },
    ),
}
_DELIVERY = operation(
    "explainDelivery",
    "Why a delivery came to be, and every step of what became of it.",
    {200: answer("The explanation.", ref("Explanation"))},
    parameters=[parameter("id", "path", {"type": "string", "minLength": 1}, "The delivery's id.")],
    errors=(404, 422, 503),
)
_OBJECT: Schema = {"type": ["object", "null"]}
_ROW = operation(
    "explainRow",
    "Why a row's changes make deliveries, or none: which check of which trigger says no.",
    {200: answer("The explanation.", ref("RowExplanation"))},
    request=body(
        object_(
            ["table"],
            {
                "table": {"type": "string", "maxLength": LONGEST, "examples": ["public.orders"]},
                "key": {
                    "type": ["string", "null"],
                    "maxLength": LONGEST,
                    "description": "Its primary key's values, with commas between.",
                },
                "database": {"type": ["string", "null"], "maxLength": LONGEST},
                "row": {**_OBJECT, "description": "The row, instead of reading it."},
                "old": {**_OBJECT, "description": "The row as it was before an update."},
                "type": {"type": ["string", "null"], "enum": [*TYPES, None]},
            },
            additionalProperties=False,
        )
    ),
    errors=(404, 409),
    description="The row is read from its database, of a table that some trigger names.",
)


class ExplainingRoutes:
    """The handlers."""

    def __init__(self, explaining: Explaining) -> None:
        self._explaining = explaining

    async def delivery(self, call: Call) -> Reply:
        """`GET /v1/explain/{id}`."""
        no_parameters(call)
        with answering(NOTHING):
            return Reply(200, orjson.dumps(explained(await self._explaining.delivery(call.parameters["id"]))))

    async def row(self, call: Call) -> Reply:
        """`POST /v1/explain`."""
        no_parameters(call)
        asked = read_row(read_object(call, NOTHING))
        with row_answers():
            return Reply(200, orjson.dumps(row_explained(await self._explaining.row(asked))))


def routes(explaining: Explaining) -> Group:
    """The routes."""
    handlers = ExplainingRoutes(explaining)
    return Group(
        (
            Route("GET", "/v1/explain/{id}", handlers.delivery, VIEWERS, _DELIVERY),
            Route("POST", "/v1/explain", handlers.row, ADMINS, _ROW, body=True),
        ),
        _SCHEMAS,
    )


@contextlib.contextmanager
def row_answers() -> Iterator[None]:
    """Within this, why a row could not be explained becomes a problem."""
    try:
        with answering(NOTHING):
            yield
    except SourceUnavailable as error:
        raise Problem(503, str(error), headers={"Retry-After": "5"}) from None
    except SourceNotReady as error:
        raise Problem(409, str(error), [Reason(error.hint)] if error.hint else []) from None


def read_row(members: dict[str, Any]) -> Asked:
    """Which row is meant. Raises Problem 422 with every reason."""
    reasons = Reasons()
    for name in members.keys() - {"table", "key", "database", "row", "old", "type"}:
        reasons.add(f"there is no member {name[:50]!a}")
    for name in ("table", "key", "database", "type"):
        value = members.get(name)
        if (value is None and name == "table") or (value is not None and (not isinstance(value, str) or len(value) > LONGEST)):
            reasons.add(f"{name} must be text of at most {LONGEST} characters", f"/{name}")
        elif isinstance(value, str) and "\0" in value:
            reasons.add(f"{name} cannot hold a NUL", f"/{name}")
    for name in ("row", "old"):
        if members.get(name) is not None and not isinstance(members[name], dict):
            reasons.add(f"{name} must be an object", f"/{name}")
    reasons.raise_if_any(NOTHING)
    return Asked(**members)


def explained(found: Explanation) -> dict[str, Any]:
    """As JSON."""
    return {
        "delivery": shown(found.detail.delivery),
        "steps": [{"name": one.name, "at": time_of(one.at), "words": one.words, "good": one.good} for one in found.steps],
        "judgement": None if found.judgement is None else judged(found.judgement),
        "unjudged": found.unjudged,
        "causes": [shown(one) for one in found.causes],
        "origin": found.origin,
        "caused": [shown(one) for one in found.caused],
        "queued": [{"id": one.id, "type": one.type, "dueAt": time_of(one.due)} for one in found.queued],
        "unknown": list(found.unknown),
    }


def row_explained(found: Unfired) -> dict[str, Any]:
    """As JSON."""
    return {
        "database": found.database,
        "table": found.table,
        "key": found.key,
        "there": found.there,
        "obstacles": [{"what": one.what, "fix": one.fix} for one in found.obstacles],
        "judgements": [{"type": kind, "triggers": [judged(one) for one in those]} for kind, those in found.judgements.items()],
        "recent": [shown(one) for one in found.recent],
        "unknown": found.unknown,
    }


def judged(found: Judgement) -> dict[str, Any]:
    """A judgement as JSON."""
    return {
        "trigger": found.trigger,
        "fires": found.fires,
        "why": found.why,
        "lane": found.lane,
        "problem": found.problem,
        "checks": [
            {
                "name": one.name,
                "holds": one.holds,
                "words": one.words,
                "condition": None if one.condition is None else _condition(one.condition),
            }
            for one in found.checks
        ],
    }


def _condition(part: Part) -> dict[str, Any]:
    return {
        "text": part.text,
        "holds": part.holds,
        "values": dict(part.values),
        "error": part.error,
        "joined": part.joined,
        "parts": [_condition(inner) for inner in part.parts],
    }
