"""CEL expressions of triggers: compiled at load, evaluated per change on the used columns alone.

What an expression sees is its kind's vocabulary (`cdcd.triggers.vocabulary`). Over rows: `type` (text), `new` and `old` (the row as
a map of columns, null when there is none) and `event` with `time` (timestamp of the commit), `source`, `subject`, `key`, `type`,
`txid`, `database`, `schema`, `table`.

An evaluation that raises is the event's fault or the expression's, never the daemon's: it becomes an ExpressionError that
names the trigger, the expression and the columns concerned. It never quotes a value: rows do not belong in logs. That is why
CEL's own text, which may, is dropped.
"""

import json
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Protocol

from cdcd.errors import CdcdError, EventError, ExpressionError
from cdcd.triggers.celib import cel
from cdcd.triggers.rewriting import Flat, rewrite
from cdcd.triggers.tokens import tokens
from cdcd.triggers.vocabulary import DATABASE, Vocabulary

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


class Facts(Protocol):
    """What an expression may ask of something that happened.

    Values are int, float, bool, str, bytes, None, list, dict, Decimal or an aware datetime. Any of these methods may raise an
    EventError, which goes to the caller as it is.
    """

    @property
    def type(self) -> str:
        """`DB_INSERT`, `DB_UPDATE`, ..."""
        ...

    def reader(self, root: str) -> Callable[[str], object]:
        """What gives the members of a root (a row's column, an attribute of `event`): it raises KeyError when there is no such root
        or member, or the server did not send it. `event.time` is an aware datetime, `event.txid` an int, its others are text."""
        ...

    def members(self, root: str) -> Iterable[str]:
        """The names that the root has a value for; none when there is no such row. Not asked for `event`."""
        ...


class BadExpression(CdcdError):
    """An expression that cannot be compiled; its author must mend it."""


class Expression:
    """One compiled expression of one trigger.

    `columns_used` are the columns (members) it names, as (root, column). `whole` are the roots it uses as values.
    """

    __slots__ = (
        "_by_type",
        "_execute",
        "_has",
        "_reads",
        "_rewritten",
        "_uses_type",
        "_vocabulary",
        "columns_used",
        "source",
        "trigger",
        "whole",
    )

    def __init__(self, trigger: str, source: str, vocabulary: Vocabulary = DATABASE) -> None:
        """Raises BadExpression."""
        self.trigger = trigger
        self.source = source
        self._vocabulary = vocabulary
        _compile(source)  # for the places in its messages: of the text as written
        rewritten = rewrite(source, vocabulary.roots)
        if taken := sorted(rewritten.bound & set(vocabulary.variables)):
            raise BadExpression(
                f"the macro variable '{taken[0]}' hides the {taken[0]} of the event", hint="give it another name"
            )
        flats, self.whole = rewritten.flats, rewritten.whole
        program = _compile(rewritten.text)
        self._uses_type = rewritten.type_variable in program.variables()
        ours = {flat.variable for flat in flats} | rewritten.bound | {rewritten.type_variable}
        _check_names(program, ours, vocabulary)
        for flat in flats:
            valid = vocabulary.attributes if flat.root == "event" else vocabulary.members.get(flat.root)
            if valid is not None and flat.member not in valid:
                beside = f"; write {flat.member} alone" if flat.member in vocabulary.variables else _nearest(flat.member, valid)
                raise BadExpression(f"{flat.root} has no '{flat.member}'{beside}")
        self.columns_used = frozenset((flat.root, flat.member) for flat in flats if flat.root != "event")
        self._execute: _Execute = program.execute
        self._rewritten = rewritten
        self._by_type: dict[str, _Execute] = {}
        self._reads = tuple((root, pairs) for root in vocabulary.roots if (pairs := _pairs(flats, root)))
        self._has = tuple(flat for flat in flats if flat.presence)

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"

    @property
    def uses_type(self) -> bool:
        """Whether it looks at `type`."""
        attributes = next((pairs for root, pairs in self._reads if root == "event"), ())
        return self._uses_type or any(name == "type" for _, name in attributes) or "event" in self.whole

    @property
    def column(self) -> tuple[str, str] | None:
        """The column, as ("new" | "old", name), when the expression is nothing else."""
        if self.whole or len(self.columns_used) != 1:
            return None
        ((root, name),) = self.columns_used
        return (root, name) if self.source in (f"{root}.{name}", f'{root}["{name}"]', f"{root}['{name}']") else None

    @property
    def computed(self) -> frozenset[tuple[str, str]]:
        """The columns that it may calculate with as they come: it has an operator of arithmetic, and no `double()` around them."""
        found = [token.text for token in tokens(self.source)]
        if not set(found) & {"+", "-", "*", "/", "%"}:
            return frozenset()
        text = "".join(found)
        return frozenset((root, name) for root, name in self.columns_used if f"double({root}.{name})" not in text)

    @property
    def is_constant(self) -> bool:
        """Whether it looks at nothing of what happened."""
        return not (self._reads or self._has or self.whole or self._uses_type)

    def evaluate(self, row: Facts) -> object:
        """Its value for this row. Raises ExpressionError, the EventErrors that `row` raises, and nothing else."""
        try:
            return self._evaluate(row)
        except (EventError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # a panic of the Rust side is no Exception
            failure = self._explain(error, row)
        raise failure

    def _evaluate(self, row: Facts) -> object:
        values: dict[str, object] = {}
        for root, pairs in self._reads:
            read = row.reader(root)
            for variable, member in pairs:
                try:
                    values[variable] = read(member)
                except KeyError:  # missing in CEL too, which may never look at it
                    pass
        for flat in self._has:
            values[flat.variable] = flat.root == "event" or flat.member in row.members(flat.root)
        for root in self.whole:
            values[root] = self._whole(row, root)
        execute = self._execute
        if self._uses_type:
            execute = self._by_type.get(row.type) or self._for_type(row.type)
        return execute(values)

    def test(self, row: Facts) -> bool:
        """Its verdict as a condition. Raises ExpressionError, also when it is neither true nor false."""
        value = self.evaluate(row)
        if value is True:
            return True
        if value is False:
            return False
        raise ExpressionError(
            f"trigger {self.trigger}: `when: {self.excerpt()}` gave {_kind(value)} instead of true or false",
            hint="compare it with something, as in `new.published == true`",
        )

    def text(self, row: Facts) -> str:
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
                f"trigger {self.trigger}: `key: {self.excerpt()}` gave {_kind(value)} that cannot be written as text",
                hint="give text, as in `string(new.id)`; the keys of a map must all be of one type",
            )
        raise failure

    def _for_type(self, kind: str) -> "_Execute":
        """The program for events of this type, which stands in it as a literal. There are few types, so they are kept."""
        text = self._rewritten.text.replace(self._rewritten.type_variable, json.dumps(kind, ensure_ascii=False))
        execute = self._by_type[kind] = _compile(text).execute
        return execute

    def _whole(self, row: Facts, root: str) -> object:
        read = row.reader(root)
        if root == "event":
            return {name: read(name) for name in self._vocabulary.attributes}
        return {name: read(name) for name in row.members(root)} or None

    def _explain(self, error: BaseException, row: Facts) -> ExpressionError:
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
        return ExpressionError(f"trigger {self.trigger}: `{self.excerpt()}` raised: {why}", hint=hint)

    def _columns_that(self, row: Facts, wanted: "_Wanted") -> list[str]:
        found = []
        for root, column in sorted(self.columns_used):
            try:
                value = row.reader(root)(column)
            except KeyError:
                value = _MISSING
            except Exception:  # noqa: BLE001  # it cannot be read: nothing is known of it
                value = _UNREADABLE
            if wanted(value):
                found.append(f"{root}.{column}")
        return found

    def excerpt(self) -> str:
        """Its text as messages quote it."""
        text = " ".join(self.source.split())
        return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


_Execute = Callable[[dict[str, object]], object]


class _Wanted(Protocol):
    def __call__(self, value: object, /) -> bool: ...


_MISSING = object()
_UNREADABLE = object()


def _pairs(flats: tuple[Flat, ...], root: str) -> tuple[tuple[str, str], ...]:
    return tuple((flat.variable, flat.member) for flat in flats if flat.root == root and not flat.presence)


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


def _check_names(program: cel.Program, known: set[str], vocabulary: Vocabulary) -> None:
    valid = vocabulary.variables
    for name in program.variables():
        if name not in known and name not in valid and name not in TYPE_NAMES:
            raise BadExpression(
                f"there is no '{name}'{_nearest(name, valid)}",
                hint=f'an expression sees {", ".join(valid[:-1])} and {valid[-1]} here; text is "quoted"',
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
