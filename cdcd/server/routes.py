"""Which request goes where: the table of routes, and how a path finds its own.

A route's path is a template as in OpenAPI: `/v1/events/scheduled/{id}`. Paths without a parameter are found by one look-up.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from aiohttp import web

from cdcd.server.auth import Claims
from cdcd.server.problems import Problem
from cdcd.server.replies import Reply


@dataclass(slots=True)
class Call:
    """One request: who asks (`claims`, empty where a route is open), the path's parameters, the body (read where the route has one)."""

    request: web.BaseRequest
    claims: Claims
    parameters: Mapping[str, str]
    body: bytes = b""


Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(slots=True, frozen=True)
class Route:
    """`open`: no token is asked for. `body`: there is one. `space_cloud`: errors in its form."""

    method: str
    path: str
    handler: Handler
    open: bool = False
    body: bool = False
    space_cloud: bool = False


@dataclass(slots=True)
class Table:
    """All routes."""

    routes: tuple[Route, ...]
    _plain: dict[str, dict[str, Route]] = field(default_factory=dict)
    _templates: list[tuple[tuple[str, ...], dict[str, Route]]] = field(default_factory=list)

    @classmethod
    def of(cls, routes: Iterable[Route]) -> "Table":
        """A table; no two routes may share method and path."""
        table = cls(tuple(routes))
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

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """The route of a request, and its parameters. `path` as it came, percent-encoded. Raises Problem 404 or 405."""
        parameters: Mapping[str, str] = {}
        methods = self._plain.get(path)
        if methods is None:
            parts = path.split("/")
            for pattern, found in self._templates:
                if (matched := _match(pattern, parts)) is not None:
                    methods, parameters = found, matched
                    break
            else:
                raise Problem(404, "there is nothing here; see /v1/openapi.json for what there is")
        route = methods.get(method)
        if route is None:
            allowed = ", ".join(sorted(methods))
            raise Problem(405, f"this takes {allowed}", headers={"Allow": allowed})
        return route, parameters


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
