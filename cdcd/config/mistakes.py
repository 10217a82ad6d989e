"""pydantic's errors in our words: what is wrong, and the nearest valid name; never a value that may be secret."""

import re
import types
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from cdcd.config.document import Document, Place, Route
from cdcd.config.shape import ConfigShape

NOT_YET = {
    "batch": "is not there yet: each event goes in a request of its own",
    "queue": "is not an option: custom events are a trigger's `type`, and what may be queued stands under `events`",
    "schedules": "is not an option: write a trigger with `type: SCHEDULE` and `schedule`",
    "transform": "is not an option: `payload` makes the request's body",
    "rate": "is not there yet: `concurrency` bounds what is sent at once",
}
_SECRETIVE = frozenset({"secret", "secrets", "url", "webhook", "headers"})
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_KINDS = {
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "list_type": "must be a list",
    "string_too_short": "must not be empty",
    "string_too_long": "is too long",
    "too_short": "must not be empty",
    "finite_number": "must be a finite number",
}
_PATTERNS = {
    "project": "must be lowercase letters, digits and _, begin with a letter, and have at most 24 characters",
    "slot": "must be lowercase letters, digits and _, at most 63 characters",
    "schema": "must be letters, digits and _",
}


def translate(document: Document, error: ErrorDetails) -> tuple[Place, str] | None:
    """Where and what, in our words. None when a mistake of that value was told already."""
    route: Route = tuple(part for part in error["loc"] if part != "[key]")
    if any(route[:length] in document.broken for length in range(len(route) + 1)):
        return None
    while route not in document.values and route[:-1] in document.written:
        route = route[:-1]  # a single value, which stands for a list of one or for a mapping
    kind = error["type"]
    if kind == "extra_forbidden":
        return document.place(route, of_key=True), f"{dotted(route[:-1])}{_unknown(route)}"
    if kind == "missing":
        place = document.place(route[:-1], of_key=True) if len(route) > 1 else document.place(())
        return place, f"{dotted(route[:-1])}'{route[-1]}' is missing"
    return document.place(route), f"{dotted(route)}{_what(document, route, error)}"


def dotted(route: Route) -> str:
    """`triggers.welcome.webhook: `, or nothing at the top."""
    text = ""
    for part in route:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return f"{text}: " if text else ""


def nearest(name: str, valid: Iterable[str], *, tell: bool = True) -> str:
    """`; did you mean 'x'?`, or the valid names when none is near."""
    valid = sorted(valid)
    close = get_close_matches(name, valid, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; there are {', '.join(valid)}" if tell and valid else ""


def _unknown(route: Route) -> str:
    name = str(route[-1])
    valid = options(route[:-1])
    if name in NOT_YET:
        return f"'{name}' {NOT_YET[name]}"
    return f"unknown option '{name}'{nearest(name, valid)}"


def _what(document: Document, route: Route, error: ErrorDetails) -> str:
    kind = error["type"]
    context: dict[str, Any] = error.get("ctx", {})
    if kind in ("literal_error", "enum"):
        valid = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        written = document.written.get(route, "")
        if not written or _secretive(route):
            return f"must be one of {', '.join(valid)}"
        return f"'{written}' is not one of {', '.join(valid)}{nearest(written, valid, tell=False)}"
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        return f"must be {words} {context[name]:g}{' (seconds)' if _is_duration(document, route) else ''}"
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(route[-1]), "has characters that are not allowed")
    if kind == "value_error":
        return str(context.get("error", "is not valid"))  # said by our own validators, which never repeat the value
    if kind in ("dict_type", "model_type") and route in document.values and document.written.get(route) in ("", "~", "null"):
        return "is empty; it must be a mapping"
    return _KINDS.get(kind, "is not valid here")


def _is_duration(document: Document, route: Route) -> bool:
    return document.written.get(route, "").rstrip().endswith(("s", "m", "h", "d", "w"))


def _secretive(route: Route) -> bool:
    return any(part in _SECRETIVE for part in route) and "egress" not in route


def options(route: Route) -> tuple[str, ...]:
    """The names of the options that the mapping at `route` may have."""
    kind: Any = ConfigShape
    for part in route:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found = next((f for n, f in kind.model_fields.items() if (f.alias or n) == part), None)
            kind = _core(found.annotation) if found else None
        elif get_origin(kind) in (dict, list):
            kind = _core(get_args(kind)[-1])
        else:
            return ()
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return tuple(field.alias or name for name, field in kind.model_fields.items())
    return ()


def _core(annotation: Any) -> Any:
    """An annotation without `Annotated` and without `| None`."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            annotation = next(part for part in get_args(annotation) if part is not type(None))
        else:
            return annotation
