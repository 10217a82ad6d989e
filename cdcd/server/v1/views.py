"""`/v1/databases`, `storage`, `schedules`, `status`, `check`: how everything stands, and what is in the way."""

from dataclasses import asdict
from typing import Any

import orjson

from cdcd.admin.faces import Admin
from cdcd.admin.looking import Looking
from cdcd.admin.snapshot import DatabaseState, FilesState
from cdcd.admin.ticking import NoSchedule, NotNow, Scheduled, Ticking
from cdcd.config.model import Config
from cdcd.server.auth import OPERATORS, VIEWERS
from cdcd.server.openapi import TIME, Schema, answer, list_, object_, operation, parameter, ref
from cdcd.server.problems import Problem, Reason
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Group, Route
from cdcd.server.v1.asked import no_parameters, time_of, who
from cdcd.server.v1.deliveries import shown

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": ["number", "null"]}
_WHOLE: Schema = {"type": ["integer", "null"]}
_AT: Schema = {**TIME, "type": ["string", "null"]}
_DATABASE: dict[str, Schema] = {
    **{"name": _TEXT, "capture": {"enum": ["replication", "triggers"]}, "slot": _TEXT, "publication": _TEXT},
    "reading": {"type": "boolean"},
    "trouble": {"type": "string", "description": "Why it is not read; empty: it is."},
    "settledTime": {**_AT, "description": "The commit up to which everything is settled."},
    "unsettled": {"type": "integer", "description": "Transactions that were read and are not settled."},
    "lag": {**_WHOLE, "description": "Bytes (`triggers`: changes) that were written and are not settled."},
    "held": {**_WHOLE, "description": "Bytes of WAL that the slot keeps."},
    "budget": {**_WHOLE, "description": "Bytes that it may keep."},
    "growth": {**_NUMBER, "description": "Bytes a second by which `held` grows."},
    "left": {**_NUMBER, "description": "Seconds until the budget is used up, at that rate."},
    "slotStatus": {"type": ["string", "null"]},
    "sampledAt": {**_AT, "description": "When the server was asked last."},
}
_STORE: dict[str, Schema] = {
    **{"name": _TEXT, "path": _TEXT},
    "missing": {"type": "string", "description": "Why its directory cannot be looked at; empty: it can."},
    **{"entries": {"type": "integer"}, "looks": {"type": "integer", "description": "At all of it, since the start."}},
}
_SCHEDULE: dict[str, Schema] = {
    **{"trigger": _TEXT, "schedule": _TEXT, "timezone": _TEXT, "missed": _TEXT, "enabled": {"type": "boolean"}},
    "next": list_(TIME, description="When it fires next, in its time zone; none while it is disabled."),
    "last": list_(ref("Delivery"), description="Its last deliveries, newest first."),
}
_FINDING = object_(
    ["level", "code", "what", "fix"],
    {"level": {"enum": ["ok", "warning", "mistake", "unknown"]}, "code": _TEXT, "what": _TEXT, "fix": _TEXT},
)
SCHEMAS: dict[str, Any] = {
    "Database": object_(list(_DATABASE), _DATABASE),
    "Store": object_(list(_STORE), _STORE),
    "Schedule": object_(list(_SCHEDULE), _SCHEDULE),
    "Section": object_(["title", "findings"], {"title": _TEXT, "findings": list_(_FINDING)}),
}


def _listing(identity: str, summary: str, name: str, schema: str) -> Schema:
    return operation(identity, summary, {200: answer(summary, object_([name], {name: list_(ref(schema))}))}, errors=(422, 503))


_DATABASES = _listing(
    "listDatabases", "The captured databases: how far each is read, and the WAL it keeps.", "databases", "Database"
)
_STORES = _listing("listStorage", "The stores of files.", "storage", "Store")
_SCHEDULES = _listing(
    "listSchedules", "The schedules: when they fire next, what came of the last times.", "schedules", "Schedule"
)
_RUN = operation(
    "runSchedule",
    "Let a schedule fire now, beside its times. The event's data says `manual: true`.",
    {202: answer("It is durable.", object_(["trigger", "delivery"], {"trigger": _TEXT, "delivery": _TEXT}))},
    parameters=[parameter("trigger", "path", {"type": "string", "minLength": 1}, "The trigger's name.")],
    errors=(404, 409, 422, 503),
)
_STATUS = operation(
    "status",
    "What `cdcd status --json` prints, at most some seconds old.",
    {200: answer("How everything stands.", object_(["at", "project", "databases", "triggers"], {"at": {"type": "number"}}))},
    errors=(422, 503),
)
_CHECK = operation(
    "check",
    "What `cdcd check` finds, at most some seconds old: every mistake with what mends it.",
    {200: answer("What was found.", object_(["at", "sections"], {"at": TIME, "sections": list_(ref("Section"))}))},
    errors=(422, 503),
)


class Views:
    """The handlers."""

    def __init__(self, admin: Admin, looking: Looking, ticking: Ticking) -> None:
        self._admin = admin
        self._looking = looking
        self._ticking = ticking

    async def databases(self, call: Call) -> Reply:
        """`GET /v1/databases`."""
        no_parameters(call)
        snapshot = await self._admin.overview.now()
        return Reply(200, orjson.dumps({"databases": [_database(each, self._admin.config) for each in snapshot.databases]}))

    async def storage(self, call: Call) -> Reply:
        """`GET /v1/storage`."""
        no_parameters(call)
        snapshot = await self._admin.overview.now()
        return Reply(200, orjson.dumps({"storage": [_store(each) for each in snapshot.files]}))

    async def schedules(self, call: Call) -> Reply:
        """`GET /v1/schedules`."""
        no_parameters(call)
        return Reply(200, orjson.dumps({"schedules": [_schedule(each) for each in await self._ticking.list()]}))

    async def run(self, call: Call) -> Reply:
        """`POST /v1/schedules/{trigger}/run`."""
        no_parameters(call)
        name = call.parameters["trigger"]
        try:
            delivery = await self._ticking.run(name, who(call.claims))
        except NoSchedule as error:
            raise Problem(404, str(error)) from None
        except NotNow as error:
            raise Problem(409, "nothing was run", [Reason(str(error))]) from None
        return Reply(202, orjson.dumps({"trigger": name, "delivery": delivery}))

    async def status(self, call: Call) -> Reply:
        """`GET /v1/status`."""
        no_parameters(call)
        return Reply(200, orjson.dumps((await self._looking.status()).found.plain()))

    async def check(self, call: Call) -> Reply:
        """`GET /v1/check`."""
        no_parameters(call)
        looked = await self._looking.check()
        sections = [{"title": each.title, "findings": [asdict(one) for one in each.findings]} for each in looked.found]
        return Reply(200, orjson.dumps({"at": time_of(int(looked.at * 1e6)), "sections": sections}))


def routes(admin: Admin, looking: Looking, ticking: Ticking) -> Group:
    """The routes."""
    views = Views(admin, looking, ticking)
    return Group(
        (
            Route("GET", "/v1/databases", views.databases, VIEWERS, _DATABASES),
            Route("GET", "/v1/storage", views.storage, VIEWERS, _STORES),
            Route("GET", "/v1/schedules", views.schedules, VIEWERS, _SCHEDULES),
            Route("POST", "/v1/schedules/{trigger}/run", views.run, OPERATORS, _RUN),
            Route("GET", "/v1/status", views.status, VIEWERS, _STATUS),
            Route("GET", "/v1/check", views.check, VIEWERS, _CHECK),
        ),
        SCHEMAS,
    )


def _database(state: DatabaseState, config: Config) -> dict[str, Any]:
    database = config.databases.get(state.name)
    return {
        "name": state.name,
        "capture": state.capture,
        "slot": "" if database is None else database.slot,
        "publication": "" if database is None else database.publication,
        "reading": state.reading,
        "trouble": state.trouble,
        "settledTime": None if state.settled_time is None else time_of(int(state.settled_time * 1e6)),
        "unsettled": state.unsettled,
        "lag": state.lag,
        "held": state.held,
        "budget": state.budget,
        "growth": state.growth,
        "left": state.left,
        "slotStatus": state.slot,
        "sampledAt": None if state.sampled_at is None else time_of(int(state.sampled_at * 1e6)),
    }


def _store(state: FilesState) -> dict[str, Any]:
    return {"name": state.name, "path": state.path, "missing": state.missing, "entries": state.entries, "looks": state.looks}


def _schedule(each: Scheduled) -> dict[str, Any]:
    return {
        "trigger": each.trigger,
        "schedule": each.schedule.cron,
        "timezone": each.schedule.timezone,
        "missed": each.schedule.missed.value,
        "enabled": each.enabled,
        "next": list(each.written),
        "last": [shown(one) for one in each.last],
    }
