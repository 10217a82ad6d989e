"""Two small pieces of SQL as expressions of ours: a trigger's `WHEN`, as PostgreSQL prints it, and what builds a request's body.

SQL has three truth values and a trigger fires on true alone; CEL's comparisons of order raise on null. So every comparison is
translated to what is true exactly where SQL's is true: `NOT` goes inward, and what may be null is guarded.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from cdcd.config.templates import escaped
from cdcd.imports.found import environment_name
from cdcd.imports.templates import NoEqual, literal, member

_TOKEN = re.compile(
    r"\s+|--[^\n]*|(?P<string>[eE]?'(?:[^']|'')*')|(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-z_][\w$]*|\"(?:[^\"]|\"\")+\")"
    r"|(?P<sign>::|:=|=>|<>|!=|<=|>=|\|\||->>|->|[-+*/<>=(),.\[\]*;])",
    re.DOTALL,
)
_INVERSE = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


@dataclass(slots=True, frozen=True)
class Token:
    """`kind` is string, number, name or sign; the text of a string is its value, that of a name is as PostgreSQL folds it."""

    kind: str
    text: str
    quoted: bool = False


def tokens(text: str) -> list[Token]:
    """Raises NoEqual."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NoEqual(f"`{text[at : at + 20]}`")
        at = match.end()
        kind = match.lastgroup
        if kind == "string":
            given = match["string"]
            if given[0] in "eE":
                raise NoEqual("a text with escapes")
            found.append(Token(kind, given[1:-1].replace("''", "'")))
        elif kind == "name":
            given = match["name"]
            inside = given[1:-1].replace('""', '"') if given.startswith('"') else given.lower()
            found.append(Token(kind, inside, given.startswith('"')))
        elif kind:
            found.append(Token(kind, match[kind]))
    return found


@dataclass(slots=True, frozen=True)
class Operand:
    """An expression; `free` says whether it may be null."""

    text: str
    free: bool


class Reader:
    """Reads tokens from the left."""

    def __init__(self, given: list[Token]) -> None:
        self._tokens = given
        self._at = 0

    def peek(self, ahead: int = 0) -> str:
        """The text of a token that is no string; empty at the end."""
        at = self._at + ahead
        return self._tokens[at].text if at < len(self._tokens) and self._tokens[at].kind != "string" else ""

    @property
    def ended(self) -> bool:
        return self._at >= len(self._tokens)

    def take(self) -> Token:
        if self.ended:
            raise NoEqual("an expression that ends too soon")
        self._at += 1
        return self._tokens[self._at - 1]

    def accept(self, *texts: str) -> bool:
        """Take these tokens if they come next."""
        if all(self.peek(ahead) == text for ahead, text in enumerate(texts)):
            self._at += len(texts)
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise NoEqual(f"`{self.peek() or 'a text'}` where `{text}` is expected")


def condition(text: str) -> str:
    """A WHEN clause, with or without its outer parentheses. Raises NoEqual."""
    reader = Reader(tokens(text))
    made = _or(reader, True)
    if not reader.ended:
        raise NoEqual(f"`{reader.peek()}`")
    return made


def _or(reader: Reader, wanted: bool) -> str:
    parts = [_and(reader, wanted)]
    while reader.accept("or"):
        parts.append(_and(reader, wanted))
    return _joined(parts, " || " if wanted else " && ")


def _and(reader: Reader, wanted: bool) -> str:
    parts = [_not(reader, wanted)]
    while reader.accept("and"):
        parts.append(_not(reader, wanted))
    return _joined(parts, " && " if wanted else " || ")


def _joined(parts: list[str], sign: str) -> str:
    if len(parts) == 1:
        return parts[0]
    return sign.join(f"({part})" if (" || " in part or " && " in part) else part for part in parts)


def _not(reader: Reader, wanted: bool) -> str:
    if reader.accept("not"):
        return _not(reader, not wanted)
    at = reader._at
    if reader.accept("("):
        try:
            made = _or(reader, wanted)
            reader.expect(")")
            if reader.peek() in ("", "and", "or", ")"):
                return made
        except NoEqual:
            pass
        reader._at = at
    return _comparison(reader, wanted)


def _comparison(reader: Reader, wanted: bool) -> str:
    left = _operand(reader)
    if reader.accept("is"):
        is_not = reader.accept("not")
        if reader.accept("null"):
            return f"{left.text} {'==' if wanted != is_not else '!='} null"
        if reader.accept("true") or reader.accept("false"):
            said = reader._tokens[reader._at - 1].text
            return f"{left.text} {'==' if wanted != is_not else '!='} {said}"
        if reader.accept("distinct", "from"):
            right = _operand(reader)
            return f"{left.text} {'!=' if wanted != is_not else '=='} {right.text}"
        raise NoEqual(f"`IS {reader.peek()}`")
    sign = {"!=": "<>"}.get(reader.peek(), reader.peek())
    if sign in _INVERSE:
        reader.take()
        if sign in ("=", "<>") and reader.peek() in ("any", "all"):
            return _of_list(reader, left, sign, wanted)
        return _compared(left, sign if wanted else _INVERSE[sign], _operand(reader))
    if left.free or left.text in ("true", "false"):  # a column of type boolean
        return f"{left.text} == {'true' if wanted else 'false'}"
    raise NoEqual(f"`{reader.peek()}`")


def _of_list(reader: Reader, left: Operand, sign: str, wanted: bool) -> str:
    kind = reader.take().text
    reader.expect("(")
    opened = 0
    while reader.accept("("):
        opened += 1
    reader.expect("array")
    reader.expect("[")
    items = [_operand(reader)]
    while reader.accept(","):
        items.append(_operand(reader))
    reader.expect("]")
    for _ in range(opened):
        _casts(reader)
        reader.expect(")")
    _casts(reader)
    reader.expect(")")
    if any(item.free for item in items) or (kind == "any") != (sign == "="):
        raise NoEqual("such a list")
    made = f"{left.text} in [{', '.join(item.text for item in items)}]"
    if (sign == "=") == wanted:
        return made
    return f"{left.text} != null && !({made})"


def _compared(left: Operand, sign: str, right: Operand) -> str:
    guards = [f"{each.text} != null" for each in (left, right) if each.free]
    if sign == "=" and len(guards) < 2:
        guards = []  # null equals no constant
    elif sign == "=":
        guards = guards[:1]
    return " && ".join([*guards, f"{left.text} {({'=': '==', '<>': '!='}).get(sign, sign)} {right.text}"])


def _casts(reader: Reader) -> str:
    kind = ""
    while reader.accept("::"):
        kind = reader.take().text
        while reader.peek() in ("varying", "precision", "without", "with", "time", "zone"):
            reader.take()
        if reader.accept("("):
            while not reader.accept(")"):
                reader.take()
        while reader.accept("[", "]"):
            pass
    return kind


def _operand(reader: Reader) -> Operand:
    if reader.accept("("):
        made = _operand(reader)
        reader.expect(")")
        _casts(reader)
        return made
    if reader.accept("-"):
        number = reader.take()
        if number.kind != "number":
            raise NoEqual("`-`")
        _casts(reader)
        return Operand(f"-{number.text}", False)
    token = reader.take()
    if token.kind == "number":
        _casts(reader)
        return Operand(token.text, False)
    if token.kind == "string":
        return Operand(_constant(token.text, _casts(reader)), False)
    if token.text in ("true", "false") and not token.quoted:
        return Operand(token.text, False)
    if token.text in ("new", "old") and reader.accept("."):
        if reader.accept("*"):
            return Operand(token.text, True)
        made = Operand(member(token.text, [reader.take().text]), True)
        kind = _casts(reader)
        if kind and kind not in ("text", "character", "bpchar", "name", "varchar"):
            raise NoEqual(f"a cast to {kind}")
        return made
    raise NoEqual(f"`{token.text}`")


def _constant(text: str, kind: str) -> str:
    if kind in ("integer", "bigint", "smallint", "numeric", "real", "double", "int4", "int8", "float8") and re.fullmatch(
        r"-?\d+(\.\d+)?", text
    ):
        return text
    if kind in ("boolean", "bool"):
        return "true" if text.lower() in ("t", "true") else "false"
    if kind in ("timestamp", "timestamptz", "date", "time", "interval", "jsonb", "json", "bytea"):
        raise NoEqual(f"a constant of type {kind}")
    return literal(text)


OPERATION = 'type == "DB_INSERT" ? "INSERT" : type == "DB_UPDATE" ? "UPDATE" : "DELETE"'
_NAMES = {
    "tg_op": OPERATION,
    "tg_table_name": "event.table",
    "tg_relname": "event.table",
    "tg_table_schema": "event.schema",
}


@dataclass(slots=True, frozen=True)
class Composed:
    """Text with expressions in it, as the configuration writes it."""

    text: str


def built(reader: Reader) -> Any:
    """What a body, a header or a URL is made of: `jsonb_build_object(...)`, `to_jsonb(NEW)`, `TG_OP`, columns, settings, constants,
    and texts of these joined by `||`. Constants are plain values, everything else is Composed. Raises NoEqual."""
    parts = [_part(reader)]
    while reader.accept("||"):
        parts.append(_part(reader))
    if len(parts) == 1:
        return parts[0]
    if any(isinstance(part, dict | list) for part in parts):
        raise NoEqual("objects joined by `||`")
    return Composed("".join(part.text if isinstance(part, Composed) else escaped(str(part)) for part in parts))


def _part(reader: Reader) -> Any:
    token = reader.take()
    name = token.text
    if token.kind == "string":
        kind = _casts(reader)
        return _json(name, kind) if kind else name
    if token.kind == "number":
        return float(name) if "." in name else int(name)
    if token.text == "(" and token.kind == "sign":
        made = _secret(reader) if reader.peek() == "select" else built(reader)
        reader.expect(")")
        return _ended(reader, made)
    if name in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[name]
    if name in ("jsonb_build_object", "json_build_object") and reader.accept("("):
        return _ended(reader, _object(reader))
    if name in ("to_jsonb", "to_json", "row_to_json", "jsonb", "json") and reader.accept("("):
        made = built(reader)
        reader.expect(")")
        return _ended(reader, made)
    if name == "current_setting" and reader.accept("("):
        setting = reader.take()
        if setting.kind != "string":
            raise NoEqual("a setting whose name is computed")
        if reader.accept(","):
            reader.take()
        reader.expect(")")
        return _ended(reader, Composed(f"${{env:{environment_name(setting.text)}}}"))
    if name in _NAMES:
        return _ended(reader, Composed(f"${{ {_NAMES[name]} }}"))
    if name in ("new", "old"):
        if reader.accept("."):
            return _ended(reader, Composed(f"${{ {member(name, [reader.take().text])} }}"))
        return _ended(reader, Composed(f"${{ {name} }}"))
    raise NoEqual(f"`{name}` in what is sent")


def _secret(reader: Reader) -> Composed:
    """`select decrypted_secret from vault.decrypted_secrets where name = 'x'`: a secret of Supabase's vault."""
    for expected in ("select", "decrypted_secret", "from", "vault", ".", "decrypted_secrets", "where", "name", "="):
        reader.expect(expected)
    secret = reader.take()
    if secret.kind != "string":
        raise NoEqual("a secret whose name is computed")
    if reader.accept("limit"):
        reader.take()
    return Composed(f"${{env:{environment_name(secret.text)}}}")


def _ended(reader: Reader, value: Any) -> Any:
    kind = _casts(reader)
    if kind not in ("", "jsonb", "json", "text"):
        raise NoEqual(f"a cast to {kind}")
    return value


def _object(reader: Reader) -> dict[str, Any]:
    made: dict[str, Any] = {}
    while not reader.accept(")"):
        key = reader.take()
        if key.kind != "string":
            raise NoEqual("a name of a member that is computed")
        _casts(reader)
        reader.expect(",")
        made[key.text] = built(reader)
        if not reader.accept(","):
            reader.expect(")")
            break
    return made


def _json(text: str, kind: str) -> Any:
    if kind not in ("jsonb", "json"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise NoEqual("a constant that is no JSON") from error
