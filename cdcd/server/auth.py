"""Who asks: a JSON Web Token (RFC 7519) in `Authorization: Bearer`, HS256 with one of the API's secrets (`server.secrets`), which are the
project's where it has none of its own.

The rules:
- the algorithm is HS256, whatever the token says; there is no request without a token;
- `exp` and `nbf` hold, with `LEEWAY` seconds for clocks that differ;
- a token with an audience must be for this project's API (`cdcd/PROJECT`), and a role counts only in one that has it;
- what cdcd itself sends to webhooks is no key: its `iss` is `cdcd/PROJECT`, which no token for the API may have, and its audience is the
  endpoint. Whoever verifies webhooks by the token has the project's secret though, and can make any token with it: so `server.secrets`.

A token that was found good is remembered, so that the next request with it costs a look-up. One that is not good counts against the address
that it came from (`brake`).
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Any

import jwt
from jwt.warnings import InsecureKeyLengthWarning

from cdcd.clock import Clock
from cdcd.config.model import Secret
from cdcd.server.brake import Brake
from cdcd.server.problems import Problem, Reason

LEEWAY = 30.0  # seconds
LONGEST = 8000  # characters of a token
KEPT = 1024  # tokens
_OPTIONS: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False, "verify_sub": False}
_BEARER = re.compile(r"Bearer +([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*) *", re.IGNORECASE)

Claims = Mapping[str, Any]


class Tokens:
    """Reads the tokens of one project's API."""

    def __init__(self, secrets: Sequence[Secret], project: str, clock: Clock) -> None:
        self._keys = {secret.kid: secret.value for secret in secrets}
        self._audience = audience(project)
        self._clock = clock
        self._known: dict[str, Claims] = {}
        self._brake = Brake(clock)

    def claims(self, authorization: str | None, address: str = "") -> Claims:
        """The claims of the request's token, which came from an address. Raises Problem 401, 429."""
        if authorization is None:
            raise _refused("there is no token", error="")
        claims = self._known.get(authorization)
        if claims is None:
            self._brake.check(address)
            try:
                claims = self._read(authorization)
            except Problem:
                self._brake.wrong(address)
                raise
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[authorization] = claims
        self._check_times(claims)
        return claims

    def _read(self, authorization: str) -> Claims:
        found = _BEARER.fullmatch(authorization) if len(authorization) <= LONGEST else None
        if found is None:
            raise _refused("the header Authorization is not `Bearer` and a JSON Web Token")
        claims: Claims | None = None
        for key in self._keys.values():
            try:
                claims = _decoder.decode(found[1], key, algorithms=["HS256"], options=_OPTIONS)
                break
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidAlgorithmError:
                raise _refused("the token is not signed with HS256") from None
            except (jwt.PyJWTError, ValueError, RecursionError):
                raise _refused("the token cannot be read") from None
        if claims is None:
            raise _refused("the token is not signed with a secret of this project's API")
        if claims.get("iss") == self._audience:
            raise _refused("the token is one that webhooks receive")
        meant = claims.get("aud")
        if meant is not None and self._audience not in (meant if isinstance(meant, list) else [meant]):
            raise _refused(f"the token is for another audience than {self._audience}")
        for name in ("exp", "nbf"):
            if name in claims and (isinstance(claims[name], bool) or not isinstance(claims[name], int | float)):
                raise _refused(f"the token's {name} is no number")
        return claims

    def left(self, claims: Claims) -> float | None:
        """Seconds that a token is good for from now on, None for ever."""
        return max(0.0, claims["exp"] + LEEWAY - self._clock.now()) if "exp" in claims else None

    def takes_all_of(self, others: "Tokens") -> bool:
        """Whether every token that is good for them is good for these."""
        return self._audience == others._audience and others._keys.items() <= self._keys.items()

    def _check_times(self, claims: Claims) -> None:
        now = self._clock.now()
        if "exp" in claims and claims["exp"] <= now - LEEWAY:
            raise _refused("the token has expired")
        if "nbf" in claims and claims["nbf"] > now + LEEWAY:
            raise _refused("the token is not valid yet")


def audience(project: str) -> str:
    """What a token for this project's API may have as its `aud`."""
    return f"cdcd/{project}"


def make_token(secret: Secret, project: str, claims: Claims) -> str:
    """A token for this project's API."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InsecureKeyLengthWarning)
        return jwt.encode({**claims, "aud": audience(project)}, secret.value, "HS256", headers={"kid": secret.kid})


class Role(StrEnum):
    """What a token may do. Each route names those that it is for."""

    ADMIN = "admin"  # everything
    OPERATOR = "operator"  # retries, cancels, replays, queues, pauses; changes no trigger
    VIEWER = "viewer"  # sees
    QUEUE = "queue"  # queues events
    APPLICATION = "application"  # no claim says so: a token with none of the above, of which `allow` says what it may queue


ADMINS = frozenset({Role.ADMIN})
OPERATORS = ADMINS | {Role.OPERATOR}
VIEWERS = OPERATORS | {Role.VIEWER}
QUEUERS = OPERATORS | {Role.QUEUE, Role.APPLICATION}
_CLAIMED = {role.value: role for role in (Role.ADMIN, Role.OPERATOR, Role.VIEWER, Role.QUEUE)}


def roles(claims: Claims) -> frozenset[Role]:
    """What the claim `role` (one, or several in a list) makes of whoever has the token.

    A token that does not say for whom it is has no role but that of an application, and not even this when it says `viewer`.
    """
    role = claims.get("role")
    named = frozenset(
        _CLAIMED[one] for one in (role if isinstance(role, list) else [role]) if isinstance(one, str) and one in _CLAIMED
    )
    if claims.get("aud") is None:  # where it is there, it was found to be ours
        named &= {Role.VIEWER}
        return frozenset() if named else frozenset({Role.APPLICATION})
    return named or frozenset({Role.APPLICATION})


def require(claims: Claims, wanted: AbstractSet[Role]) -> None:
    """Raises Problem 403 when the token has none of these roles."""
    if roles(claims).isdisjoint(wanted):
        named = " or ".join(role for role in Role if role in wanted and role is not Role.APPLICATION)
        raise Problem(403, "not allowed", [Reason(f"the token's role must be {named}, and its aud the project's API")])


class _Decoder(jwt.PyJWT):
    """PyJWT, without its advice about short keys: the configuration gives its own."""

    def decode(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InsecureKeyLengthWarning)
            return super().decode(*arguments, **named)


_decoder = _Decoder()


def _refused(why: str, error: str = "invalid_token") -> Problem:
    """RFC 6750, 3: a request without a token gets no error code."""
    challenge = f'Bearer error="{error}"' if error else "Bearer"
    return Problem(401, "the token is missing or not good", [Reason(why)], headers={"WWW-Authenticate": challenge})
