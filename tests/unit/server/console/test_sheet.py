"""What a page for adding or editing a trigger holds: as it was sent, and what is to be said of it."""

from cdcd.admin.editing import Place, Written
from cdcd.config.model import Kind
from cdcd.server.console.form import Told
from cdcd.server.console.sheet import Judged, Sheet, compared, lines, name_told, needed, opened, other, sheet_of, waits

SENT = [("kind", "custom"), ("custom", "PAID"), ("webhook.url", "http://x")]


def written(yaml: str, **definition: object) -> Written:
    return Written("x", yaml, definition, "/x.yaml", 1, "etag")


def test_a_trigger_is_opened_as_a_form_where_that_can_show_it() -> None:
    form = opened(written("type: PAID   # why\nwebhook: http://x\n"))
    assert form.fields is not None
    assert (form.base, form.kind, form.unshowable) == (form.text, Kind.CUSTOM, "")
    yaml = opened(written("type: PAID\nretries: *slow\n"))
    assert (yaml.fields, yaml.kind) == (None, None)
    assert "elsewhere in its file" in yaml.unshowable
    assert opened(written("", type="PAID")).text == "type: PAID\n"  # where it stands in a file that cannot be taken apart


def test_fields_change_the_definition_that_the_page_carries() -> None:
    sheet = sheet_of([*SENT, ("base", "type: PAID   # why\r\n"), ("name", " x "), ("clone", "y")], "")
    assert (sheet.name, sheet.text) == ("x", "type: PAID   # why\nwebhook: http://x\n")
    assert (sheet.draft.name, sheet.draft.yaml, sheet.draft.clone_of) == ("x", sheet.text, "y")
    assert sheet_of(SENT, "there").at == "/console/triggers/there/edit"
    broken = sheet_of([*SENT, ("base", "a: [")], "")
    assert (broken.fields, broken.text) == (None, "a: [")
    assert "no YAML" in broken.unshowable


def test_the_view_of_yaml_is_the_definition() -> None:
    sheet = sheet_of([("view", "yaml"), ("yaml", "type: PAID\r\n# why\r\n"), ("name", "")], "")
    assert (sheet.text, sheet.fields, sheet.named) == ("type: PAID\n# why\n", None, "this-trigger")
    pasted = sheet_of([("view", "yaml"), ("yaml", "triggers:\n  paid:\n    type: PAID\n"), ("name", "")], "")
    assert (pasted.name, pasted.text) == ("paid", "type: PAID\n")
    kept = sheet_of([("view", "yaml"), ("yaml", "triggers:\n  paid:\n    type: PAID\n")], "mine")
    assert (kept.name, kept.text) == ("mine", "type: PAID\n")


def test_what_is_needed_is_wrong_only_when_it_is_sent() -> None:
    sheet = sheet_of([("kind", "database"), ("table", " ")], "")
    missing = needed(sheet)
    assert [each.label for each in missing] == ["What happens", "Table", "URL"]
    judged = Judged([*missing, Told("is wrong", "key", "f-key")])
    assert [each.option for each in judged.wrong(submitted=False)] == ["key"]
    assert set(judged.at(submitted=True)) == {"f-type", "f-table-1", "f-webhook-url", "f-key"}
    assert needed(sheet_of(SENT, "")) == []
    assert [each.id for each in needed(sheet_of([("kind", "custom")], ""))] == ["f-custom", "f-webhook-url"]
    assert needed(sheet_of([], "")) == []


def test_a_name() -> None:
    free, taken = Place("/x.yaml", there=False), Place("/x.yaml", there=True)
    assert name_told(Sheet("x"), free) == []
    assert name_told(Sheet(), free)[0].missing
    assert "letters" in name_told(Sheet("a b"), free)[0].what
    assert "already, in /x.yaml" in name_told(Sheet("x"), taken)[0].what


def test_lines_that_are_new() -> None:
    assert compared("a\nb\n", "a\nc\nb\n") == [("a", False), ("c", True), ("b", False)]
    sheet = Sheet("x", fixed=True, seen="type: A\n", text="type: B\n\nwhen: c\n")
    assert lines(sheet)[1:] == [("  x:", False), ("    type: B", True), ("", True), ("    when: c", True)]
    assert [fresh for _, fresh in lines(Sheet(text="type: A\n"))] == [False, False, False]


def test_waits_and_options_without_a_field() -> None:
    assert waits(Sheet(text="retries: {max: 3, first: 2s, factor: 10, max_interval: 1m}\n")) == [2, 20, 60]
    assert waits(Sheet(text="retries: 0\n")) == []
    assert waits(Sheet(text="retries: many\n")) is waits(Sheet(text="a: [")) is None
    assert waits(Sheet(text="")) == [1, 5, 25]
    assert other(sheet_of([*SENT, ("base", "batch: 1\ntype: PAID\n")], "")) == ["batch"]


def test_what_two_texts_differ_in() -> None:
    before, after = "a\nb\nc\nd\n", "a\nx\nc\ny\nd\n"
    assert compared(before, after) == [("a", False), ("x", True), ("c", False), ("y", True), ("d", False)]
    assert compared("", after) == [(line, True) for line in after.split()]
    assert compared(after, after) == [(line, False) for line in after.split()]
    assert compared("a\na\n", "a\n") == [("a", False)]
    assert compared(after, "") == []


def test_long_texts_are_compared_in_proportion_to_their_length() -> None:
    """Counted, not timed: line by line, this would be 16 million pairs that are alike."""
    before = "first\n" + "same\n" * 4000 + "old\n" + "same\n" * 10
    after = "begin\n" + "same\n" * 4000 + "new\n" + "same\n" * 10
    assert [line for line, fresh in compared(before, after) if fresh] == ["begin", "new"]
