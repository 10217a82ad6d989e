"""The description of the API (OpenAPI 3.1): put together of what each route says of itself (`Route.operation`).

What holds for every route of a kind is added here and said nowhere else: who may, and the answers to requests without a good token, without
the role, with a body that cannot be read, or at a bad moment. Modules of routes use the functions below to say the rest.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cdcd.server.auth import Role
from cdcd.server.replies import JSON
from cdcd.server.routes import Group, Route

Schema = dict[str, Any]

TIME: Schema = {"type": "string", "format": "date-time", "examples": ["2026-11-23T18:00:00Z"]}
WORDS = {
    "400": "The request, its body or a parameter cannot be read.",
    "401": "There is no token, or it is not good.",
    "403": "The token may not do this.",
    "404": "There is no such thing.",
    "408": "The body did not come in time.",
    "409": "It cannot be done now, or not any more.",
    "413": "The body, or an event's data, is too large.",
    "415": "The body is of a kind that is not read.",
    "412": "It has changed since; read it again.",
    "422": "What is asked for cannot be done; every reason is told.",
    "428": "The header If-Match is missing: read it first.",
    "429": "Too many tokens that are not good came from this address. Try again later.",
    "502": "The delivery has failed for good.",
    "503": "Not now: the event store is away, or too much is asked at once. Try again.",
    "504": "There was no answer in time; the delivery goes on.",
}


def object_(required: Sequence[str], properties: Mapping[str, Any], **more: Any) -> Schema:
    """An object's schema."""
    return {"type": "object", "required": list(required), "properties": dict(properties), **more}


def list_(items: Schema, **more: Any) -> Schema:
    """A list's schema."""
    return {"type": "array", "items": items, **more}


def ref(name: str) -> Schema:
    """One of the schemas of any group."""
    return {"$ref": f"#/components/schemas/{name}"}


def answer(description: str, schema: Schema, kind: str = JSON, headers: Mapping[str, str] | None = None) -> Schema:
    """An answer. `headers` are names and what they tell."""
    found: Schema = {"description": description, "content": {kind: {"schema": schema}}}
    if headers:
        found["headers"] = {name: {"description": told, "schema": {"type": "string"}} for name, told in headers.items()}
    return found


def body(schema: Schema, kind: str = JSON, *, required: bool = True) -> Schema:
    """A request's body of one kind."""
    return {"required": required, "content": {kind: {"schema": schema}}}


def parameter(name: str, place: str, schema: Schema, description: str, *, required: bool | None = None) -> Schema:
    """A parameter in `path`, `query` or `header`."""
    needed = place == "path" if required is None else required
    return {"name": name, "in": place, "required": needed, "schema": schema, "description": description}


def operation(
    identity: str,
    summary: str,
    answers: Mapping[int, Schema],
    *,
    parameters: Sequence[Schema] = (),
    request: Schema | None = None,
    errors: Sequence[int] = (),
    description: str = "",
) -> Schema:
    """What a route does. `errors` are the codes of problems beyond those that every route of its kind has (400, 401, 403, 422, 429, 503;
    with a body 408, 413, 415)."""
    return {
        "operationId": identity,
        "summary": summary,
        **({"description": description} if description else {}),
        **({"parameters": list(parameters)} if parameters else {}),
        **({"requestBody": request} if request is not None else {}),
        "responses": {**{str(code): told for code, told in answers.items()}, **{str(code): {} for code in errors}},
    }


_PROBLEM: Schema = object_(
    ["title", "status", "detail"],
    {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": list_(
            object_(["detail"], {"detail": {"type": "string"}, "pointer": {"type": "string"}}),
            description="Every reason, with the place in the body it is about (a JSON Pointer).",
        ),
        "id": {"type": "string", "description": "The event that was taken although this is no success."},
        "attempts": list_(
            object_(
                ["trigger", "number", "status", "error"],
                {
                    "trigger": {"type": "string"},
                    "number": {"type": "integer"},
                    "status": {"type": "integer", "description": "0: there was no answer."},
                    "error": {"type": "string"},
                },
            ),
            description="What the endpoints said.",
        ),
    },
    description="RFC 9457.",
)


def document(groups: Iterable[Group], version: str) -> Schema:
    """The whole description."""
    paths: dict[str, Schema] = {}
    schemas: Schema = {"Problem": _PROBLEM}
    for group in groups:
        schemas |= group.schemas
        for route in group.routes:
            if route.operation is not None:
                paths.setdefault(route.path, {})[route.method.lower()] = _described(route, dict(route.operation))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cdcd",
            "version": version,
            "description": "Custom events in, and everything that an operator sees and does; see docs/api.md and docs/queue.md.",
        },
        "paths": paths,
        "security": [{"token": []}],
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _described(route: Route, found: Schema) -> Schema:
    codes = {400, 401, 403, 422, 429, 503} if not route.open else set()
    if route.body:
        codes |= {408, 413, 415}
    responses = dict(found["responses"])
    for code in sorted(codes | {int(code) for code, told in responses.items() if not told}):
        responses[str(code)] = answer(WORDS[str(code)], ref(route.form.schema), route.form.kind)
    found["responses"] = dict(sorted(responses.items()))
    if route.open:
        found["security"] = []
    else:
        named = [role.value for role in Role if role in route.roles and role is not Role.APPLICATION]
        who = f"For the role {' or '.join(named)}{', or any other token' if Role.APPLICATION in route.roles else ''}."
        found["description"] = f"{found['description']} {who}" if "description" in found else who
        found["x-roles"] = named
    return found
