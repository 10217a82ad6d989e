"""Hasura's request transforms (versions 1 and 2): method, URL, query, headers and body of a trigger's request.

What Kriti only names is translated (`cdcd.imports.kriti`); a transform with anything else in it switches its trigger off.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote

from cdcd.imports import kriti, secrecy
from cdcd.imports.document import Node
from cdcd.imports.found import Found
from cdcd.imports.templates import NoEqual, body, mixed

_TRANSFORM = ("version", "template_engine", "method", "url", "body", "content_type", "query_params", "request_headers")
_BODILESS = ("GET", "DELETE")


def apply(found: Found, node: Node, name: str, options: dict[str, Any], express: kriti.Express) -> None:
    """What a request transform makes of the request."""
    if not node.there:
        return
    found.leftovers(node, _TRANSFORM, name, "request_transform.")
    webhook = options["webhook"]
    if (engine := node.get("template_engine")).there and engine.text.lower() != "kriti":
        found.remark(
            engine.place, name, f"request_transform: the template engine {engine.text}", "write the request by hand", off=True
        )
        return
    if (method := node.get("method")).there and method.text.upper() != "POST":
        webhook["method"] = method.text.upper()

    def attempt(part: Node, about: str, option: str, make: Callable[[], None]) -> None:
        try:
            make()
        except NoEqual as error:
            found.remark(
                part.place, name, f"request_transform.{about}: {error} has no equal", f"write `{option}` by hand", off=True
            )

    url = node.get("url")
    if url.there:
        attempt(
            url,
            "url",
            "webhook.url",
            lambda: webhook.update(url=secrecy.composed_url(found, name, _url(url.text, webhook["url"], express), url.place)),
        )
    query = node.get("query_params")
    if query.there:
        attempt(
            query,
            "query_params",
            "webhook.url",
            lambda: webhook.update(url=_query(found, name, query, webhook["url"], express)),
        )
    added = node.at("request_headers", "add_headers")
    for header, value in added.members.items():
        if header.lower() == "content-type":
            _content_type(found, name, value)
        else:
            attempt(
                value,
                f"request_headers.{header}",
                "webhook.headers",
                partial(_header, found, name, header, value, webhook, express),
            )
    for each in node.at("request_headers", "remove_headers").items:
        for header in [known for known in webhook.get("headers", {}) if known.lower() == each.text.lower()]:
            del webhook["headers"][header]
    _content_type(found, name, node.get("content_type"))
    content = node.get("body")
    action = content.get("action").text if isinstance(content.value, dict) else "transform"
    template = content.get("template") if isinstance(content.value, dict) else content
    if action == "remove" and webhook.get("method") not in _BODILESS:
        what = "request_transform.body: a request without a body"
        found.remark(content.place, name, what, "only `method: GET` and `DELETE` have none", off=True)
    elif action == "x_www_form_urlencoded":
        what = "request_transform.body: a form; bodies are JSON here"
        found.remark(content.place, name, what, "let the endpoint take JSON", off=True)
    elif content.there and action == "transform" and template.text.strip().replace(" ", "") != "{{$body}}":
        attempt(template, "body", "payload", lambda: _body(found, name, template, options, express))
    if webhook.get("method") in _BODILESS:
        options.pop("format", None)
        if action != "transform" or webhook["method"] == "GET":
            options.pop("payload", None)


def _content_type(found: Found, name: str, node: Node) -> None:
    if node.there and node.text.partition(";")[0].strip() != "application/json":
        what = f"request_transform.content_type: {node.text}; bodies are application/json here"
        found.remark(node.place, name, what, "let the endpoint take JSON", off=True)


def _body(found: Found, name: str, template: Node, options: dict[str, Any], express: kriti.Express) -> None:
    made = body(template.text, express)
    options.pop("format", None)
    options["payload"] = secrecy.composed(found, name, made, template.place)


def _url(text: str, base: str, express: kriti.Express) -> str:
    """`{{$base_url}}` is the webhook as it was given; everything else goes through `express`."""
    pieces = re.split(r"\{\{\s*\$base_url\s*\}\}", text)
    return base.join(mixed(piece, express) for piece in pieces)


def _query(found: Found, name: str, node: Node, url: str, express: kriti.Express) -> str:
    if isinstance(node.value, str):
        made = f"{url}{'&' if '?' in url else '?'}{mixed(node.text.removeprefix('?'), express)}"
        return secrecy.composed_url(found, name, made, node.place)
    pairs = []
    for key, value in node.members.items():
        if "{{" in key:
            raise NoEqual(f"a value in the name {key}")
        if "{{" in value.text:
            pairs.append(f"{quote(key, safe='')}={mixed(value.text, express)}")
        elif value.text:
            made = secrecy.header(found, name, key, value.text, value.place)
            pairs.append(f"{quote(key, safe='')}={made if '${' in made else quote(made, safe='')}")
    return f"{url}{'&' if '?' in url else '?'}{'&'.join(pairs)}" if pairs else url


def _header(found: Found, name: str, header: str, value: Node, webhook: dict[str, Any], express: kriti.Express) -> None:
    given = value.text
    if "{{" in given:
        made = secrecy.composed(found, name, mixed(given, express), value.place, header)
    else:
        made = secrecy.header(found, name, header, given, value.place)
    webhook.setdefault("headers", {})[header] = made
