"""A definition as fields and back: what a field does not change stays as it is written, and every option has a field."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from cdcd.admin.editing import Mistake
from cdcd.config.altering import Unshowable, lost, read
from cdcd.config.mistakes import options
from cdcd.config.model import Kind
from cdcd.config.shape import TriggerShape
from cdcd.config.splicing import Spliced
from cdcd.config.writing import written
from cdcd.server.console.form import OPTIONS, Control, Fields, made, place, posted, prefilled, shown, told, unwrapped, words

EXAMPLE = (Path(__file__).resolve().parents[4] / "config/cdcd.example.yaml").read_text()


def definitions() -> Iterator[tuple[str, str]]:
    spliced = Spliced(EXAMPLE)
    for name in spliced.names:
        found = spliced.definition(name)
        assert found is not None
        yield name, found.text


DEFINITIONS = dict(definitions())
EVERYTHING = DEFINITIONS["search-index"]


def sent(fields: Fields) -> list[tuple[str, str]]:
    """What a browser sends of a form with these fields: lines of a text end in CR LF, those of a line are gone."""
    pairs = [("kind", fields.kind.value if fields.kind else ""), ("custom", fields.custom)]
    pairs += [("type", each) for each in fields.types]
    for option in OPTIONS.values():
        for text in fields.many(option.name) or ("",):
            area = option.control in (Control.TEXT, Control.VALUE)
            pairs.append((option.name, text.replace("\n", "\r\n") if area else text.replace("\n", "")))
    for name, value in [*fields.headers, ("", "")]:
        pairs += [("header", name), ("value", value)]
    return pairs


def meaning(definition: str | Mapping[str, Any]) -> dict[str, Any]:
    """What a definition means."""
    values = read(definition) if isinstance(definition, str) else definition
    return TriggerShape.model_validate(values).model_dump()


def every(shape: type[BaseModel], before: str = "") -> Iterator[str]:
    for name in options(("triggers", "x", *before.split("."))) if before else options(("triggers", "x")):
        whole = f"{before}.{name}" if before else name
        if options(("triggers", "x", *whole.split("."))):
            yield from every(shape, whole)
        else:
            yield whole


def test_every_option_has_a_field() -> None:
    assert set(every(TriggerShape)) == {"type", *OPTIONS}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_what_is_not_changed_stays_to_the_byte(name: str) -> None:
    text = DEFINITIONS[name]
    done = made(text, posted(sent(shown(text))))
    assert (done.text, done.mistakes) == (text, [])


@pytest.mark.parametrize("name", DEFINITIONS)
def test_fields_alone_make_the_same_definition(name: str) -> None:
    text = DEFINITIONS[name]
    done = made("", posted(sent(shown(text))))
    assert done.mistakes == []
    assert meaning(done.text) == meaning(text)


def test_a_definition_from_fields_is_as_people_write_it() -> None:
    fields = posted(
        [
            *(("kind", "database"), ("type", "DB_UPDATE"), ("type", "DB_INSERT"), ("table", "public.users"), ("table", "")),
            *(("when", "new.x\r\n  && new.y"), ("webhook.url", " http://x/y "), ("webhook.timeout", ""), ("retries.max", "5")),
            *(("columns", 'a, "b,c"'), ("enabled", ""), ("payload", "id: ${ new.id }   # the key\r\n"), ("path", "no/meaning")),
        ]
    )
    assert made("", fields).text == (
        "type: [DB_INSERT, DB_UPDATE]\ntable: public.users\ncolumns: [a, 'b,c']\nwhen: |-\n  new.x\n    && new.y\n"
        "webhook: http://x/y\nretries: 5\npayload:\n  id: ${ new.id }   # the key\n"
    )
    more = posted(
        [
            *(("kind", "custom"), ("custom", "ORDER_PAID, x.y"), ("webhook.url", "http://x"), ("webhook.method", "PUT")),
            *(("header", "X-A"), ("value", "${env:A}"), ("header", ""), ("value", ""), ("retries.no_retry", "400, 4xx")),
            *(("retries.factor", "2.5"), ("concurrency", "many"), ("enabled", "false"), ("webhook.egress.mode", "public")),
        ]
    )
    assert made("", more).text == (
        "type: [ORDER_PAID, x.y]\nwebhook:\n  url: http://x\n  method: PUT\n  headers:\n    X-A: ${env:A}\n  egress: public\n"
        "retries:\n  factor: 2.5\n  no_retry: [400, 4xx]\nconcurrency: many\nenabled: false\n"
    )


def changed(text: str, **more: str) -> str:
    pairs = [pair for pair in sent(shown(text)) if pair[0] not in more]
    return made(text, posted([*pairs, *((name, value) for name, value in more.items() if value)])).text


def test_one_field_changes_one_place() -> None:
    assert changed(EVERYTHING, when="new.published") == EVERYTHING.replace(
        'when: type == "DB_DELETE" || new.published   #', "when: new.published   #"
    )
    after = changed(EVERYTHING, **{"retries.max": "11"})
    assert after == EVERYTHING.replace("max: 10 ", "max: 11 ")
    assert lost(EVERYTHING, after) == []
    gone = changed(EVERYTHING, concurrency="")
    assert lost(EVERYTHING, gone) == ["# requests of this trigger under way at once; default: as the limits allow"]
    assert gone == "".join(line for line in EVERYTHING.splitlines(keepends=True) if "concurrency" not in line)
    assert changed(EVERYTHING, **{"enabled": "false"}) == EVERYTHING.replace("enabled: true ", "enabled: false ")


def test_options_of_another_kind_are_no_part_of_the_definition() -> None:
    fields = shown("type: DB_INSERT\ntable: users   # all\ncolumns: [a]\nwebhook: http://x\n")
    pairs = [pair for pair in sent(fields) if pair[0] != "kind"]
    text = made("type: DB_INSERT\ntable: users   # all\nwebhook: http://x\n", posted([*pairs, ("kind", "schedule")])).text
    assert text == "type: SCHEDULE\nwebhook: http://x\n"
    back = posted([*pairs, ("kind", "database")])
    assert back.many("table") == ("users",)  # the form still has it


def test_what_has_no_field_stays() -> None:
    text = "type: DB_INSERT\ntable: users\nbatch: {max: 100}   # later\nwebhook: {url: http://x, soon: 1}\n"
    assert changed(text, when="new.x") == text.replace("table: users\n", "table: users\nwhen: new.x\n")
    assert changed(text, **{"webhook.url": "http://y"}) == text.replace("http://x", "http://y")


def test_what_a_field_cannot_give_is_a_mistake_at_it() -> None:
    fields = posted(
        [
            *(("kind", "custom"), ("custom", "A"), ("webhook.url", "http://x"), ("payload", "a: 1\r\nb: [")),
            *(("header", "A"), ("value", "1"), ("header", "A"), ("value", "2"), ("header", ""), ("value", "3")),
        ]
    )
    done = made("", fields)
    assert [(each.field, each.what) for each in done.mistakes] == [
        ("webhook.headers.A", "A stands here twice"),
        ("webhook.headers", "a header has no name"),
        ("payload", "it is no YAML: did not find expected node content (line 2)"),
    ]
    with pytest.raises(Unshowable):
        made("a: *b\n", fields)


def test_a_link_fills_in() -> None:
    rows = prefilled([("type", "DB_INSERT,DB_UPDATE"), ("table", "public.users"), ("other", "x")])
    assert (rows.kind, rows.types, rows.many("table")) == (Kind.DATABASE, ("DB_INSERT", "DB_UPDATE"), ("public.users",))
    assert made("", rows).text == "type: [DB_INSERT, DB_UPDATE]\ntable: public.users\n"
    custom = prefilled([("type", "ORDER_PAID")])
    assert (custom.kind, custom.custom) == (Kind.CUSTOM, "ORDER_PAID")
    assert prefilled([("schedule", "0 9 * * *")]).kind is Kind.SCHEDULE
    assert prefilled([]) == Fields()


def test_mistakes_have_their_fields() -> None:
    fields = posted([("kind", "database"), ("table", "a"), ("table", "b"), ("header", "A"), ("value", "1"), ("header", "X-B")])
    assert place("webhook.timeout", fields) == ("webhook.timeout", "f-webhook-timeout")
    assert place("webhook", fields) == ("webhook.url", "f-webhook-url")
    assert place("retries", fields) == ("retries.max", "f-retries-max")
    assert place("webhook.egress", fields) == ("webhook.egress.mode", "f-webhook-egress-mode")
    assert place("table[2]", fields) == ("table", "f-table-2")
    assert place("table", fields) == ("table", "f-table-1")
    assert place("webhook.headers.A", fields) == ("webhook.headers", "f-webhook-headers-1")
    assert place("payload.items[1].id", fields) == ("payload", "f-payload")
    assert place("retries.max_age", fields) == ("retries.max_age", "f-retries-max-age")
    assert place("batch", fields) == ("", "")
    assert place("", fields) == ("", "")
    text = made("", fields).text
    found = told(
        [
            Mistake("triggers.x: 'type' is missing", 1, 1, "type"),
            Mistake("triggers.x: 'webhook' is missing", 1, 1, "webhook"),
            Mistake("triggers.x.table[2]: has no name", 2, 1, "table[2]"),
            Mistake("the environment variable TOKEN is not set", text.splitlines().index("    A: '1'") + 1, 9),
            Mistake("elsewhere.yaml:3:4: triggers.y: unknown option 'z'"),
            Mistake("/etc/cdcd.yaml: database 'main': no table is named b (trigger x)"),
        ],
        "x",
        fields,
        text,
    )
    assert [(each.what, each.id, each.missing, each.label) for each in found] == [
        ("choose at least one", "f-type", True, "What happens"),
        ("it is needed", "f-webhook-url", True, "URL"),
        ("has no name", "f-table-2", False, "Table"),
        ("the environment variable TOKEN is not set", "f-webhook-headers-1", False, "Headers"),
        ("elsewhere.yaml:3:4: triggers.y: unknown option 'z'", "", False, ""),
        ("database 'main': no table is named b", "f-table-2", False, "Table"),
    ]


def test_a_whole_file_can_be_pasted() -> None:
    assert unwrapped("# one\ntriggers:\n  users:\n    type: A\n    # why\n    webhook: http://x\n") == (
        "users",
        "type: A\n# why\nwebhook: http://x\n",
    )
    for text in ("type: A\n", "triggers: 1\n", "triggers:\n  a: {type: A}\n  b: {type: B}\n", "triggers: [\n"):
        assert unwrapped(text) is None


@given(st.lists(st.text(min_size=1, max_size=6), max_size=4))
def test_words_with_commas(given_words: list[str]) -> None:
    text = written({"type": "DB_UPDATE", "columns": given_words}) if given_words else "type: DB_UPDATE\n"
    assert words(shown(text).one("columns")) == given_words


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12)
LINES = st.lists(TEXTS, min_size=1, max_size=3).map("\n".join)
SCALARS = st.one_of(TEXTS, st.integers(-3, 1000), st.booleans(), st.floats(0, 100, allow_nan=False))
ONE_OR_MORE = st.one_of(TEXTS, st.lists(TEXTS, max_size=3))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=5
)


@st.composite
def any_definition(draw: st.DrawFn) -> dict[str, Any]:
    """A definition with any options, of any values that YAML holds, right or wrong."""

    def some(**kinds: st.SearchStrategy[Any]) -> dict[str, Any]:
        found: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=kinds))
        return found

    found = some(
        type=st.sampled_from(
            ["DB_INSERT", ["DB_INSERT", "DB_DELETE"], "FILE_CREATE", "SCHEDULE", "PAID", ["a.b", "c"], "DB_X"]
        ),
        table=ONE_OR_MORE,
        database=SCALARS,
        columns=ONE_OR_MORE,
        when=LINES,
        key=LINES,
        payload=VALUES,
        claims=st.dictionaries(TEXTS, VALUES, max_size=3),
        concurrency=SCALARS,
        enabled=SCALARS,
        order=SCALARS,
        batch=VALUES,
    )
    egress = st.one_of(TEXTS, st.fixed_dictionaries({}, optional={"mode": TEXTS, "allow": ONE_OR_MORE}))
    headers = st.dictionaries(TEXTS.map(str.strip).filter(bool), SCALARS, max_size=3)
    webhook = {"url": SCALARS, "method": TEXTS, "timeout": SCALARS, "headers": headers, "egress": egress}
    found |= some(webhook=st.one_of(TEXTS, st.fixed_dictionaries({}, optional=webhook)))
    retries = {"max": SCALARS, "first": TEXTS, "no_retry": st.lists(st.integers(300, 599), max_size=3), "jitter": SCALARS}
    return found | some(retries=st.one_of(SCALARS, st.fixed_dictionaries({}, optional=retries)))


@given(any_definition())
def test_any_definition_stays_when_nothing_is_changed(definition: dict[str, Any]) -> None:
    text = written(definition) if definition else ""
    fields = shown(text)
    kinds = {option for option in OPTIONS.values() if fields.kind is not None and fields.kind not in option.kinds}
    kept = {name: value for name, value in definition.items() if name not in {option.name for option in kinds}}
    done = made(text, posted(sent(fields)))
    assert (read(done.text), done.mistakes) == (kept, [])
    if kept == definition:
        assert done.text == text


@given(any_definition(), st.sampled_from(sorted(OPTIONS)), LINES)
def test_a_field_that_is_changed_changes_nothing_else(definition: dict[str, Any], name: str, value: str) -> None:
    option = OPTIONS[name]
    if option.control in (Control.VALUE, Control.PAIRS, Control.WORDS):
        return
    text = written(definition) if definition else ""
    fields = shown(text)
    if fields.kind is None or fields.kind not in option.kinds:
        return
    value = value if option.control is Control.TEXT else value.replace("\n", "")
    pairs = [pair for pair in sent(fields) if pair[0] != name]
    after = shown(made(text, posted([*pairs, (name, value)])).text)
    assert [each.strip() for each in after.many(name) if each.strip()] == [value.strip()] * bool(value.strip())
    for other in OPTIONS.values():
        if other.name != name and fields.kind in other.kinds and other.name.partition(".")[0] != name.partition(".")[0]:
            assert after.many(other.name) == fields.many(other.name), other.name
