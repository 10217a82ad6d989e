"""Checks of what a trigger says of its requests: whether method, format, payload and claims fit together."""

from collections.abc import Callable
from typing import Any

from cdcd.config.document import Document, Route
from cdcd.config.model import Kind

Tell = Callable[[Document, Route, str, bool], None]
"""Takes the document, the route, what is wrong there, and whether the place is that of the key."""

CLAIMS = ("iss", "aud", "sub", "iat", "exp", "id", "role")
"""The claims that are cdcd's own."""

BODILESS = ("GET", "DELETE")
"""Methods whose requests have a body only where `payload` makes one (RFC 9110, 9.3.1 and 9.3.5)."""


def check_request(document: Document, route: Route, trigger: dict[str, Any], kinds: set[Kind], tell: Tell) -> None:
    """`kinds` are those of the trigger's types."""
    made = trigger.get("format", "json")
    webhook = trigger.get("webhook")
    method = webhook.get("method", "POST") if isinstance(webhook, dict) else "POST"
    payload = trigger.get("payload") is not None
    if made == "hasura":
        types = trigger.get("type")
        if kinds - {Kind.DATABASE}:
            tell(document, (*route, "format"), "`hasura` is for rows: Hasura has no such events; use json or raw", False)
        elif "DB_TRUNCATE" in (types if isinstance(types, list) else [types]):
            tell(document, (*route, "format"), "`hasura` has no DB_TRUNCATE; make a trigger of its own for that", False)
    if payload and made in ("hasura", "cloudevents"):
        what = f"has no meaning with `format: {made}`, which says what the body is; use json or cloudevents-binary"
        tell(document, (*route, "payload"), what, True)
    if method in BODILESS and made in ("hasura", "cloudevents", "raw"):
        what = f"`{made}` has no meaning with `method: {method}`, which sends no body; put the event in url and headers"
        tell(document, (*route, "format"), what, False)
    if payload and method == "GET":
        tell(document, (*route, "payload"), "has no meaning with `method: GET`, whose requests have no body", True)
    claims = trigger.get("claims")
    for name in claims if isinstance(claims, dict) else ():
        if name in CLAIMS:
            tell(document, (*route, "claims", name), "is set by cdcd itself and cannot be given", True)
        elif not name:
            tell(document, (*route, "claims", name), "has no name", True)
