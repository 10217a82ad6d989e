"""Data on a page: indented where that helps, as it is where it would not, and never more than a page can hold, whatever it is."""

import json

import pytest

from cdcd.server.console import words


def test_json_has_a_member_a_line_and_its_numbers_as_they_were_written() -> None:
    text = '{"a":[],"b":{},"c":[1.50,123456789012345678901234567890],"d":"</pre>"}'
    assert words.pretty(text) == (
        '{\n  "a": [],\n  "b": {},\n  "c": [\n    1.50,\n    123456789012345678901234567890\n  ],\n  "d": "</pre>"\n}'
    )
    assert "</pre>" not in words.coloured(text)
    assert "&lt;/pre&gt;" in words.coloured(text)


@pytest.mark.parametrize("text", ["", "plain", "{", '{"a":', "[" * 100_000, "\x00\x1b[31m"])
def test_what_is_no_json_or_nested_without_end_stays_as_it_is(text: str) -> None:
    assert words.pretty(text) == text


def test_what_is_nested_as_no_honest_json_is_breaks_nothing() -> None:
    text = "[" * 900 + "]" * 900
    assert "".join(words.pretty(text).split()) == text  # indented by a Python that reads it


def test_what_is_nested_deeply_is_indented_down_to_some_level() -> None:
    text = words.pretty("[" * 90 + '{"a":[1.50,true]}' + "]" * 90)
    assert max(len(line) - len(line.lstrip()) for line in text.split("\n")) == 2 * words.DEEPEST
    assert '{"a": [1.50, true]}' in text
    assert json.loads(text) == json.loads("[" * 90 + '{"a":[1.50,true]}' + "]" * 90)


def test_nothing_grows_without_bound() -> None:
    for text in (
        "[" * 19 + ",".join(["1"] * 19_000) + "]" * 19,
        "[" * 300 + ",".join(["1"] * 120_000) + "]" * 300,
        json.dumps(["<" * 1000] * 400),
    ):
        assert len(words.coloured(text)) < 6 * words.LONGEST_SHOWN


@pytest.mark.parametrize("member", ["1", "{}", "[[[[[[[[1]]]]]]]]", '{"a":{"b":1}}'])
def test_what_has_very_many_parts_is_not_taken_apart(member: str) -> None:
    """Each of them takes a moment, in which nothing is delivered."""
    many = f"[{','.join([member] * words.MOST_LINES)},1]"
    assert words.pretty(many) == many
    assert "\n" in words.pretty(f"[{','.join([member] * 1000)}]")


def test_of_large_data_only_the_beginning_is_read() -> None:
    data = "€".encode() * (2 * words.LONGEST_SHOWN)
    assert words.pretty(data) == "€" * words.LONGEST_SHOWN + "\n…"
    assert words.LONGEST_SHOWN < len(words.beginning(data)) < len(data)
    assert words.beginning(b'"\xff"') == '"\ufffd"'
