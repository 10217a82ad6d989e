"""JSON read and written without losing a digit: what was `9.50` or `123456789012345678901` is that again.

A number that Python's or CEL's kinds of numbers would round keeps its text beside it. Expressions compute with the rounded one, or,
where there is none (a whole number beyond 64 bits), not at all.
"""

import json

import orjson

from cdcd.errors import ValueNotJson

DEEPEST = 200
"""Levels of nesting that are read: CEL goes through them by recursion, and overflows its stack somewhere beyond 1000."""


class Exact(float):
    """A number with a point or an exponent, and the text that it was written as."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> "Exact":
        self = super().__new__(cls, text)
        self.text = text
        return self


class Digits:
    """A whole number beyond 64 bits: its digits, with which nothing computes."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def read(data: bytes) -> object:
    """What JSON text (UTF-8) holds. Raises ValueNotJson when it is none, or nested too deeply."""
    try:
        value = json.loads(data, parse_float=Exact, parse_int=whole, parse_constant=_refuse)
    except RecursionError:
        value = _TOO_DEEP
    except ValueError:
        value = _NOT_JSON
    if value is _NOT_JSON:
        raise ValueNotJson("its data is not JSON, so no request can be made of its parts", hint="mend what makes these events")
    if value is _TOO_DEEP or (data.count(b"[") + data.count(b"{") > DEEPEST and _is_deep(value)):
        raise ValueNotJson(
            f"its data is nested more than {DEEPEST} levels, which is too deep to make a request of its parts",
            hint="use `format: json` or `raw` without expressions, which send it as it stands",
        )
    return value


def whole(text: str) -> int | Digits:
    """A whole number as expressions take it, or its digits."""
    if len(text) > 20:
        return Digits(text)
    number = int(text)
    return number if -(2**63) <= number < 2**63 else Digits(text)


def write(value: object) -> bytes:
    """The JSON text (UTF-8) of what `read` gave, and of the like. Raises ValueNotJson."""
    try:
        return orjson.dumps(value, default=_fragment)
    except orjson.JSONEncodeError:
        pass
    try:  # lone surrogates, which JSON allows as escapes (RFC 8259, 8.2) and orjson refuses
        return _written(value).encode()
    except (TypeError, ValueError, RecursionError):
        pass
    raise ValueNotJson("what was made for the request has no JSON form", hint="look at what its expressions give")


_TOO_DEEP = object()
_NOT_JSON = object()


def _refuse(constant: str) -> object:
    """Python's reader takes NaN and Infinity, which JSON has not."""
    raise ValueError(constant)


def _fragment(value: object) -> orjson.Fragment:
    if isinstance(value, (Exact, Digits)):
        return orjson.Fragment(value.text)
    raise TypeError


def _written(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{_written(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_written(item) for item in value) + "]"
    return orjson.dumps(value, default=_fragment).decode()


def _is_deep(value: object) -> bool:
    """Looks level by level, since recursion is what must not be relied on."""
    level: list[object] = [value]
    for _ in range(DEEPEST + 1):
        nested = [each for each in level if isinstance(each, (list, dict))]
        if not nested:
            return False
        level = [child for each in nested for child in (each.values() if isinstance(each, dict) else each)]
    return True
