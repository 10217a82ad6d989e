"""What can be understood of a trigger although the file has mistakes elsewhere: enough to look at its expressions too."""

from collections.abc import Iterator
from typing import Any

from cdcd.config.document import Route
from cdcd.config.model import Order, TriggerConfig, Webhook
from cdcd.config.templates import inside
from cdcd.config.types import kind_of

OPTIONS = (
    *("type", "table", "columns", "path", "schedule", "when", "key", "webhook", "payload", "claims", "format"),
    *("webhook.url", "webhook.headers"),
)


def outline(name: str, trigger: dict[str, Any]) -> TriggerConfig | None:
    """A trigger with its expressions as they are written; None when it is not known which kind it is of."""
    written = trigger.get("type")
    types = frozenset(text for text in (written if isinstance(written, list) else [written]) if isinstance(text, str) and text)
    kinds = {kind_of(text) for text in types}
    if len(kinds) != 1:
        return None
    webhook = trigger.get("webhook")
    parts: dict[str, Any] = webhook if isinstance(webhook, dict) else {"url": webhook}
    return TriggerConfig(
        name=name,
        types=types,
        database="",
        tables=(),
        kind=kinds.pop(),
        webhook=Webhook(
            _text(parts.get("url")),
            "",
            tuple((header, value) for header, value in _mapping(parts.get("headers")).items() if isinstance(value, str)),
        ),
        payload=trigger.get("payload"),
        claims=_mapping(trigger.get("claims")),
        when=_text(trigger.get("when")),
        key=_text(trigger.get("key")),
        order=Order.KEY if trigger.get("order") not in ("none", "all") else Order.NONE,
    )


def routes_of(name: str, trigger: dict[str, Any]) -> dict[str, Route]:
    """The routes of the options that messages speak of: `when`, `payload.items[1].id`, `webhook.headers.X-Id`."""
    route: Route = ("triggers", name)
    routes: dict[str, Route] = {option: (*route, *option.split(".")) for option in OPTIONS}
    for option, value in (
        ("payload", trigger.get("payload")),
        ("claims", trigger.get("claims")),
        ("webhook.headers", _mapping(_mapping(trigger.get("webhook")).get("headers"))),
    ):
        routes.update(_nested(option, routes[option], value))
    return routes


def _nested(option: str, route: Route, value: object) -> Iterator[tuple[str, Route]]:
    yield option, route
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _nested(inside(option, name), (*route, name), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _nested(inside(option, index), (*route, index), item)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
