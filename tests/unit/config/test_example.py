"""The example and the documentation name every option of the schema, and the schema that is kept for editors is current."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cdcd.config import load, schema
from cdcd.config.mistakes import options
from cdcd.triggers.trigger import compile_all

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "config" / "cdcd.example.yaml"
SECRET = "correct horse battery staple"
ENVIRON = {
    "CDCD_SECRET": "whsec_" + "A" * 43 + "=",
    "CDCD_OLD_SECRET": SECRET,
    "CDCD_API_SECRET": SECRET + SECRET,
    "DATABASE_URL": "postgresql://shop:pw@localhost/shop",
    "SEARCH_TOKEN": "token",
}
MAPPINGS_BY_NAME = {"databases": "NAME", "events": "NAME", "storage": "NAME", "triggers": "NAME"}


def options_of(route: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every option, as a route with NAME for a name and 0 for an item of a list."""
    for name in options(route):
        inner = (*route, name)
        yield inner
        if name in MAPPINGS_BY_NAME:
            yield from options_of((*inner, MAPPINGS_BY_NAME[name]))
        elif name == "secrets":
            yield from options_of((*inner, 0))
        else:
            yield from options_of(inner)


def dotted(route: tuple[str | int, ...]) -> str:
    return ".".join("[]" if part == 0 else str(part) for part in route).replace(".[]", "[]")


ALL = list(options_of())


def test_there_are_options_at_every_depth() -> None:
    names = {dotted(route) for route in ALL}
    assert {"project", "secrets[].kid", "databases.NAME.url", "triggers.NAME.webhook.egress.allow"} <= names


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example beside the files that it names."""
    (tmp_path / "certs").mkdir()
    for name in ("ca.pem", "client.pem", "client.key"):
        (tmp_path / "certs" / name).write_text("")
    path = tmp_path / "cdcd.yaml"
    path.write_text(EXAMPLE.read_text())
    return path


def test_the_example_loads(example: Path) -> None:
    config = load(example, ENVIRON)
    assert config.warnings == ()
    assert {"welcome-email", "search-index"} <= {trigger.name for trigger in compile_all(config)}


@pytest.mark.parametrize("route", ALL, ids=dotted)
def test_the_example_shows_every_option(route: tuple[str | int, ...]) -> None:
    text = EXAMPLE.read_text()
    if route == ("secret",):  # stands in for `secrets`, so it can only be shown as a comment
        assert re.search(r"^# secret: ", text, re.MULTILINE)
        return

    def find(value: Any, rest: tuple[str | int, ...]) -> bool:
        if not rest:
            return True
        if rest[0] == "NAME" and isinstance(value, dict):
            return any(find(inner, rest[1:]) for inner in value.values())
        if rest[0] == 0 and isinstance(value, list):
            return any(find(inner, rest[1:]) for inner in value)
        return isinstance(value, dict) and rest[0] in value and find(value[rest[0]], rest[1:])

    assert find(yaml.safe_load(text), route)


@pytest.mark.parametrize("route", ALL, ids=dotted)
def test_every_option_is_documented(route: tuple[str | int, ...]) -> None:
    assert f"`{dotted(route)}`" in (ROOT / "docs" / "configuration.md").read_text()


def test_the_documentation_names_no_option_that_does_not_exist() -> None:
    tables = (ROOT / "docs" / "configuration.md").read_text().split("| option | meaning | default |\n")[1:]
    documented = [name for table in tables for name in re.findall(r"^\| `(.+?)` \|", table.split("\n\n")[0], re.MULTILINE)]
    assert set(documented) == {dotted(route) for route in ALL}


def test_the_kept_schema_is_current() -> None:
    """Mend with: python -m json.tool <(cdcd schema) > config/cdcd.schema.json, or what `cdcd schema` prints."""
    assert json.loads((ROOT / "config" / "cdcd.schema.json").read_text()) == schema()


def test_every_option_of_the_schema_has_a_description() -> None:
    def check(part: Any) -> None:
        if isinstance(part, dict):
            for name, inner in part.get("properties", {}).items():
                assert inner.get("description"), name
            for inner in part.values():
                check(inner)
        elif isinstance(part, list):
            for inner in part:
                check(inner)

    check(schema())
