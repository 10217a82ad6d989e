"""`cdcd check`: what is wrong, before anything is started."""

import os
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cdcd.cli.logs import configure
from cdcd.cli.loop import run_loop
from cdcd.cli.options import ConfigOption, missing_hint
from cdcd.config import load
from cdcd.errors import ConfigError
from cdcd.server import rules
from cdcd.triggers.trigger import mistakes_of
from cdcd.upkeep.check import check as look
from cdcd.upkeep.finding import Finding, Level, Section, count, exit_code

_MARKS = {
    Level.OK: ("✓", "green"),
    Level.WARNING: ("!", "yellow"),
    Level.MISTAKE: ("✗", "bold red"),
    Level.UNKNOWN: ("?", "magenta"),
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)


def check(
    config: ConfigOption = Path("cdcd.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Leave out what is right.")] = False,
) -> None:
    """Check the configuration, the databases, the event store, the API's address and the endpoints, by trying; change nothing.

    A replication connection and a temporary slot are really made, publications are made and rolled back, host names are
    resolved. Nothing is sent to an endpoint. Each finding comes with the SQL or setting that mends it.

    Exit codes: 0 all is well (or warnings only), 1 there are mistakes, 2 something could not be checked.

    Examples: `cdcd check`, `cdcd check -c shop.yaml -q`, `cdcd check --json | jq '.findings[] | select(.level == "mistake")'`
    """
    configure(level="error")
    sections = _sections(config)
    code = exit_code(sections)
    if as_json:
        print(orjson.dumps(_plain(sections, code), option=orjson.OPT_INDENT_2).decode())
    else:
        _show(sections, quiet)
    raise typer.Exit(code)


def _sections(path: Path) -> list[Section]:
    try:
        loaded = load(path, os.environ, mistakes_of, rules.mistakes_of)
    except ConfigError as error:
        section = Section("configuration")
        for mistake in error.mistakes:
            section.mistake("config", mistake, error.hint or missing_hint(path))
        return [section]
    found: list[Section] = []

    async def main() -> int:
        found.extend(await look(loaded))
        return 0

    run_loop(main)
    return found


def _plain(sections: list[Section], code: int) -> dict[str, Any]:
    return {
        "exit": code,
        "mistakes": count(sections, Level.MISTAKE),
        "warnings": count(sections, Level.WARNING),
        "unknown": count(sections, Level.UNKNOWN),
        "findings": [
            {"about": section.title, "level": finding.level, "code": finding.code, "what": finding.what, "fix": finding.fix}
            for section in sections
            for finding in section.findings
        ],
    }


def _show(sections: list[Section], quiet: bool) -> None:
    console = Console(highlight=False)
    for section in sections:
        shown = [finding for finding in section.findings if not (quiet and finding.level is Level.OK)]
        if not shown:
            continue
        console.print(Text(section.title, "bold"))
        for finding in shown:
            show_finding(console, finding)
    parts = [
        f"{number} {word}{'s' * (number != 1 and plural)}"
        for level, word, plural in (
            (Level.MISTAKE, "mistake", True),
            (Level.WARNING, "warning", True),
            (Level.UNKNOWN, "not checked", False),
        )
        if (number := count(sections, level))
    ]
    console.print(Text(", ".join(parts) + "." if parts else "All is well.", "bold"))


def show_finding(console: Console, finding: Finding) -> None:
    """The mark and what was found, wrapped in a column of its own; under it what mends it, never wrapped: it is copied."""
    mark, style = _MARKS[finding.level]
    if console.is_terminal:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column(overflow="fold")
        grid.add_row(Text(mark, style), Text(finding.what))
        console.print(Padding(grid, (0, 0, 0, 2), expand=False))
    else:
        console.print(f"  {mark} {finding.what}", markup=False, soft_wrap=True)
    for number, line in enumerate(finding.fix.splitlines()):
        console.print(Text(f"    {'fix: ' if number == 0 else '     '}{line}", "cyan"), soft_wrap=True)
