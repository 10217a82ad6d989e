"""`cdcd events`: the event log on the command line; trying deliveries again, cancelling and replaying them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdcd.cli.doing import DONE, do, print_json
from cdcd.cli.filters import (
    ErrorFilter,
    KeyFilter,
    SinceFilter,
    SourceFilter,
    StatusFilter,
    TriggerFilter,
    TypeFilter,
    UntilFilter,
    WhereFilter,
    query_of,
    seconds,
    tell_unknown,
    wanted,
)
from cdcd.cli.options import ConfigOption, JsonOption, TokenOption, UrlOption, Where, YesOption
from cdcd.cli.showing import Body, console, moment, show_deliveries, show_fields, show_table
from cdcd.cli.showing import status as shown_status

if TYPE_CHECKING:
    from cdcd.cli.reach import Reach

PAGE = 200
_HERE = Path("cdcd.yaml")

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Deliveries, by id. Or select them with the options below.")
]
AllOption = Annotated[bool, typer.Option("--all", help="Everything there is, without any filter.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Do nothing; tell what would be done.")]
RateOption = Annotated[float | None, typer.Option(min=0.001, help="At most so many a second.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Begin it in the daemon and leave; print its id.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
    for command, name in (
        (list_, "list"),
        (show, "show"),
        (tail, "tail"),
        (retry, "retry"),
        (cancel, "cancel"),
        (replay, "replay"),
    ):
        group.command(name)(command)
    app.add_typer(group, name="events", help="The event log: list, show, follow, try again, cancel, replay.")


def list_(
    trigger: TriggerFilter = None,
    status: StatusFilter = None,
    type: TypeFilter = None,
    source: SourceFilter = None,
    key: KeyFilter = None,
    since: SinceFilter = None,
    until: UntilFilter = None,
    where: WhereFilter = None,
    error: ErrorFilter = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, at most.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on behind an earlier list: its `next`.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = _HERE,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """List deliveries, newest first.

    Piped, each is a line with tabs between the columns: id, time, status, trigger, event, attempts, remark.

    Exit codes: 0 listed (also when there are none), 1 refused, 2 nobody could be reached.

    Examples: `cdcd events list --status failed --since 2h`, `cdcd events list --trigger search --where '"id":42'`,
    `cdcd events list --status failed --limit 1000 | cut -f1`
    """
    query = query_of(wanted(trigger, status, type, source, key, since, until, where, error))

    async def main(reach: "Reach") -> int:
        found, after = await _pages(reach, query, limit, cursor)
        if not found and after is None:
            await tell_unknown(reach, trigger or ())
        if as_json:
            print_json({"deliveries": found, **({"next": after} if after else {})})
            return DONE
        out = console()
        show_deliveries(out, found)
        if out.is_terminal:
            if not found:
                print("There are none.")
            elif after:
                print(f"There may be more: --limit, or --cursor {after}")
        return DONE

    do(Where(config, url, token, as_json), main)


async def _pages(reach: "Reach", query: list[tuple[str, str]], limit: int, cursor: str | None) -> tuple[list[Body], str | None]:
    found: list[Body] = []
    while True:
        page = await reach.deliveries(query, cursor, min(PAGE, limit - len(found)))
        found += page["deliveries"]
        cursor = page.get("next")
        if cursor is None or len(found) >= limit:
            return found, cursor


def show(
    id: Annotated[list[str], typer.Argument(help="Deliveries, by id.")],
    as_json: JsonOption = False,
    config: ConfigOption = _HERE,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Show a delivery: its event, every attempt and what the endpoint said.

    `cdcd explain ID` tells why it fired too. With --json, several are one a line.

    Exit codes: 0 shown, 1 not there, 2 nobody could be reached.

    Example: `cdcd events show 0193f0c2-8a10-8c1e-9a3f-0a1b2c3d4e5f --json | jq .data`
    """

    async def main(reach: "Reach") -> int:
        for number, identity in enumerate(id):
            found = await reach.delivery(identity)
            if as_json:
                print_json(found, lines=len(id) > 1)
            else:
                if number:
                    print()
                _show(found)
        return DONE

    do(Where(config, url, token, as_json), main)


def _show(one: Body) -> None:
    import orjson

    out = console()
    waiting: Body = one["waiting"] or {}
    behind = f"behind {waiting['before']:,} of its lane; first comes {waiting['first']}" if waiting.get("before") else ""
    further = ", ".join(f"{name}={value}" for name, value in one["extensions"].items())
    show_fields(
        out,
        [
            ("id", one["id"]),
            ("event", f"{one['type']} {one['subject']}".strip()),
            ("time", moment(one["time"])),
            ("source", one["source"]),
            ("trigger", one["trigger"]),
            ("key", one["key"]),
            ("status", shown_status(one["status"])),
            ("remark", one["remark"]),
            ("due", moment(one["dueAt"])),
            ("waits", behind),
            ("recorded", moment(one["settledAt"])),
            ("sent to", one["sentTo"] or ""),
            ("further", further),
        ],
    )
    if one["history"]:
        print()
        rows = (
            (
                str(each["number"]),
                moment(each["at"]),
                str(each["status"] or "no answer"),
                f"{each['duration'] * 1000:.0f} ms",
                each["error"] or each["response"],
            )
            for each in one["history"]
        )
        show_table(out, ("try", "at", "status", "took", "what the endpoint said"), rows, whole=("try", "at", "status", "took"))
    print()
    if one["data"] is None:
        print("(its data could not be kept)")
    elif out.is_terminal:
        from rich.json import JSON

        out.print(JSON.from_data(one["data"]))
    else:
        print(orjson.dumps(one["data"], option=orjson.OPT_INDENT_2).decode())


def tail(
    trigger: TriggerFilter = None,
    status: StatusFilter = None,
    type: TypeFilter = None,
    source: SourceFilter = None,
    key: KeyFilter = None,
    where: WhereFilter = None,
    error: ErrorFilter = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last ones to begin with.")] = 10,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    back: Annotated[str, typer.Option(help="How old an event may be that is recorded only now: 10m, 1d.")] = "2m",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    config: ConfigOption = _HERE,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Follow the event log: each delivery as it is recorded, and again when its status changes. Ctrl-C ends it.

    It goes on by itself when cdcd is restarted meanwhile. While cdcd catches up after an outage, or replays old events, look back
    further with --back.

    Exit codes: 0 ended by Ctrl-C, 1 refused, 2 nobody could be reached.

    Examples: `cdcd events tail`, `cdcd events tail --status failed --json | jq -r .remark`
    """
    query = query_of(wanted(trigger, status, type, source, key, None, None, where, error))
    reaching = seconds(back, "--back")

    async def main(reach: "Reach") -> int:
        from cdcd.cli.tailing import follow

        await follow(reach, query, lines, interval, reaching, as_json=as_json)
        return DONE

    try:
        do(Where(config, url, token, as_json), main)
    except typer.Exit as ended:
        raise typer.Exit(DONE if ended.exit_code == 130 else ended.exit_code) from None


def retry(
    id: Ids = None,
    trigger: TriggerFilter = None,
    status: StatusFilter = None,
    type: TypeFilter = None,
    source: SourceFilter = None,
    key: KeyFilter = None,
    since: SinceFilter = None,
    until: UntilFilter = None,
    where: WhereFilter = None,
    error: ErrorFilter = None,
    all_: AllOption = False,
    rate: RateOption = None,
    dry_run: DryRun = False,
    yes: YesOption = False,
    no_wait: NoWait = False,
    as_json: JsonOption = False,
    config: ConfigOption = _HERE,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Try deliveries again, under the same ids: those that failed or were cancelled at the back of their lane, those that wait now.

    What was delivered stays so: `cdcd events replay` sends it again. While no daemon runs they are put into the backlog, and go when
    it starts.

    Exit codes: 0 done, 1 refused, or not all of it could be done, 2 nobody could be reached, 130 ended by Ctrl-C.

    Examples: `cdcd events retry 0193f0c2-8a10-8c1e-9a3f-0a1b2c3d4e5f`, `cdcd events retry --status failed --trigger search --since 1d`,
    `cdcd events retry --status failed --rate 50 --yes`
    """
    members = wanted(trigger, status, type, source, key, since, until, where, error)
    extra = {"rate": rate} if rate is not None else {}
    _act("retry", id, members, extra, Where(config, url, token, as_json), all_, dry_run, yes, no_wait, as_json)


def cancel(
    id: Ids = None,
    trigger: TriggerFilter = None,
    status: StatusFilter = None,
    type: TypeFilter = None,
    source: SourceFilter = None,
    key: KeyFilter = None,
    since: SinceFilter = None,
    until: UntilFilter = None,
    where: WhereFilter = None,
    error: ErrorFilter = None,
    all_: AllOption = False,
    dry_run: DryRun = False,
    yes: YesOption = False,
    no_wait: NoWait = False,
    as_json: JsonOption = False,
    config: ConfigOption = _HERE,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Take waiting deliveries out of the backlog. They can be tried again later.

    Exit codes: 0 done, 1 refused, or not all of it could be done, 2 nobody could be reached, 130 ended by Ctrl-C.

    Example: `cdcd events cancel --status staged --trigger search --until 2026-11-24`
    """
    members = wanted(trigger, status, type, source, key, since, until, where, error)
    _act("cancel", id, members, {}, Where(config, url, token, as_json), all_, dry_run, yes, no_wait, as_json)


def replay(
    id: Ids = None,
    trigger: TriggerFilter = None,
    status: StatusFilter = None,
    type: TypeFilter = None,
    source: SourceFilter = None,
    key: KeyFilter = None,
    since: SinceFilter = None,
    until: UntilFilter = None,
    where: WhereFilter = None,
    error: ErrorFilter = None,
    all_: AllOption = False,
    to: Annotated[str | None, typer.Option(help="Send them to this URL instead of the trigger's.")] = None,
    today: Annotated[
        bool, typer.Option("--today", help="Leave out what the trigger, as it is now, would not fire for.")
    ] = False,
    rate: RateOption = None,
    dry_run: DryRun = False,
    yes: YesOption = False,
    no_wait: NoWait = False,
    as_json: JsonOption = False,
    config: ConfigOption = _HERE,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Deliver past events again, in order, as new deliveries that are marked as replays (`cdcdreplayof`).

    Exit codes: 0 done, 1 refused, or not all of it could be done, 2 nobody could be reached, 130 ended by Ctrl-C.

    Examples: `cdcd events replay --trigger search --since 2026-11-23 --until 2026-11-24 --rate 100`,
    `cdcd events replay --trigger search --since 1h --to http://127.0.0.1:9000/ --dry-run`
    """
    members = wanted(trigger, status, type, source, key, since, until, where, error)
    extra: dict[str, Any] = {"rate": rate} if rate is not None else {}
    if to is not None:
        extra["to"] = to
    if today:
        extra["today"] = True
    _act("replay", id, members, extra, Where(config, url, token, as_json), all_, dry_run, yes, no_wait, as_json)


def _act(
    action: str,
    ids: list[str] | None,
    members: dict[str, Any],
    extra: dict[str, Any],
    where: Where,
    everything: bool,
    dry_run: bool,
    yes: bool,
    no_wait: bool,
    as_json: bool,
) -> None:
    if ids and (members or everything):
        raise typer.BadParameter("give ids or filters, not both")
    if not ids and not members and not everything:
        raise typer.BadParameter("say which: ids, filters (--status failed, --since 1h, ...), or --all")

    async def main(reach: "Reach") -> int:
        from cdcd.cli.working import operate

        if ids:
            from cdcd.cli.single import act_on

            return await act_on(reach, action, ids, extra, dry_run=dry_run, as_json=as_json)
        order = {"action": action, "filter": members, **extra}
        return await operate(reach, order, dry_run=dry_run, yes=yes, wait=not no_wait, as_json=as_json)

    do(where, main)
