"""What commands print for people: tables and colours on a terminal, plain lines with tabs between the columns when piped."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cdcd.cli.times import local, precise

STYLES = {
    "processed": ("✓", "green"),
    "staged": ("…", "yellow"),
    "failed": ("✗", "red"),
    "cancelled": ("–", "dim"),
    "running": ("…", "yellow"),
    "done": ("✓", "green"),
    "stopped": ("–", "dim"),
}
WIDEST = 36  # columns of what is never cut: an id
Body = dict[str, Any]
Cell = str | Text


def console() -> Console:
    """Stdout."""
    return Console(highlight=False, emoji=False, markup=False)


def status(text: str) -> Text:
    """A status with its mark and colour."""
    mark, style = STYLES.get(text, ("", ""))
    return Text(f"{mark} {text}".strip(), style)


def mark(good: bool | None) -> Text:
    """Yes, no, or neither."""
    return Text("✓", "green") if good else Text("✗", "red") if good is False else Text("·", "dim")


def show_table(out: Console, columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, whole: Sequence[str] = ()) -> None:
    """Rows; the columns `whole` are not cut for the others. Piped: one line each, no heading."""
    if not out.is_terminal:
        for row in rows:
            print("\t".join(" ".join(str(cell).split()) for cell in row))
        return
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for place, column in enumerate(columns):
        widest = max((row[place].cell_len for row in cells), default=0)
        least = max(len(column), min(widest, WIDEST)) if column in whole else None
        table.add_column(column, no_wrap=True, overflow="ellipsis", min_width=least)
    for row in cells:
        table.add_row(*row)
    out.print(table)


def delivery_row(one: Body, out: Console) -> list[Cell]:
    """A delivery in a list."""
    when = local(one["time"], time.time()) if out.is_terminal else one["time"]
    state: Cell = status(one["status"]) if out.is_terminal else one["status"]
    what = f"{one['type']} {one['subject']}".strip()
    return [one["id"], when, state, one["trigger"], what, str(one["attempts"]), one["remark"]]


DELIVERY_COLUMNS = ("id", "time", "status", "trigger", "event", "tries", "remark")


def show_deliveries(out: Console, found: Sequence[Body]) -> None:
    """A list of deliveries."""
    show_table(
        out, DELIVERY_COLUMNS, (delivery_row(one, out) for one in found), whole=("id", "time", "status", "trigger", "tries")
    )


def show_fields(out: Console, fields: Iterable[tuple[str, Cell]]) -> None:
    """Names, and beside them what they are."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in fields:
        if str(value):
            grid.add_row(name, value)
    out.print(grid)


def moment(text: str | None, otherwise: str = "") -> str:
    """A time to the millisecond, here."""
    return otherwise if text is None else precise(text)


def counts(number: int, exact: bool = True) -> str:
    """`1,234 deliveries`."""
    return f"{'' if exact else 'at least '}{number:,} {'delivery' if number == 1 and exact else 'deliveries'}"
