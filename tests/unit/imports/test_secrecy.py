"""What may be secret is never written: it becomes a variable. What is plainly none stays readable."""

import pytest

from cdcd.imports import secrecy
from cdcd.imports.found import Found


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("Accept", "application/json", True),
        ("X-Env", "production", True),
        ("X-Version", "2024-01-01", True),
        ("Prefer", "return=minimal, count=none", True),
        ("Authorization", "Bearer x", False),
        ("X-Hasura-Admin-Secret", "x", False),
        ("x-api-key", "x", False),
        ("apikey", "x", False),
        ("X-Signature-Key", "x", False),
        ("X-Monkey", "banana", True),
        ("X-Trace", "0a1b2c3d4e5f6a7b8c9d", False),
        ("X-Odd", "über?", False),
    ],
)
def test_headers(name: str, value: str, kept: bool) -> None:
    found = Found()
    made = secrecy.header(found, "t", name, value, "here")
    assert (made == value) is kept
    assert (not found.variables) is kept
    if not kept:
        assert made == "${env:" + next(iter(found.variables)) + "}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://x.test:8443/a/b?c=d", "https://x.test:8443/a/b?c=d"),
        ("https://x.test/send-district-invite-to-everybody", "https://x.test/send-district-invite-to-everybody"),
        ("https://x.test/a?token=1&b=2", "https://x.test/a?token=${env:T_TOKEN}&b=2"),
        ("https://hooks.test/T024BE7LH/XXabcdef0123456789", "https://hooks.test/T024BE7LH/${env:T_URL}"),
        ("https://x.test/${a}", "https://x.test/$${a}"),
    ],
)
def test_urls(url: str, expected: str) -> None:
    assert secrecy.webhook(Found(), "t", url, "here") == (expected, "")


def test_a_user_and_password_become_a_header() -> None:
    found = Found()
    assert secrecy.webhook(found, "t", "http://me:p%40ss@x.test/a", "here") == ("http://x.test/a", "${env:T_AUTHORIZATION}")
    assert found.variables == {"T_AUTHORIZATION": "Basic bWU6cEBzcw=="}


def test_one_secret_is_one_variable_and_another_one_another() -> None:
    found = Found()
    first = found.variable("a b", "x", "1")
    assert found.variable("other", "x", "2") == first == "${env:A_B}"
    assert found.variable("a-b", "y", "3") == "${env:A_B_2}"


def test_parameters_are_added_to_a_url() -> None:
    assert secrecy.with_parameters("http://x/?a=1", {"a": "2", "b c": "d&e"}) == "http://x/?a=1&b%20c=d%26e"
    assert secrecy.with_parameters("http://x/", {}) == "http://x/"


def test_a_secret_in_what_a_remark_quotes_is_hidden() -> None:
    found = Found()
    found.variable("t_token", "hunter22", "here")
    found.remark("here", "t", "`{{ concat(['sk_live_0123456789abcdef', $body.id]) }}` has no equal", "not hunter22")
    found.close()
    assert str(found.remarks[0]) == "here: t: `{{ concat(['(hidden)', $body.id]) }}` has no equal; not (hidden)"


def test_what_is_literal_beside_expressions_is_hidden_too() -> None:
    found = Found()
    made = secrecy.composed(
        found, "t", {"key": "literal", "id": "a0b1c2d3e4f5a6b7c8 ${ new.id }", "plain": "No. ${ new.id }"}, "here"
    )
    assert made == {"key": "${env:T_KEY}", "id": "${env:T_ID}${ new.id }", "plain": "No. ${ new.id }"}
    url = secrecy.composed_url(found, "t", "${env:BASE}/a/x0123456789abcdef?q=${ new.a == 1 ? 2 : 3 }&token=secret", "here")
    assert url == "${env:BASE}/a/${env:T_URL}?q=${ new.a == 1 ? 2 : 3 }&token=${env:T_TOKEN}"
