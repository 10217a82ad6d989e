"""A value that a JSON Schema (draft 2020-12) asks for, as a start for whoever writes one. Pure.

The rules:
- what the schema gives itself is taken first: `examples`, `default`, `const`, `enum`;
- it is a start and no promise: patterns, `not` and `if` are not looked at, and of alternatives the first is taken;
- it is small whatever the schema is: so many values, so deep, and no more.
"""

from collections.abc import Mapping
from typing import Any

MOST = 300  # values, counting those within others
DEEPEST = 8
MOST_ITEMS = 3
LONGEST = 200  # characters of a text
_FORMATS = {
    "date-time": "2030-01-31T12:00:00Z",
    "date": "2030-01-31",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "name@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uri-reference": "/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example(schema: object) -> Any:
    """The value; `{}` for a schema that says nothing."""
    if not isinstance(schema, Mapping):
        return {}
    found = _Making(schema).value(schema, 0)
    return {} if found is None and "type" not in schema else found


class _Making:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = MOST

    def value(self, schema: object, depth: int) -> Any:
        self._left -= 1
        if not isinstance(schema, Mapping) or depth > DEEPEST or self._left < 0:
            return None
        schema = self._whole(schema)
        for name, first in (("const", False), ("examples", True), ("default", False), ("enum", True)):
            if name in schema:
                given = schema[name]
                if not first:
                    return given
                if isinstance(given, list) and given:
                    return given[0]
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((each for each in kind if each != "null"), "null")
        if kind == "object" or (kind is None and ("properties" in schema or "required" in schema)):
            return self._object(schema, depth)
        if kind == "array" or (kind is None and ("items" in schema or "prefixItems" in schema)):
            return self._array(schema, depth)
        if kind in ("integer", "number"):
            return _number(schema, whole=kind == "integer")
        if kind == "boolean":
            return True
        return _text(schema) if kind == "string" else None

    def _whole(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """With what `$ref`, `allOf` and the first alternative add to it."""
        found: dict[str, Any] = dict(schema)
        for _ in range(DEEPEST):
            more = [self._named(found.pop("$ref", None)), *_list(found.pop("allOf", None))]
            for name in ("oneOf", "anyOf"):
                more += _list(found.pop(name, None))[:1]
            more = [each for each in more if isinstance(each, Mapping)]
            if not more:
                break
            for each in more:
                for name, value in each.items():
                    if name == "properties" and isinstance(value, Mapping) and isinstance(found.get(name), Mapping):
                        found[name] = {**found[name], **value}
                    elif name == "required":
                        found[name] = [*_list(found.get(name)), *_list(value)]
                    else:
                        found.setdefault(name, value)
        return found

    def _named(self, reference: object) -> object:
        """What a `$ref` within the schema names."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        at: Any = self._root
        for part in reference[1:].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            at = at.get(name) if isinstance(at, Mapping) else None
        return at

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        members = schema.get("properties")
        members = members if isinstance(members, Mapping) else {}
        wanted = [name for name in _list(schema.get("required")) if isinstance(name, str)]
        found: dict[str, Any] = {}
        for name in (*wanted, *(name for name in members if depth < DEEPEST // 2)):
            if name not in found and self._left > 0:
                found[name] = self.value(members.get(name), depth + 1)
        return found

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        first = [self.value(each, depth + 1) for each in _list(schema.get("prefixItems")) if self._left > 0]
        least = schema.get("minItems", 0)
        count = min(max(least if isinstance(least, int) else 0, 1), MOST_ITEMS) - len(first)
        if "items" not in schema or schema["items"] is False:
            return first
        return first + [self.value(schema["items"], depth + 1) for _ in range(max(count, 0)) if self._left > 0]


def _number(schema: Mapping[str, Any], *, whole: bool) -> int | float:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    step = schema.get("multipleOf", 1)
    value: int | float = 1
    if isinstance(low, int | float):
        value = max(value, low)
    if isinstance(above, int | float) and value <= above:
        value = above + 1
    if isinstance(high, int | float) and value > high:
        value = high
    if isinstance(below, int | float) and value >= below:
        value = below - 1
    if isinstance(step, int | float) and step > 0 and value % step:
        value = (value // step + 1) * step
    return int(value) if whole else value


def _text(schema: Mapping[str, Any]) -> str:
    known = _FORMATS.get(str(schema.get("format", "")))
    if known is not None:
        return known
    least, most = schema.get("minLength", 0), schema.get("maxLength", LONGEST)
    text = "text"
    if isinstance(least, int):
        text = text.ljust(min(least, LONGEST), ".")
    return text[:most] if isinstance(most, int) and most >= 0 else text


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
