"""Space Cloud's event schemas (GraphQL's schema language) as JSON Schema: an object of the named fields, and no others."""

import re
from typing import Any

from cdcd.imports.templates import NoEqual

_TYPE = re.compile(r"\btype\s+([\w-]+)[^{]*\{([^}]*)\}")
_FIELD = re.compile(r"(\w+)\s*:\s*(\[?)\s*(\w+)\s*(!?)\s*(\]?)\s*(!?)")
_SCALARS: dict[str, dict[str, Any]] = {
    "ID": {"type": "string"},
    "String": {"type": "string"},
    "Varchar": {"type": "string"},
    "Char": {"type": "string"},
    "Integer": {"type": "integer"},
    "SmallInteger": {"type": "integer"},
    "BigInteger": {"type": "integer"},
    "Float": {"type": "number"},
    "Decimal": {"type": "number"},
    "Boolean": {"type": "boolean"},
    "JSON": {},
    "DateTime": {"type": "string"},
    "DateTimeWithZone": {"type": "string"},
    "Date": {"type": "string"},
    "Time": {"type": "string"},
    "UUID": {"type": "string"},
}


def json_schema(name: str, text: str) -> dict[str, Any]:
    """The JSON Schema of the type `name`. Raises NoEqual."""
    types = {match[1]: match[2] for match in _TYPE.finditer(re.sub(r"#[^\n]*", "", text))}
    if name not in types:
        if len(types) != 1:
            raise NoEqual(f"there is no type {name} in it")
        name = next(iter(types))
    return _object(name, types, ())


def _object(name: str, types: dict[str, str], within: tuple[str, ...]) -> dict[str, Any]:
    if name in within:
        raise NoEqual(f"the type {name} holds itself")
    properties: dict[str, Any] = {}
    required: list[str] = []
    without_directives = re.sub(r"@\w+(\([^)]*\))?", "", types[name])
    for field, opening, kind, _, _, end in _FIELD.findall(without_directives):
        if kind in _SCALARS:
            schema = dict(_SCALARS[kind])
        elif kind in types:
            schema = _object(kind, types, (*within, name))
        else:
            raise NoEqual(f"there is no type {kind}")
        properties[field] = {"type": "array", "items": schema} if opening else schema
        exclamation = end if opening else _is_required(without_directives, field)
        if exclamation:
            required.append(field)
    made: dict[str, Any] = {"type": "object", "properties": properties}
    return {**made, **({"required": required} if required else {}), "additionalProperties": False}


def _is_required(text: str, field: str) -> bool:
    return re.search(rf"\b{field}\s*:\s*\w+\s*!", text) is not None
