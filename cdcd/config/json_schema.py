"""The JSON Schema of the configuration file, for editors: the shape of each option, and what it means.

What an option means stands below it in `shape`. It is read from there when it is asked for, and not (as pydantic's
`use_attribute_docstrings` does) whenever the daemon starts, for which it would take a twelfth of all imports.
"""

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise
from typing import Any

from cdcd.config import shape


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the configuration file."""
    _document()
    made = shape.ConfigShape.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_substitutable(made)}


def _substitutable(part: Any, *, schemas: bool = True) -> Any:
    """Let `${env:NAME}` stand where a number, a truth value, an enumeration or a pattern is asked for."""
    if isinstance(part, list):
        return [_substitutable(item) for item in part]
    if not isinstance(part, dict):
        return part
    if schemas and (part.get("type") in ("integer", "number", "boolean") or "enum" in part or "pattern" in part):
        notes = {name: part[name] for name in ("title", "description", "default") if name in part}
        rule = {name: value for name, value in part.items() if name not in notes}
        return {"anyOf": [rule, {"type": "string", "pattern": r"^\$\{(env|file|credential):"}], **notes}
    plain = ("default", "examples", "required", "enum")
    return {
        name: value if name in plain else _substitutable(value, schemas=name not in ("properties", "$defs"))
        for name, value in part.items()
    }


@cache
def _document() -> None:
    """Give the fields of all shapes their descriptions."""
    for made in vars(shape).values():  # in the order of the file: what another one holds comes before it
        if isinstance(made, type) and issubclass(made, shape.Shape):
            for name, words in _below(made).items():
                made.model_fields[name].description = words
            made.model_rebuild(force=True)


def _below(made: type) -> dict[str, str]:
    """The strings that stand below the names of a class."""
    (defined,) = ast.parse(textwrap.dedent(inspect.getsource(made))).body
    assert isinstance(defined, ast.ClassDef)
    found = {}
    for one, two in pairwise(defined.body):
        match one, two:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(words))):
                found[name] = inspect.cleandoc(words)
    return found
