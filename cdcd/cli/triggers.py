"""`cdcd triggers`: how they stand; trying one, pausing and resuming."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdcd.cli.doing import DONE, REFUSED, do, print_json
from cdcd.cli.options import ConfigOption, JsonOption, TokenOption, UrlOption, Where, trigger_names
from cdcd.cli.showing import Body, Cell, console, mark, moment, show_fields, show_table

if TYPE_CHECKING:
    from cdcd.cli.reach import Reach

_HERE = Path("cdcd.yaml")
_STYLES = {"active": "green", "paused": "yellow", "disabled": "dim", "circuit_open": "red", "gone": "red"}
NameArgument = Annotated[str, typer.Argument(help="The trigger.", autocompletion=trigger_names)]
NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME...", help="Triggers.", autocompletion=trigger_names)]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
    for command, name in ((list_, "list"), (show, "show"), (try_, "test"), (pause, "pause"), (resume, "resume")):
        group.command(name)(command)
    app.add_typer(group, name="triggers", help="Triggers: how they stand; try, pause and resume them.")


def list_(
    as_json: JsonOption = False,
    config: ConfigOption = _HERE,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """List all triggers and how they stand: state, rate, success, latency, backlog, last error.

    Rates are those of the daemon that answers; without one there are none. Piped, the columns are name, state, types, tables or paths,
    endpoint, backlog.

    Exit codes: 0 listed, 1 refused, 2 nobody could be reached.

    Example: `cdcd triggers list --json | jq '.triggers[] | select(.backlog > 0) | .name'`
    """

    async def main(reach: "Reach") -> int:
        found = await reach.triggers()
        if as_json:
            print_json(found)
            return DONE
        out = console()
        shown = found["triggers"]
        if not out.is_terminal:
            rows = [
                [one["name"], one["state"], ",".join(one["types"]), ",".join(one["what"]), one["endpoint"], str(one["backlog"])]
                for one in shown
            ]
            show_table(out, (), rows)
            return DONE
        columns = ("trigger", "state", "waiting", "a second", "success", "p99", "on", "of", "to", "last error")
        show_table(
            out, columns, (_row(one) for one in shown), whole=("trigger", "state", "a second", "success", "p99", "waiting")
        )
        return DONE

    do(Where(config, url, token, as_json), main)


def _row(one: Body) -> list[Cell]:
    return [
        one["name"],
        _state(one["state"]),
        f"{one['backlog']:,}" if one["backlog"] else "",
        f"{one['rate']:.1f}" if one["rate"] else "",
        "" if one["success"] is None else f"{one['success']:.1%}",
        _seconds(one["latency"]["p99"]),
        " ".join(one["types"]),
        " ".join(one["what"]),
        one["endpoint"],
        one["lastError"],
    ]


def _state(text: str) -> Cell:
    from rich.text import Text

    return Text(text.replace("_", " "), _STYLES.get(text, ""))


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def show(
    name: NameArgument,
    as_json: JsonOption = False,
    config: ConfigOption = _HERE,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Show one trigger: how it stands, and how it is written. Secrets are shown as `***`.

    Exit codes: 0 shown, 1 not there, 2 nobody could be reached.

    Example: `cdcd triggers show search-index`
    """

    async def main(reach: "Reach") -> int:
        one = await reach.trigger(name)
        if as_json:
            print_json(one)
            return DONE
        out = console()
        show_fields(
            out,
            [
                ("trigger", one["name"]),
                ("state", _state(one["state"])),
                ("paused since", moment(one["pausedSince"])),
                ("types", ", ".join(one["types"])),
                ("of", ", ".join(filter(None, [one["source"], *one["what"]]))),
                ("endpoint", one["endpoint"]),
                ("delivered", f"{one['delivered']:,}"),
                ("failed", f"{one['failed']:,}"),
                ("waiting", f"{one['backlog']:,}"),
                ("oldest", moment(one["oldest"])),
                ("p99", _seconds(one["latency"]["p99"])),
                ("last error", one["lastError"]),
                ("written in", f"{one['file']}:{one['line']}" if one.get("file") else ""),
            ],
        )
        if one.get("yaml"):
            print()
            print(one["yaml"].rstrip())
        return DONE

    do(Where(config, url, token, as_json), main)


def try_(
    name: NameArgument,
    sample: Annotated[
        str | None,
        typer.Option(help="On this: an event ({type, data}) or its data alone; JSON, @FILE or - (standard input)."),
    ] = None,
    last: Annotated[int | None, typer.Option(min=1, max=20, help="On so many of the last events of its types.")] = None,
    delivery: Annotated[str | None, typer.Option(help="On the event of this delivery.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, max=20, help="On so many rows of its table as they are now.")] = None,
    table: Annotated[str | None, typer.Option(help="With --rows: of this table.")] = None,
    type: Annotated[str | None, typer.Option(help="The type of the event, with --sample and --rows.")] = None,
    send: Annotated[
        bool, typer.Option("--send", help="Send the request, once, marked as a test (`X-Cdcd-Test: true`).")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = _HERE,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Try a trigger: would it fire, why or why not, and which request exactly would be sent. Nothing is recorded.

    On the last events of its types, unless another option says otherwise.

    Exit codes: 0 it fires for one of them at least (and with --send the webhook took it), 1 it does not, or cannot be tried like
    this, 2 nobody could be reached.

    Examples: `cdcd triggers test search-index`, `cdcd triggers test search-index --rows 3`,
    `cdcd triggers test search-index --sample '{"doc": {"id": 42}}' --type DB_INSERT --send`
    """
    given = [each is not None for each in (sample, last, delivery, rows)]
    if sum(given) > 1:
        raise typer.BadParameter("give one of --sample, --last, --delivery and --rows")
    if table is not None and rows is None:
        raise typer.BadParameter("--table goes with --rows")
    if type is not None and sample is None and rows is None:
        raise typer.BadParameter("--type goes with --sample and --rows")
    event = _read(sample)

    async def main(reach: "Reach") -> int:
        asked: Body = {"trigger": name, **({"send": True} if send else {})}
        if sample is not None:
            asked["event"] = await _event(reach, name, event, type)
        elif delivery is not None:
            asked["delivery"] = delivery
        elif rows is not None:
            further = {"table": table, "type": type}
            asked["rows"] = {"count": rows, **{key: value for key, value in further.items() if value is not None}}
        else:
            asked["last"] = last or (1 if send else 5)
        found = await reach.attempt(asked)
        if as_json:
            print_json(found)
        else:
            _trials(found["trials"])
        return _verdict(found["trials"], send)

    do(Where(config, url, token, as_json), main)


def _read(sample: str | None) -> Any:
    from cdcd.cli.reading import Unreadable, json_of

    if sample is None:
        return None
    try:
        return json_of(sample)
    except Unreadable as error:
        raise typer.BadParameter(str(error), param_hint="--sample") from error


async def _event(reach: "Reach", name: str, sample: Any, kind: str | None) -> Body:
    """The event of a sample: whole, or its data with a type that is given or is the trigger's only one."""
    if isinstance(sample, dict) and {"type", "data"} <= sample.keys() and kind is None:
        known = ("type", "data", "source", "subject", "key", "time")
        return {member: value for member, value in sample.items() if member in known}
    if kind is None:
        types = (await reach.trigger(name))["types"]
        if len(types) != 1:
            raise typer.BadParameter(f"say which type it is: {', '.join(types)}", param_hint="--type")
        (kind,) = types
    return {"type": kind, "data": sample}


def _verdict(trials: list[Body], send: bool) -> int:
    fired = [trial for trial in trials if trial["judgement"]["fires"] and not trial["problem"]]
    if send and not any(trial["attempt"] and not trial["attempt"]["error"] for trial in fired):
        return REFUSED
    return DONE if fired else REFUSED


def _trials(trials: list[Body]) -> None:
    from rich.text import Text

    from cdcd.cli.explain import show_checks

    out = console()
    if not trials:
        print(
            "There is nothing to try it on: the event log has no events of its types. Give a --sample, or --rows.",
            file=sys.stderr,
        )
    for number, trial in enumerate(trials):
        if number:
            out.print()
        judgement, event, request = trial["judgement"], trial["event"], trial["request"]
        verdict = "fires" if judgement["fires"] else "does not fire"
        what = f"{event['type']} {event['subject']}".strip()
        out.print(Text.assemble(mark(judgement["fires"]), " ", (what, "bold"), f": it {verdict}"), soft_wrap=True)
        show_checks(out, judgement, of_interest=True)
        if trial["problem"]:
            out.print(Text(f"    and would be recorded as failed: {trial['problem']}", "red"), soft_wrap=True)
        if request is not None:
            out.print(Text(f"    {request['method']} {request['url']}", "cyan"), soft_wrap=True)
            for header in request["headers"]:
                out.print(Text(f"    {header['name']}: {header['value']}", "dim"), soft_wrap=True)
            if request["body"] is not None:
                out.print(Text(f"\n    {request['body']}" + (" ..." if request["cut"] else "")), soft_wrap=True)
        if (attempt := trial["attempt"]) is not None:
            said = f"status {attempt['status']}" if attempt["status"] else "no answer"
            out.print(
                Text.assemble("    ", mark(not attempt["error"]), f" {said} after {_seconds(attempt['seconds'])}"),
                soft_wrap=True,
            )
            if attempt["error"] or attempt["response"]:
                out.print(Text(f"    {attempt['error'] or attempt['response']}"), soft_wrap=True)


def pause(
    name: NamesArgument,
    as_json: JsonOption = False,
    config: ConfigOption = _HERE,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Pause triggers: they go on capturing and send nothing until they are resumed, over restarts too.

    Exit codes: 0 they are paused, 1 one of them is not there, 2 nobody could be reached.

    Example: `cdcd triggers pause search-index`
    """
    _switch("pause", name, Where(config, url, token, as_json), as_json)


def resume(
    name: NamesArgument,
    as_json: JsonOption = False,
    config: ConfigOption = _HERE,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Resume paused triggers: what waits goes, in order.

    Exit codes: 0 they are not paused, 1 one of them is not there, 2 nobody could be reached.

    Example: `cdcd triggers resume search-index`
    """
    _switch("resume", name, Where(config, url, token, as_json), as_json)


def _switch(action: str, names: list[str], where: Where, as_json: bool) -> None:
    async def main(reach: "Reach") -> int:
        from cdcd.cli.asking import Declined

        code = DONE
        for each in names:
            try:
                done = await reach.pause(each, action)
            except Declined as error:
                print(error.explain(), file=sys.stderr)
                code = REFUSED
                continue
            if as_json:
                print_json(done, lines=len(names) > 1)
            else:
                print(f"{each} {'is paused' if done['paused'] else 'goes on'}")
        return code

    do(where, main)
