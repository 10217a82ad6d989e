"""What is secret in a file's triggers is not shown, and is kept by whoever edits them."""

import pytest

from cdcd.config.masking import MASK, masked, restored, shown_url, values, with_option
from cdcd.config.splicing import Spliced, Unspliceable

FILE = """\
defaults: &headers
  X-Shared: shared-secret-1
triggers:
  a:
    type: DB_INSERT
    webhook:
      url: https://hooks.example.com/x?token=0123456789&page=1&v=${new.id}
      headers:
        Authorization: 'Bearer abcdefghijkl'   # of the shop
        X-Env: Bearer ${env:TOKEN}
        X-Long: abcdefghijk-${env:TOKEN}
        X-Block: |
          folded-secret
        X-Expression: ${ new.id }
  b:
    type: DB_INSERT
    webhook: {url: "http://x/?key=secret-secret", headers: {<<: *headers, A: b}}
  c:
    type: SCHEDULE
    webhook: http://x/
"""
SECRETS = ("0123456789", "abcdefghij", "folded", "secret-secret", "shared-secret-1")


def definition(text: str, name: str) -> str:
    found = Spliced(text).definition(name)
    assert found is not None
    return found.text


def test_secrets_are_not_shown() -> None:
    text = masked(FILE)
    assert [secret for secret in SECRETS if secret in text] == []
    for kept in (
        "X-Env: Bearer ${env:TOKEN}",
        "X-Expression: ${ new.id }",
        "# of the shop",
        "&page=1&v=${new.id}",
        "webhook: http://x/",
    ):
        assert kept in text
    assert values(text, "a")["webhook"] == {
        "url": "https://hooks.example.com/x?token=***&page=1&v=${new.id}",
        "headers": {
            **{"Authorization": MASK, "X-Env": "Bearer ${env:TOKEN}", "X-Long": MASK, "X-Block": MASK},
            "X-Expression": "${ new.id }",
        },
    }
    assert masked("a: [") == ""


def test_what_is_masked_is_kept_by_an_edit() -> None:
    shown = definition(masked(FILE), "a")
    edited = shown.replace("DB_INSERT", "DB_UPDATE")
    back = restored(edited, FILE, "a")
    assert values(Spliced(FILE).with_trigger("a", back), "a") == {**values(FILE, "a"), "type": "DB_UPDATE"} | {
        "webhook": {
            **values(FILE, "a")["webhook"],  # type: ignore[dict-item]
        }
    }
    assert restored(definition(masked(FILE), "c"), FILE, "c") == definition(FILE, "c")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"webhook:\n  url: http://x\n  headers:\n    New: '{MASK}'\n", "a"),
        (f"webhook: http://other/?token={MASK}\n", "a"),
        (f"webhook: {{url: http://x, headers: {{Authorization: '{MASK}'}}}}\n", "c"),
        (f"webhook: {{url: http://x, headers: {{Authorization: '{MASK}'}}}}\n", "nobody"),
    ],
)
def test_nothing_is_kept_that_is_not_there(text: str, name: str) -> None:
    with pytest.raises(Unspliceable, match="none to be kept"):
        restored(text, FILE, name)


@pytest.mark.parametrize(
    ("url", "put_in", "shown"),
    [
        ("https://x.example/in/s3cret-path/b?k=abc", ["s3cret-path", "abc"], "https://x.example/in/***/b?k=***"),
        ("https://x.example/a", ["https://x.example/a"], "https://x.example/***"),
        ("https://x.example:8000/hook/${ new.id }", ["x.example", "8000"], "https://x.example:8000/hook/${ new.id }"),
        ("https://x.example/onetwo", ["one", "two"], "https://x.example/***"),
        ("https://x.example/aXaXa", ["aXa", ""], "https://x.example/***"),
        ("https://x.example/$${a}/b", ["${a}"], "https://x.example/***/b"),
        ("https://x.example", ["x"], "https://x.example"),
        ("https://x.example?k=abc", ["abc"], "https://x.example?k=***"),
        ("https://x.example/a", ["none of it"], "https://x.example/a"),
    ],
)
def test_a_url_shows_nothing_that_was_put_in(url: str, put_in: list[str], shown: str) -> None:
    assert shown_url(url, put_in) == shown


def test_a_url_shows_no_longer_values() -> None:
    assert shown_url("https://x/y?a=short&b=loooooong#f") == "https://x/y?a=short&b=***#f"
    for url in (
        "https://x/y",
        "https://x/orders-2026/v2/${ new.id0123456789abcdef }/archive-of-everything",
        "http://x",
        "${env:URL}",
    ):
        assert shown_url(url) == url
    assert shown_url("https://hooks.example.com/services/T01ABC/B02DEF/x1Y2z3A4b5C6d7E8f9G0h1I2") == (
        "https://hooks.example.com/services/T01ABC/B02DEF/***"
    )
    assert shown_url("https://x/3b241101-e2bb-4255-8caf-4136c566a962/in?a=b") == "https://x/***/in?a=b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type: X\nenabled: true # why\nkey: a\n", "type: X\nenabled: false # why\nkey: a\n"),
        ("type: X\n", "type: X\nenabled: false\n"),
        ("{type: X}", "{type: X, enabled: false}"),
        ("type: X\nenabled:\n", "type: X\nenabled: false\n"),
    ],
)
def test_an_option_is_set(text: str, expected: str) -> None:
    assert with_option(text, "enabled", "false") == expected
