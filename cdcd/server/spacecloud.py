"""`/v1/api/{project}/eventing`: the queue as Space Cloud's clients know it (v0.21, gateway/server/handlers/eventing.go).

What is as there: bodies, `{}` and `{"result": ...}`, errors as `{"error", "rawError"}`, `delay` in milliseconds. What is better: a
type that nothing wants is refused instead of dropped, an error has a status of its own instead of 500, and 200 means durable.
"""

import orjson
from aiohttp import web

from cdcd.server.events import wait_of
from cdcd.server.problems import Problem, Reasons
from cdcd.server.queueing import LONGEST_WAIT, Queueing
from cdcd.server.reading import MOST_EVENTS, Asked, parsed, read_space_cloud
from cdcd.server.replies import JSON, Form, Reply
from cdcd.server.routes import Call


class SpaceCloud:
    """The handlers."""

    def __init__(self, project: str, queueing: Queueing) -> None:
        self._project = project
        self._queueing = queueing

    async def queue(self, call: Call) -> Reply:
        """`POST /v1/api/{project}/eventing/queue`."""
        self._check_project(call)
        now = self._queueing.now()
        reasons = Reasons()
        asked = read_space_cloud(parsed(call.body), "", now, reasons)
        self._queueing.check([] if asked is None else [asked], call.claims, reasons)
        assert asked is not None
        if not asked.synchronous:
            await self._queueing.queue((asked,), now)
            return Reply(200, b"{}")
        taken, answered = await self._queueing.queue_and_wait(asked, now, wait_of(call) or LONGEST_WAIT)
        if answered is None:
            raise Problem(409, "an event of this id was queued before, and its answer is not kept", more={"id": taken.ids[0]})
        return Reply(200, orjson.dumps(answered.members()))

    async def admin_queue(self, call: Call) -> Reply:
        """`POST /v1/api/{project}/eventing/admin-queue`: any number of events, `allow` is not asked."""
        self._check_project(call)
        now = self._queueing.now()
        body = parsed(call.body)
        events = body.get("events") if isinstance(body, dict) else None
        if not isinstance(events, list):
            raise Problem(400, 'the body must be an object with a list of events: {"events": [...]}')
        if len(events) > MOST_EVENTS:
            raise Problem(413, f"more than {MOST_EVENTS} events in one request")
        reasons = Reasons()
        asked: list[Asked] = []
        for number, event in enumerate(events):
            found = read_space_cloud(event, f"/events/{number}", now, reasons)
            asked += [found] if found is not None else []
        self._queueing.check(asked, None, reasons)
        if asked:
            await self._queueing.queue(asked, now)
        return Reply(200, b"{}")

    def _check_project(self, call: Call) -> None:
        if call.parameters["project"] != self._project:
            raise Problem(404, "there is no such project here")


def error_reply(problem: Problem, _: web.BaseRequest) -> Reply:
    """A problem as Space Cloud tells it: `error` in words, and `rawError`, which its clients log."""
    text = problem.text()
    body = orjson.dumps({"error": text, "rawError": text, **problem.more})
    return Reply(problem.status, body, headers=problem.headers)


FORM = Form(error_reply, "SpaceCloudError", JSON)
