"""The receiver's side of signing: whether a request really is from the holder of the secret, as an endpoint would check it.

Written apart from `cdcd.delivery.signing`, against the specifications (Standard Webhooks 1.0, RFC 7519), so that a mistake there
shows here.
"""

import base64
import hmac
import warnings
from collections.abc import Mapping
from typing import Any

import jwt
from jwt.warnings import InsecureKeyLengthWarning

TOLERANCE = 300.0
"""Seconds by which `webhook-timestamp` may be off, as in the official libraries."""

VERIFIED = "verified"
NOT_CHECKED = "not checked"


class Verifier:
    """Checks requests against a set of keys; any one of them may have signed."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self._keys = keys
        self._tokens: dict[tuple[str, str], float] = {}  # known to be good, until when

    def verdict(self, headers: Mapping[str, str], body: bytes, now: float) -> str:
        """`VERIFIED`, `NOT_CHECKED` without keys, or what is wrong. `headers` have lower-case names; `now` is wall-clock seconds."""
        if not self._keys:
            return NOT_CHECKED
        wrong = [problem for problem in (self._token(headers, now), self._signature(headers, body, now)) if problem]
        return "; ".join(wrong) or VERIFIED

    def _token(self, headers: Mapping[str, str], now: float) -> str:
        scheme, _, token = headers.get("x-sc-token", "").partition(" ")
        host = headers.get("host", "")
        if scheme != "Bearer" or not token:
            return "token: missing"
        if self._tokens.get((token, host), 0.0) > now:
            return ""
        problem = "token: no key fits"
        for key in self._keys:
            try:
                claims = self._claims(token, key, host)
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidTokenError as exc:
                problem = f"token: {exc}"
                continue
            if len(self._tokens) > 1024:
                self._tokens.clear()
            self._tokens[token, host] = float(claims["exp"])
            return ""
        return problem

    @staticmethod
    def _claims(token: str, key: bytes, host: str) -> dict[str, Any]:
        with warnings.catch_warnings():
            # The configuration has said what it thinks of a short secret.
            warnings.simplefilter("ignore", InsecureKeyLengthWarning)
            return jwt.decode(
                token,
                key,
                algorithms=["HS256"],
                audience=[f"http://{host}", f"https://{host}"],
                options={"require": ["exp", "iat", "iss", "sub"]},
            )

    def _signature(self, headers: Mapping[str, str], body: bytes, now: float) -> str:
        webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not webhook_id or not timestamp.isdecimal():
            return "signature: webhook-id or webhook-timestamp missing"
        if abs(now - int(timestamp)) > TOLERANCE:
            return f"signature: webhook-timestamp is {now - int(timestamp):+.0f} s off"
        signed = b"%s.%s.%s" % (webhook_id.encode(), timestamp.encode(), body)
        given = headers.get("webhook-signature", "").split()
        for key in self._keys:
            expected = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
            if any(hmac.compare_digest(expected.encode(), signature.encode()) for signature in given):
                return ""
        return "signature: no key fits" if given else "signature: missing"
