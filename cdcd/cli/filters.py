"""The options that select deliveries, the same for every command, and the filter of the API that they make."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdcd.cli.options import trigger_names

if TYPE_CHECKING:
    from cdcd.cli.reach import Reach

STATUSES = ("staged", "processed", "failed", "cancelled")
_TYPES = (
    *("DB_INSERT", "DB_UPDATE", "DB_DELETE", "DB_TRUNCATE"),
    *("FILE_CREATE", "FILE_UPDATE", "FILE_DELETE", "SCHEDULE"),
)


def _statuses(incomplete: str) -> list[str]:
    return [each for each in STATUSES if each.startswith(incomplete)]


def _types(incomplete: str) -> list[str]:
    return [each for each in _TYPES if each.startswith(incomplete)]


_PANEL = "Which deliveries"

TriggerFilter = Annotated[
    list[str] | None,
    typer.Option("--trigger", help="Of this trigger. May be repeated.", autocompletion=trigger_names, rich_help_panel=_PANEL),
]
StatusFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        help="staged, processed, failed or cancelled. May be repeated.",
        autocompletion=_statuses,
        rich_help_panel=_PANEL,
    ),
]
TypeFilter = Annotated[
    list[str] | None,
    typer.Option("--type", help="Of events of this type. May be repeated.", autocompletion=_types, rich_help_panel=_PANEL),
]
SourceFilter = Annotated[
    str | None, typer.Option(help="Of this database or storage, or this CloudEvent source.", rich_help_panel=_PANEL)
]
KeyFilter = Annotated[
    str | None, typer.Option(help="Of the row with this key, the file with this path.", rich_help_panel=_PANEL)
]
SinceFilter = Annotated[
    str | None, typer.Option(help="Events from then on: 2h (ago), today, 2026-11-24, RFC 3339.", rich_help_panel=_PANEL)
]
UntilFilter = Annotated[str | None, typer.Option(help="Events before then.", rich_help_panel=_PANEL)]
WhereFilter = Annotated[
    str | None, typer.Option("--where", "--text", help="With this text in the payload.", rich_help_panel=_PANEL)
]
ErrorFilter = Annotated[
    str | None, typer.Option(help="With this text in why it failed, was cancelled or waits.", rich_help_panel=_PANEL)
]


def wanted(
    trigger: list[str] | None = None,
    status: list[str] | None = None,
    type: list[str] | None = None,
    source: str | None = None,
    key: str | None = None,
    since: str | None = None,
    until: str | None = None,
    where: str | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    """The filter as the API's JSON has it, without what excludes nothing. Ends the command for what cannot be meant."""
    for each in status or ():
        if each not in STATUSES:
            raise typer.BadParameter(f"must be one of {', '.join(STATUSES)}", param_hint="--status")
    members: dict[str, Any] = {
        "trigger": trigger or None,
        "status": status or None,
        "type": type or None,
        "source": source,
        "key": key,
        "since": _time(since, "--since"),
        "until": _time(until, "--until"),
        "text": where,
        "error": error,
    }
    return {name: value for name, value in members.items() if value is not None}


def query_of(members: dict[str, Any]) -> list[tuple[str, str]]:
    """The same as parameters of a query."""
    return [(name, each) for name, value in members.items() for each in (value if isinstance(value, list) else [value])]


async def tell_unknown(reach: "Reach", triggers: Sequence[str]) -> None:
    """Nothing was found: say on stderr which of these names no trigger has."""
    from difflib import get_close_matches

    known = [one["name"] for one in (await reach.triggers())["triggers"]] if triggers else []
    for name in triggers:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            print(f"there is no trigger {name}{meant}", file=sys.stderr)


def seconds(text: str, option: str) -> float:
    """A duration that was given with an option. Ends the command for what is none."""
    from cdcd.config.quantities import duration

    try:
        return duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _time(text: str | None, option: str) -> str | None:
    from cdcd.cli.times import moment, rfc3339

    if text is None:
        return None
    try:
        return rfc3339(moment(text, time.time()))
    except (ValueError, OverflowError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
