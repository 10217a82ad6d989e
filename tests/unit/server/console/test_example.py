"""A sample of a schema is what the schema takes, where it takes anything that can be guessed; and it is small whatever the schema."""

from typing import Any

import orjson
import pytest
from jsonschema_rs import Draft202012Validator

from cdcd.server.console.example import example

ITEM = {
    "type": "object",
    "required": ["sku"],
    "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "default": 3}},
}
FITTING: list[tuple[Any, Any]] = [
    (True, {}),
    (None, {}),
    ({}, {}),
    ({"type": "null"}, None),
    ({"type": "boolean"}, True),
    ({"type": ["null", "string"]}, "text"),
    ({"type": "string", "minLength": 6}, "text.."),
    ({"type": "string", "maxLength": 2}, "te"),
    ({"type": "string", "format": "email"}, "name@example.com"),
    ({"type": "integer", "minimum": 7}, 7),
    ({"type": "integer", "exclusiveMinimum": 7}, 8),
    ({"type": "integer", "maximum": -2}, -2),
    ({"type": "number", "exclusiveMaximum": 0}, -1),
    ({"type": "integer", "minimum": 7, "multipleOf": 5}, 10),
    ({"enum": ["EUR", "USD"]}, "EUR"),
    ({"const": 4}, 4),
    ({"type": "string", "examples": ["a", "b"]}, "a"),
    (
        {"type": "object", "required": ["a"], "properties": {"b": {"type": "integer"}, "a": {"type": "integer"}}},
        {"a": 1, "b": 1},
    ),
    ({"required": ["a"]}, {"a": None}),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
    ({"type": "array"}, []),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, [1]),
    ({"type": "array", "items": {"$ref": "#/$defs/item"}, "$defs": {"item": ITEM}}, [{"sku": "text", "count": 3}]),
    ({"allOf": [ITEM, {"required": ["more"], "properties": {"more": {"const": 1}}}]}, {"sku": "text", "more": 1, "count": 3}),
    ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, 1),
]


@pytest.mark.parametrize(("schema", "wanted"), FITTING)
def test_a_sample_fits(schema: Any, wanted: Any) -> None:
    found = example(schema)
    assert found == wanted
    if schema is not None:
        assert Draft202012Validator(schema).is_valid(found)


def test_a_schema_without_end_has_a_small_sample() -> None:
    for schema in (
        {"type": "object", "required": ["more"], "properties": {"more": {"$ref": "#"}}},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1000},
        {"type": "object", "properties": {f"m{number}": {"type": "string", "minLength": 10**9} for number in range(1000)}},
        {"properties": {f"m{number}": {"$ref": "#"} for number in range(100)}},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
    ):
        assert len(orjson.dumps(example(schema))) < 200_000


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": 1, "required": "a"},
        {"type": "array", "prefixItems": 1, "items": 1, "minItems": "x"},
        {"type": "integer", "minimum": "x", "multipleOf": 0},
        {"type": "string", "minLength": "x", "maxLength": None},
        {"$ref": "#/a/b/c"},
        {"$ref": "https://example.com/"},
        {"enum": [], "examples": {}},
        {"type": 7},
    ],
)
def test_what_is_no_schema_breaks_nothing(schema: Any) -> None:
    orjson.dumps(example(schema))
