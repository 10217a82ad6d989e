"""Text with expressions in it: `Order ${ new.id } of ${ old.total }`. `$${` stands for a plain `${`.

A text that is one expression and nothing else keeps the type of its value; what is inside is CEL, which is not looked at here.
"""

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Code:
    """What stands between `${` and `}`, without the space around it."""

    text: str


Piece = str | Code


def pieces(text: str) -> list[Piece]:
    """The literal texts and the expressions, in order; no literal is empty. Raises ValueError for a `${` that has no end."""
    found: list[Piece] = []
    literal: list[str] = []
    at = 0
    while at < len(text):
        if text.startswith("$${", at):
            literal.append("${")
            at += 3
        elif text.startswith("${", at):
            end = _end(text, at + 2)
            if literal:
                found.append("".join(literal))
                literal.clear()
            found.append(Code(text[at + 2 : end].strip()))
            at = end + 1
        else:
            literal.append(text[at])
            at += 1
    if literal:
        found.append("".join(literal))
    return found


def escaped(literal: str) -> str:
    """`literal` as it must be written so that nothing in it is an expression."""
    return literal.replace("${", "$${")


def has_code(value: object) -> bool:
    """Whether any text in a YAML value has an expression in it."""
    if isinstance(value, str):
        return any(isinstance(piece, Code) for piece in pieces(value))
    if isinstance(value, dict):
        return any(has_code(item) for item in value.values())
    return isinstance(value, list) and any(has_code(item) for item in value)


def inside(option: str, part: str | int) -> str:
    """The option that is a member, or an item counted from 0, of another: `payload.items[1]`."""
    return f"{option}[{part + 1}]" if isinstance(part, int) else f"{option}.{part}"


def _end(text: str, at: int) -> int:
    """Where the `}` stands that closes what begins at `at`: braces nest, and those in quoted text do not count."""
    depth = 0
    while at < len(text):
        mark = text[at]
        if mark in "\"'":
            quote = mark * 3 if text.startswith(mark * 3, at) else mark
            at = _behind(text, at + len(quote), quote)
            continue
        if mark == "{":
            depth += 1
        elif mark == "}":
            if not depth:
                return at
            depth -= 1
        at += 1
    raise ValueError("a ${ without its }; a plain ${ is written $${")


def _behind(text: str, at: int, quote: str) -> int:
    while at < len(text) and not text.startswith(quote, at):
        at += 2 if text[at] == "\\" else 1
    return at + len(quote)
