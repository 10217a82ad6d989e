"""What came of trying, in words and as a part of a page: every check is there, nested conditions are, and nothing in data is markup."""

from dataclasses import replace
from typing import Any

import pytest

from cdcd.admin.editing import Draft
from cdcd.admin.trying import Request, Trial
from cdcd.event import Attempt, Event
from cdcd.server.console import trying
from cdcd.server.console.templating import templates
from cdcd.server.console.trying import Tried
from cdcd.server.console.words import LONGEST_SHOWN
from cdcd.server.problems import Problem
from cdcd.triggers.conditions import Part
from cdcd.triggers.judging import Check, Judgement

EVIL = "<script>alert(1)</script>"
EVENT = Event("DB_INSERT", "cdcd/p/main", f"public.t/{EVIL}", "1", 1_700_000_000_000_000, f'{{"a": "{EVIL}"}}'.encode())
WHEN = Part(
    "new.a > 1 && (new.b == 'x' || new.c)",
    False,
    {"new.a": 2, "new.b": EVIL},
    parts=(
        Part("new.a > 1", True, {"new.a": 2}),
        Part(
            "new.b == 'x' || new.c",
            False,
            {},
            parts=(Part("new.b == 'x'", False, {"new.b": EVIL}), Part("new.c", None, {}, "`new.c` raised: it is missing")),
            joined="||",
        ),
    ),
    joined="&&",
)
NO = Judgement("t", False, (Check("enabled", True, "it is enabled"), Check("when", False, "`when` is false", WHEN)))
YES = Judgement("t", True, (Check("enabled", True, "it is enabled"), Check("key", True, "in order with all that it sends")))
REQUEST = Request("POST", "https://x.example/?key=***", [("X-Key", "***"), ("Host", "x.example")], '{"a": 1}')


def rendered(*trials: Trial, operates: bool = True, **more: Any) -> str:
    tried = Tried("/there", trials=trials, **more)
    return templates().render("trials.html", tried=tried, operates=operates, csrf="the-token").decode()


def test_a_condition_is_told_part_by_part() -> None:
    page = rendered(Trial(EVENT, NO))
    assert EVIL not in page
    assert "It would not fire" in page
    for words in ("all of these", "one of these", "new.a &gt; 1", "<code>new.c</code> raised: it is missing", "does not fire"):
        assert words in page
    assert page.count('class="holds ok"') == 2
    assert page.count('class="holds warn"') == 1
    assert page.count('<ul class="tree">') == 3
    assert "<form" not in page  # there is no request to be sent


def test_the_request_and_what_came_back() -> None:
    attempt = Attempt(1, 0.0, 0.25, 503, EVIL, "answered 503")
    trial = Trial(EVENT, YES, REQUEST, attempt=attempt)
    page = rendered(trial)
    assert EVIL not in page
    for words in ("It was sent", "POST", "key=***", "X-Key", "answered 503", "250 ms", 'value="the-token"', "Send it again"):
        assert words in page, words
    assert "<form" not in rendered(trial, operates=False)


def test_of_many_each_says_why_in_a_sentence() -> None:
    page = rendered(Trial(EVENT, NO), Trial(EVENT, YES, REQUEST), Trial(EVENT, YES, problem="the body cannot be made"))
    for words in (
        "It would fire for 2 of 3 events",
        "<code>when</code> is false.",
        "fires, and fails",
        "the body cannot be made",
    ):
        assert words in page, words
    assert page.count("<summary>Every check</summary>") == 3
    assert "There is nothing to try it on" in rendered()
    assert "no event of its types" in rendered(on="last")
    assert "the data is no JSON" in rendered(problem=Problem(422, "nothing was tried: the data is no JSON"))


def test_what_really_sends_it_has_the_same_event() -> None:
    made_up = dict(Tried("/there").fields(Trial(EVENT, YES, REQUEST)))
    assert made_up == {
        **{"try-on": "sample", "try-type": "DB_INSERT", "try-data": EVENT.data.decode(), "try-source": "cdcd/p/main"},
        **{"try-subject": EVENT.subject, "try-key": "1", "try-time": "2023-11-14T22:13:20.000000Z", "try-send": "1"},
    }
    large = Trial(replace(EVENT, data=b'"' + b"x" * LONGEST_SHOWN + b'"'), YES, REQUEST)
    assert Tried("/there").fields(large) == []  # no form could carry it
    assert "<form" not in rendered(large)
    recorded = Tried("/there").fields(Trial(EVENT, YES, REQUEST, delivery="an-id"))
    assert recorded == [("try-on", "delivery"), ("try-delivery", "an-id"), ("try-send", "1")]


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ({"try-type": "PAID", "try-data": "[1]"}, {"event": {"type": "PAID", "data": [1]}}),
        ({"try-data": "1", "try-key": "k", "try-send": "1"}, {"event": {"type": "", "data": 1, "key": "k"}, "send": True}),
        ({"try-on": "last", "try-count": " 7 "}, {"last": 7}),
        ({"try-on": "last", "try-count": "many"}, {"last": "many"}),
        ({"try-on": "last"}, {"last": 5}),
        ({"try-on": "delivery", "try-delivery": " an-id "}, {"delivery": "an-id"}),
        ({"try-on": "rows", "try-table": "users", "try-rows": "2"}, {"rows": {"table": "users", "count": 2}}),
        ({"try-on": "rows", "try-rows-type": "DB_DELETE"}, {"rows": {"table": "", "count": 5, "type": "DB_DELETE"}}),
    ],
)
def test_a_form_is_what_the_api_would_be_asked(form: dict[str, str], wanted: dict[str, Any]) -> None:

    assert _asked("t", form) == {"trigger": "t", **wanted}


def _asked(wanted: str | Draft, form: dict[str, str]) -> Any:
    return trying._asked(wanted, form, form.get("try-on", "sample"))


def test_a_draft_is_asked_for_as_it_is_written() -> None:
    found = _asked(Draft("t", "type: PAID", clone_of="other"), {"try-on": "last"})
    assert found == {"draft": {"name": "t", "yaml": "type: PAID", "cloneOf": "other"}, "last": 5}


def test_data_that_is_no_json_is_told_with_its_place() -> None:
    with pytest.raises(Problem) as caught:
        _asked("t", {"try-data": '{\n  "a": x}'})
    assert "line 2, column 8" in caught.value.reasons[0].detail
