"""CEL expressions of triggers: compiled at load, evaluated per change on the used columns alone.

An expression sees `type` (text), `new` and `old` (the row as a map of columns, null when there is none) and `event` with
`time` (timestamp of the commit), `source`, `subject`, `key`, `type`, `txid`, `database`, `schema`, `table`.

An evaluation that raises is the event's fault or the expression's, never the daemon's: it becomes an ExpressionError that
names the trigger, the expression and the columns concerned. It never quotes a value: rows do not belong in logs. That is why
CEL's own text, which may, is dropped.
"""

import json
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Protocol

import cel

from cdcd.errors import CdcdError, EventError, ExpressionError
from cdcd.triggers.rewriting import ROOTS, Flat, rewrite

EVENT_ATTRIBUTES = ("time", "source", "subject", "key", "type", "txid", "database", "schema", "table")
VARIABLES = ("type", *ROOTS)
TYPE_NAMES = frozenset(
    {"bool", "bytes", "double", "duration", "int", "list", "map", "null_type", "string", "timestamp", "uint"}
)
FUNCTIONS = frozenset(
    {"bytes", "double", "dyn", "duration", "int", "string", "timestamp", "type", "uint"}
    | {"contains", "endsWith", "has", "matches", "size", "startsWith"}
    | {"all", "exists", "exists_one", "existsOne", "filter", "map"}
    | {"getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getMonth"}
    | {"getHours", "getMilliseconds", "getMinutes", "getSeconds"}
    | {"hasValue", "none", "of", "ofNonZeroValue", "or", "orValue", "value"}
)
EXCERPT = 120  # characters of an expression that a message quotes


class Row(Protocol):
    """What an expression may ask of a change.

    Values are int, float, bool, str, bytes, None, list, dict, Decimal or an aware datetime. Any of these methods may raise an
    EventError, which goes to the caller as it is.
    """

    @property
    def type(self) -> str:
        """`DB_INSERT`, `DB_UPDATE`, ..."""
        ...

    def new(self, column: str) -> object:
        """The new row's value; KeyError when there is no such row or column, or the server did not send it."""
        ...

    def old(self, column: str) -> object:
        """The old row's value; KeyError as above."""
        ...

    def new_columns(self) -> Iterable[str]:
        """The columns that `new` has a value for; none when there is no new row."""
        ...

    def old_columns(self) -> Iterable[str]:
        """The columns that `old` has a value for; none when there is no old row."""
        ...

    def attribute(self, name: str) -> object:
        """One of EVENT_ATTRIBUTES. `time` is an aware datetime, `txid` an int, the others are text."""
        ...


class BadExpression(CdcdError):
    """An expression that cannot be compiled; its author must mend it."""


class Expression:
    """One compiled expression of one trigger.

    `columns_used` are the columns it names, as ("new" | "old", column). `whole` are the roots it uses as values.
    """

    __slots__ = (
        "_attributes",
        "_by_type",
        "_execute",
        "_has",
        "_new",
        "_old",
        "_only_new",
        "_rewritten",
        "_uses_type",
        "columns_used",
        "source",
        "trigger",
        "whole",
    )

    def __init__(self, trigger: str, source: str) -> None:
        """Raises BadExpression."""
        self.trigger = trigger
        self.source = source
        _compile(source)  # for the places in its messages: of the text as written
        rewritten = rewrite(source)
        if taken := sorted(rewritten.bound & set(VARIABLES)):
            raise BadExpression(
                f"the macro variable '{taken[0]}' hides the {taken[0]} of the event", hint="give it another name"
            )
        flats, self.whole = rewritten.flats, rewritten.whole
        program = _compile(rewritten.text)
        self._uses_type = rewritten.type_variable in program.variables()
        _check_names(program, {flat.variable for flat in flats} | rewritten.bound | {rewritten.type_variable})
        for flat in flats:
            if flat.root == "event" and flat.member not in EVENT_ATTRIBUTES:
                raise BadExpression(f"event has no '{flat.member}'{_nearest(flat.member, EVENT_ATTRIBUTES)}")
        self.columns_used = frozenset((flat.root, flat.member) for flat in flats if flat.root != "event")
        self._execute: _Execute = program.execute
        self._rewritten = rewritten
        self._by_type: dict[str, _Execute] = {}
        self._new = _pairs(flats, "new")
        self._old = _pairs(flats, "old")
        self._has = tuple(flat for flat in flats if flat.presence)
        self._attributes = _pairs(flats, "event")
        self._only_new = not (self._old or self._has or self._attributes or self.whole)

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"

    @property
    def uses_type(self) -> bool:
        """Whether it looks at `type`."""
        return self._uses_type or any(name == "type" for _, name in self._attributes) or "event" in self.whole

    def evaluate(self, row: Row) -> object:
        """Its value for this row. Raises ExpressionError, the EventErrors that `row` raises, and nothing else."""
        try:
            return self._evaluate(row)
        except (EventError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # a panic of the Rust side is no Exception
            failure = self._explain(error, row)
        raise failure

    def _evaluate(self, row: Row) -> object:
        values: dict[str, object] = {}
        new = row.new
        for variable, column in self._new:
            try:
                values[variable] = new(column)
            except KeyError:  # missing in CEL too, which may never look at it
                pass
        if not self._only_new:
            self._add_rest(values, row)
        execute = self._execute
        if self._uses_type:
            execute = self._by_type.get(row.type) or self._for_type(row.type)
        return execute(values)

    def test(self, row: Row) -> bool:
        """Its verdict as a condition. Raises ExpressionError, also when it is neither true nor false."""
        value = self.evaluate(row)
        if value is True:
            return True
        if value is False:
            return False
        raise ExpressionError(
            f"trigger {self.trigger}: `when: {self._excerpt()}` gave {_kind(value)} instead of true or false",
            hint="compare it with something, as in `new.published == true`",
        )

    def text(self, row: Row) -> str:
        """Its value as the text of a lane. Raises ExpressionError."""
        value = self.evaluate(row)
        if isinstance(value, str):
            return value
        try:
            if value is None or isinstance(value, (bool, int, float, list, dict)):
                return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
            return str(value)
        except Exception:  # noqa: BLE001  # such as a map whose keys have no order among them; its words may quote values
            failure = ExpressionError(
                f"trigger {self.trigger}: `key: {self._excerpt()}` gave {_kind(value)} that cannot be written as text",
                hint="give text, as in `string(new.id)`; the keys of a map must all be of one type",
            )
        raise failure

    def _for_type(self, kind: str) -> "_Execute":
        """The program for events of this type, which stands in it as a literal. There are few types, so they are kept."""
        text = self._rewritten.text.replace(self._rewritten.type_variable, json.dumps(kind, ensure_ascii=False))
        execute = self._by_type[kind] = _compile(text).execute
        return execute

    def _add_rest(self, values: dict[str, object], row: Row) -> None:
        for variable, column in self._old:
            try:
                values[variable] = row.old(column)
            except KeyError:
                pass
        for variable, name in self._attributes:
            values[variable] = row.attribute(name)
        for flat in self._has:
            values[flat.variable] = flat.root == "event" or _has(row, flat)
        for root in self.whole:
            values[root] = _whole(row, root)

    def _explain(self, error: BaseException, row: Row) -> ExpressionError:
        """Say it in words that name columns and never values."""
        missing = self._columns_that(row, lambda value: value is _MISSING)
        nulls = self._columns_that(row, lambda value: value is None)
        hint = 'guard it: `has(new.x) && ...`, or `type == "DB_DELETE" || ...` where there is no such row'
        if isinstance(error, (RuntimeError, LookupError)) and missing:
            why = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not in this {row.type}"
            if any(name.startswith("old.") for name in missing) and row.type != "DB_INSERT":
                hint = "old has only the key columns unless the table's owner runs: ALTER TABLE ... REPLICA IDENTITY FULL"
        elif isinstance(error, TypeError) and nulls:
            why = f"{' and '.join(nulls)} {'is' if len(nulls) == 1 else 'are'} null"
            hint = f"guard it: `{nulls[0]} != null && ...`"
        elif isinstance(error, TypeError):
            why, hint = "the types of its operands do not fit together", "convert with int(), double() or string()"
        elif isinstance(error, LookupError):
            why = "a key or an index is missing"
        elif isinstance(error, ArithmeticError):
            why, hint = "an arithmetic result has no value (division by zero or overflow)", "guard it, or use double()"
        else:
            why, hint = "a function was given what it cannot take", "look at what the functions of the expression are given"
        return ExpressionError(f"trigger {self.trigger}: `{self._excerpt()}` raised: {why}", hint=hint)

    def _columns_that(self, row: Row, wanted: "_Wanted") -> list[str]:
        found = []
        for root, column in sorted(self.columns_used):
            try:
                value = row.new(column) if root == "new" else row.old(column)
            except KeyError:
                value = _MISSING
            except Exception:  # noqa: BLE001  # it cannot be read: nothing is known of it
                value = _UNREADABLE
            if wanted(value):
                found.append(f"{root}.{column}")
        return found

    def _excerpt(self) -> str:
        text = " ".join(self.source.split())
        return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


_Execute = Callable[[dict[str, object]], object]


class _Wanted(Protocol):
    def __call__(self, value: object, /) -> bool: ...


_MISSING = object()
_UNREADABLE = object()


def _pairs(flats: tuple[Flat, ...], root: str) -> tuple[tuple[str, str], ...]:
    return tuple((flat.variable, flat.member) for flat in flats if flat.root == root and not flat.presence)


def _has(row: Row, flat: Flat) -> bool:
    return flat.member in (row.new_columns() if flat.root == "new" else row.old_columns())


def _whole(row: Row, root: str) -> object:
    if root == "event":
        return {name: row.attribute(name) for name in EVENT_ATTRIBUTES}
    read, columns = (row.new, row.new_columns()) if root == "new" else (row.old, row.old_columns())
    return {column: read(column) for column in columns} or None


def _compile(source: str) -> cel.Program:
    problem = ""
    try:
        return cel.compile(source)
    except Exception as error:  # noqa: BLE001  # ValueError today; whatever it is, it speaks of the source alone
        problem = str(error)
    raise BadExpression(_syntax(problem))


def _syntax(problem: str) -> str:
    """The first complaint of CEL's parser as `position: what`."""
    for line in problem.splitlines():
        place, found, what = line.partition("ERROR: <input>:")[2].partition(": ")
        if found:
            number, _, column = place.partition(":")
            what = what.removeprefix("Syntax error: ").partition(" expecting {")[0]
            return f"at character {column}{'' if number == '1' else f' of line {number}'}: {what.replace('<EOF>', 'the end')}"
    return problem.splitlines()[0] if problem else "not an expression"


def _check_names(program: cel.Program, known: set[str]) -> None:
    for name in program.variables():
        if name not in known and name not in VARIABLES and name not in TYPE_NAMES:
            raise BadExpression(
                f"there is no '{name}'{_nearest(name, VARIABLES)}",
                hint='an expression sees type, new, old and event; text is "quoted"',
            )
    for name in program.functions():
        if name.isidentifier() and name[0] != "_" and name[-1] != "_" and name not in FUNCTIONS:
            raise BadExpression(f"there is no function '{name}'{_nearest(name, FUNCTIONS)}")


def _nearest(name: str, valid: Iterable[str]) -> str:
    close = get_close_matches(name, list(valid), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _kind(value: object) -> str:
    names = {str: "text", int: "a number", float: "a number", type(None): "null", list: "a list", dict: "a map"}
    return names.get(type(value), type(value).__name__)
