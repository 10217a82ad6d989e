"""What of a request may be secret: headers, passwords and tokens in URLs, members of a payload. When in doubt, it is.

A secret becomes `${env:NAME}`, a plain text is written as the configuration wants it, with `$${` for a `${`.
"""

import re
from base64 import b64encode
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from cdcd.config.templates import Code, escaped, pieces
from cdcd.imports.found import Found

_SECRETIVE = re.compile(
    r"auth|token|secret|pass|pwd|cookie|session|credential|signature|bearer|jwt|hmac|(?:^|[^a-z])(?:key|sig|code|pin|otp)(?:$|[^a-z])"
    r"|apikey|accesskey|privatekey",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[\w .,;:=/*+()-]{0,80}")
_OPAQUE = re.compile(r"[A-Za-z0-9_+/=-]{16,}")
SET_BY_CDCD = ("content-type", "content-length", "host", "connection", "user-agent", "transfer-encoding", "content-encoding")


def is_secretive(name: str) -> bool:
    """Whether a header, parameter or member of this name is likely to hold a secret."""
    return _SECRETIVE.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name)) is not None


def is_opaque(text: str) -> bool:
    """Whether a text looks as if a machine had made it: long, of letters and digits mixed."""
    return any(
        re.search("[0-9]", found) and re.search("[A-Za-z]", found)
        for piece in re.split(r"[/., ]", text)
        for found in _OPAQUE.findall(piece)
    )


def header(found: Found, trigger: str, name: str, value: str, place: str) -> str:
    """A header's value as it is written."""
    if is_secretive(name) or not _WORDS.fullmatch(value) or is_opaque(value):
        return found.variable(f"{trigger}_{name}", value, place)
    return escaped(value)


def webhook(found: Found, trigger: str, url: str, place: str) -> tuple[str, str]:
    """A URL without expressions as it is written, and the Authorization header that was in it as user and password ("": none)."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return escaped(url), ""
    authorization = ""
    host = parts.netloc.rpartition("@")[2]
    if "@" in parts.netloc:
        user = ":".join(unquote(part) for part in parts.netloc.rpartition("@")[0].partition(":")[::2])
        made = "Basic " + b64encode(user.encode()).decode()
        authorization = found.variable(f"{trigger}_AUTHORIZATION", made, place)
    path = "/".join(
        found.variable(f"{trigger}_URL", part, place) if is_opaque(part) else escaped(part) for part in parts.path.split("/")
    )
    query = "&".join(_parameter(found, trigger, part, place) for part in parts.query.split("&")) if parts.query else ""
    return f"{parts.scheme}://{escaped(host)}{path}" + (f"?{query}" if query else ""), authorization


def _parameter(found: Found, trigger: str, text: str, place: str) -> str:
    name, equals, value = text.partition("=")
    if equals and value and (is_secretive(name) or is_opaque(value)):
        return f"{escaped(name)}={found.variable(f'{trigger}_{name}', value, place)}"
    return escaped(text)


def with_parameters(url: str, parameters: dict[str, str]) -> str:
    """The URL with parameters added to its query, percent-encoded."""
    if not parameters:
        return url
    known = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    more = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parameters.items() if name not in known
    )
    return f"{url}{'&' if '?' in url else '?'}{more}" if more else url


def payload(found: Found, trigger: str, value: Any, place: str, name: str = "") -> Any:
    """A constant of a payload as it is written."""
    return composed(found, trigger, _escaped(value), place, name)


def composed(found: Found, trigger: str, value: Any, place: str, name: str = "") -> Any:
    """A payload that has expressions in it already: what is literal there and may be secret becomes a variable."""
    if isinstance(value, dict):
        return {inner: composed(found, trigger, item, place, inner) for inner, item in value.items()}
    if isinstance(value, list):
        return [composed(found, trigger, item, place, name) for item in value]
    if not isinstance(value, str) or not value:
        return value
    parts = pieces(value)
    whole = len(parts) == 1 and is_secretive(name)
    return "".join(
        f"${{{part.text}}}"
        if isinstance(part, Code) and part.text.startswith("env:")
        else f"${{ {part.text} }}"
        if isinstance(part, Code)
        else found.variable(f"{trigger}_{name}", part, place)
        if whole or is_opaque(part)
        else escaped(part)
        for part in parts
    )


def composed_url(found: Found, trigger: str, url: str, place: str) -> str:
    """The same for a URL: segments of its path and parameters of its query that are literal."""
    path, mark, query = _outside(url).partition("?")
    segments = path.split("/")
    origin = 3 if "://" in path else 1
    kept = segments[:origin] + [
        found.variable(f"{trigger}_URL", part, place) if "$" not in part and is_opaque(part) else part
        for part in segments[origin:]
    ]
    parameters = [part if "$" in part else _parameter(found, trigger, part, place) for part in query.split("&")]
    return _inside("/".join(kept) + mark + "&".join(parameters), url)


def _outside(url: str) -> str:
    """The URL with `$n$` for each expression, since those may hold `/`, `?` and `&`."""
    found = pieces(url)
    return "".join(f"${index}$" if isinstance(part, Code) else escaped(part) for index, part in enumerate(found))


def _inside(text: str, url: str) -> str:
    found = pieces(url)

    def put(match: re.Match[str]) -> str:
        part = found[int(match[1])]
        assert isinstance(part, Code)
        return f"${{{part.text}}}" if part.text.startswith("env:") else f"${{ {part.text} }}"

    return re.sub(r"\$(\d+)\$", put, text)


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _escaped(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return escaped(value) if isinstance(value, str) else value
