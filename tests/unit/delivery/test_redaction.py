"""What an endpoint said is kept as text, within a size, without NUL and without anything secret that it echoed."""

import base64
import json
from urllib.parse import quote, quote_plus, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from cdcd.config.model import Secret, Webhook
from cdcd.delivery.redaction import REDACTED, Redactor, forms_of, secrets_of, url_secrets

WEBHOOK = Webhook(
    "https://user:pass-word@hooks.example.com/x?token=tttttttttt&page=1",
    "https://hooks.example.com",
    (("Authorization", "Bearer s3cret-value"), ("X-Flag", "1"), ("X-Odd", 'quo"ted/ value')),
)
SECRET = Secret(bytes(range(200, 232)), "k")
REDACTOR = Redactor((*secrets_of(WEBHOOK), *forms_of(SECRET)))


@pytest.mark.parametrize(
    "secret",
    [
        "Bearer s3cret-value",
        "s3cret-value",
        'quo"ted/ value',
        json.dumps('quo"ted/ value'),
        "pass-word",
        base64.b64encode(b"user:pass-word").decode(),
        "tttttttttt",
        base64.b64encode(SECRET.value).decode(),
        SECRET.value.hex(),
        "the-token-of-this-attempt",
    ],
)
def test_no_secret_is_kept(secret: str) -> None:
    kept = REDACTOR.text(f"before {secret} after {secret}".encode(), 65536, "the-token-of-this-attempt")
    assert secret.strip('"') not in kept
    assert REDACTED in kept
    assert kept.startswith("before ")
    assert " after " in kept


def test_a_value_that_is_no_secret_stays() -> None:
    assert REDACTOR.text(b"1 page, Bearer of news", 65536, "t") == "1 page, Bearer of news"


def test_a_secret_that_the_limit_cuts_in_two_leaves_no_piece() -> None:
    body = b"x" * 90 + b"s3cret-value"
    for limit in range(90, 102):
        kept = REDACTOR.text(body, limit, "")
        assert "s3cr" not in kept, limit


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", ""),
        (b"ok", "ok"),
        (b"a\0b\0", "ab"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("é".encode(), "é"),
        (b"s3\0cret-val\0ue", REDACTED),
    ],
)
def test_any_bytes_become_text_that_postgres_can_hold(body: bytes, text: str) -> None:
    assert REDACTOR.text(body, 100, "") == text


@given(st.binary(max_size=300), st.integers(1, 200))
def test_the_text_is_storable_and_within_its_size(body: bytes, limit: int) -> None:
    text = REDACTOR.text(body[: limit + 1], limit, "")
    assert len(text.encode()) <= limit
    assert "\0" not in text


def test_words_from_a_header_that_is_not_utf8_can_be_stored() -> None:
    odd = b"set url to /\xff\0x".decode("utf-8", "surrogateescape")
    assert REDACTOR.clean(odd) == "set url to /?x"


@pytest.mark.parametrize("secret", ["a b&c=d/e+f?g", "käse und brot", "s%3Ce<cret>", "x:y@z!(1)*'~", 'q"uo\\te;end'])
def test_a_secret_in_a_url_is_found_in_every_spelling(secret: str) -> None:
    webhook = Webhook("https://h.example.com/p?token=" + quote(secret, safe=""), "https://h.example.com:443")
    url = URL(webhook.url)
    redactor = Redactor(secrets_of(webhook))
    built = URL.build(scheme="http", host="h", path=f"/{secret}", query={"x": secret})
    for said in (
        str(url),
        url.raw_query_string,
        str(built),
        quote(secret, safe=""),
        quote_plus(secret),
        secret,
        json.dumps(secret),
    ):
        text = redactor.text(f"you asked {said} twice".encode(), 1000, "")
        assert REDACTED in text
        assert secret not in unquote_plus(text)
    assert url.query["token"] not in redactor.also(url_secrets(url)).text(str(url).encode(), 1000, "")
