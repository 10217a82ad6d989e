"""The shape of the code: module sizes, a purpose at the top of every module, no rooms without a name."""

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "cdcd"
MODULES = sorted(ROOT.rglob("*.py"))
LINES = {path: len(path.read_text().splitlines()) for path in MODULES}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_no_module_is_over_500_lines(path: Path) -> None:
    assert LINES[path] <= 500


def test_the_median_module_is_at_most_200_lines() -> None:
    sizes = [lines for path, lines in LINES.items() if path.name != "__init__.py"]
    assert statistics.median(sizes) <= 200


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_no_module_is_a_drawer(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
