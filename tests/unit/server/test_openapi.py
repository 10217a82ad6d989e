"""The description of the API says what the routes are."""

import re
from typing import Any

from jsonschema_rs import meta

from cdcd.server.openapi import document
from cdcd.server.routes import Route
from cdcd.server.v1.operations import operation_shown
from cdcd.store.operations import Operation
from tests.unit.server.every import GROUPS

DOCUMENT = document(GROUPS, "0")
ROUTES = {
    (route.path, route.method.lower()): route
    for group in GROUPS
    for route in group.routes
    if route.path.startswith("/v1/") or not route.page
}
OPERATIONS = {(path, method): operation for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()}


def test_every_route_is_described_and_nothing_else() -> None:
    assert OPERATIONS.keys() == ROUTES.keys()


def test_descriptions_fit_their_routes() -> None:
    for place, route in ROUTES.items():
        check(route, OPERATIONS[place])


def check(route: Route, operation: dict[str, Any]) -> None:
    assert ("requestBody" in operation) is route.body, route
    assert (operation.get("security") == []) is route.open, route
    named = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
    assert named == set(re.findall(r"{(\w+)}", route.path))
    needed = {"401", "403", "429"} if not route.open else set()
    needed |= {"400", "408", "413", "415", "503"} if route.body else set()
    assert needed <= operation["responses"].keys(), route
    for code, response in operation["responses"].items():
        if int(code) >= 400:
            (kind,) = response["content"]
            assert kind == route.form.kind or not route.path.startswith("/v1/")


def test_references_lead_somewhere_and_schemas_are_schemas() -> None:
    def walk(part: Any) -> None:
        if isinstance(part, dict):
            if "$ref" in part:
                assert part["$ref"].removeprefix("#/components/schemas/") in DOCUMENT["components"]["schemas"]
            for inner in part.values():
                walk(inner)
        elif isinstance(part, list):
            for inner in part:
                walk(inner)

    walk(DOCUMENT)
    for schema in DOCUMENT["components"]["schemas"].values():
        meta.validate(schema)


def test_an_operation_tells_its_filter_as_it_is_described() -> None:
    """It is kept with seconds in it, and asked for and answered in RFC 3339."""
    shown = operation_shown(
        Operation("i", "retry", {"trigger": ["a"], "since": 1_795_500_080.25, "until": 1_795_500_081}, {}, "me")
    )
    assert shown["filter"] == {"trigger": ["a"], "since": "2026-11-24T06:01:20.250000Z", "until": "2026-11-24T06:01:21.000000Z"}
