"""Who a request comes from and that it was not changed: the `X-SC-Token` and the Standard Webhooks headers.

Keys are prepared once. The first secret signs tokens; every secret signs webhooks, so that a receiver accepts the old or
the new one while they rotate. Time is an argument: nothing here reads a clock.
"""

import base64
import hashlib
import hmac
import json

from cdcd.config.model import Secret

TOKEN_LIFE = 300
"""Seconds from `iat` to `exp`."""

TOKEN_REUSE = 120
"""Seconds for which one token is sent again, so that each leaves with at least three minutes to live."""

_TOKENS_KEPT = 4096


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    """Signs for one project, as one instance of the daemon."""

    def __init__(self, secrets: tuple[Secret, ...], project: str, instance_id: str) -> None:
        """`secrets`: newest first, at least one. `instance_id` becomes the token's claim `id`."""
        if not secrets:
            raise ValueError("a project needs at least one secret")
        self.secrets = secrets
        self._keys = tuple(hmac.new(secret.value, digestmod=hashlib.sha256) for secret in secrets)
        header = {"alg": "HS256", "kid": secrets[0].kid, "typ": "JWT"}
        self._token_header = _base64url(json.dumps(header, separators=(",", ":")).encode())
        self._issuer = f"cdcd/{project}"
        self._instance_id = instance_id
        self._tokens: dict[tuple[str, str], tuple[float, str]] = {}

    def token(self, trigger: str, endpoint: str, now: float, more: bytes | None = None) -> str:
        """The JWT for `X-SC-Token` (RFC 7519, HS256), without the word Bearer.

        `endpoint` is the origin that the claim `aud` names; `now` is wall-clock seconds; `more` are further claims, a JSON object,
        always the same for one trigger. A token is reused for `TOKEN_REUSE` seconds; a clock that was set back makes a new one.
        """
        kept = self._tokens.get((trigger, endpoint))
        if kept is not None and 0.0 <= now - kept[0] < TOKEN_REUSE:
            return kept[1]
        token = self.fresh(trigger, endpoint, now, more)
        if len(self._tokens) >= _TOKENS_KEPT:
            self._tokens.clear()
        self._tokens[trigger, endpoint] = (now, token)
        return token

    def fresh(self, trigger: str, endpoint: str, now: float, more: bytes | None = None) -> str:
        """As `token`, but used once: `more` is of one event."""
        issued = int(now)
        claims = {
            "id": self._instance_id,
            "role": "SpaceCloud",
            "iss": self._issuer,
            "aud": endpoint,
            "sub": trigger,
            "iat": issued,
            "exp": issued + TOKEN_LIFE,
        }
        body = json.dumps(claims, separators=(",", ":")).encode()
        if more is not None and more != b"{}":
            body = body[:-1] + b"," + more[1:]
        signed = f"{self._token_header}.{_base64url(body)}"
        mac = self._keys[0].copy()
        mac.update(signed.encode())
        return f"{signed}.{_base64url(mac.digest())}"

    def signature(self, webhook_id: str, timestamp: int, body: bytes) -> str:
        """`webhook-signature` of Standard Webhooks 1.0: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`, per secret.

        `timestamp` is whole seconds of this attempt. Several signatures are separated by one space.
        """
        prefix = f"{webhook_id}.{timestamp}.".encode()
        signatures = []
        for key in self._keys:
            mac = key.copy()
            mac.update(prefix)
            mac.update(body)
            signatures.append("v1," + base64.b64encode(mac.digest()).decode())
        return signatures[0] if len(signatures) == 1 else " ".join(signatures)
