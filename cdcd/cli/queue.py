"""`cdcd queue`: a custom event, by the API; or by SQL, straight into the event store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdcd.cli.doing import DONE, do, print_json
from cdcd.cli.filters import seconds
from cdcd.cli.options import ConfigOption, JsonOption, TokenOption, UrlOption, Where

if TYPE_CHECKING:
    from cdcd.cli.reach import Reach


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(queue)


def queue(
    type: Annotated[str, typer.Argument(help="The event's type: ORDER_PAID.")],
    data: Annotated[str, typer.Argument(help="The payload: JSON, @FILE, or - for standard input.")] = "null",
    delay: Annotated[str | None, typer.Option(help="When it is due, from now on: 10m, 1h30m.")] = None,
    at: Annotated[str | None, typer.Option(help="When it is due: today, 2026-11-24 18:30, RFC 3339.")] = None,
    key: Annotated[str | None, typer.Option(help="Events with the same key are delivered in order.")] = None,
    id: Annotated[str | None, typer.Option(help="Your id: the same id and type twice is one event.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for what the webhook answers, and print that. Only where cdcd's API answers.")
    ] = False,
    timeout: Annotated[int, typer.Option(min=1, max=60, help="Seconds, with --wait.")] = 30,
    as_json: JsonOption = False,
    config: ConfigOption = Path("cdcd.yaml"),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Queue a custom event. Prints its id once it is durable.

    The API checks the type and the payload's schema. Where no API answers, it goes straight into the event store by the function
    `queue()`, which checks neither, and is delivered as soon as cdcd runs.

    Exit codes: 0 queued (with --wait: delivered), 1 refused, or the delivery failed, 2 nobody could be reached.

    Examples: `cdcd queue ORDER_PAID '{"id": 42}'`, `cdcd queue REMIND @payload.json --delay 10m`,
    `echo '{"n": 1}' | cdcd queue PRICE_ASKED - --wait`
    """
    from cdcd.cli.reading import Unreadable, json_of

    if delay is not None and at is not None:
        raise typer.BadParameter("give --delay or --at, not both")
    event: dict[str, Any] = {"type": type}
    try:
        event["data"] = json_of(data)
    except Unreadable as error:
        raise typer.BadParameter(str(error), param_hint="DATA") from error
    event |= {name: value for name, value in (("delay", delay), ("key", key), ("id", id)) if value is not None}
    if at is not None:
        event["at"] = _moment(at)
    if delay is not None:
        seconds(delay, "--delay")

    async def main(reach: "Reach") -> int:
        done = await reach.queue(event, float(timeout) if wait else None)
        if as_json:
            print_json(done)
        elif "result" in done:
            print_json(done["result"])
        else:
            print(*done["ids"], sep="\n")
        return DONE

    do(Where(config, url, token, as_json), main)


def _moment(text: str) -> str:
    import time

    from cdcd.cli.times import moment, rfc3339

    try:
        return rfc3339(moment(text, time.time()))
    except (ValueError, OverflowError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="--at") from error
