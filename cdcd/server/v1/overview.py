"""`/v1/overview`: is all well, and if not, what and where; rates, latencies and how every part stands, as the console's first page has it.

It is the snapshot (`cdcd.admin.snapshot`) in JSON: names in camel case, times as in RFC 3339, durations in seconds.
"""

from dataclasses import fields, is_dataclass
from typing import Any

import orjson

from cdcd.admin.overview import Overview
from cdcd.admin.snapshot import Snapshot
from cdcd.server.auth import VIEWERS
from cdcd.server.openapi import TIME, Schema, answer, list_, object_, operation, ref
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Group, Route
from cdcd.server.v1.asked import no_parameters, time_of

TIMES = frozenset(
    {"at", "started_at", "since", "oldest", "open_until", "down_since", "settled_time", "sampled_at", "came_at", "late_since"}
)
LEFT_OUT = frozenset({"latency_buckets", "latency_sum", "latency_count", "buckets", "seconds"})
"""Members that only histograms of metrics need."""

_WHOLE: Schema = {"type": "integer"}
_BOOLEAN: Schema = {"type": "boolean"}
_LISTS = ("troubles", "triggers", "endpoints", "databases", "files", "history")
_OVERVIEW = object_(
    ["at", "startedAt", "project", "well", "ready", "alive", "backlog", "rates", "latency", *_LISTS],
    {
        **{"at": TIME, "startedAt": TIME, "project": {"type": "string"}, "backlog": _WHOLE},
        "well": {**_BOOLEAN, "description": "Nothing is the matter."},
        "ready": {**_BOOLEAN, "description": "All parts run, and no stop was asked for."},
        "alive": {**_BOOLEAN, "description": "The pipeline moves."},
        "troubles": list_(ref("Trouble")),
        "rates": object_(["delivered", "failed", "retried"], {}, description="Deliveries a second over the last minute."),
        "latency": object_(["count", "p50", "p90", "p99"], {}, description="From commit to answer, of the last five minutes."),
        "triggers": list_(object_(["name", "delivered", "failed", "retried", "rates", "backlog", "latency"], {})),
        "endpoints": list_(object_(["origin", "circuit", "inFlight", "answers", "durations"], {})),
        "databases": list_(object_(["name", "reading", "lag", "held", "left"], {})),
        "store": object_(["available", "waiting", "groupSize", "commitTime"], {}),
        "files": list_(object_(["name", "missing"], {})),
        "history": list_(object_(["at", "delivered", "p50", "p99"], {}), description="The last ten minutes, in slices of 5 s."),
    },
)
_TROUBLE = object_(
    ["code", "what", "where", "fix", "since"],
    {
        **{name: {"type": "string"} for name in ("code", "what", "where", "fix")},
        "since": TIME,
        "standsStill": _BOOLEAN,
        "notReady": _BOOLEAN,
    },
    description="Something that is not well; docs/operations.md has a row for each code.",
)
_GET = operation(
    "overview",
    "Is all well, and if not, what and where.",
    {200: answer("How everything stands.", ref("Overview"))},
    errors=(422,),
)


def routes(overview: Overview) -> Group:
    """The route."""

    async def get(call: Call) -> Reply:
        no_parameters(call)
        return Reply(200, orjson.dumps(shown(await overview.now())))

    return Group((Route("GET", "/v1/overview", get, VIEWERS, _GET),), schemas={"Overview": _OVERVIEW, "Trouble": _TROUBLE})


def shown(snapshot: Snapshot) -> dict[str, Any]:
    """As the API tells it."""
    return {"well": snapshot.well, "alive": snapshot.alive, "backlog": snapshot.backlog, **_plain(snapshot)}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {
            _camel(field.name): _time(inner) if field.name in TIMES else _plain(inner)
            for field in fields(value)
            if field.name not in LEFT_OUT
            for inner in [getattr(value, field.name)]
        }
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else time_of(int(seconds * 1e6))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
