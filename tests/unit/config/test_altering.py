"""Options of a definition are set and taken out: the rest of its text stays, and it always means what was asked for."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.config.altering import GONE, Source, Unshowable, Ways, altered, lost, position, read, source
from cdcd.config.writing import written

WAYS = Ways(
    {("webhook",): "url", ("retries",): "max", ("webhook", "egress"): "mode"},
    {
        (): ("type", "table", "columns", "when", "webhook", "retries", "payload", "enabled"),
        ("webhook",): ("url", "method", "headers", "timeout"),
    },
)
TEXT = """\
# What this is for: é €.
type: [DB_INSERT, DB_UPDATE]   # both
table:   # where
  # the first
  - public.users   # people
  # the second
  - public.orders

# Only some.
when: |
  new.x == 1
  # no comment, but CEL's business

webhook:   # where to
  url: http://x   # there
  headers: {A: "b # no", C: d}   # two
  # at the end of it
retries: 5   # few
payload:
  # the body
  id: ${ new.id }   # the key
"""


def change(*changes: tuple[str, Any], text: str = TEXT) -> str:
    return altered(text, [(tuple(route.split(".")), value) for route, value in changes], WAYS)


@pytest.mark.parametrize(
    ("route", "value", "old", "new"),
    [
        ("type", "DB_DELETE", "type: [DB_INSERT, DB_UPDATE]   # both", "type: DB_DELETE   # both"),
        ("type", ["A", "B"], "type: [DB_INSERT, DB_UPDATE]   # both", "type: [A, B]   # both"),
        ("table", ["public.users", "x"], "  # the second\n  - public.orders\n", "  - x\n"),
        ("table", ["a", "public.users", "public.orders"], "  # the first\n", "  - a\n  # the first\n"),
        ("when", "new.y", "when: |\n  new.x == 1\n  # no comment, but CEL's business\n", "when: new.y\n"),
        ("when", "a\n|| b", "when: |\n  new.x == 1\n  # no comment, but CEL's business\n", "when: |-\n  a\n  || b\n"),
        ("webhook.url", "http://y", "url: http://x   # there", "url: http://y   # there"),
        ("webhook.timeout", "3s", "C: d}   # two\n", "C: d}   # two\n  timeout: 3s\n"),
        ("webhook.method", "PUT", "# there\n", "# there\n  method: PUT\n"),
        ("webhook.headers.A", "e", '{A: "b # no", C: d}', "{A: e, C: d}"),
        ("webhook.headers.X-Y", "e, f", 'A: "b # no", C: d}', 'A: "b # no", C: d, X-Y: "e, f"}'),
        ("webhook.headers.A", GONE, '{A: "b # no", C: d}', "{C: d}"),
        ("webhook.headers.C", GONE, '{A: "b # no", C: d}', '{A: "b # no"}'),
        ("retries.max", 7, "retries: 5   # few", "retries: 7   # few"),
        ("retries.first", "2s", "retries: 5   # few", "retries:   # few\n  max: 5\n  first: 2s"),
        ("columns", ["a", "b"], "\n# Only some.", "columns: [a, b]\n\n# Only some."),
        ("enabled", False, "# the key\n", "# the key\nenabled: false\n"),
        (
            "payload",
            Source("# new\na: 1  # one\nb: [2]"),
            TEXT[TEXT.index("payload:") :],
            "payload:\n  # new\n  a: 1  # one\n  b: [2]\n",
        ),
        ("payload", Source("{a: 1}"), TEXT[TEXT.index("payload:") :], "payload: {a: 1}\n"),
        ("payload", Source("|\n  a\n    b"), TEXT[TEXT.index("payload:") :], "payload: |\n    a\n      b\n"),
        ("payload.id", GONE, TEXT[TEXT.index("payload:") :], ""),
        ("unknown", {"a": {"b": "c"}}, "# the key\n", "# the key\nunknown:\n  a:\n    b: c\n"),
    ],
)
def test_a_change_is_made_where_it_is(route: str, value: Any, old: str, new: str) -> None:
    assert TEXT.count(old) == 1
    assert change((route, value)) == TEXT.replace(old, new)


def test_a_definition_from_nothing() -> None:
    made = change(("webhook.url", "http://x"), ("type", "A"), ("webhook.headers.X", "${env:Y}"), text="")
    assert made == "type: A\nwebhook:\n  url: http://x\n  headers:\n    X: ${env:Y}\n"
    assert change(("webhook.egress.allow", ["10.0.0.0/8"]), text="webhook: {url: x, egress: public}\n") == (
        "webhook: {url: x, egress: {mode: public, allow: [10.0.0.0/8]}}\n"
    )
    assert change(("type", GONE), text="type: A\n") == ""


def test_a_mapping_that_gets_empty_goes() -> None:
    assert change(("webhook.headers.A", GONE), text="type: A\nwebhook:\n  headers:\n    A: b\n") == "type: A\n"
    assert change(("webhook.url", GONE), text="type: A\nwebhook: x\n") == "type: A\n"
    assert change(("webhook.egress.mode", GONE), text="type: A\nwebhook: {egress: public}\n") == "type: A\n"
    assert change(("webhook.egress.allow", GONE), ("nothing.there", GONE)) == TEXT


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {type: A}\n<<: *x\nwebhook: http://x\n",
        "type: &x A\ntable: *x\nwebhook: http://x\n",
        "? type\n: A\n",
        "{type: A,\n # why\n webhook: http://x}\n",
        "type: A # why\nwebhook: {\n  url: http://x, # where\n  }\n",
        '"type": "A"\n',
    ],
)
def test_what_is_written_in_an_unusual_way_means_what_was_asked_for(text: str) -> None:
    before = read(text)
    for route, value in (("type", "B"), ("table", ["x", "y"]), ("webhook.timeout", "1s"), ("new", 1)):
        after = read(change((route, value), text=text))
        if "." not in route:
            assert after == {**before, route: value}
    assert "type" not in read(change(("type", GONE), text=text))


def test_comments_that_are_lost_are_told() -> None:
    assert lost(TEXT, change(("retries", GONE))) == ["# few"]
    assert lost(TEXT, change(("payload", {"a": 1}))) == ["# the body", "# the key"]
    assert lost(TEXT, change(("when", GONE))) == []
    assert lost(TEXT, TEXT) == []
    assert lost("a: 1 # x\nb: 2 # x\n", "a: 1 # x\n") == ["# x"]


@pytest.mark.parametrize(
    ("text", "why", "line"),
    [
        ("a: 1\nb: *c\n", "elsewhere in its file", 2),
        ("a: [\n", "no YAML", 2),
        ("a: 1\nb: {c: 1, c: 2}\n", "'c' stands in it twice", 2),
        ("- a\n", "no mapping", 1),
        ("a: &a [*a]\n", "holds itself", 0),
        ("a: &0 [x, x]\n" + "".join(f"a{n}: &{n + 1} [*{n}, *{n}, *{n}, *{n}]\n" for n in range(12)), "far too often", 0),
        (f"a: {'[' * 200}{']' * 200}\n", "too deeply", 1),
    ],
)
def test_what_has_no_values_is_told(text: str, why: str, line: int) -> None:
    with pytest.raises(Unshowable, match=why) as caught:
        read(text)
    assert caught.value.line == line


def test_where_a_place_is() -> None:
    assert position(TEXT, 2, 8) == ("type",)
    assert position(TEXT, 15, 8) == ("webhook", "url")
    assert position(TEXT, 16, 16) == ("webhook", "headers", "A")
    assert position(TEXT, 1, 1) == ()


def test_how_a_value_is_written() -> None:
    assert source(TEXT, ("payload",)) == "# the body\nid: ${ new.id }   # the key"
    assert source(TEXT, ("webhook", "headers")) == '{A: "b # no", C: d}'
    assert source(TEXT, ("retries",)) == "5"
    assert source(TEXT, ("nothing", "there")) == ""


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["type", "table", "when", "webhook", "retries", "payload", "x"])
ROUTES = st.one_of(
    st.tuples(NAMES),
    st.tuples(st.just("webhook"), st.sampled_from(["url", "method", "headers"])),
    st.tuples(st.just("webhook"), st.just("headers"), st.sampled_from(["A", "B-C", "x: y"])),
    st.tuples(st.just("retries"), st.sampled_from(["max", "first"])),
)


@given(
    st.dictionaries(NAMES, VALUES, max_size=5), st.lists(st.tuples(ROUTES, VALUES | st.just(GONE)), max_size=4), st.booleans()
)
def test_it_means_what_was_asked_for(
    values: dict[str, Any], changes: list[tuple[tuple[str, ...], Any]], comments: bool
) -> None:
    text = written(values) if values else ""
    if comments and values and not any("\n" in repr(value) or "\\" in repr(value) for value in values.values()):
        text = "".join(f"{line} # {number}\n" for number, line in enumerate(text.splitlines()))
    before = read(text)
    for route, value in changes:
        text = altered(text, [(route, value)], WAYS)
        after = read(text)
        found: Any = after
        for part in route:
            found = found.get(part, GONE) if isinstance(found, dict) else found
        if route[0] in ("webhook", "retries") and len(route) > 1:
            assert {name: each for name, each in after.items() if name != route[0]} == {
                name: each for name, each in before.items() if name != route[0]
            }
        if value is not GONE:
            assert found == value or (isinstance(value, dict) and len(route) == 1)
        before = after


def test_long_definitions_take_no_longer_than_their_length() -> None:
    """Comparing everything with everything took minutes."""
    several = "".join(f"  k{number}: v # c{number}\n" for number in range(5000))
    text = f"type: DB_INSERT\nclaims:\n{several}"
    begun = time.process_time()
    assert lost(text, text.replace("# c7\n", "\n")) == ["# c7"]
    tables = "type: DB_INSERT\ntable:\n" + "".join(f"- t{number % 7}\n" for number in range(5000))
    wanted = [f"t{number * 3 % 7}" for number in range(5000)]
    assert read(altered(tables, [(("table",), wanted)], WAYS))["table"] == wanted
    assert time.process_time() - begun < 5
