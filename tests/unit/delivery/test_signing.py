"""Tokens and signatures: exact against the specifications, prepared once, cheap."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from standardwebhooks.webhooks import Webhook as Official

from cdcd.config.model import Secret
from cdcd.delivery.signing import TOKEN_LIFE, TOKEN_REUSE, Signer

NOW = 1_700_000_000.25
KEY, OLD = b"n" * 32, b"o" * 32
ORIGIN = "https://hooks.example.com"


def signer(*keys: bytes) -> Signer:
    return Signer(tuple(Secret(key, f"k{i}") for i, key in enumerate(keys or (KEY,))), "shop", "cdcd-1")


def claims(token: str) -> dict[str, Any]:
    text = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return claims


def test_token_has_exactly_the_promised_header_and_claims() -> None:
    token = signer().token("t", ORIGIN, NOW)
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "kid": "k0", "typ": "JWT"}
    assert claims(token) == {
        "id": "cdcd-1",
        "role": "SpaceCloud",
        "iss": "cdcd/shop",
        "aud": ORIGIN,
        "sub": "t",
        "iat": 1_700_000_000,
        "exp": 1_700_000_000 + TOKEN_LIFE,
    }
    assert TOKEN_LIFE <= 300


def test_pyjwt_verifies_the_token_and_refuses_another_key_and_audience() -> None:
    token = signer().token("t", ORIGIN, time.time())
    assert jwt.decode(token, KEY, algorithms=["HS256"], audience=ORIGIN)["sub"] == "t"
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, OLD, algorithms=["HS256"], audience=ORIGIN)
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token, KEY, algorithms=["HS256"], audience="https://elsewhere.example.com")


def test_a_token_is_reused_for_part_of_its_life_per_trigger_and_endpoint() -> None:
    one = signer()
    token = one.token("t", ORIGIN, NOW)
    assert one.token("t", ORIGIN, NOW + TOKEN_REUSE - 1) == token
    assert claims(one.token("t", ORIGIN, NOW + TOKEN_REUSE))["iat"] == int(NOW + TOKEN_REUSE)
    assert claims(one.token("u", ORIGIN, NOW))["sub"] == "u"
    assert claims(one.token("t", "http://other", NOW))["aud"] == "http://other"


def test_a_clock_that_was_set_back_makes_a_new_token() -> None:
    one = signer()
    one.token("t", ORIGIN, NOW)
    assert claims(one.token("t", ORIGIN, NOW - 3600))["iat"] == int(NOW - 3600)


def test_tokens_kept_are_bounded() -> None:
    one = signer()
    for number in range(10_000):
        one.token(f"t{number}", ORIGIN, NOW)
    assert len(one._tokens) <= 4096


def test_signature_is_the_published_example() -> None:
    # The example of the Standard Webhooks specification and its libraries' tests.
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = signer(secret).signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_secrets_rotate_every_one_signs_and_the_first_makes_tokens() -> None:
    both = signer(KEY, OLD)
    timestamp = int(time.time())
    body = b'{"a":1}'
    signature = both.signature("id", timestamp, body)
    assert signature.count(" ") == 1
    headers = {"webhook-id": "id", "webhook-timestamp": str(timestamp), "webhook-signature": signature}
    for key in (KEY, OLD):
        assert Official(base64.b64encode(key).decode()).verify(body, headers) == {"a": 1}
    assert jwt.get_unverified_header(both.token("t", ORIGIN, NOW))["kid"] == "k0"


def test_a_project_without_secret_cannot_sign() -> None:
    with pytest.raises(ValueError, match="at least one secret"):
        Signer((), "shop", "cdcd-1")


def test_secrets_are_not_in_its_repr() -> None:
    assert "nnn" not in repr(signer())
    assert "nnn" not in repr(signer().secrets)
