"""Which request goes where, and who may ask: routes, groups of them, the table, and how a path finds its own.

A route's path is a template as in OpenAPI: `/v1/events/scheduled/{id}`. Paths without a parameter are found by one look-up. A route that
names no roles is not reachable, unless it is open. Each module of routes gives one `Group`: its routes, what they answer as OpenAPI says
it, and the schemas that these name.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from cdcd.server.auth import Claims, Role
from cdcd.server.problems import Problem
from cdcd.server.replies import PROBLEMS, Form, Reply, Stream
from cdcd.server.sessions import Session


@dataclass(slots=True)
class Call:
    """One request: who asks (`claims`, empty where a route is open; `session` too for a page, None before anybody has signed in), the
    path's parameters, the body (read where the route has one)."""

    request: web.BaseRequest
    claims: Claims
    parameters: Mapping[str, str]
    body: bytes = b""
    session: Session | None = None


Handler = Callable[[Call], Awaitable[Reply | Stream]]


@dataclass(slots=True, frozen=True)
class Route:
    """`roles`: who may, one of them is enough. `open`: no token is asked for. `body`: there is one. `operation` is what
    OpenAPI calls so (`cdcd.server.openapi.operation`), None for what is not described: pages. `page`: one of the console, for which the
    session in the cookie counts and no header `Authorization`. `form` is how errors are told."""

    method: str
    path: str
    handler: Handler
    roles: frozenset[Role] = frozenset()
    operation: Mapping[str, Any] | None = None
    open: bool = False
    body: bool = False
    page: bool = False
    form: Form = PROBLEMS


@dataclass(slots=True, frozen=True)
class Group:
    """What one module of routes gives. `schemas` are by their names under `components`. `prefix`: what is under it and no route at all is
    refused in `form`."""

    routes: tuple[Route, ...]
    schemas: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    form: Form = PROBLEMS


@dataclass(slots=True)
class Table:
    """All routes."""

    routes: tuple[Route, ...]
    forms: tuple[tuple[str, Form], ...] = ()
    _plain: dict[str, dict[str, Route]] = field(default_factory=dict)
    _templates: list[tuple[tuple[str, ...], dict[str, Route]]] = field(default_factory=list)

    @classmethod
    def of(cls, groups: Iterable[Group]) -> "Table":
        """A table; no two routes may share method and path. Of two that fit, the plain path is taken, else the first."""
        groups = tuple(groups)
        table = cls(
            tuple(route for group in groups for route in group.routes),
            tuple((group.prefix, group.form) for group in groups if group.prefix),
        )
        for route in table.routes:
            if "{" not in route.path:
                methods = table._plain.setdefault(route.path, {})
            else:
                parts = tuple(route.path.split("/"))
                methods = next((found for pattern, found in table._templates if pattern == parts), {})
                if not methods:
                    table._templates.append((parts, methods))
            assert route.method not in methods, route
            methods[route.method] = route
        return table

    def form(self, path: str) -> Form:
        """How errors are told of a path that has no route."""
        return next((form for prefix, form in self.forms if path.startswith(prefix)), PROBLEMS)

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """The route of a request, and its parameters. `path` as it came, percent-encoded. HEAD is answered as GET, without the body.
        Raises Problem 404 or 405."""
        if method == "HEAD":
            method = "GET"
        methods = self._plain.get(path, {})
        route = methods.get(method)
        if route is not None:
            return route, {}
        allowed = set(methods)
        parts = path.split("/")
        for pattern, found in self._templates:
            if (parameters := _match(pattern, parts)) is not None:
                route = found.get(method)
                if route is not None:
                    return route, parameters
                allowed |= found.keys()
        if not allowed:
            raise Problem(404, "there is nothing here; see /v1/openapi.json for what there is")
        listed = ", ".join(sorted(allowed))
        raise Problem(405, f"this takes {listed}", headers={"Allow": listed})


def _match(pattern: tuple[str, ...], parts: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(parts):
        return None
    parameters: dict[str, str] = {}
    for wanted, part in zip(pattern, parts, strict=True):
        if wanted.startswith("{"):
            if not part:
                return None
            parameters[wanted[1:-1]] = unquote(part)
        elif wanted != part:
            return None
    return parameters
