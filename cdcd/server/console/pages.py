"""From a template to an answer: what every page has (who is signed in, the theme, where we are), and how errors look.

The rules: text is escaped unless it is markup of ours, a name that a template does not get is a mistake, and no page has scripts or
styles of its own within it (the Content-Security-Policy would refuse them).
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from aiohttp import web
from markupsafe import Markup

from cdcd.server.auth import VIEWERS, Role, roles
from cdcd.server.console import words
from cdcd.server.console.templating import templates
from cdcd.server.problems import Problem
from cdcd.server.replies import Form, Reply, Stream
from cdcd.server.routes import Call, Handler, Route

HTML = "text/html; charset=utf-8"
THEME, SAID = "cdcd_theme", "cdcd_said"
PATIENCE = 10.0  # seconds
_IN_ADDRESSES = "%:/?#[]@!$&'()*+,;=~"  # what means something there (RFC 3986, 2.2), and what is encoded already
HOME, SIGN_IN = "/console/", "/console/sign-in"
NAVIGATION = (
    ("/console/", "Overview", "pulse"),
    ("/console/triggers", "Triggers", "bolt"),
    ("/console/events", "Events", "list"),
    ("/console/queue", "Queue an event", "send"),
    ("/console/databases", "Databases, storage", "base"),
    ("/console/schedules", "Schedules", "clock"),
)
_UNDER = {
    "deliveries": "/console/events",
    "bulk": "/console/events",
    "explain": "/console/events",
    "operations": "/console/events",
    "new-trigger": "/console/triggers",
}
_NOBODY: Mapping[str, Any] = {"csrf": "", "role": "", "who": "", "operates": False, "administers": False}


class Pages:
    """Renders. `project` is named on every page."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._templates = templates()
        self.form = Form(self.problem, page=True)

    # Routes

    def seen(self, path: str, handler: Handler, who: frozenset[Role] = VIEWERS, *, promptly: bool = False) -> Route:
        """A page under `/console/`, for everybody who may look, or for some of them. `promptly`: one that asks the event store alone, and
        says after `PATIENCE` that it does not answer."""
        answer = self._compiled(_promptly(handler) if promptly else handler)
        return Route("GET", f"/console/{path}", answer, who, page=True, form=self.form)

    def done(self, path: str, handler: Handler, who: frozenset[Role]) -> Route:
        """A form that is sent under `/console/`. One that changes nothing may be for VIEWERS."""
        return Route("POST", f"/console/{path}", self._compiled(handler), who, body=True, page=True, form=self.form)

    def everybody(self, method: str, path: str, handler: Handler) -> Route:
        """A page for which nobody need have signed in. `path` is whole."""

        async def answer(call: Call) -> Reply | Stream:
            await self._templates.made()
            return await handler(call)

        return Route(method, path, answer, open=True, body=method == "POST", page=True, form=self.form)

    def _compiled(self, handler: Handler) -> Handler:
        async def answer(call: Call) -> Reply | Stream:
            await self._templates.ready()
            return await handler(call)

        return answer

    def begin(self) -> None:
        """Somebody is about to come: what takes a while is begun."""
        self._templates.begin()

    # Answers

    def page(
        self, call: Call, template: str, status: int = 200, headers: Mapping[str, str] | None = None, **names: Any
    ) -> Reply:
        """A page, or of one that htmx asks for the part that the template gives then (`partial`)."""
        path = call.request.path
        near = [at for at, _, _ in NAVIGATION if path == at or (at != "/console/" and path.startswith(f"{at}/"))]
        frame = {"theme": _theme(call.request), "here": _UNDER.get(f"{path}//".split("/")[2], next(iter(near), ""))}
        partial = is_partial(call.request)
        said = "" if partial else unquote(call.request.cookies.get(SAID, ""))
        body = self.part(call, template, partial=partial, said=said, **frame, **names)
        return Reply(status, body, HTML, {**(headers or {}), "Set-Cookie": _say("", 0)} if said else headers)

    def part(self, call: Call | None, template: str, **names: Any) -> bytes:
        """What a template gives, without a frame. `call` None: for everybody, so it holds nothing that only some may do."""
        now = time.time()

        def when(value: float | datetime | None, never: str = "never") -> Markup:
            return words.when(value, now, never=never)

        frame = {"navigation": NAVIGATION, "project": self._project, "now": now, "when": when}
        return self._templates.render(template, **_who(call), **frame, **names)

    def problem(self, problem: Problem, request: web.BaseRequest) -> Reply:
        """An error as a page; for scripts as a sentence. Who is not signed in is led to where they can."""
        call = Call(request, {}, {})
        scripted = is_partial(request) or "text/event-stream" in request.headers.get("Accept", "")
        if problem.status == HTTPStatus.UNAUTHORIZED:
            back = _page_of(request)
            where = SIGN_IN if back == HOME else f"{SIGN_IN}?{urlencode({'next': back})}"
            if scripted:
                return Reply(401, problem.text().encode(), "text/plain; charset=utf-8", {"HX-Redirect": where})
            return see(where)
        if scripted:
            return Reply(problem.status, problem.text().encode(), "text/plain; charset=utf-8", problem.headers)
        return self.page(
            call, "problem.html", problem.status, problem.headers, problem=problem, title=HTTPStatus(problem.status).phrase
        )


def _promptly(handler: Handler) -> Handler:
    async def answer(call: Call) -> Reply | Stream:
        answering = asyncio.ensure_future(handler(call))
        try:
            await asyncio.wait((answering,), timeout=PATIENCE)
        finally:
            if not answering.done():
                # What hangs may not end at once when it is told to, so nobody waits for that either.
                answering.cancel()
                answering.add_done_callback(lambda over: over.cancelled() or over.exception())
        if answering.done():
            return answering.result()
        raise Problem(503, f"the event store did not answer within {PATIENCE:g} s", headers={"Retry-After": "10"})

    return answer


def see(where: str, said: str = "", headers: Mapping[str, str] | None = None) -> Reply:
    """Go there, and ask with GET; that page says `said`, once. What an address cannot hold is encoded."""
    more = {"Set-Cookie": _say(said, 30)} if said else {}
    return Reply(303, b"", HTML, {"Location": quote(where, safe=_IN_ADDRESSES), **more, **(headers or {})})


def _say(words: str, age: int) -> str:
    return f"{SAID}={quote(words[:300], safe='')}; Path=/console; Max-Age={age}; HttpOnly; SameSite=Strict"


def is_partial(request: web.BaseRequest) -> bool:
    """Whether htmx asks for a part of a page."""
    return request.headers.get("HX-Request") == "true" and request.headers.get("HX-History-Restore-Request") != "true"


def _page_of(request: web.BaseRequest) -> str:
    """The page that somebody is on: what is asked for, or where a part of it, or a form, was asked from."""
    if request.method == "GET" and not is_partial(request):
        return request.path_qs
    return referrer(request) or HOME


def referrer(request: web.BaseRequest) -> str:
    """The path of the page that a request says it comes from, "" when that is none of the console's."""
    try:
        at = urlsplit(str(request.headers.get("HX-Current-URL") or request.headers.get("Referer") or ""))
    except ValueError:
        return ""
    return f"{at.path}{'?' if at.query else ''}{at.query}" if at.path.startswith(HOME) else ""


def _theme(request: web.BaseRequest) -> str:
    theme = request.cookies.get(THEME, "")
    return theme if theme in ("light", "dark") else ""


def _who(call: Call | None) -> Mapping[str, Any]:
    if call is None or call.session is None:
        return _NOBODY
    mine = roles(call.claims)
    return {
        "csrf": call.session.csrf,
        "role": next((role.value for role in (Role.ADMIN, Role.OPERATOR, Role.VIEWER) if role in mine), ""),
        "who": str(call.claims.get("sub") or ""),
        "operates": bool(mine & {Role.ADMIN, Role.OPERATOR}),
        "administers": Role.ADMIN in mine,
    }
