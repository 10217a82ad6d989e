"""Hasura's request transforms: what Kriti names in a body, a URL, a query or a header, as expressions of ours.

`$body` is the request that Hasura would have sent; its members that we know are translated. Conditions, loops, functions and session
variables have no equal.
"""

import re
from collections.abc import Callable

from cdcd.config.templates import escaped
from cdcd.imports.templates import NoEqual, literal, member

OPERATION = 'type == "DB_INSERT" ? "INSERT" : type == "DB_UPDATE" ? "UPDATE" : "DELETE"'
_STEP = re.compile(r"\??\.?([A-Za-z_][\w-]*)|\??\[\s*(?:'([^']*)'|\"([^\"]*)\"|(\d+))\s*\]")

Express = Callable[[str], str]


def steps(code: str) -> list[str]:
    """`$body.event.data['new']` as its steps. Raises NoEqual when it is more than the name of a value."""
    if not code.startswith("$"):
        raise NoEqual(f"`{{{{{code}}}}}`")
    found, at = [], 1
    while at < len(code):
        match = _STEP.match(code, at)
        if match is None:
            raise NoEqual(f"`{{{{{code}}}}}`")
        found.append(next(part for part in match.groups() if part is not None))
        at = match.end()
    return found


def of_event(trigger: str) -> Express:
    """The expressions of an event trigger."""

    def express(code: str) -> str:
        path = steps(code)
        if path[:1] != ["body"]:
            raise NoEqual(f"`{{{{{code}}}}}`")
        if path[1:4] == ["event", "data", "new"] or path[1:4] == ["event", "data", "old"]:
            return f"${{ {member(path[3], path[4:])} }}"
        names: dict[tuple[str, ...], str] = {
            ("event", "op"): OPERATION,
            ("table", "name"): "event.table",
            ("table", "schema"): "event.schema",
            ("trigger", "name"): trigger,
            ("id",): "event.id",
            ("created_at",): "event.time",
        }
        known = names.get(tuple(path[1:]))
        if known is None:
            raise NoEqual(f"`{{{{{code}}}}}`")
        return known if path[1:] == ["trigger", "name"] else f"${{ {known} }}"

    return express


def of_cron(trigger: str, comment: str, payload: object) -> Express:
    """The expressions of a cron trigger, whose payload is a constant."""

    def express(code: str) -> str:
        path = steps(code)
        known = {"id": "${ event.id }", "name": trigger, "scheduled_time": "${ event.time }", "comment": escaped(comment)}
        if len(path) == 2 and path[0] == "body" and path[1] in known:
            return known[path[1]]
        if path[:2] != ["body", "payload"]:
            raise NoEqual(f"`{{{{{code}}}}}`")
        value = payload
        for part in path[2:]:
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, dict):
            raise NoEqual(f"`{{{{{code}}}}}`, an object")
        return escaped(value) if isinstance(value, str) else f"${{ {literal(value)} }}"

    return express
