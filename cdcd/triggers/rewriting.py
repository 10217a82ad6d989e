"""Rewrites `new.amount` to a flat variable, so that only the columns that an expression names are converted.

Handing CEL two whole rows costs ten times as much as handing it the one value that `new.amount` needs. The rewriting keeps the
meaning:

- `new.x`, `new["x"]`       a variable that holds the column, missing when the row lacks it: CEL raises when it is evaluated, and
                            short-circuits around it, as it does for a missing map key
- `has(new.x)`              a variable that is true when the row has the column
- `new` in any other place  stays the whole row, a map, or null when there is no such row (`old` of an insert)

The same holds for the other roots (`cdcd.triggers.vocabulary`). `type` becomes a variable that the caller replaces by a literal,
since a text in the program costs nothing, and one handed over costs as much as the rest of the evaluation.

A macro variable that takes one of these names is refused, so a name always means one
thing. Names in strings, comments and behind a dot are not touched.
"""

from collections.abc import Collection
from dataclasses import dataclass

from cdcd.triggers.tokens import Token, tokens

MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})


@dataclass(slots=True, frozen=True)
class Flat:
    """A variable that stands for a member of a root: a column (`new`, `old`), an attribute (`event`); `presence`: for `has()` of it."""

    variable: str
    root: str
    member: str
    presence: bool


@dataclass(slots=True, frozen=True)
class Rewritten:
    """`text` is CEL again. `whole` are the roots that stayed values. `bound` are the variables of macros.

    `type_variable` stands in `text` for `type`, once for each time it is used.
    """

    text: str
    type_variable: str
    flats: tuple[Flat, ...]
    whole: frozenset[str]
    bound: frozenset[str]


def rewrite(source: str, roots: Collection[str]) -> Rewritten:
    """`source` must be an expression that compiles. `roots` are the names whose members become variables."""
    found = tokens(source)
    prefix = "_v"
    while prefix in source:  # no variable of the expression may be taken for one of ours
        prefix += "_"
    flats: dict[tuple[str, str, bool], Flat] = {}
    whole: set[str] = set()
    pieces: list[str] = []
    copied = 0  # offset in the source up to which `pieces` has it
    for at, token in enumerate(found):
        if token.start < copied or token.kind != "name" or _text(found, at - 1) == ".":
            continue
        if token.text == "type" and _text(found, at + 1) != "(":
            pieces += [source[copied : token.start], f"{prefix}type"]
            copied = token.end
        if token.text not in roots:
            continue
        member, length = _member(found, at)
        if member is None:
            whole.add(token.text)
            continue
        start, end = token.start, found[at + length - 1].end
        presence = False
        if _text(found, at - 1) == "(" and _text(found, at - 2) == "has" and _text(found, at + length) == ")":
            presence = True
            start, end = found[at - 2].start, found[at + length].end
        name = (token.text, member, presence)
        flat = flats.setdefault(name, Flat(f"{prefix}{len(flats)}", *name))
        pieces += [source[copied:start], flat.variable]
        copied = end
    pieces.append(source[copied:])
    return Rewritten("".join(pieces), f"{prefix}type", tuple(flats.values()), frozenset(whole), bound_variables(found))


def bound_variables(found: list[Token]) -> frozenset[str]:
    """The variables that macros bind: `x` in `list.exists(x, ...)`."""
    return frozenset(
        found[at + 3].text
        for at in range(len(found) - 4)
        if found[at].text == "."
        and found[at + 1].text in MACROS
        and found[at + 2].text == "("
        and found[at + 3].kind == "name"
        and found[at + 4].text == ","
    )


def _text(found: list[Token], at: int) -> str:
    return found[at].text if 0 <= at < len(found) else ""


def _member(found: list[Token], at: int) -> tuple[str | None, int]:
    """The member selected right behind the root at `at`, and how many tokens root and selection are."""
    following = found[at + 1 : at + 4]
    if len(following) >= 2 and following[0].text == "." and following[1].kind == "name":
        if _text(found, at + 3) in ("(", "{"):  # a method of the map, or a message name
            return None, 1
        return following[1].text, 3
    if len(following) == 3 and following[0].text == "[" and following[1].kind == "string" and following[2].text == "]":
        quoted = following[1].text
        plain = quoted[1:-1]
        if quoted[0] in "'\"" and "\\" not in plain and quoted[0] not in plain and plain:
            # has(new["x"]) is no CEL, so this never stands directly in has()
            return plain, 4
    return None, 1
