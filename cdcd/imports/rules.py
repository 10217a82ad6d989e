"""Space Cloud's rule language (filters, security rules) as CEL.

`match`, `and`, `or`, `allow`, `deny` and `authenticated` are translated; what asks a database, a webhook or the clock has no equal. A rule
of Space Cloud's that meets a value of another type, or none, is false; CEL's comparisons of order would raise, so they are guarded.
"""

import re
from collections.abc import Callable

from cdcd.imports.document import Node
from cdcd.imports.templates import NoEqual, literal, member

Lookup = Callable[[list[str]], str]
"""Takes the path behind `args.` and gives its expression. Raises NoEqual."""

TRUE, FALSE = "true", "false"
_ORDER = ("<", "<=", ">", ">=")


def expression(rule: Node, lookup: Lookup) -> str:
    """The rule as CEL: `true` and `false` where it always is. Raises NoEqual."""
    kind = rule.get("rule").text
    if kind in ("allow", "authenticated", ""):
        return TRUE
    if kind == "deny":
        return FALSE
    if kind in ("and", "or"):
        return _joined([expression(clause, lookup) for clause in rule.get("clauses").items], kind)
    if kind == "match":
        return _match(rule, lookup)
    raise NoEqual(f"a rule `{kind}`")


def _joined(parts: list[str], kind: str) -> str:
    """Space Cloud's `and` of nothing is true, its `or` of nothing false."""
    neutral, absorbing = (TRUE, FALSE) if kind == "and" else (FALSE, TRUE)
    if absorbing in parts:
        return absorbing
    parts = [part for part in parts if part != neutral]
    if not parts:
        return neutral
    sign = " && " if kind == "and" else " || "
    return sign.join(f"({part})" if (" || " in part or " && " in part) and len(parts) > 1 else part for part in parts)


def _match(rule: Node, lookup: Lookup) -> str:
    kind, sign = rule.get("type").text, rule.get("eval").text
    left, left_free = _operand(rule.get("f1"), kind, lookup)
    right, right_free = _operand(rule.get("f2"), kind, lookup)
    if sign in ("in", "notIn"):
        return f"{left} in {right}" if sign == "in" else f"!({left} in {right})"
    if sign in ("==", "!="):
        return f"{left} {sign} {right}"
    if sign in _ORDER and kind in ("number", "date"):
        if kind == "date":
            left, right = f"timestamp({left})", f"timestamp({right})"
        guards = [f"{name} != null" for name, free in ((left_free, left_free), (right_free, right_free)) if free]
        return " && ".join([*guards, f"{left} {sign} {right}"])
    raise NoEqual(f"a match of type `{kind}` with `{sign}`")


def _operand(node: Node, kind: str, lookup: Lookup) -> tuple[str, str]:
    """The expression of an operand, and the name that may be null ("": a constant)."""
    text = node.text if isinstance(node.value, str) else ""
    if text.startswith("args."):
        named = lookup(re.split(r"\.|\[|\]\.?", text.rstrip("]"))[1:])
        return named, named
    if text.startswith("utils."):
        raise NoEqual(f"`{text}`")
    value = node.plain()
    if kind == "number" and isinstance(value, str) and node.number is not None:
        value = node.number if not node.number.is_integer() else int(node.number)
    if kind == "bool" and value in ("true", "false"):
        value = value == "true"
    if isinstance(value, dict):
        raise NoEqual("an object to compare with")
    return literal(value), ""


def of_rows(kind: str) -> Lookup:
    """What a filter of a trigger on `DB_*` sees: `args.data` is the change."""
    row = "old" if kind == "DB_DELETE" else "new"

    def lookup(path: list[str]) -> str:
        if path[:1] != ["data"] or len(path) < 2:
            raise NoEqual(f"`args.{'.'.join(path)}`")
        part, rest = path[1], path[2:]
        if part == "doc" and kind != "DB_DELETE":
            return member("new", rest)
        if part == "before" and kind != "DB_INSERT":
            return member("old", rest)
        if part == "find" and rest:
            return member(row, rest)
        if part in ("db", "col") and not rest:
            return "event.database" if part == "db" else "event.table"
        raise NoEqual(f"`args.{'.'.join(path)}`, which a {kind} has not")

    return lookup


def of_custom(path: list[str]) -> str:
    """What a filter of a trigger on a custom type sees: `args.data` is the payload."""
    if path[:1] != ["data"]:
        raise NoEqual(f"`args.{'.'.join(path)}`")
    return member("data", path[1:])


def of_queueing(path: list[str]) -> str:
    """What a security rule sees: `args.auth` are the token's claims, `args.params` is the payload."""
    if path[:1] == ["auth"]:
        return member("auth", path[1:])
    if path[:1] == ["params"]:
        return member("payload", path[1:])
    raise NoEqual(f"`args.{'.'.join(path)}`")
