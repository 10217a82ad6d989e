"""Expressions: the rewriting keeps their meaning, only used columns are read, failures name columns and never values."""

from decimal import Decimal

import cel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.errors import ExpressionError, ValueNotJson
from cdcd.triggers.expressions import BadExpression, Expression
from cdcd.triggers.rewriting import rewrite
from cdcd.triggers.vocabulary import DATABASE
from tests.unit.triggers.rows import ATTRIBUTES, PlainChange

NEW = {
    "amount": 5,
    "status": "paid",
    "note": None,
    "tags": ["a", "b"],
    "doc": {"a": {"b": 7}},
    "order no": 9,
    "new": 3,
    "big": 2**62,
}
OLD = {"amount": 4, "status": "open"}


def change(**other: object) -> PlainChange:
    made = PlainChange(new_row=NEW, old_row=OLD)
    for name, value in other.items():
        setattr(made, name, value)
    return made


def plainly(source: str, row: PlainChange) -> object:
    """The verdict of CEL over the whole rows; None when it raises."""
    values = {"type": row.type, "new": row.new_row, "old": row.old_row, "event": ATTRIBUTES}
    try:
        return cel.compile(source).execute(values)
    except Exception:  # noqa: BLE001  # any failure is the same verdict here
        return "raised"


def ours(source: str, row: PlainChange) -> object:
    try:
        return Expression("t", source).evaluate(row)
    except ExpressionError:
        return "raised"


SAME = [
    "new.amount > 4",
    "new.amount > old.amount",
    "new . amount > 4 // old.amount",
    "new\n.amount > 4",
    '"new.amount" == "new.amount"',
    "'old.x' + \"new.amount\" == r'new.amount'",
    "'''new.amount'b''' + \"\"\"new.\"x\" \"\"\" == 'x'",
    "'a\\'new.amount' == 'x'",
    "b'new.amount' == b'x'",
    "has(new.amount)",
    "has(new.nothing)",
    "has( new . nothing ) || true",
    "has(new.nothing) && new.nothing > 1",
    "has(new.doc.a)",
    "has(new.doc.z)",
    "has(new.note) && new.note == null",
    "new.note == null",
    "new.note > 3",
    "new.nothing == 1",
    "new.nothing == 1 || true",
    "true || new.nothing == 1",
    "type == 'DB_DELETE' || new.amount == 5",
    'type == "DB_UPDATE" ? new.amount : old.amount',
    "type(new.amount) == int",
    "new.doc.a.b == 7",
    "new.doc['a']['b'] == 7",
    "new['order no'] == 9",
    'new["order no"] == 9',
    "new['nothing'] == 9",
    "'amount' in new",
    "'nothing' in new",
    "new.size() > 3",
    "size(new)",
    "new == old",
    "new.new == 3",
    "new.doc.new == 3",
    "[1, 2].map(x, x + new.amount)",
    "new.map(k, k).size()",
    "new.tags.exists(tag, tag == new.status)",
    "new.tags.exists(tag, tag == 'b')",
    "{'new': new.amount}.new == 5",
    "{new.status: 1}.paid == 1",
    "{new.status: old}['paid'].amount == 4",
    "[new][0].amount == 5",
    "event.txid > 7000 && event.table == 'users'",
    "event.time.getHours() == 18",
    "event.type == type",
    "event == event",
    "has(event.txid)",
    "new.status.startsWith('pa')",
    "new.big + new.big > 0",
    "new.amount / (old.amount - 4)",
    "-new.amount < 0 && !has(old.x)",
    "new.amount in [1, 5]",
    "new.tags[0] == 'a'",
    "new.tags[9] == 'a'",
    "new.status ==\n'paid' // type",
    "1.5e3 > .5 && 0x1F == 31 && 5u == 5u",
]


@pytest.mark.parametrize("source", SAME)
def test_an_expression_means_what_it_means_over_the_whole_rows(source: str) -> None:
    assert ours(source, change()) == plainly(source, change())


ATOMS = st.sampled_from(
    [
        "new.amount",
        "old.amount",
        "new.nothing",
        "old.status",
        "new['order no']",
        "new.note",
        "5",
        "4.0",
        "'paid'",
        "null",
        "new.doc.a.b",
        "type",
        "event.txid",
        "size(new)",
        "'amount'",
        "new.new",
        "new",
        "old",
    ]
)
CONDITIONS = st.recursive(
    st.one_of(
        st.builds("{} {} {}".format, ATOMS, st.sampled_from(["==", "!=", "<", ">=", "in"]), ATOMS),
        st.sampled_from(["has(new.amount)", "has(old.nothing)", "has(new.doc.a)", "true", "false", "'x' in new"]),
    ),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["&&", "||"]), inner),
        st.builds("!({})".format, inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
        st.builds("[new.amount, 4].exists(x, x == 4 && {}) /* */".replace(" /* */", "").format, inner),
    ),
    max_leaves=8,
)
ROWS = st.dictionaries(
    st.sampled_from(["amount", "status", "note", "new", "order no", "doc"]),
    st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.text(max_size=5), st.floats(allow_nan=False)),
    min_size=1,
)


@given(CONDITIONS, ROWS, ROWS, st.sampled_from(["DB_INSERT", "DB_UPDATE", "DB_DELETE"]))
def test_any_condition_has_the_same_verdict(source: str, new: dict[str, object], old: dict[str, object], kind: str) -> None:
    row = PlainChange(kind, new, old)
    assert ours(source, row) == plainly(source, row)


@given(st.text(alphabet="newold.'\"()[]has type/\n\\r", max_size=30))
def test_any_text_is_an_expression_or_a_bad_one(source: str) -> None:
    try:
        Expression("t", source)
    except BadExpression:
        return
    assert ours(source, change()) == plainly(source, change())


def test_only_the_columns_that_are_used_are_read() -> None:
    row = change()
    expression = Expression("t", "new.amount > 4 && old.amount > 1")
    assert expression.test(row) is True
    assert sorted(row.asked) == ["new.amount", "old.amount"]
    assert expression.columns_used == {("new", "amount"), ("old", "amount")}
    assert expression.whole == frozenset()


def test_the_whole_row_is_read_when_it_is_used_as_a_value() -> None:
    expression = Expression("t", "'x' in new || old.amount > 1")
    assert expression.whole == {"new"}
    assert expression.columns_used == {("old", "amount")}


def test_a_row_that_is_not_there_is_null() -> None:
    deleted = PlainChange("DB_DELETE", {}, OLD)
    assert Expression("t", "new == null").test(deleted) is True
    assert Expression("t", "old != null").test(deleted) is True
    assert Expression("t", "has(new.amount)").test(deleted) is False
    assert Expression("t", 'type == "DB_DELETE" || new.published').test(deleted) is True
    assert Expression("t", 'new.published || type == "DB_DELETE"').test(deleted) is True


def test_variables_of_the_rewriting_never_meet_those_of_the_expression() -> None:
    assert Expression("t", "[9].exists(_v0, _v0 == 9 && new.amount == 5)").test(change()) is True


def test_rewriting() -> None:
    assert rewrite("new.a > old.b || new.a == 1", DATABASE.roots).text == "_v0 > _v1 || _v0 == 1"
    assert rewrite("has(new.a) && x.new.a == 'new.a'", DATABASE.roots).text == "_v0 && x.new.a == 'new.a'"
    assert rewrite("new.a(1) + new", DATABASE.roots).text == "new.a(1) + new"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("new.a >", "at character 8: mismatched input 'the end'"),
        ("new.a = 1", "at character 7: token recognition error at: '= '"),
        ("new.a ==\n 'x", "at character 2 of line 2: token recognition error"),
        ("new.a AND old.b", "at character 7: mismatched input 'AND'"),
        ("", "at character 1: mismatched input 'the end'"),
        ("nwe.a > 1", "there is no 'nwe'; did you mean 'new'?"),
        ("amount > 1", "there is no 'amount'"),
        (".new.a > 1", "there is no '.new'; did you mean 'new'?"),
        ("new.a == paid", "there is no 'paid'"),
        ("event.tme == 1", "event has no 'tme'; did you mean 'time'?"),
        ("event.new == 1", "event has no 'new'; write new alone"),
        ("new.a.startWith('x')", "there is no function 'startWith'; did you mean 'startsWith'?"),
        ("lower(new.a) == 'x'", "there is no function 'lower'"),
        ("new.tags.exists(new, new == 1)", "the macro variable 'new' hides the new of the event"),
        ("[1].map(type, type)", "the macro variable 'type' hides the type of the event"),
    ],
)
def test_a_bad_expression_says_what_is_wrong(source: str, message: str) -> None:
    with pytest.raises(BadExpression) as caught:
        Expression("t", source)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("new.note > 1", "`new.note > 1` raised: new.note is null", "guard it: `new.note != null && ...`"),
        ("new.nothing > 1", "new.nothing is not in this DB_UPDATE", "guard it: `has(new.x)"),
        ("old.nothing > 1", "old.nothing is not in this DB_UPDATE", "ALTER TABLE ... REPLICA IDENTITY FULL"),
        ("new.status > 1", "the types of its operands do not fit together", "convert with int(), double() or string()"),
        ("new.doc.zzz > 1", "a key or an index is missing", "guard it"),
        ("new.tags[5] == 'a'", "a key or an index is missing", "guard it"),
        ("new.amount / 0 > 1", "an arithmetic result has no value", "guard it"),
        ("new.big * new.big > 1", "an arithmetic result has no value", "guard it"),
        ("int(new.status) > 1", "a function was given what it cannot take", "look at"),
        ("new.status.matches('(')", "a function was given what it cannot take", "look at"),
        ("new.amount", "gave a number instead of true or false", "compare it"),
        ("new.note", "gave null instead of true or false", "compare it"),
    ],
)
def test_a_failure_names_columns_and_says_what_to_do(source: str, message: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression("welcome", source).test(change())
    assert str(caught.value).startswith("trigger welcome: `")
    assert message in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "source",
    [
        "{}[new.secret] == 1",
        "int(new.secret) > 1",
        "timestamp(new.secret) == null",
        "new.secret > 1",
        "new.secret",
        "''.matches(new.secret)",
        "new.number + 9223372036854775807 > 1",
        "duration(new.secret) == null",
        "[1][new.number] == 1",
    ],
)
def test_a_failure_never_shows_a_value(source: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression("t", source).test(PlainChange(new_row={"secret": "(hunter2", "number": 4711_4711}))
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in f"{error!r} {getattr(error, 'hint', '')}"
        assert "47114711" not in f"{error!r} {getattr(error, 'hint', '')}"
        error = error.__cause__ or error.__context__


def test_a_long_expression_is_cut_in_messages() -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression("t", " && ".join(["new.nothing > 1"] * 100)).test(change())
    assert len(str(caught.value)) < 250


def test_what_the_row_raises_goes_through() -> None:
    class Broken(PlainChange):
        def new(self, column: str) -> object:
            raise ValueNotJson("public.users.amount: not a number")

    with pytest.raises(ValueNotJson):
        Expression("t", "new.amount > 1").test(Broken())


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("new.status", "paid"),
        ("new.amount", "5"),
        ("new.note", "null"),
        ("new.amount == 5", "true"),
        ("new.tags", '["a", "b"]'),
        ("new.status + '/' + string(new.amount)", "paid/5"),
        ("new.doc", '{"a": {"b": 7}}'),
    ],
)
def test_a_key_as_text(source: str, text: str) -> None:
    assert Expression("t", source).text(change()) == text


def test_exact_numerics_compare() -> None:
    assert (
        Expression("t", "new.total > 100 && new.total < 100.5").test(PlainChange(new_row={"total": Decimal("100.25")})) is True
    )
