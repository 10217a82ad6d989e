"""Checks of what the shape cannot say: names, URLs, headers, tables, files, and what options must be to each other.

They look at the plain data, not at the validated shapes, so that a mistake in one place hides none in another; whatever has not
even the right kind is passed over here, since the shape's check tells it. No message repeats a value that may be secret.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any
from urllib.parse import SplitResult, urlsplit
from zoneinfo import available_timezones

from cronsim import CronSim, CronSimError

from cdcd.config.conninfo import conninfo_problem
from cdcd.config.document import Document, Route
from cdcd.config.globs import parse_glob
from cdcd.config.mistakes import nearest
from cdcd.config.model import Kind
from cdcd.config.quantities import duration, host_and_port
from cdcd.config.requests import Tell, check_request
from cdcd.config.secrets import SAFE, secret_key
from cdcd.config.tables import parse_table
from cdcd.config.templates import Code, has_code, pieces
from cdcd.config.types import event_type, kind_of, reserved

_DATABASE = re.compile(r"[a-z][a-z0-9_]{0,23}")
_TRIGGER = re.compile(r"[A-Za-z0-9_-]{1,200}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_RESERVED = frozenset(
    {"content-type", "content-length", "host", "connection", "user-agent", "x-sc-token", "transfer-encoding"}
    | {"te", "trailer", "upgrade", "keep-alive", "proxy-connection", "expect", "content-encoding"}
)
_RESERVED_BEGINNINGS = ("webhook-", "ce-")


def check_main(document: Document, tell: Tell) -> None:
    """Everything of the main file but its triggers."""
    data = _mapping(document.data)
    _check_secrets(document, data, tell)
    databases = _mapping(data.get("databases"))
    for name, database in databases.items():
        route: Route = ("databases", name)
        if _DATABASE.fullmatch(name) is None:
            tell(
                document,
                route,
                "a database's name is lowercase letters, digits and _, begins with a letter, and has at most 24 characters",
                True,
            )
        url = _mapping(database).get("url")
        if isinstance(url, str) and url and not re.match(r"postgres(ql)?://.|\s*\w+\s*=", url):
            tell(document, (*route, "url"), "must begin with postgresql://, or be libpq's key=value form", False)
        elif isinstance(url, str) and url and (problem := conninfo_problem(url)):
            tell(document, (*route, "url"), problem, False)
    _check_storage(document, _mapping(data.get("storage")), tell)
    _check_server(document, data, tell)
    _check_canary(document, data, databases, tell)
    eventing = _mapping(data.get("eventing"))
    home = eventing.get("database")
    if isinstance(home, str) and home and home not in databases:
        written = document.written.get(("eventing", "database"), "")
        tell(document, ("eventing", "database"), f"there is no database '{written}'{nearest(written, databases)}", False)
    for text in ("pg_", "information_schema"):
        if str(eventing.get("schema", "")).startswith(text):
            tell(document, ("eventing", "schema"), "is a schema of PostgreSQL's own", False)
    if str(eventing.get("schema", "")) == "public":
        tell(document, ("eventing", "schema"), "must be a schema of cdcd's own, not public", False)


def _check_canary(document: Document, data: dict[str, Any], databases: dict[str, Any], tell: Tell) -> None:
    canary = data.get("canary")
    if canary is None:
        return
    name = _mapping(canary).get("database")
    if isinstance(name, str) and name:
        if name not in databases:
            written = document.written.get(("canary", "database"), "")
            tell(document, ("canary", "database"), f"there is no database '{written}'{nearest(written, databases)}", False)
    elif len(databases) != 1:
        tell(document, ("canary",), "say through which database, by `database`" if databases else "there is no database", False)


def check_triggers(document: Document, main: Document, tell: Tell) -> None:
    """The triggers of one file; `main` has the databases and the event store."""
    data = _mapping(main.data)
    for name, trigger in _mapping(_mapping(document.data).get("triggers")).items():
        route: Route = ("triggers", name)
        if _TRIGGER.fullmatch(name) is None:
            tell(document, route, "a trigger's name is letters, digits, _ and -, at most 200 of them", True)
        if not isinstance(trigger, dict):
            continue
        types = [text for _, text in _texts(("type",), trigger.get("type"))]
        kinds = {kind_of(text) for text in types if _is_type(text)} or {kind_of(text) for text in types if reserved(text)}
        if len(kinds) > 1:
            tell(
                document,
                (*route, "type"),
                "all types of a trigger come from one kind of source; make a trigger for each",
                False,
            )
        elif kinds:
            _check_kind(document, route, trigger, kinds.pop(), data, tell)
        _check_rules(document, route, trigger, tell)
        check_request(document, route, trigger, {kind_of(text) for _, text in _texts((), trigger.get("type"))}, tell)
        webhook = trigger.get("webhook")
        if isinstance(webhook, str):
            _check_url(document, (*route, "webhook"), webhook, tell)
        elif isinstance(webhook, dict):
            _check_webhook(document, (*route, "webhook"), webhook, tell)


SELECTORS = {
    "database": Kind.DATABASE,
    "table": Kind.DATABASE,
    "columns": Kind.DATABASE,
    "storage": Kind.STORAGE,
    "path": Kind.STORAGE,
    "schedule": Kind.SCHEDULE,
    "timezone": Kind.SCHEDULE,
    "missed": Kind.SCHEDULE,
}
_OF_KIND = {Kind.DATABASE: "DB_*", Kind.STORAGE: "FILE_*", Kind.SCHEDULE: "SCHEDULE", Kind.CUSTOM: "custom"}


def _is_type(text: str) -> bool:
    try:
        event_type(text)
    except ValueError:
        return False  # the shape's check tells it
    return True


def _check_kind(
    document: Document, route: Route, trigger: dict[str, Any], kind: Kind, data: dict[str, Any], tell: Tell
) -> None:
    for option, of in SELECTORS.items():
        if option in trigger and of is not kind:
            what = f"has no meaning in a {_OF_KIND[kind]} trigger; it is for {_OF_KIND[of]} triggers"
            tell(document, (*route, option), what, True)
    if kind is Kind.DATABASE:
        database = _check_database(document, route, trigger, _mapping(data.get("databases")), tell)
        if "table" not in trigger or trigger["table"] in ([], None):
            tell(document, route, "'table' is missing", True)
        _check_tables(document, route, trigger, _own_schema(data, database), tell)
    elif kind is Kind.STORAGE:
        _check_store(document, route, trigger, _mapping(data.get("storage")), tell)
    elif kind is Kind.SCHEDULE:
        _check_schedule(document, route, trigger, tell)


def _check_server(document: Document, data: dict[str, Any], tell: Tell) -> None:
    """Whoever can reach the API needs a token, and a token is as strong as the secret that signs it (RFC 7518, 3.2)."""
    server = data.get("server")
    listen = server if isinstance(server, str) else _mapping(server).get("listen")
    route: Route = ("server",) if isinstance(server, str) else ("server", "listen")
    try:
        host, _ = host_and_port(listen) if isinstance(listen, str) else ("localhost", 0)
    except ValueError:
        return  # told by the shape's check
    if is_loopback(host):
        return
    weak = False
    for _, value, kid in [*secrets_of(server, ("server",))] or secrets_of(data):
        with suppress(ValueError):
            weak = weak or len(secret_key(value, kid).value) < SAFE
    if weak:
        what = (
            f"listening on another address than loopback needs secrets of at least {SAFE} bytes; "
            "make them with: echo whsec_$(openssl rand -base64 32), or listen on 127.0.0.1 behind a proxy"
        )
        tell(document, route, what, False)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_storage(document: Document, storage: dict[str, Any], tell: Tell) -> None:
    for name, store in storage.items():
        route: Route = ("storage", name)
        if _DATABASE.fullmatch(name) is None:
            what = "a store's name is lowercase letters, digits and _, begins with a letter, and has at most 24 characters"
            tell(document, route, what, True)
        for at, text in _texts((*route, "ignore"), _mapping(store).get("ignore")):
            _check_glob(document, at, text, tell)


def _check_store(document: Document, route: Route, trigger: dict[str, Any], storage: dict[str, Any], tell: Tell) -> None:
    name = trigger.get("storage")
    if name is None and not storage:
        tell(document, route, "there is no store: name one under `storage`", True)
    elif name is None and len(storage) > 1:
        tell(document, route, f"'storage' is missing; there are {', '.join(sorted(storage))}", True)
    elif isinstance(name, str) and name and name not in storage:
        written = document.written.get((*route, "storage"), "")
        tell(document, (*route, "storage"), f"there is no store '{written}'{nearest(written, storage)}", False)
    for at, text in _texts((*route, "path"), trigger.get("path")):
        _check_glob(document, at, text, tell)


def _check_glob(document: Document, route: Route, text: str, tell: Tell) -> None:
    try:
        parse_glob(text)
    except ValueError as error:
        tell(document, route, str(error), False)


def _check_schedule(document: Document, route: Route, trigger: dict[str, Any], tell: Tell) -> None:
    cron, timezone = trigger.get("schedule"), trigger.get("timezone", "UTC")
    if cron is None:
        tell(document, route, "'schedule' is missing; write it as cron does: `0 9 * * 1-5`", True)
    elif isinstance(cron, str) and (problem := cron_problem(cron)):
        tell(document, (*route, "schedule"), problem, False)
    if isinstance(timezone, str) and timezone not in available_timezones():
        close = get_close_matches(timezone, available_timezones(), n=1)
        what = "no such time zone" + (f"; did you mean '{close[0]}'?" if close else "; write it as in Europe/Berlin")
        tell(document, (*route, "timezone"), what, False)


def cron_problem(text: str) -> str:
    """What is wrong with a cron line; empty when nothing is."""
    fields = len(text.split())
    if fields != 5:
        return f"has {fields} fields instead of five: minute hour day month weekday"
    try:
        next(CronSim(text, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return f"not a schedule: {str(error).lower()}; the fields are minute hour day month weekday"
    return ""


def _check_secrets(document: Document, data: dict[str, Any], tell: Tell) -> None:
    if "secret" in data and "secrets" in data:
        tell(document, ("secrets",), "give `secret` or `secrets`, not both", True)
    elif "secret" not in data and "secrets" not in data:
        tell(document, (), "'secret' is missing; make one with: echo whsec_$(openssl rand -base64 32)", False)
    _check_keys(document, secrets_of(data), tell)
    _check_keys(document, secrets_of(data.get("server"), ("server",)), tell)
    known = {value for _, value, _ in secrets_of(data)}
    for route, value, _ in secrets_of(data.get("server"), ("server",)):
        if value in known:
            tell(document, route, "is a secret of the project, which whoever verifies webhooks has; make another one", False)


def _check_keys(document: Document, secrets: Iterable[tuple[Route, str, str | None]], tell: Tell) -> None:
    kids: set[str] = set()
    for route, value, kid in secrets:
        try:
            secret = secret_key(value, kid)
        except ValueError as error:
            tell(document, route, str(error), False)
        else:
            if secret.kid in kids:
                tell(document, route, "another secret has the same kid", False)
            kids.add(secret.kid)


def secrets_of(data: object, at: Route = ()) -> Iterator[tuple[Route, str, str | None]]:
    """Route, value and kid of each secret of the mapping `data`, which stands at `at`, that has at least the right kind."""
    data = _mapping(data)
    if not at and isinstance(data.get("secret"), str) and data["secret"]:
        yield ("secret",), data["secret"], None
    listed = data.get("secrets")
    for index, item in enumerate(listed if isinstance(listed, list) else ()):
        value, kid = _mapping(item).get("value"), _mapping(item).get("kid")
        if isinstance(value, str) and value:
            yield (*at, "secrets", index, "value"), value, kid if isinstance(kid, str) else None


def _check_database(
    document: Document, route: Route, trigger: dict[str, Any], databases: dict[str, Any], tell: Tell
) -> str | None:
    name = trigger.get("database")
    if name is None:
        if not databases:
            tell(document, route, "there is no database: name one under `databases`", True)
        elif len(databases) > 1:
            tell(document, route, f"'database' is missing; there are {', '.join(sorted(databases))}", True)
        return next(iter(databases), None)
    if isinstance(name, str) and name and name not in databases:
        written = document.written.get((*route, "database"), "")
        tell(document, (*route, "database"), f"there is no database '{written}'{nearest(written, databases)}", False)
    return str(name)


def _own_schema(data: dict[str, Any], database: str | None) -> str | None:
    eventing = _mapping(data.get("eventing"))
    return str(eventing.get("schema", "cdcd")) if database and eventing.get("database") == database else None


def _check_tables(document: Document, route: Route, trigger: dict[str, Any], own: str | None, tell: Tell) -> None:
    for at, text in _texts((*route, "table"), trigger.get("table")):
        try:
            pattern = parse_table(text)
        except ValueError as error:
            tell(document, at, str(error), False)
        else:
            if own is not None and pattern.literal is not None and pattern.literal[0] == own:
                tell(document, at, "is a table of cdcd's own schema, whose changes make no events", False)


def _check_rules(document: Document, route: Route, trigger: dict[str, Any], tell: Tell) -> None:
    order = trigger.get("order")
    if trigger.get("key") is not None and order in ("none", "all"):
        tell(document, (*route, "key"), f"has no meaning with `order: {order}`; leave one of them out", True)
    retries = _mapping(trigger.get("retries"))
    with suppress(ValueError):  # what is no duration is told by the shape's check
        if duration(retries.get("first", "1s")) > duration(retries.get("max_interval", "1h")):
            at = "first" if "first" in retries else "max_interval"
            tell(document, (*route, "retries", at), "`first` is longer than `max_interval`", True)
    types = {text for _, text in _texts(("type",), trigger.get("type"))}
    if trigger.get("columns") and types and "DB_UPDATE" not in types and types <= {"DB_INSERT", "DB_DELETE", "DB_TRUNCATE"}:
        tell(document, (*route, "columns"), "has no meaning without DB_UPDATE in `type`", True)


def _check_webhook(document: Document, route: Route, webhook: dict[str, Any], tell: Tell) -> None:
    url = webhook.get("url")
    if isinstance(url, str):
        _check_url(document, (*route, "url"), url, tell)
    seen: set[str] = set()
    for name, value in _mapping(webhook.get("headers")).items():
        at = (*route, "headers", name)
        low = name.lower()
        if _TOKEN.fullmatch(name) is None:
            tell(document, at, "is no name for a header", True)
        elif low in _RESERVED or low.startswith(_RESERVED_BEGINNINGS):
            tell(document, at, "is set by cdcd itself and cannot be given", True)
        elif low in seen:
            tell(document, at, "stands here twice in different case", True)
        seen.add(low)
        if isinstance(value, str) and any((ord(mark) < 32 and mark != "\t") or mark == "\x7f" for mark in _literals(value)):
            tell(document, at, "a header's value cannot have line breaks or control characters", False)
    for option in ("ca", "client_cert", "client_key"):
        text = webhook.get(option)
        if isinstance(text, str) and text and (*route, option) not in document.broken and not document.path(text).is_file():
            tell(document, (*route, option), f"there is no file {document.written.get((*route, option), '')}", False)
    if "client_key" in webhook and "client_cert" not in webhook:
        tell(document, (*route, "client_key"), "has no meaning without `client_cert`", True)
    egress = _mapping(webhook.get("egress"))
    for at, text in _texts((*route, "egress", "allow"), egress.get("allow")):
        try:
            ipaddress.ip_network(text)
        except ValueError:
            tell(document, at, "not a network; write it as in 10.0.0.0/8 or 192.0.2.7/32, without host bits", False)


def _literals(text: str) -> str:
    """A text without its expressions."""
    return "".join(piece for piece in pieces(text) if isinstance(piece, str))


def _check_url(document: Document, route: Route, text: str, tell: Tell) -> None:
    if text and (problem := _template_problem(text) or url_problem(plain_url(text))):
        tell(document, route, problem, False)


def _template_problem(text: str) -> str:
    first = pieces(text)[0]
    if has_code(text) and (isinstance(first, Code) or re.match(r"[a-z]+://[^/?#]+[/?#]", first) is None):
        return "scheme, host and port must be plain; expressions may stand in path and query"
    return ""


def plain_url(text: str, instead: str = "x") -> str:
    """The URL with a letter, or `instead`, in the place of each expression."""
    return "".join(piece if isinstance(piece, str) else instead for piece in pieces(text))


def url_problem(text: str) -> str:
    """What is wrong with a webhook's URL, without repeating it; empty when nothing is."""
    if any(mark.isspace() or ord(mark) < 32 for mark in text):
        return "a URL has no spaces or control characters in it"
    try:
        parts: SplitResult = urlsplit(text)
        port = parts.port
    except ValueError:
        return "not a URL"
    if parts.scheme not in ("http", "https"):
        close = get_close_matches(parts.scheme, ["http", "https"], n=1)
        return "must be absolute and begin with http:// or https://" + (f"; did you mean '{close[0]}'?" if close else "")
    if not parts.hostname or port == 0:
        return "has no host" if not parts.hostname else "has no valid port"
    if "@" in parts.netloc:
        return "must not hold a user and password; give an Authorization header under `headers`"
    if parts.fragment:
        return "has a fragment (#...), which is never sent"
    return ""


def endpoint(url: str) -> str:
    """The origin of a valid URL: `scheme://host:port`, the port always written."""
    parts = urlsplit(plain_url(url))
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(route: Route, value: object) -> list[tuple[Route, str]]:
    if isinstance(value, str):
        return [(route, value)] if value else []
    if isinstance(value, list):
        return [((*route, index), item) for index, item in enumerate(value) if isinstance(item, str) and item]
    return []
