"""Who may do what, over every route there is: no token sees nothing, a viewer changes nothing, `queue` queues and does nothing else."""

import dataclasses
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from cdcd.server.auth import Role, make_token
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Group, Route
from tests.integration.server.listening import serving, sessions
from tests.unit.server.every import GROUPS, KEY

ROUTES = [route for group in GROUPS for route in group.routes]
OPEN = {  # all that anybody sees
    *("GET /v1/openapi.json", "GET /", "GET /console", "GET /console/static/{name}", "GET /console/sign-in"),
    *("POST /console/sign-in", "POST /console/sign-out", "POST /console/theme"),
    *("GET /healthz", "GET /readyz", "GET /livez", "GET /metrics"),  # these judge by themselves who may know how much
}
QUEUEING = {"POST /v1/events", "POST /v1/api/{project}/eventing/queue"}
LOOKING = {  # takes a body and changes nothing
    *("POST /v1/triggers/try", "POST /console/triggers/{name}/try", "POST /console/try-sample"),
}

EDITING = {  # shows what only an admin may change
    "GET /console/new-trigger",
    "GET /console/new-trigger/tables",
    "GET /console/triggers/{name}/edit",
}


async def reached(_: Call) -> Reply:
    return Reply(208, b"{}")


@asynccontextmanager
async def every() -> AsyncIterator[str]:
    """The real server with all routes, each of which says that it was reached. Gives its address."""
    groups = [Group(tuple(dataclasses.replace(route, handler=reached) for route in group.routes)) for group in GROUPS]
    async with serving(groups) as server:
        yield server.address.url


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def signed(role: Any) -> str:
    return make_token(KEY, "shop", {"role": role, "exp": time.time() + 60})


async def ask(session: aiohttp.ClientSession, base: str, route: Route, role: str | None) -> int:
    """The status, as one of this role; of a page as one who has signed in and comes from a page of ours."""
    url = base + re.sub(r"{\w+}", "shop", route.path)
    headers: dict[str, str] = {}
    if role is not None:
        made = signed(role)
        headers = {"Authorization": f"Bearer {made}"}
        if route.page:
            signing = sessions()
            headers = {"Cookie": f"{signing.cookie}={made}", "X-CSRF-Token": signing.sign_in(made, "")[0].csrf}
    if route.page:
        headers["Sec-Fetch-Site"] = "same-origin"
    data = b"{}" if route.body else None
    async with session.request(route.method, url, headers=headers, data=data, allow_redirects=False) as answer:
        return answer.status


async def test_every_route_with_every_role() -> None:
    async with every() as base, aiohttp.ClientSession() as session:
        for route in ROUTES:
            assert (await ask(session, base, route, None) == 208) is (name(route) in OPEN), name(route)
            if route.method == "GET":
                head = dataclasses.replace(route, method="HEAD")
                assert (await ask(session, base, head, None) == 208) is (name(route) in OPEN), name(route)
            for role in Role:
                allowed = route.open or role in route.roles
                assert (await ask(session, base, route, role.value) == 208) is allowed, (name(route), role)


@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_who_may(route: Route) -> None:
    """What the roles mean, whatever a route says."""
    assert route.open is (name(route) in OPEN)
    if route.open:
        assert not route.roles
        return
    assert Role.ADMIN in route.roles
    assert (Role.QUEUE in route.roles) is (Role.APPLICATION in route.roles) is (name(route) in QUEUEING)
    if route.method == "GET":
        assert (Role.VIEWER in route.roles) is (Role.OPERATOR in route.roles) is (name(route) not in EDITING)
    else:
        assert (Role.VIEWER in route.roles) is (name(route) in LOOKING)


async def test_a_route_that_names_no_role_is_not_reachable() -> None:
    route = Route("GET", "/v1/nobody", reached)
    async with serving([Group((route,))]) as server, aiohttp.ClientSession() as session:
        for role in Role:
            assert await ask(session, server.address.url, route, role.value) == 403
