"""One trigger is changed in a file, and every other byte of it stays."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.config.document import read_document
from cdcd.config.splicing import Spliced, Unspliceable, check_definition
from cdcd.config.writing import written

TEXT = """\
# Triggers of the shop: é €.

triggers:
  # Told at once.
  first:   # the first
    type: DB_INSERT
    table: [public.users]   # all of them
    when: |
      new.x == 1
      # no comment, but CEL's business

    # at the end of the first

  # Two lines
  # about the second.
  second:
    type: DB_UPDATE
    webhook: {url: "http://x", headers: {A: "b"}}

  third: {type: SCHEDULE, schedule: "0 9 * * *", webhook: http://x}
# the end
"""


def test_a_definition_is_what_stands_there() -> None:
    found = Spliced(TEXT).definition("first")
    assert found is not None
    assert (found.line, found.column) == (6, 4)
    assert found.text == (
        "type: DB_INSERT\ntable: [public.users]   # all of them\nwhen: |\n  new.x == 1\n  # no comment, but CEL's business\n\n"
        "# at the end of the first\n"
    )
    third = Spliced(TEXT).definition("third")
    assert third is not None
    assert third.text.startswith("{type: SCHEDULE")
    assert Spliced(TEXT).definition("fourth") is None


def test_a_trigger_is_replaced() -> None:
    after = Spliced(TEXT).with_trigger("second", "type: X\npayload:\n  a: 1\n")
    assert after == TEXT.replace(
        '    type: DB_UPDATE\n    webhook: {url: "http://x", headers: {A: "b"}}\n', "    type: X\n    payload:\n      a: 1\n"
    )
    assert Spliced(TEXT).with_trigger("third", "type: X") == TEXT.replace(
        '  third: {type: SCHEDULE, schedule: "0 9 * * *", webhook: http://x}\n', "  third:\n    type: X\n"
    )


def test_a_trigger_is_added_behind_the_last() -> None:
    after = Spliced(TEXT).with_trigger("fourth", "type: X")
    assert after == TEXT.replace("# the end\n", "  fourth:\n    type: X\n# the end\n")


def test_a_trigger_is_removed_with_the_comment_above_it() -> None:
    after = Spliced(TEXT).without_trigger("second")
    start, end = TEXT.index("  # Two lines"), TEXT.index("\n  third")
    assert after == TEXT[:start] + TEXT[end:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "triggers:\n  a:\n    type: X\n"),
        ("# only this\n", "# only this\ntriggers:\n  a:\n    type: X\n"),
        ("# no end of line", "# no end of line\ntriggers:\n  a:\n    type: X\n"),
        ("triggers:\n", "triggers:\n  a:\n    type: X\n"),
        ("triggers: {}\n# b\n", "triggers:\n  a:\n    type: X\n# b\n"),
        ("triggers: ~\n", "triggers:\n  a:\n    type: X\n"),
        ("triggers:\n      b:\n         type: Y", "triggers:\n      b:\n         type: Y\n      a:\n        type: X\n"),
    ],
)
def test_the_first_trigger_of_a_file(text: str, expected: str) -> None:
    assert Spliced(text).with_trigger("a", "type: X") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("triggers:\n  a:\n    type: X\n", None),
        ("---\n\ntriggers:\n  # of a\n  a:\n    type: X\n\n", None),
        ("# kept\ntriggers:   # and this\n  a:\n    type: X\n", "# kept\ntriggers: {}   # and this\n"),
    ],
)
def test_the_last_trigger_of_a_file(text: str, expected: str | None) -> None:
    assert Spliced(text).without_trigger("a") == expected


def test_line_ends_stay_as_they_are() -> None:
    text = TEXT.replace("\n", "\r\n")
    after = Spliced(text).with_trigger("second", "type: X\ntable: y\n")
    assert "\n" not in after.replace("\r\n", "")
    found = Spliced(text).definition("first")
    assert found is not None
    assert "\r" not in found.text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("triggers: {a: {type: X}}\n", "a"),
        ("triggers:\n  a: &a\n    type: X\n  b: *a\n", "a"),
        ("triggers:\n  a: &a\n    type: X\n  b: *a\n", "b"),
        ("{triggers: {}}\n", "a"),
        ("- a\n", "a"),
        ("triggers: [\n", "a"),
    ],
)
def test_what_cannot_be_told_apart_is_left_alone(text: str, name: str) -> None:
    with pytest.raises(Unspliceable):
        Spliced(text).with_trigger(name, "type: Z")


@pytest.mark.parametrize("definition", ["type: X\n---\ntype: Y", "- a", "text", "", "type: X\n...\n", "%YAML 1.1\n---\na: b"])
def test_what_is_no_definition(definition: str) -> None:
    with pytest.raises(Unspliceable):
        check_definition(definition)


def test_a_definition_that_reaches_further_is_refused() -> None:
    for definition in ("type: 'X\n", "type: X\n  }", "a: [", "? a\n: |", "a: b\n\tc: d"):
        try:
            after = Spliced(TEXT).with_trigger("first", definition)
        except Unspliceable:
            continue
        names = ("second", "third")
        assert [text_of(after, name) for name in names] == [text_of(TEXT, name) for name in names]


def text_of(text: str, name: str) -> str:
    found = Spliced(text).definition(name)
    assert found is not None
    return found.text


def read(text: str) -> Any:
    mistakes: list[str] = []

    document = read_document("x", text, Path(), {}, lambda _, what: mistakes.append(what))
    assert mistakes == []
    return document.data


LETTERS = st.characters(exclude_categories=("Cs", "Cc", "Co", "Cn"), exclude_characters="\ufeff\u2028\u2029\x85$")
WORDS = st.text(LETTERS, max_size=20) | st.sampled_from(
    ["yes", "0o17", "1e5", "~", "null", "2026-01-01", "- a", "a: b", "#", "12:30", "a\nb", "a \nb\n"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(LETTERS, min_size=1, max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(definition=st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), VALUES, min_size=1, max_size=4))
def test_what_is_written_is_read_again_and_the_rest_stays(definition: dict[str, Any]) -> None:
    text = written(definition)
    assert read(text) == definition
    for name in ("first", "second", "third", "new"):
        after = Spliced(TEXT).with_trigger(name, text)
        assert read(after)["triggers"][name] == definition
        for other in {"first", "second", "third"} - {name}:
            assert text_of(after, other) == text_of(TEXT, other)
        removed = Spliced(after).without_trigger(name)
        assert removed is not None
        if name == "new":
            assert removed == TEXT
