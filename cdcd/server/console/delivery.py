"""One delivery: how it stands, everything that happened to it, what it comes from and what followed; trying it again, cancelling it,
sending it elsewhere.

What stands on the page goes on while the delivery does: the page asks for its state every other second, and is given it only when it is
another one (`telling.mark`).
"""

from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from cdcd.admin.editing import NoSuchTrigger
from cdcd.admin.explaining import Explanation
from cdcd.admin.faces import Admin
from cdcd.admin.operations import Sent
from cdcd.admin.samples import NothingToTry
from cdcd.config.model import Capture, Config
from cdcd.errors import ConfigError
from cdcd.event import REPLAY_OF, Status
from cdcd.replication.lsn import format_lsn
from cdcd.server.auth import OPERATORS
from cdcd.server.console import curl, telling, words
from cdcd.server.console.pages import HTML, Pages, is_partial, see
from cdcd.server.console.signin import fields
from cdcd.server.problems import Problem, Reason
from cdcd.server.replies import JSON, Reply
from cdcd.server.routes import Call, Route
from cdcd.server.v1.asked import answering, who

LONGEST_URL = 2000
_TOLD_APART = frozenset({REPLAY_OF, "causationid"})  # extensions that the page tells in its own words


class DeliveryPages:
    """The handlers."""

    def __init__(self, pages: Pages, admin: Admin) -> None:
        self._pages = pages
        self._admin = admin

    # Seeing

    async def find(self, call: Call) -> Reply:
        """`GET /console/deliveries?id=`: for who has an id from a log, or from the header `webhook-id`."""
        identity = call.request.query.get("id", "").strip()
        return see(f"/console/deliveries/{quote_id(identity)}" if identity else "/console/events")

    async def show(self, call: Call) -> Reply:
        """`GET /console/deliveries/{id}`."""
        return await self._page(call)

    async def state(self, call: Call) -> Reply:
        """`GET /console/deliveries/{id}/state?seen=`: what may have changed since; 204 when nothing has."""
        identity = call.parameters["id"]
        if not is_partial(call.request):
            return see(f"/console/deliveries/{quote_id(identity)}")
        found = await self._explain(call, judged=False)
        if telling.mark(found) == call.request.query.get("seen"):
            return Reply(204, b"", HTML)
        return Reply(200, self._pages.part(call, "delivery-state.html", **self._told(found)), HTML)

    async def request(self, call: Call) -> Reply:
        """`GET /console/deliveries/{id}/request`: what would be sent now, also as a command."""
        identity = call.parameters["id"]
        request, why_not = None, ""
        with answering("nothing was found"):
            detail = await self._admin.deliveries.show(identity)
        try:
            trigger = await self._admin.trying.trigger(detail.delivery.trigger)
            request = await self._admin.trying.again(trigger, detail)
        except (NoSuchTrigger, NothingToTry) as error:
            why_not = str(error)
        command = "" if request is None else curl.command(request)
        masks = request is not None and curl.placeholders(request)
        return self._pages.page(
            call,
            "delivery-request.html",
            one=detail.delivery,
            request=request,
            why_not=why_not,
            command=command,
            masks=masks,
        )

    async def payload(self, call: Call) -> Reply:
        """`GET /console/deliveries/{id}/payload`: the data, byte for byte."""
        identity = call.parameters["id"]
        with answering("nothing was found"):
            detail = await self._admin.deliveries.show(identity)
        if detail.data is None:
            raise Problem(404, "its data could not be stored")
        return Reply(200, detail.data, JSON, _attached(f"delivery-{detail.delivery.id}.json"))

    async def answer(self, call: Call) -> Reply:
        """`GET /console/deliveries/{id}/answers/{number}`: what is kept of an answer."""
        identity, number = call.parameters["id"], call.parameters["number"]
        with answering("nothing was found"):
            detail = await self._admin.deliveries.show(identity, with_data=False)
        tried = next((each for each in detail.attempts if str(each.number) == number), None)
        if tried is None:
            raise Problem(404, "nothing is kept of this attempt")
        name = f"delivery-{detail.delivery.id}-answer-{tried.number}.txt"
        return Reply(200, tried.response.encode(errors="replace"), "text/plain; charset=utf-8", _attached(name))

    # Doing

    async def retry(self, call: Call) -> Reply:
        """`POST /console/deliveries/{id}/retry`."""
        identity = call.parameters["id"]
        try:
            with answering("it was not tried again"):
                processed = fields(call.body).get("processed") == "true"
                await self._admin.operations.retry(identity, who(call.claims), processed=processed)
        except Problem as problem:
            return await self._refused(call, problem)
        return see(f"/console/deliveries/{quote_id(identity)}", "It is on its way.")

    async def cancel(self, call: Call) -> Reply:
        """`POST /console/deliveries/{id}/cancel`."""
        identity = call.parameters["id"]
        try:
            with answering("it was not cancelled"):
                await self._admin.operations.cancel(identity, who(call.claims))
        except Problem as problem:
            return await self._refused(call, problem)
        return see(f"/console/deliveries/{quote_id(identity)}", "It is cancelled.")

    async def send(self, call: Call) -> Reply:
        """`POST /console/deliveries/{id}/send`: to another URL, once."""
        url = fields(call.body).get("url", "").strip()
        sent: Sent | None = None
        problem: Problem | None = None
        try:
            if not url or len(url) > LONGEST_URL:
                what = f"a URL has at most {LONGEST_URL} characters" if url else "say to which URL"
                raise Problem(422, "nothing was sent", [Reason(what)])
            with answering("nothing was sent"):
                sent = await self._admin.operations.send(call.parameters["id"], url, who(call.claims))
        except Problem as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return await self._page(call)
            problem = error
        except ConfigError as error:  # a certificate that cannot be used
            problem = Problem(422, "nothing was sent", [Reason(each) for each in error.mistakes])
        if is_partial(call.request):
            body = self._pages.part(call, "delivery-sent.html", **self._sent(call, url, sent, problem))
            return Reply(200 if problem is None else 422, body, HTML)
        return await self._page(call, 200 if problem is None else 422, **self._sent(call, url, sent, problem))

    # Parts of these

    async def _explain(self, call: Call, *, judged: bool = True) -> Explanation:
        with answering("nothing was found"):
            return await self._admin.explaining.delivery(call.parameters["id"], judged=judged)

    async def _refused(self, call: Call, problem: Problem) -> Reply:
        if problem.status == HTTPStatus.NOT_FOUND:
            return await self._page(call)
        if problem.status not in (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY):
            raise problem
        return await self._page(call, problem.status, problem=problem)

    async def _page(self, call: Call, status: int = 200, *, problem: Problem | None = None, **names: Any) -> Reply:
        try:
            found = await self._explain(call)
        except Problem as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return self._pages.page(call, "delivery-gone.html", 404, problem=error)
        names = {**self._sent(call), **names, **self._told(found), **self._rest(found), "problem": problem}
        return self._pages.page(call, "delivery.html", status, **names)

    def _told(self, found: Explanation) -> dict[str, Any]:
        """What may change while the page is looked at."""
        config = self._admin.config
        one = found.detail.delivery
        again, caused = telling.replays(found)
        verdict = telling.verdict(found, telling.most_attempts(config, one.trigger))
        return {
            "one": one,
            "at": f"/console/deliveries/{one.id}",
            "detail": found.detail,
            "found": found,
            "verdict": verdict,
            "doable": telling.doable(found.detail),
            "way": telling.way(found),
            "replays": again,
            "caused": caused,
            "seen": telling.mark(found),
            "final": one.status != Status.STAGED,
        }

    def _rest(self, found: Explanation) -> dict[str, Any]:
        detail = found.detail
        text = None if detail.data is None else words.beginning(detail.data)
        extensions = {name: value for name, value in detail.delivery.extensions.items() if name not in _TOLD_APART}
        return {
            "text": text,
            "size": 0 if detail.data is None else len(detail.data),
            "is_cut": text is not None and len(text) > words.LONGEST_SHOWN,
            "extensions": extensions,
            "replay_of": str(detail.delivery.extensions.get(REPLAY_OF, "")),
            "position": position(self._admin.config, detail.delivery.source, detail.position),
            "has_trigger": detail.delivery.trigger in self._admin.config.triggers,
        }

    def _sent(self, call: Call, url: str = "", sent: Sent | None = None, problem: Problem | None = None) -> dict[str, Any]:
        """What the form that sends elsewhere shows."""
        at = f"/console/deliveries/{quote_id(call.parameters['id'])}"
        return {"url": url, "sent": sent, "send_problem": problem, "at": at}


def routes(pages: Pages, admin: Admin) -> tuple[Route, ...]:
    """Its routes."""
    one = DeliveryPages(pages, admin)
    return (
        pages.seen("deliveries", one.find),
        pages.seen("deliveries/{id}", one.show, promptly=True),
        pages.seen("deliveries/{id}/state", one.state, promptly=True),
        pages.seen("deliveries/{id}/request", one.request, promptly=True),
        pages.seen("deliveries/{id}/payload", one.payload, promptly=True),
        pages.seen("deliveries/{id}/answers/{number}", one.answer, promptly=True),
        pages.done("deliveries/{id}/retry", one.retry, OPERATORS),
        pages.done("deliveries/{id}/cancel", one.cancel, OPERATORS),
        pages.done("deliveries/{id}/send", one.send, OPERATORS),
    )


def position(config: Config, source: str, number: int) -> str:
    """How far the source was read with it, as its kind of source writes it; "" where it has none."""
    database = config.databases.get(source.rpartition("/")[2])
    if not number or database is None:
        return str(number) if number else ""
    return format_lsn(number) if database.capture is Capture.REPLICATION else f"change {number}"


def quote_id(identity: str) -> str:
    """As a path has it."""
    return quote(identity, safe="")


def _attached(name: str) -> dict[str, str]:
    """Saved and never opened as a page, whatever is in it."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}
