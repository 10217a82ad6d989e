"""Tables on terminals of every width: what must be whole is whole, and nothing is lost."""

import io
import re

import pytest
from rich.console import Console
from rich.text import Text

from cdcd.cli.showing import show_table

ID = "01a2319a-d9c0-8c70-8f0d-2c3fc221c625"
COLUMNS = ("id", "state", "trigger", "event", "remark")
ROW = (
    ID,
    Text("✗ failed", "red"),
    "warehouse",
    "DB_INSERT public.orders/26",
    "answered 503 Service Unavailable " + "again " * 30,
)


def shown(width: int, *rows: tuple[str | Text, ...], terminal: bool = True) -> list[str]:
    file = io.StringIO()
    out = Console(file=file, width=width, force_terminal=terminal, color_system=None, highlight=False)
    show_table(out, COLUMNS, rows, whole=("id", "state", "trigger"))
    return file.getvalue().splitlines()


def test_a_wide_terminal_shows_all_in_one_line() -> None:
    heading, line = shown(160, ROW)
    assert heading.split() == list(COLUMNS)
    assert line.startswith(f"{ID}  ✗ failed  warehouse  DB_INSERT public.orders/26  answered 503")
    assert len(line) <= 160
    assert line.endswith("…")


def test_what_is_long_is_cut_for_the_others() -> None:
    _, line = shown(100, ROW)
    assert line.startswith(f"{ID}  ✗ failed  warehouse  DB_INSERT public.o")
    assert len(line) <= 100


def test_what_does_not_fit_goes_below_and_is_named() -> None:
    heading, line, *below = shown(60, ROW)
    assert heading.split() == ["id", "state", "trigger"]
    assert line == f"{ID}  ✗ failed  warehouse"
    assert below[0].startswith("    event DB_INSERT public.orders/26  remark")
    assert all(line.startswith("    ") for line in below)
    assert " ".join(below).count("again") == 30


@pytest.mark.parametrize("width", [20, 37, 80, 92, 93, 120, 400])
def test_an_id_is_whole_and_nothing_is_lost(width: int) -> None:
    lines = shown(width, ROW, ("", "", "", "x\ny", ""))
    assert ID[: width - 1] in lines[1]
    assert "failed" in "".join(lines)
    assert re.search(r"x\s+y", "\n".join(lines))


def test_without_rows_the_heading_stands_alone() -> None:
    assert len(shown(80)) == 1
