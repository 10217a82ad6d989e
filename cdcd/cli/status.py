"""`cdcd status` and `cdcd schema`: what is, for people and for programs."""

import time
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cdcd.cli.logs import configure
from cdcd.cli.options import ConfigOption, load_or_exit
from cdcd.cli.run import run_loop
from cdcd.config import schema as config_schema
from cdcd.config.model import Config
from cdcd.upkeep.status import DatabaseReport, Report, TriggerReport, behind
from cdcd.upkeep.status import status as look
from cdcd.upkeep.words import ago, size

MUCH_XMIN = 1_000_000  # transactions whose dead catalog rows cannot be vacuumed


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(status)
    app.command()(schema)


def status(
    config: ConfigOption = Path("cdcd.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object (with --watch: one a line).")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks with --watch.")] = 2.0,
) -> None:
    """Show how things stand: each database's slot, the WAL it holds and why, lag; each trigger's deliveries and backlog.

    Counts reach back as far as `eventing.retention`. It reads the event store and the databases directly, whether cdcd runs or
    not; the embedded event store can be read only while cdcd runs.

    Exit codes: 0 everything could be looked at, 1 the configuration is wrong, 2 something could not be reached.

    Examples: `cdcd status`, `cdcd status --watch`, `cdcd status --json | jq '.databases[].slot.held_bytes'`
    """
    configure(level="error")
    loaded = load_or_exit(config)
    try:
        raise typer.Exit(_watch(loaded, as_json, interval) if watch else _once(loaded, as_json))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors.

    Example: `cdcd schema > cdcd.schema.json`, and in the YAML file `# yaml-language-server: $schema=cdcd.schema.json`
    """
    print(orjson.dumps(config_schema(), option=orjson.OPT_INDENT_2).decode())


def _look(config: Config) -> Report:
    found: list[Report] = []

    async def main() -> int:
        found.append(await look(config, time.time() - config.eventing.retention))
        return 0

    run_loop(main)
    return found[0]


def _once(config: Config, as_json: bool) -> int:
    report = _look(config)
    if as_json:
        print(orjson.dumps(report.plain(), option=orjson.OPT_INDENT_2).decode())
    else:
        Console(highlight=False).print(_show(report))
    return 0 if report.whole else 2


def _watch(config: Config, as_json: bool, interval: float) -> int:
    if as_json:
        while True:
            print(orjson.dumps(_look(config).plain()).decode(), flush=True)
            time.sleep(interval)
    with Live(_show(_look(config)), console=Console(highlight=False), auto_refresh=False, screen=False) as live:
        while True:
            time.sleep(interval)
            live.update(_show(_look(config)), refresh=True)


def _show(report: Report) -> RenderableType:
    parts: list[RenderableType] = []
    head = Text.assemble(("project ", "dim"), (report.project, "bold"), "  ")
    if report.running:
        head.append("running", "green").append(f" ({report.running})", "dim")
    elif report.running == "":
        head.append("not running", "yellow")
    else:
        head.append("cannot be told whether it runs", "magenta")
    parts.append(head)
    missing = "" if report.store_made else "(not made yet: `cdcd run` or `cdcd setup` makes it)"
    parts.append(_line("event store", report.store, report.store_error or missing))
    for database in report.databases:
        parts += ["", *_database(database, report)]
    if report.triggers:
        parts += ["", _triggers(report)]
        parts += [
            Text.assemble((f"  {row.name}: ", "bold"), (row.last_error, "red")) for row in report.triggers if row.last_error
        ]
        about = " Delivered is an estimate." if report.estimated else ""
        parts.append(Text(f"Events of the last {ago(report.at - report.since)}.{about}", "dim"))
    return Group(*parts)


def _line(name: str, value: str, error: str = "") -> Text:
    line = Text.assemble((f"{name}: ", "dim"), value)
    if error:
        line.append(f" {error}" if value else error, "magenta")
    return line


def _database(database: DatabaseReport, report: Report) -> list[RenderableType]:
    parts: list[RenderableType] = [Text.assemble(("database ", "dim"), (database.name, "bold"))]
    if database.error:
        parts.append(_line("  not reached", "", database.error))
        return parts
    slot = database.slot
    if slot is None:
        parts.append(Text("  slot: there is none yet; `cdcd run` or `cdcd setup` makes it", "yellow"))
        return parts
    state = Text("read", "green") if slot.active else Text("not read", "yellow")
    if slot.wal_status in ("unreserved", "lost"):
        state = Text(slot.wal_status, "bold red")
    parts.append(
        Text.assemble(("  slot: ", "dim"), slot.name, ", ", state, (f" ({slot.reader})" if slot.reader else "", "dim"))
    )
    parts.append(_line("  WAL held", f"{size(slot.held_bytes)}: {slot.why_held}"))
    parts.append(
        _line(
            "  settled",
            f"{behind(database, report.at)} ({database.settled_lsn or slot.confirmed_lsn} of {database.server_lsn})",
        )
    )
    if (slot.catalog_xmin_age or 0) > MUCH_XMIN:
        parts.append(_line("  catalog xmin", f"{slot.catalog_xmin_age:,} transactions old"))
    if database.others:
        parts.append(_line("  others hold more", "; ".join(database.others)))
    return parts


def _triggers(report: Report) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("trigger", overflow="fold")
    for name in ("delivered", "failed", "cancelled", "backlog"):
        table.add_column(name, justify="right")
    table.add_column("oldest unsettled", justify="right")
    table.add_column("endpoint", overflow="fold")
    for row in report.triggers:
        table.add_row(*_cells(row, report))
    return table


def _cells(row: TriggerReport, report: Report) -> list[RenderableType]:
    def number(count: int | None, style: str = "") -> Text:
        return Text("?", "magenta") if count is None else Text(f"{count:,}", style if count else "dim")

    oldest = "" if row.oldest_unsettled is None else ago(report.at - row.oldest_unsettled)
    name = Text(row.name) if row.enabled else Text.assemble(row.name, (" (off)", "dim"))
    return [
        name,
        number(row.delivered, "green"),
        number(row.failed, "bold red"),
        number(row.cancelled),
        number(row.backlog, "yellow"),
        Text(oldest),
        Text(row.endpoint, "dim"),
    ]
