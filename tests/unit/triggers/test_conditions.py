"""Why a condition says what it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.triggers.conditions import Part, take_apart
from cdcd.triggers.expressions import Expression
from cdcd.triggers.occurrence import Occurrence
from cdcd.triggers.vocabulary import CUSTOM, DATABASE


def apart(source: str, **data: object) -> Part:
    return take_apart("t", source, CUSTOM, Occurrence("paid", None, 0, {}, {"data": data}))


def test_each_part_of_a_conjunction_tells_its_verdict_and_what_it_saw() -> None:
    found = apart('data.total > 100 && data.status == "paid"', total=120, status="open")
    assert (found.holds, found.joined) == (False, "&&")
    assert [(part.text, part.holds, dict(part.values)) for part in found.parts] == [
        ("data.total > 100", True, {"data.total": 120}),
        ('data.status == "paid"', False, {"data.status": "open"}),
    ]
    assert [part.text for part in found.decisive()] == ['data.status == "paid"']


def test_an_alternative_in_parentheses_is_taken_apart_too() -> None:
    found = apart("data.a == 1 && (data.b == 1 || data.c == 1)", a=1, b=2, c=3)
    assert [(part.text, part.holds) for part in found.leaves()] == [
        ("data.a == 1", True),
        ("data.b == 1", False),
        ("data.c == 1", False),
    ]
    assert [part.text for part in found.decisive()] == ["data.b == 1", "data.c == 1"]


def test_what_was_not_looked_at_is_told_all_the_same() -> None:
    found = apart("data.a == 1 && data.gone == 1", a=2)
    assert found.holds is False
    assert found.parts[1].holds is None
    assert "data.gone is not in this paid" in found.parts[1].error


@pytest.mark.parametrize(
    "source",
    [
        "data.a == 1 ? data.b == 1 && true : false",
        "[1, 2].exists(x, x == data.a && x > 0)",
        '"a && b" == data.text',
        "!(data.a == 1 && data.b == 2)",
    ],
)
def test_what_cannot_be_split_stays_whole(source: str) -> None:
    found = apart(source, a=1, b=2, text="a && b")
    assert found.parts == ()
    assert found.holds in (True, False)


def test_the_type_is_among_what_was_seen() -> None:
    found = take_apart(
        "t", 'type == "DB_DELETE" || new.x == 1', DATABASE, Occurrence("DB_INSERT", None, 0, {}, {"new": {"x": 1}})
    )
    assert [dict(part.values) for part in found.parts] == [{"type": "DB_INSERT"}, {"new.x": 1}]
    assert [part.text for part in found.decisive()] == ["new.x == 1"]


leaf = st.sampled_from(["data.a == 1", "data.b == 1", "data.c != 1", "(data.a > 0)", "[1].exists(x, x == data.b || false)"])
conditions = st.recursive(
    leaf,
    lambda inner: st.tuples(inner, st.sampled_from(["&&", "||"]), inner, st.booleans()).map(
        lambda parts: f"({parts[0]} {parts[1]} {parts[2]})" if parts[3] else f"{parts[0]} {parts[1]} {parts[2]}"
    ),
    max_leaves=6,
)


@given(conditions, st.integers(0, 1), st.integers(0, 1), st.integers(0, 1))
def test_parts_agree_with_the_whole(source: str, a: int, b: int, c: int) -> None:
    facts = Occurrence("paid", None, 0, {}, {"data": {"a": a, "b": b, "c": c}})
    found = take_apart("t", source, CUSTOM, facts)
    assert found.holds is Expression("t", source, CUSTOM).test(facts)

    def agrees(part: Part) -> bool:
        if not part.parts:
            return True
        verdicts = [inner.holds is True for inner in part.parts]
        return part.holds is (all(verdicts) if part.joined == "&&" else any(verdicts)) and all(map(agrees, part.parts))

    assert agrees(found)
    assert all(leaf.holds is found.holds for leaf in found.decisive())
