"""Signing in with a token, signing out, and light or dark."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from cdcd.server.auth import VIEWERS, require
from cdcd.server.console.pages import HOME, THEME, Pages, referrer, see
from cdcd.server.problems import Problem
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Route
from cdcd.server.sessions import Sessions

_THEMES = {"light": "light", "dark": "dark", "system": ""}


class SigningIn:
    """The handlers."""

    def __init__(self, pages: Pages, sessions: Sessions) -> None:
        self._pages = pages
        self._sessions = sessions

    async def show(self, call: Call) -> Reply:
        """`GET /console/sign-in`."""
        self._pages.begin()
        return self._page(call, next=inside(call.request.query.get("next", "")))

    async def sign_in(self, call: Call) -> Reply:
        """`POST /console/sign-in`: the form with `token`."""
        form = fields(call.body)
        back = inside(form.get("next", ""))
        token = form.get("token", "").strip()
        if not token:
            return self._page(call, 422, next=back, error="Paste a token first.")
        try:
            session, headers = self._sessions.sign_in(token, call.request.remote or "")
            require(session.claims, VIEWERS)
        except Problem as problem:
            why = problem.reasons[0].detail if problem.reasons else problem.detail
            wait = problem.headers.get("Retry-After")
            error = f"{why[:1].upper()}{why[1:]}." + (f" Try again in {wait} s." if wait else "")
            return self._page(call, problem.status, {"Retry-After": wait} if wait else None, next=back, error=error)
        return see(back, headers=headers)

    async def sign_out(self, call: Call) -> Reply:
        """`POST /console/sign-out`."""
        return see("/console/sign-in", headers=self._sessions.sign_out())

    async def theme(self, call: Call) -> Reply:
        """`POST /console/theme`: for browsers without scripts; others set the cookie themselves."""
        wanted = _THEMES.get(fields(call.body).get("theme", ""), "")
        age = 31536000 if wanted else 0
        back = inside(referrer(call.request))
        return see(back, headers={"Set-Cookie": f"{THEME}={wanted}; Path=/console; Max-Age={age}; SameSite=Strict"})

    def _page(
        self, call: Call, status: int = 200, headers: Mapping[str, str] | None = None, *, error: str = "", **names: Any
    ) -> Reply:
        return self._pages.page(call, "sign-in.html", status, headers, error=error, **names)


def routes(pages: Pages, sessions: Sessions) -> tuple[Route, ...]:
    """Its routes."""
    signing = SigningIn(pages, sessions)
    return (
        pages.everybody("GET", "/console/sign-in", signing.show),
        pages.everybody("POST", "/console/sign-in", signing.sign_in),
        pages.everybody("POST", "/console/sign-out", signing.sign_out),
        pages.everybody("POST", "/console/theme", signing.theme),
    )


def inside(path: str) -> str:
    """A path of the console, whatever was asked for: nobody is led elsewhere by a link."""
    ours = path.startswith("/console/") and "\\" not in path and path.isprintable() and not path.startswith("/console/sign-in")
    return path if ours else HOME


def fields(body: bytes) -> dict[str, str]:
    """A form's fields, the last of each name. Raises Problem 400."""
    return dict(pairs(body))


def pairs(body: bytes) -> list[tuple[str, str]]:
    """A form's fields in their order. Raises Problem 400."""
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        raise Problem(400, "the form cannot be read") from None
