"""Values with expressions in them, compiled at load: what is `${ CEL }` in a text becomes a value when a request is made.

- A text that is one expression keeps the type of its value: `${ new.total }` gives a number. What CEL has and JSON has not becomes
  text: a timestamp RFC 3339, a duration seconds (`"90s"`), bytes base64.
- Mixed text is put together of texts; what is no text stands in it as in JSON. null has no text, so it is an error there.
- CEL's maps have no order; what it gives is written in the order of the names, so that each attempt sends the same.
- An expression that only names a value (`new.doc.total`) does not go through CEL: it passes on what is stored, with every digit.

Errors are EventErrors in words that quote no value.
"""

import math
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cdcd.config.templates import Code, inside, pieces
from cdcd.errors import ExpressionError
from cdcd.triggers.exact import Digits, write
from cdcd.triggers.expressions import BadExpression, Expression
from cdcd.triggers.stored import Stored
from cdcd.triggers.tokens import tokens
from cdcd.triggers.vocabulary import Vocabulary

Mistake = Callable[[str, str], None]
"""Takes the option (`payload.items[1].id`) and what is wrong there."""


@dataclass(slots=True, frozen=True)
class Term:
    """One expression. `path` is not empty when it only names a value: the root and the way from there."""

    expression: Expression
    path: tuple[str | int, ...] = ()

    def value(self, facts: Stored) -> object:
        """A JSON value (`cdcd.triggers.exact`). Raises EventError."""
        if self.path:
            value: object = facts.roots
            for part in self.path:
                if isinstance(value, dict if isinstance(part, str) else list):
                    try:
                        value = value[part]  # type: ignore[index]
                        continue
                    except LookupError:
                        pass
                break  # CEL says what is wrong
            else:
                return value
        return self._plain(self.expression.evaluate(facts))

    def text(self, facts: Stored) -> str:
        """The value as it stands in mixed text. Raises EventError, also for null."""
        value = self.value(facts)
        if isinstance(value, str):
            return value
        if value is None:
            raise self._refused("gave null, which has no text", 'guard it: `x == null ? "" : string(x)`')
        return write(value).decode()

    def _plain(self, value: object) -> object:
        if value is None or isinstance(value, (str, int)):
            return value
        if isinstance(value, float):
            if not math.isfinite(value):
                raise self._refused("gave a number that is not finite, which JSON has not", "look for a division by zero")
            return value
        if isinstance(value, list):
            return [self._plain(item) for item in value]
        if isinstance(value, dict):  # in any order, another one each time
            named = {self._name(name): self._plain(item) for name, item in value.items()}
            if len(named) < len(value):
                raise self._refused("gave a map with two members of one name", "the names 1 and '1' are the same in JSON")
            return dict(sorted(named.items()))
        if isinstance(value, datetime):
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        if isinstance(value, timedelta):
            return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
        if isinstance(value, bytes):
            return b64encode(value).decode()
        raise self._refused("gave what has no JSON form", "an optional value needs `.orValue(...)`")

    def _name(self, name: object) -> str:
        return name if isinstance(name, str) else write(self._plain(name)).decode()

    def _refused(self, why: str, hint: str) -> ExpressionError:
        return ExpressionError(f"trigger {self.expression.trigger}: `{self.expression.excerpt()}` {why}", hint=hint)


Text = tuple[str | Term, ...]
"""Mixed text: literal texts and expressions in order."""

Node = object
"""A compiled value: Term, Text (a tuple), list or dict of nodes, or a constant."""


class Compiler:
    """Compiles the texts of one trigger. Mistakes are told with the option that they stand in; what is wrong becomes null."""

    def __init__(self, trigger: str, vocabulary: Vocabulary, mistake: Mistake) -> None:
        self._trigger = trigger
        self._vocabulary = vocabulary
        self._mistake = mistake
        self.expressions: list[tuple[str, Expression]] = []
        """Every expression with its option."""

    def node(self, value: object, at: str) -> Node:
        """A YAML value. A text of one expression becomes a Term, of several pieces a tuple."""
        if isinstance(value, str):
            found = self.text(value, at)
            if len(found) == 1 and isinstance(found[0], Term):
                return found[0]
            return "".join(map(str, found)) if all(isinstance(piece, str) for piece in found) else found
        if isinstance(value, dict):
            for name in value:
                if "${" in name:
                    self._mistake(inside(at, name), "expressions stand in values, not in names")
            return {name: self.node(item, inside(at, name)) for name, item in value.items()}
        if isinstance(value, list):
            return [self.node(item, inside(at, index)) for index, item in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            self._mistake(at, "is not a finite number, which JSON has not; put it in quotes if it is text")
        if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
            return Digits(str(value))
        return value

    def text(self, text: str, at: str) -> Text:
        """The pieces of a text."""
        try:
            found = pieces(text)
        except ValueError as error:
            self._mistake(at, str(error))
            return ()
        compiled = (piece if isinstance(piece, str) else self._term(piece, at) for piece in found)
        return tuple(piece for piece in compiled if piece is not None)

    def _term(self, code: Code, at: str) -> Term | None:
        if not code.text:
            self._mistake(at, "there is no expression between ${ and }; a plain ${ is written $${")
            return None
        try:
            expression = Expression(self._trigger, code.text, self._vocabulary)
        except BadExpression as error:
            self._mistake(at, str(error) + (f" ({error.hint})" if error.hint else ""))
            return None
        self.expressions.append((at, expression))
        term = Term(expression, _path(code.text, self._vocabulary))
        if expression.is_constant:
            try:
                term.value(_NOTHING)
            except ExpressionError as error:
                self._mistake(at, str(error).partition(": ")[2] + (f" ({error.hint})" if error.hint else ""))
        return term


def value_of(node: Node, facts: Stored) -> object:
    """The JSON value that a node gives. Raises EventError."""
    if isinstance(node, Term):
        return node.value(facts)
    if isinstance(node, tuple):
        return text_of(node, facts)
    if isinstance(node, dict):
        return {name: value_of(item, facts) for name, item in node.items()}
    if isinstance(node, list):
        return [value_of(item, facts) for item in node]
    return node


def text_of(text: Text, facts: Stored) -> str:
    """The text that its pieces give. Raises EventError."""
    return "".join([piece if isinstance(piece, str) else piece.text(facts) for piece in text])


def is_constant(node: Node) -> bool:
    """Whether it is the same for every event."""
    if isinstance(node, dict):
        return all(map(is_constant, node.values()))
    if isinstance(node, list):
        return all(map(is_constant, node))
    return not isinstance(node, Term) and not (isinstance(node, tuple) and any(isinstance(piece, Term) for piece in node))


_NOTHING = Stored("", "", "", 0, {}, {})


def _path(source: str, vocabulary: Vocabulary) -> tuple[str | int, ...]:
    """The way to the value that the expression only names; empty when it does more, or names no stored value."""
    found = tokens(source)
    if not found or found[0].text not in vocabulary.roots or found[0].text == "event":
        return ()
    path: list[str | int] = [found[0].text]
    at = 1
    while at < len(found):
        texts = [token.text for token in found[at : at + 3]]
        kinds = [token.kind for token in found[at : at + 3]]
        if texts[0] == "." and kinds[1:2] == ["name"] and texts[2:3] != ["("]:
            path.append(texts[1])
            at += 2
        elif len(texts) == 3 and texts[0] == "[" and texts[2] == "]" and (part := _index(texts[1], kinds[1])) is not None:
            path.append(part)
            at += 3
        else:
            return ()
    return tuple(path)


def _index(text: str, kind: str) -> str | int | None:
    if kind == "number" and text.isdecimal() and len(text) < 10:
        return int(text)
    plain = text[1:-1]
    if kind == "string" and text[0] in "'\"" and "\\" not in plain and text[0] not in plain:
        return plain
    return None
