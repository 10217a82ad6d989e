"""`cdcd operations`: what operators did and do, and how far it is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from cdcd.cli.doing import DONE, REFUSED, do, print_json
from cdcd.cli.options import ConfigOption, JsonOption, TokenOption, UrlOption, Where
from cdcd.cli.showing import Body, console, moment, show_fields, show_table
from cdcd.cli.showing import status as shown_status

if TYPE_CHECKING:
    from cdcd.cli.reach import Reach

_HERE = Path("cdcd.yaml")


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
    for command, name in ((list_, "list"), (show, "show"), (stop, "stop")):
        group.command(name)(command)
    app.add_typer(
        group, name="operations", help="What operators did and do: retries, cancels, replays, pauses; and how far it is."
    )


def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many, at most.")] = 20,
    as_json: JsonOption = False,
    config: ConfigOption = _HERE,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """List operations, newest first.

    Exit codes: 0 listed, 1 refused, 2 nobody could be reached.

    Example: `cdcd operations list --json | jq '.operations[] | select(.state == "running")'`
    """

    async def main(reach: "Reach") -> int:
        found = await reach.operations(limit)
        if as_json:
            print_json(found)
            return DONE
        out = console()
        rows = (
            (
                each["id"],
                moment(each["startedAt"]) if out.is_terminal else each["startedAt"],
                each["action"],
                shown_status(each["state"]) if out.is_terminal else each["state"],
                _done(each) if out.is_terminal else f"{each['done']}/{each['total']}",
                each["who"],
                _words(each["filter"]),
            )
            for each in found["operations"]
        )
        show_table(
            out, ("id", "begun", "action", "state", "done", "who", "of"), rows, whole=("id", "begun", "action", "state", "done")
        )
        if out.is_terminal and not found["operations"]:
            print("There are none.")
        return DONE

    do(Where(config, url, token, as_json), main)


def _done(one: Body) -> Text:
    """How far it is; in red when something could not be done."""
    text = Text(f"{one['done']:,} of {one['total']:,}")
    return text.append(f", {one['failed']:,} failed", "red") if one["failed"] else text


def show(
    id: Annotated[str, typer.Argument(help="The operation.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait until it is over, showing how far it is.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = _HERE,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Show an operation: what was asked for, by whom, and how far it is.

    Exit codes: 0 shown (with --follow: it is done), 1 not there (with --follow: not all of it could be done), 2 nobody could be reached.

    Example: `cdcd operations show 4f0c2b8e-0d0a-4a52-9b1e-6f0f5e7a1c11 --follow`
    """

    async def main(reach: "Reach") -> int:
        operation = await reach.operation(id)
        if follow and operation["state"] == "running":
            from cdcd.cli.working import follow as watch

            return await watch(reach, operation, as_json=as_json)
        print_json(operation) if as_json else _show(operation)
        return REFUSED if follow and (operation["state"] != "done" or operation["failed"]) else DONE

    do(Where(config, url, token, as_json), main)


def stop(
    id: Annotated[str, typer.Argument(help="The operation.")],
    as_json: JsonOption = False,
    config: ConfigOption = _HERE,
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Stop an operation. What it has done stays done.

    Exit codes: 0 it stops (or had ended), 1 not there, 2 nobody could be reached.

    Example: `cdcd operations stop 4f0c2b8e-0d0a-4a52-9b1e-6f0f5e7a1c11`
    """

    async def main(reach: "Reach") -> int:
        operation = await reach.stop(id)
        if as_json:
            print_json(operation)
        else:
            print("It stops." if operation["state"] == "running" else f"It is over already: {operation['state']}.")
        return DONE

    do(Where(config, url, token, as_json), main)


def _show(one: Body) -> None:
    show_fields(
        console(),
        [
            ("id", one["id"]),
            ("action", one["action"]),
            ("of", _words(one["filter"]) or "everything"),
            ("options", _words(one["options"])),
            ("who", one["who"]),
            ("state", shown_status(one["state"])),
            ("done", f"{one['done']:,} of {'' if one['exact'] else 'at least '}{one['total']:,}"),
            ("left as they were", f"{one['skipped']:,}" if one["skipped"] else ""),
            ("failed", f"{one['failed']:,}" if one["failed"] else ""),
            ("remark", one["remark"]),
            ("begun", moment(one["startedAt"])),
            ("ended", moment(one["endedAt"])),
        ],
    )


def _words(members: Body) -> str:
    """A filter or options as the command line writes them."""
    from cdcd.cli.times import rfc3339

    def word(name: str, value: object) -> str:
        if name in ("since", "until") and isinstance(value, int | float):
            return rfc3339(value)
        return ",".join(map(str, value)) if isinstance(value, list) else str(value)

    return " ".join(f"{name}={word(name, value)}" for name, value in members.items())
