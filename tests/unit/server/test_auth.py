"""Tokens: which are good, and why the others are not."""

import base64
import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import jwt
import pytest

from cdcd.clock import ManualClock
from cdcd.config.model import Config, Eventing, Secret, Server
from cdcd.delivery.signing import Signer
from cdcd.server.auth import OPERATORS, Tokens, make_token, require, roles
from cdcd.server.brake import BURST, KEPT, Brake
from cdcd.server.problems import Problem

NEW, OLD = Secret(b"n" * 32, "new"), Secret(b"o" * 32, "old")
CONFIG = Config("shop", (NEW,), {}, Eventing(None, "cdcd", 1.0, Path()), {}, server=Server("127.0.0.1", 1))
CLOCK = ManualClock()
NOW = CLOCK.at


def tokens(*secrets: Secret) -> Tokens:
    return Tokens(secrets or (NEW, OLD), "shop", ManualClock())


def signed(claims: dict[str, Any], key: bytes = NEW.value, algorithm: str = "HS256", **headers: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return "Bearer " + jwt.encode(claims, key, algorithm, headers=headers)


def why(authorization: str | None) -> str:
    with pytest.raises(Problem) as caught:
        tokens().claims(authorization)
    assert caught.value.status == 401
    assert caught.value.headers["WWW-Authenticate"].startswith("Bearer")
    return caught.value.reasons[0].detail


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_any_secret_of_the_project_signs(secret: Secret) -> None:
    assert tokens().claims(signed({"role": "app", "exp": NOW + 5}, secret.value))["role"] == "app"


def test_the_scheme_is_written_as_one_likes() -> None:
    assert tokens().claims(signed({"a": 1}).replace("Bearer ", "bearer  "))["a"] == 1


def none_token() -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "none"}, {"role": "admin"})
    ]
    return f"Bearer {'.'.join(parts)}."


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        (None, "there is no token"),
        ("", "the header Authorization is not"),
        ("Basic YTpi", "the header Authorization is not"),
        ("Bearer x", "the header Authorization is not"),
        ("Bearer a.b.c", "the token cannot be read"),
        ("Bearer " + "a" * 9000 + ".b.c", "the header Authorization is not"),
        (none_token(), "the token is not signed with HS256"),
        (signed({}, algorithm="HS512"), "the token is not signed with HS256"),
        (signed({}, b"x" * 32), "the token is not signed with a secret"),
        (signed({"exp": NOW - 31}), "the token has expired"),
        (signed({"nbf": NOW + 31}), "the token is not valid yet"),
        (signed({"exp": "soon"}), "the token's exp is no number"),
        (signed({"exp": True}), "the token's exp is no number"),
        (signed({"aud": "https://example.com"}), "the token is for another audience"),
        (signed({"aud": ["a", "b"]}), "the token is for another audience"),
        (signed({}, crit=["x"], x=1), "the token cannot be read"),
    ],
)
def test_what_is_refused(authorization: str | None, reason: str) -> None:
    assert why(authorization).startswith(reason)


def test_clocks_may_differ_a_little() -> None:
    assert tokens().claims(signed({"exp": NOW - 29, "nbf": NOW + 29}))


def test_a_token_that_is_remembered_expires_all_the_same() -> None:
    clock = ManualClock()
    known = Tokens((NEW,), "shop", clock)
    token = signed({"exp": NOW + 10})
    assert known.claims(token) is known.claims(token)
    clock.advance(41)
    with pytest.raises(Problem):
        known.claims(token)


@pytest.mark.parametrize("more", [None, b'{"aud":"cdcd/shop","role":"admin"}'])
def test_what_a_webhook_receives_is_no_key_to_the_queue(more: bytes | None) -> None:
    """Not even if a trigger's `claims` could say whom it is for (they cannot)."""
    for origin in ("https://hooks.example.com:443", "cdcd/shop"):
        sent = Signer((NEW,), "shop", "one").token("t", origin, NOW, more)
        assert why(f"Bearer {sent}") == "the token is one that webhooks receive"


def test_secrets_of_the_api_s_own_shut_out_those_of_the_project() -> None:
    own = Secret(b"a" * 32, "own")
    config = dataclasses.replace(CONFIG, server=Server("127.0.0.1", 1, secrets=(own,)))
    known = Tokens(config.token_secrets, "shop", ManualClock())
    assert known.claims(signed({"a": 1}, own.value))
    with pytest.raises(Problem):
        known.claims(signed({"a": 1}, NEW.value))
    assert CONFIG.token_secrets == (NEW,)


def test_a_token_that_cdcd_makes_is_good() -> None:
    made = make_token(Secret(b"s" * 16, "short"), "shop", {"role": "admin", "exp": NOW + 60})
    assert tokens(NEW, Secret(b"s" * 16, "short")).claims(f"Bearer {made}")["aud"] == "cdcd/shop"
    with pytest.raises(Problem):
        Tokens((Secret(b"s" * 16, "short"),), "other", ManualClock()).claims(f"Bearer {made}")


@pytest.mark.parametrize(
    ("role", "found", "unaddressed"),
    [
        ("admin", {"admin"}, {"application"}),
        (["a", "admin", 5], {"admin"}, {"application"}),
        (["viewer", "queue"], {"viewer", "queue"}, set()),
        ("viewer", {"viewer"}, set()),
        ("queue", {"queue"}, {"application"}),
        ("a, admin", {"application"}, {"application"}),
        ("application", {"application"}, {"application"}),
        (None, {"application"}, {"application"}),
        (7, {"application"}, {"application"}),
    ],
)
def test_roles(role: Any, found: set[str], unaddressed: set[str]) -> None:
    assert roles({"role": role, "aud": "cdcd/shop"}) == found
    assert roles({"role": role}) == unaddressed


def test_a_role_is_required() -> None:
    require({"role": ["operator"], "aud": "cdcd/shop"}, OPERATORS)
    for claims in ({"role": "app", "aud": "cdcd/shop"}, {"role": "administrator", "aud": "cdcd/shop"}, {"role": "admin"}):
        with pytest.raises(Problem) as caught:
            require(claims, OPERATORS)
        assert caught.value.status == 403
        assert "admin or operator" in caught.value.reasons[0].detail


def test_who_guesses_is_slowed_and_nobody_else() -> None:
    clock = ManualClock()
    known = Tokens((NEW,), "shop", clock)
    good, other, bad = signed({"role": "admin"}), signed({"role": "viewer"}), signed({}, b"x" * 32)
    known.claims(good, "192.0.2.1")
    for _ in range(BURST):
        with pytest.raises(Problem, match="not good") as caught:
            known.claims(bad, "192.0.2.1")
        assert caught.value.status == 401
    for authorization in (bad, other):  # what comes now is not looked at
        with pytest.raises(Problem) as caught:
            known.claims(authorization, "192.0.2.1")
        assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "2")
    known.claims(good, "192.0.2.1")  # found good before
    known.claims(other, "192.0.2.2")
    clock.advance(2)
    with pytest.raises(Problem, match="missing or not good"):
        known.claims(bad, "192.0.2.1")
    with pytest.raises(Problem, match="too many"):
        known.claims(bad, "192.0.2.1")


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    brake = Brake(ManualClock())
    for number in range(BURST):
        brake.wrong(f"2001:db8::{number + 1:x}")
    with pytest.raises(Problem):
        brake.check("2001:db8::ffff:1")
    brake.check("2001:db8:0:1::1")
    for number in range(KEPT):
        brake.wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    brake.check("2001:db8::1")  # forgotten: memory is bounded
