"""What a demo looks like on a terminal."""

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cdcd.demo.account import percentile
from cdcd.demo.show import Scene
from cdcd.demo.stage import Stage

MOST, FEWEST = 12, 3  # events in the tail
WITH_ID = 108  # columns in which an event's id has room
PINNED = 3  # the first things told (where database, configuration and console are) stay in sight
NEWS = 3
_KINDS = {"DB_INSERT": "green", "DB_UPDATE": "yellow", "DB_DELETE": "red"}
_SHOWS = {"invoice": "event by SQL", "thanks": "chained", "reminder": "2 s later", "thumbnails": "file"}


def live(console: Console, stage: Stage, scene: Scene, told: list[str]) -> RenderableType:
    """The whole picture, drawn anew a few times a second: it fits the terminal, from 80 columns and 24 lines on."""
    width, height = console.size
    above = 2 + len(stage.account.triggers)
    pinned = _rows(told[:PINNED], width)
    news = max(1, min(NEWS, height - above - FEWEST - 2 - pinned - 1))
    lines = [*told[:PINNED], *told[PINNED:][-news:]]
    below = max(_rows(lines, width), pinned + news) + 1
    shown = max(FEWEST, min(MOST, height - above - below - 2))
    texts = [Text(line, style="bold", overflow="fold") for line in lines]
    return Group(_triggers(stage, scene), _events(stage, shown, width), *texts, _hint(scene))


def _rows(lines: list[str], width: int) -> int:
    return sum(-(-len(line) // width) for line in lines)


def _triggers(stage: Stage, scene: Scene) -> Table:
    table = Table(title=f"cdcd demo: {scene.title}", expand=True, title_style="bold", box=None, padding=(0, 1, 0, 0))
    for name in ("trigger", "endpoint", "delivered", "refused", "repeated", "p50", "p99"):
        table.add_column(name, justify="left" if name in ("trigger", "endpoint") else "right", no_wrap=True)
    states = {
        "fulfilment": Text("healthy", style="green"),
        "search-index": Text("503 to 1 in 7", style="yellow"),
        "welcome-mail": Text("healthy again", style="green") if scene.healed else Text("nobody listens", style="red"),
    }
    for name, account in stage.account.triggers.items():
        recent = sorted(account.recent)
        table.add_row(
            name,
            states.get(name) or Text(_SHOWS[name], style="green"),
            f"{account.delivered:,}",
            f"{account.refused:,}",
            f"{account.repeated:,}",
            _milliseconds(percentile(recent, 0.5)) if recent else "-",
            _milliseconds(percentile(recent, 0.99)) if recent else "-",
        )
    return table


def _events(stage: Stage, shown: int, width: int) -> Panel:
    lines = []
    for trigger, arrival in stage.recent[-shown:]:
        line = Text(no_wrap=True, overflow="ellipsis")
        kind = arrival.type.removeprefix("DB_").removesuffix("_CREATE")
        line.append(f"{kind:<13}", style=_KINDS.get(arrival.type, "magenta"))
        line.append(f"{arrival.subject:<24}")
        line.append(f"-> {trigger:<14}", style="cyan")
        line.append(f"{_milliseconds(arrival.after):>10}")
        if width >= WITH_ID:
            line.append(f"  {arrival.id}", style="dim")
        lines.append(line)
    while len(lines) < shown:
        lines.append(Text())
    return Panel(Group(*lines), title="webhooks as they arrive, and how long after the commit", border_style="dim")


def _hint(scene: Scene) -> Text:
    return Text("" if scene.ended else "Ctrl-C ends it and shows the account", style="dim")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms" if seconds < 10 else f"{seconds:,.1f} s"


def final(console: Console, stage: Stage) -> None:
    """The account, as a table."""
    result = stage.account.result()
    table = Table(title="the account", show_header=False, title_style="bold")
    meanings = {
        "committed": "changes, events and files that triggers want, counted by the client that made them",
        "delivered": "of these, accepted by their endpoint",
        "repeated": "accepted more than once, under the same id (the kill -9)",
        "lost": "never arrived",
        "out_of_order": "arrived after a later one of the same row, order or file",
        "p50_ms": "from commit to webhook, healthy endpoint, committed while cdcd was up",
        "p99_ms": "of the same, the slowest one in a hundred",
    }
    for name, meaning in meanings.items():
        bad = name in ("lost", "out_of_order") and result[name]
        table.add_row(name, Text(f"{result[name]:,}", style="bold red" if bad else "bold green"), meaning)
    console.print(table)
