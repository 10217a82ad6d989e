"""A condition taken apart: which of its parts say yes, which no, and what they saw. For people who ask why; the live path never does.

The rules:
- parts are what `&&` and `||` join on the outside; whatever stands in a call, an index, a macro or a choice (`? :`) stays one part;
- each part is evaluated by itself, so one that raises is told even where CEL would not have looked at it;
- the verdict is the whole condition's own, never put together from parts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from cdcd.errors import EventError
from cdcd.triggers.exact import Digits, Exact
from cdcd.triggers.expressions import BadExpression, Expression, Facts
from cdcd.triggers.tokens import Token, tokens
from cdcd.triggers.vocabulary import Vocabulary

LONGEST = 200  # characters of a value that is shown
WHOLE = 2.0**53  # from here on a float need not be the number that was meant
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


@dataclass(slots=True, frozen=True)
class Part:
    """One part of a condition. `holds`: its verdict, None when it raised: then `error` says why. `values` are what it saw, by name
    (`new.total`), fit for JSON; what is missing is left out. `joined`: by what the parts are joined (`&&`, `||`, "" for one)."""

    text: str
    holds: bool | None
    values: Mapping[str, object]
    error: str = ""
    parts: tuple["Part", ...] = field(default=())
    joined: str = ""

    def leaves(self) -> Iterator["Part"]:
        """The parts that have none."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()

    def decisive(self) -> tuple["Part", ...]:
        """The leaves that made the condition what it is: those that said no, yes, or raised."""
        if not self.parts:
            return (self,)
        alike = [part for part in self.parts if part.holds is self.holds]
        return tuple(leaf for part in alike or self.parts for leaf in part.decisive())


def take_apart(trigger: str, source: str, vocabulary: Vocabulary, facts: Facts) -> Part:
    """Why this condition of the trigger says what it says of `facts`. `source` must compile."""
    mark, pieces = _split(source)
    parts = tuple(take_apart(trigger, piece, vocabulary, facts) for piece in pieces) if mark else ()
    try:
        expression = Expression(trigger, source, vocabulary)
    except BadExpression as error:  # a piece that means nothing by itself
        return Part(_shown(source), None, {}, str(error), parts, mark)
    holds: bool | None = None
    wrong = ""
    try:
        holds = expression.test(facts)
    except EventError as error:
        wrong = error.explain()
    return Part(_shown(source), holds, _values(expression, facts), wrong, parts, mark)


def plain(value: object) -> object:
    """A value that an expression saw, fit for JSON; a long text or one of many values is cut."""
    if isinstance(value, Exact | Digits):
        return value.text
    if isinstance(value, float) and value.is_integer() and abs(value) < WHOLE:
        return int(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    text = str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _values(expression: Expression, facts: Facts) -> dict[str, object]:
    found: dict[str, object] = {}
    for root, member in sorted(expression.columns_used):
        try:
            found[f"{root}.{member}"] = plain(facts.reader(root)(member))
        except KeyError:
            continue
        except EventError:
            found[f"{root}.{member}"] = "(cannot be read)"
    if expression.uses_type:
        found["type"] = facts.type
    return found


def _split(source: str) -> tuple[str, list[str]]:
    """The mark that joins the outermost parts, and these; "" when there is one. `||` binds less than `&&`, `?` less than both."""
    found = _bare(tokens(source))
    if not found:
        return "", []
    outer = _outside(found)
    if any(found[at].text == "?" for at in outer):
        return "", []
    for mark in ("||", "&&"):
        places = [at for at in outer if found[at].text == mark and found[at].kind == "mark"]
        if places:
            edges = [-1, *places, len(found)]
            runs = [found[low + 1 : high] for low, high in pairwise(edges)]
            return mark, [source[run[0].start : run[-1].end] for run in runs if run]
    return "", []


def _bare(found: list[Token]) -> list[Token]:
    """Without the parentheses around all of it."""
    while len(found) > 2 and found[0].text == "(" and found[-1].text == ")" and not _outside(found[:-1]):
        found = found[1:-1]
    return found


def _outside(found: list[Token]) -> list[int]:
    """Which tokens stand in no bracket."""
    depth, places = 0, []
    for at, token in enumerate(found):
        if token.kind == "mark" and token.text in _CLOSING:
            depth -= 1
        elif token.kind == "mark" and token.text in _OPENING:
            depth += 1
        elif depth == 0:
            places.append(at)
    return places


def _shown(source: str) -> str:
    """On one line, without the parentheses around all of it."""
    found = _bare(tokens(source))
    return " ".join(source[found[0].start : found[-1].end].split()) if found else source
