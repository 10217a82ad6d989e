"""What one trigger's requests have in common, prepared once: where they go, the headers that never change, the time limit.

What changes with each attempt (the body, the token, the signature) is added to a copy. What expressions make is made again for
each attempt, of the stored event, so it is the same each time.
"""

import hashlib
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from multidict import CIMultiDict, istr
from yarl import URL

from cdcd import __version__
from cdcd.config.model import Egress, Format, Limits, TriggerConfig
from cdcd.config.requests import BODILESS
from cdcd.config.templates import pieces
from cdcd.delivery.address import Address
from cdcd.delivery.failure import CONNECTING_SHARE
from cdcd.delivery.redaction import Redactor, forms_of, header_secrets, secrets_of, url_secrets
from cdcd.delivery.signing import Signer
from cdcd.errors import ConfigError, PayloadTooLarge
from cdcd.event import Delivery
from cdcd.triggers.payload import attributes, envelope, hasura
from cdcd.triggers.stored import stored
from cdcd.triggers.template import is_constant
from cdcd.triggers.templated import Templates
from cdcd.triggers.trigger import Trigger

_CONTENT_TYPE = istr("Content-Type")
_USER_AGENT = istr("User-Agent")
_TOKEN = istr("X-SC-Token")
_HOST = istr("Host")
_ID = istr("webhook-id")
_TIMESTAMP = istr("webhook-timestamp")
_SIGNATURE = istr("webhook-signature")

USER_AGENT = f"cdcd/{__version__}"

CONTENT_TYPE = "application/json"  # of every format but one
STRUCTURED = "application/cloudevents+json"

Wire = tuple[Egress, tuple[str, ...], Path | None, Path | None, Path | None]
"""What decides whether two triggers may share connections: egress, allow, ca, client_cert, client_key."""


class PreparedRequest(aiohttp.ClientRequest):
    """A request whose headers are whole already: aiohttp's copying and completing them is 5 % of an attempt.

    Should a later aiohttp no longer call these, it completes the headers itself, to the same effect.
    """

    def update_headers(self, headers: Any) -> None:
        """Take `headers` as they are; the session has made this copy for this request."""
        self.headers = headers

    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """None are missing."""


class Outgoing(NamedTuple):
    """One attempt's request. `made` are the values that expressions gave to its headers and URL."""

    url: URL
    headers: CIMultiDict[str]
    body: bytes | None
    token: str
    made: tuple[str, ...] = ()


class Route:
    """How one trigger's requests are made."""

    __slots__ = (
        *("_address", "_base", "_body", "_claims", "_config", "_is_binary", "_limit", "_signer", "_templates"),
        *("endpoint", "method", "redactor", "timeout", "trigger", "url", "wire"),
    )

    def __init__(self, trigger: Trigger, signer: Signer, limits: Limits) -> None:
        config = trigger.config
        webhook = config.webhook
        self.trigger = trigger.name
        self.method = webhook.method
        self.endpoint = webhook.endpoint
        self.timeout = aiohttp.ClientTimeout(total=webhook.timeout, sock_connect=webhook.timeout * CONNECTING_SHARE)
        self.wire: Wire = (webhook.egress, webhook.allow, webhook.ca, webhook.client_cert, webhook.client_key)
        self.redactor = Redactor(
            (*secrets_of(webhook, config.put_in), *(form for secret in signer.secrets for form in forms_of(secret)))
        )
        self._signer = signer
        self._config = config
        self._limit = limits.payload
        self._templates = templates = trigger.templates
        self._claims: bytes | None = None  # those that are the same for every event
        self._body = _body_of(config)
        self._is_binary = config.format is Format.CLOUDEVENTS_BINARY
        self._address: Address | None = None
        self.url = URL("")
        if templates is not None and templates.url:
            self._address = Address(templates.url)
        else:
            self.url = URL(_literal(webhook.url))
        made = set() if templates is None else {name for name, _ in templates.headers}
        self._base: CIMultiDict[str] = CIMultiDict({"Accept": "*/*", "Accept-Encoding": "identity"})
        self._base.update((name, _literal(value)) for name, value in webhook.headers if name not in made)
        self._base[_CONTENT_TYPE] = STRUCTURED if config.format is Format.CLOUDEVENTS else CONTENT_TYPE
        self._base[_USER_AGENT] = USER_AGENT
        self._base.setdefault(_HOST, URL(webhook.endpoint).host_port_subcomponent or "")
        if templates is not None and templates.claims is not None and is_constant(templates.claims):
            self._claims = templates.constant_claims()

    def request(self, delivery: Delivery, now: float) -> Outgoing:
        """The request of an attempt made at `now` (wall-clock seconds). Raises EventError."""
        templates = self._templates
        if templates is not None:
            return self._templated(templates, delivery, now)
        body = self._body(delivery)
        token = self._signer.token(self.trigger, self.endpoint, now)
        return Outgoing(self.url, self._headers(delivery, body, now, token), body, token)

    def redacting(self, request: Outgoing) -> Redactor:
        """What takes the secrets out of the answer to this request."""
        return self.redactor.also(request.made) if request.made else self.redactor

    def _templated(self, templates: Templates, delivery: Delivery, now: float) -> Outgoing:
        facts = stored(delivery, self._config.kind)
        if templates.payload is not None:
            body: bytes | None = templates.body(facts)
            if len(body or b"") > self._limit:
                raise PayloadTooLarge(f"the request's body is {len(body or b'')} bytes, over limits.payload ({self._limit})")
        else:
            body = self._body(delivery)
        url = self.url
        secrets: list[str] = []
        if self._address is not None:
            url = self._address.url(templates, facts)
            secrets += url_secrets(url)
        if templates.claims is None or self._claims is not None:
            token = self._signer.token(self.trigger, self.endpoint, now, self._claims)
        else:
            token = self._signer.fresh(self.trigger, self.endpoint, now, templates.members(facts))
        headers = self._headers(delivery, body, now, token)
        for name, text in templates.headers:
            headers[name] = value = templates.header(name, text, facts)
            secrets += header_secrets(value)
        return Outgoing(url, headers, body, token, tuple(secrets))

    def _headers(self, delivery: Delivery, body: bytes | None, now: float, token: str) -> CIMultiDict[str]:
        timestamp = int(now)
        headers = self._base.copy()
        headers[_TOKEN] = f"Bearer {token}"
        headers[_ID] = delivery.id
        headers[_TIMESTAMP] = str(timestamp)
        headers[_SIGNATURE] = self._signer.signature(delivery.id, timestamp, body or b"")
        if body is None:
            del headers[_CONTENT_TYPE]
        if self._is_binary:
            headers.update(attributes(delivery))
        return headers


def _body_of(config: TriggerConfig) -> Callable[[Delivery], bytes | None]:
    """What makes a body of the event: by the format, None for a request without one. It raises EventError."""
    if config.webhook.method in BODILESS:
        return lambda delivery: None
    match config.format:
        case Format.JSON | Format.CLOUDEVENTS:
            return lambda delivery: envelope(delivery, delivery.event)
        case Format.HASURA:
            return lambda delivery: hasura(delivery, config.retries.max)
        case Format.RAW | Format.CLOUDEVENTS_BINARY:
            return lambda delivery: delivery.event.data


def _literal(text: str) -> str:
    """A text without expressions as it is meant: `$${` in it is `${`."""
    return "".join(map(str, pieces(text)))


def fingerprint(wire: Wire) -> bytes:
    """Of the files that `wire` names, as they are now: a certificate that was renewed makes other connections."""
    _, _, *files = wire
    found = hashlib.sha256()
    for path in files:
        with suppress(OSError):  # `tls` tells it
            found.update(b"" if path is None else path.read_bytes())
        found.update(b"\0")
    return found.digest()


def tls(wire: Wire, where: str) -> ssl.SSLContext | bool:
    """The TLS settings of `wire`: True for the system's defaults. Raises ConfigError when a file cannot be used.

    `ca` takes the place of the system's authorities.
    """
    _, _, ca, cert, key = wire
    if ca is None and cert is None:
        return True
    option = "ca"
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            option = "client_cert"
            context.load_cert_chain(cert, key)
    except (OSError, ValueError) as exc:
        path = ca if option == "ca" else cert
        raise ConfigError([f"{where}: webhook.{option}: cannot use {path}: {exc}"]) from exc
    return context
