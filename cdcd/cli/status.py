"""`cdcd status` and `cdcd schema`: what is, for people and for programs."""

import time
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cdcd.cli.logs import configure
from cdcd.cli.loop import run_loop
from cdcd.cli.options import ConfigOption, load_or_exit
from cdcd.config import schema as config_schema
from cdcd.config.model import Config
from cdcd.upkeep.status import DatabaseReport, FilesReport, Report, TriggerReport, behind
from cdcd.upkeep.status import status as look
from cdcd.upkeep.words import ago, size

WIDE = 110  # columns in which an endpoint has room beside its numbers
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

    Exit codes: 0 everything could be looked at and is read, 1 the configuration is wrong, or changes cannot be read until somebody
    mends what is shown, 2 something could not be reached.

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
        console = Console(highlight=False)
        console.print(_show(report, console.width))
    return 2 if not report.whole else 1 if report.troubled else 0


def _watch(config: Config, as_json: bool, interval: float) -> int:
    if as_json:
        while True:
            print(orjson.dumps(_look(config).plain()).decode(), flush=True)
            time.sleep(interval)
    console = Console(highlight=False)
    with Live(_show(_look(config), console.width), console=console, auto_refresh=False, screen=False) as live:
        while True:
            time.sleep(interval)
            live.update(_show(_look(config), console.width), refresh=True)


def _show(report: Report, width: int) -> RenderableType:
    head = Text.assemble((report.project, "bold"), ", ")
    if report.running:
        head.append("running", "green").append(f" ({report.running})", "dim")
    elif report.running == "":
        head.append("not running", "yellow")
    else:
        head.append("cannot be told whether it runs", "magenta")
    store = Text(report.store)
    if report.store_error:
        store.append(f": {report.store_error}", "magenta")
    elif report.store_made is False:
        store.append(" (not made yet: `cdcd run` or `cdcd setup` makes it)", "magenta")
    parts: list[RenderableType] = [_lines([("project", head), ("event store", store)])]
    for database in report.databases:
        about = Text.assemble(("database ", "dim"), (database.name, "bold"))
        parts += ["", about, Padding(_lines(_database(database, report)), (0, 0, 0, 2))]
    if report.files:
        parts += ["", _lines([(f"files {store.name}", _files(store, report)) for store in report.files])]
    if report.triggers:
        parts += ["", _triggers(report, width)]
        told = [line for row in report.triggers for line in _told(row, report, width)]
        if told:
            parts += [Padding(_lines(told), (0, 0, 0, 2))]
        about = Text(f"Events of the last {ago(report.at - report.since)}.", "dim")
        parts.append(about.append(" Delivered is an estimate.") if report.estimated else about)
    return Group(*parts)


def _lines(rows: list[tuple[str, Text]]) -> Table:
    """Names, and beside them what is said of each, wrapped in a column of its own."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(style="dim", overflow="fold", max_width=30)
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(f"{name}:" if name else "", text)
    return grid


def _database(database: DatabaseReport, report: Report) -> list[tuple[str, Text]]:
    if database.error:
        return [("not reached", Text(database.error, "magenta"))]
    rows: list[tuple[str, Text]] = []
    slot = database.slot
    if database.capture == "triggers":
        rows += _log(database, report)
    elif slot is not None:
        state = Text("read", "green") if slot.active else Text("not read", "yellow")
        if slot.wal_status in ("unreserved", "lost"):
            state = Text(slot.wal_status, "bold red")
        rows.append(("slot", Text.assemble(slot.name, ", ", state, (f" ({slot.reader})" if slot.reader else "", "dim"))))
        rows.append(("WAL held", Text(f"{size(slot.held_bytes)}: {slot.why_held}")))
        where = f" ({database.settled_lsn or slot.confirmed_lsn} of {database.server_lsn})"
        rows.append(("settled", Text(behind(database, report.at) + where)))
        if (slot.catalog_xmin_age or 0) > MUCH_XMIN:
            rows.append(("catalog xmin", Text(f"{slot.catalog_xmin_age:,} transactions old")))
        if database.others:
            rows.append(("others hold more", Text("; ".join(database.others))))
    elif database.settled_lsn:
        rows.append(("slot", Text("there is none any more", "bold red")))
    else:
        rows.append(("slot", Text("there is none yet; `cdcd run` or `cdcd setup` makes it", "yellow")))
    for trouble in database.trouble:
        rows.append(("trouble", Text(trouble.what, "bold red")))
        if trouble.fix:
            rows.append(("fix", Text(trouble.fix, "cyan")))
    return rows


def _log(database: DatabaseReport, report: Report) -> list[tuple[str, Text]]:
    """A database that is captured by triggers."""
    log = database.log
    if log is None:
        return [("change log", Text("there is none yet; `cdcd run` or `cdcd setup` makes it", "yellow"))]
    state = Text("read", "green") if log.readers else Text("not read", "yellow")
    behind = f"{log.behind:,} changes not settled" if log.behind else "up to date"
    if log.behind and log.oldest is not None:
        behind += f", the oldest made {ago(report.at - log.oldest)} ago"
    last = f"; last settled change {ago(report.at - database.settled_time)} ago" if database.settled_time else ""
    return [
        ("change log", Text.assemble(size(log.bytes), ", ", state)),
        ("settled", Text(f"{behind}{last} ({log.settled} of {log.written})")),
    ]


def _files(store: FilesReport, report: Report) -> Text:
    """A store of files."""
    about = Text(store.path)
    if not store.there:
        about.append(" is not there", "bold red")
    if store.looked_at is None or store.entries is None:
        return about.append(", not looked at yet", "yellow") if not report.store_error else about
    return about.append(
        f", {store.entries:,} {'entry' if store.entries == 1 else 'entries'}, all looked at {ago(report.at - store.looked_at)} ago"
    )


def _triggers(report: Report, width: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("trigger", overflow="fold")
    for name in ("delivered", "failed", "cancelled", "backlog", "oldest"):
        table.add_column(name, justify="right", no_wrap=True)
    if width >= WIDE:
        table.add_column("endpoint", overflow="fold")
    for row in report.triggers:
        table.add_row(*_cells(row, report), *([Text(row.endpoint, "dim")] if width >= WIDE else []))
    return table


def _told(row: TriggerReport, report: Report, width: int) -> list[tuple[str, Text]]:
    """What does not fit into the table."""
    lines = [Text(row.endpoint, "dim")] if row.endpoint and width < WIDE else []
    if row.last_error:
        when = [] if row.last_failed_at is None else [f"last failed {ago(report.at - row.last_failed_at)} ago"]
        when += ["tried again"] if row.backlog else []
        lines.append(Text(f"{', '.join(when)}: {row.last_error}" if when else row.last_error, "red"))
    return [("" if number else row.name, line) for number, line in enumerate(lines)]


def _cells(row: TriggerReport, report: Report) -> list[RenderableType]:
    def number(count: int | None, style: str = "") -> Text:
        return Text("?", "magenta") if count is None else Text(f"{count:,}", style if count else "dim")

    oldest = "" if row.oldest_unsettled is None else ago(report.at - row.oldest_unsettled)
    return [
        Text(row.name) if row.enabled else Text.assemble(row.name, (" (off)", "dim")),
        number(row.delivered, "green"),
        number(row.failed, "bold red"),
        number(row.cancelled),
        number(row.backlog, "yellow"),
        Text(oldest),
    ]
