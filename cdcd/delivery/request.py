"""What one trigger's requests have in common, prepared once: where they go, the headers that never change, the time limit.

What changes with each attempt (the body, the token, the signature) is added to a copy.
"""

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
from multidict import CIMultiDict, istr
from yarl import URL

from cdcd import __version__
from cdcd.config.model import Egress, Format, TriggerConfig
from cdcd.delivery.failure import CONNECTING_SHARE
from cdcd.delivery.redaction import Redactor, forms_of, secrets_of
from cdcd.delivery.signing import Signer
from cdcd.errors import ConfigError

_CONTENT_TYPE = istr("Content-Type")
_USER_AGENT = istr("User-Agent")
_TOKEN = istr("X-SC-Token")
_HOST = istr("Host")
_ID = istr("webhook-id")
_TIMESTAMP = istr("webhook-timestamp")
_SIGNATURE = istr("webhook-signature")

USER_AGENT = f"cdcd/{__version__}"

CONTENT_TYPES = {Format.JSON: "application/json", Format.CLOUDEVENTS: "application/cloudevents+json"}

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


class Route:
    """The static parts of one trigger's requests."""

    __slots__ = ("_base", "_signer", "endpoint", "redactor", "timeout", "trigger", "url", "wire")

    def __init__(self, trigger: TriggerConfig, signer: Signer) -> None:
        webhook = trigger.webhook
        self.trigger = trigger.name
        self.url = URL(webhook.url)
        self.endpoint = webhook.endpoint
        self.timeout = aiohttp.ClientTimeout(total=webhook.timeout, sock_connect=webhook.timeout * CONNECTING_SHARE)
        self.wire: Wire = (webhook.egress, webhook.allow, webhook.ca, webhook.client_cert, webhook.client_key)
        self.redactor = Redactor((*secrets_of(webhook), *(form for secret in signer.secrets for form in forms_of(secret))))
        self._signer = signer
        self._base: CIMultiDict[str] = CIMultiDict({"Accept": "*/*", "Accept-Encoding": "identity"})
        self._base.update(webhook.headers)
        self._base[_CONTENT_TYPE] = CONTENT_TYPES[trigger.format]
        self._base[_USER_AGENT] = USER_AGENT
        self._base.setdefault(_HOST, self.url.host_port_subcomponent or "")

    def headers(self, webhook_id: str, body: bytes, now: float) -> tuple[CIMultiDict[str], str]:
        """The headers of an attempt made at `now` (wall-clock seconds), and the token among them."""
        timestamp = int(now)
        token = self._signer.token(self.trigger, self.endpoint, now)
        headers = self._base.copy()
        headers[_TOKEN] = f"Bearer {token}"
        headers[_ID] = webhook_id
        headers[_TIMESTAMP] = str(timestamp)
        headers[_SIGNATURE] = self._signer.signature(webhook_id, timestamp, body)
        return headers, token


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
