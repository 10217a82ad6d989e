"""Bodies with `{{ ... }}` in them, as Space Cloud's Go templates and Hasura's Kriti write them, become a `payload` with `${ CEL }`.

Only what names a value is translated. A template that decides, repeats or calls has no equal, which is told and not guessed at.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from cdcd.config.templates import escaped
from cdcd.errors import ConfigError
from cdcd.imports.document import read

_CODE = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_MARK = "cdcdvalue{}x"
_MARKS = re.compile(r"cdcdvalue(\d+)x")


class NoEqual(Exception):
    """What stands in a template has no equal; the message says what."""


Express = Callable[[str], str]
"""Takes what stands between `{{` and `}}` and gives the text that stands for it in ours. Raises NoEqual."""


def body(text: str, express: Express) -> Any:
    """The payload of a template whose output is JSON or YAML. Raises NoEqual."""
    found: list[str] = []

    def mark(match: re.Match[str]) -> str:
        found.append(express(match[1]))
        return _MARK.format(len(found) - 1)

    marked = _CODE.sub(mark, text)
    if "{{" in marked:
        raise NoEqual("a {{ without its }}")
    try:
        value = json.loads(_bare(marked))
    except ValueError:
        try:
            documents = read("", marked)
        except ConfigError as error:
            raise NoEqual("what it makes is neither JSON nor YAML before its values are put in") from error
        value = documents[0].plain() if documents else None
    return _put(value, found)


def mixed(text: str, express: Express) -> str:
    """Text with values in it, such as a URL or a header. Raises NoEqual."""
    pieces, at = [], 0
    for match in _CODE.finditer(text):
        pieces += [escaped(text[at : match.start()]), express(match[1])]
        at = match.end()
    if "{{" in text[at:]:
        raise NoEqual("a {{ without its }}")
    return "".join(pieces) + escaped(text[at:])


def _bare(marked: str) -> str:
    """Puts quotes around the marks that stand where a value of JSON would."""
    pieces = re.split(r'("(?:[^"\\]|\\.)*")', marked)
    return "".join(piece if piece.startswith('"') else _MARKS.sub(r'"\g<0>"', piece) for piece in pieces)


def _put(value: Any, found: list[str]) -> Any:
    if isinstance(value, dict):
        if any(_MARKS.search(str(name)) for name in value):
            raise NoEqual("a value in the name of a member")
        return {str(name): _put(item, found) for name, item in value.items()}
    if isinstance(value, list):
        return [_put(item, found) for item in value]
    if not isinstance(value, str):
        return value
    pieces = re.split(r"(cdcdvalue\d+x)", value)
    return "".join(found[int(match[1])] if (match := _MARKS.fullmatch(piece)) else escaped(piece) for piece in pieces)


def member(root: str, path: list[str]) -> str:
    """An expression that names a member of a member: `new.total`, `data.lines[0]`, `new["order no"]`."""
    text = root
    for part in path:
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", part) and part not in _RESERVED:
            text += f".{part}"
        else:
            text += f"[{part}]" if part.isdecimal() else f"[{literal(part)}]"
    return text


def literal(value: Any) -> str:
    """A constant in CEL. A JSON string is one of CEL's too."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    return repr(value) if isinstance(value, int | float) else json.dumps(str(value), ensure_ascii=False)


_RESERVED = frozenset(
    {"in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace"}
    | {"return", "var", "void", "while", "true", "false", "null"}
)
"""CEL's reserved words, which cannot stand behind a dot."""
