"""What is wrong stands at the field that it is about; JSON that is none says where."""

import pytest

from cdcd.server.console.mistakes import NONE, mistakes, read_json
from cdcd.server.problems import Problem, Reason, Reasons


def test_reasons_go_to_their_fields() -> None:
    problem = Problem(
        422,
        "nothing was queued",
        [
            Reason("is missing", "/type"),
            Reason("too small", "/data/items/0"),
            Reason("required", "/data"),
            Reason("other", "/no"),
        ],
    )
    found = mistakes(problem, ("type", "data"))
    assert found.any
    assert found.what == "Nothing was queued"
    assert found.of("type") == ["is missing"]
    assert found.of("data") == ["/items/0: too small", "required"]
    assert found.of("key") == []
    assert found.rest == ["/no other"]
    assert not NONE.any


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("  \n", "it is empty"),
        ('{"a": 1,}', "line 1, column 8"),
        ('{\n  "a" 1\n}', "line 2, column 7"),
        ('{"a": NaN}', "line 1, column 7"),
        ("[" * 5000, "depth"),
        ("1e400", "infinity"),
    ],
)
def test_what_is_no_json_says_where(text: str, why: str) -> None:
    reasons = Reasons()
    assert read_json(text, "data", reasons) is None
    (reason,) = reasons.found
    assert reason.pointer == "/data"
    assert why in reason.detail


def test_json_is_read() -> None:
    reasons = Reasons()
    assert read_json(' {"a": [1, null]} ', "data", reasons) == {"a": [1, None]}
    assert read_json("null", "data", reasons) is None
    assert reasons.found == []
