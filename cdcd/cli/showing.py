"""What commands print for people: tables and colours on a terminal, plain lines with tabs between the columns when piped."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
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
LEAST = 16  # columns of what may be cut
GAP = 2  # columns between two
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
    """Rows; the columns `whole` are not cut for the others. Where not even the beginnings of all fit, what does not goes into a line of
    its own below. Piped: one line each, no heading."""
    if not out.is_terminal:
        for row in rows:
            print("\t".join(" ".join(str(cell).split()) for cell in row))
        return
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    widest = [max([cell_len(column), *(row[at].cell_len for row in cells)]) for at, column in enumerate(columns)]
    least = [min(wide, WIDEST) if column in whole else min(wide, LEAST) for column, wide in zip(columns, widest, strict=True)]
    beside = fitting(least, out.width)
    widths = shared(least[:beside], widest[:beside], out.width)
    out.print(_line([Text(column, "dim") for column in columns[:beside]], widths))
    for row in cells:
        out.print(_line(row[:beside], widths))
        named = zip(columns[beside:], row[beside:], strict=True)
        below = [Text(f"{name} ", "dim").append_text(cell) for name, cell in named if cell.plain]
        if below:
            out.print(Padding(Text("  ").join(below), (0, 0, 0, 4)))


def _line(cells: Iterable[Text], widths: Iterable[int]) -> Text:
    """Cells beside each other, each cut or filled to its width."""
    made = []
    for cell, width in zip(cells, widths, strict=True):
        made.append(shown := cell.copy())
        shown.plain = " ".join(shown.plain.split("\n"))
        shown.truncate(width, overflow="ellipsis", pad=True)
    line = Text(" " * GAP).join(made)
    line.rstrip()
    return line


def fitting(least: Sequence[int], width: int) -> int:
    """How many of the columns stand beside each other."""
    used = -GAP
    for at, wide in enumerate(least):
        used += wide + GAP
        if used > width:
            return max(1, at)
    return len(least)


def shared(least: Sequence[int], widest: Sequence[int], width: int) -> list[int]:
    """The widths of columns that stand beside each other: what is left is given evenly to those that want more."""
    widths = list(least)
    left = width - sum(widths) - GAP * (len(widths) - 1)
    while left > 0 and (wanting := [at for at, wide in enumerate(widest) if widths[at] < wide]):
        share = max(1, left // len(wanting))
        for at in wanting:
            more = min(share, widest[at] - widths[at], left)
            widths[at] += more
            left -= more
    return widths


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
