"""What a demo looks like on a terminal."""

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cdcd.demo.account import percentile
from cdcd.demo.show import Scene
from cdcd.demo.stage import Stage

SHOWN = 12  # events in the tail
_KINDS = {"DB_INSERT": "green", "DB_UPDATE": "yellow", "DB_DELETE": "red"}


def live(stage: Stage, scene: Scene, told: list[str]) -> RenderableType:
    """The whole picture, drawn anew a few times a second."""
    return Group(_triggers(stage, scene), _events(stage), *(Text(line, style="bold") for line in told[-4:]), _hint(scene))


def _triggers(stage: Stage, scene: Scene) -> Table:
    table = Table(title=f"cdcd demo: {scene.title}", expand=True, title_style="bold")
    for name in ("trigger", "endpoint", "delivered", "refused (tried again)", "repeated", "commit to webhook, p50", "p99"):
        table.add_column(name, justify="left" if name in ("trigger", "endpoint") else "right")
    states = {
        "fulfilment": Text("healthy", style="green"),
        "search-index": Text("flaky: 503 to one in seven", style="yellow"),
        "welcome-mail": Text("healthy again", style="green") if scene.healed else Text("dead: nobody listens", style="red"),
    }
    for name, account in stage.account.triggers.items():
        recent = sorted(account.recent)
        table.add_row(
            name,
            states[name],
            f"{account.delivered:,}",
            f"{account.refused:,}",
            f"{account.repeated:,}",
            _milliseconds(percentile(recent, 0.5)) if recent else "-",
            _milliseconds(percentile(recent, 0.99)) if recent else "-",
        )
    return table


def _events(stage: Stage) -> Panel:
    lines = []
    for trigger, arrival in stage.recent[-SHOWN:]:
        line = Text()
        line.append(f"{arrival.type[3:]:<7}", style=_KINDS.get(arrival.type, ""))
        line.append(f"{arrival.subject:<28}")
        line.append(f"-> {trigger:<14}", style="cyan")
        line.append(f"{_milliseconds(arrival.after):>10}  ")
        line.append(arrival.id, style="dim")
        lines.append(line)
    while len(lines) < SHOWN:
        lines.append(Text())
    return Panel(Group(*lines), title="webhooks as they arrive", border_style="dim")


def _hint(scene: Scene) -> Text:
    return Text("" if scene.ended else "Ctrl-C ends it and shows the account", style="dim")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms" if seconds < 10 else f"{seconds:,.1f} s"


def final(console: Console, stage: Stage) -> None:
    """The account, as a table."""
    result = stage.account.result()
    table = Table(title="the account", show_header=False, title_style="bold")
    meanings = {
        "committed": "changes that triggers want, counted by the client that committed them",
        "delivered": "of these, accepted by their endpoint",
        "repeated": "accepted more than once, under the same id (the kill -9)",
        "lost": "never arrived",
        "out_of_order": "arrived after a later change of the same row",
        "p50_ms": "from commit to webhook, healthy endpoint",
        "p99_ms": "the slowest one in a hundred (the restart after kill -9 included)",
    }
    for name, meaning in meanings.items():
        bad = name in ("lost", "out_of_order") and result[name]
        table.add_row(name, Text(f"{result[name]:,}", style="bold red" if bad else "bold green"), meaning)
    console.print(table)
