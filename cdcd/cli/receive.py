"""`cdcd receive`: a local endpoint that checks, prints and keeps what it gets, and misbehaves on demand."""

import asyncio
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from cdcd.config.secrets import secret_key
from cdcd.demo.receiver import Behaviour, Received, Receiver
from cdcd.demo.verify import VERIFIED

UNVERIFIED = "neither --secret nor CDCD_SECRET is given: tokens and signatures are not verified"


def register(app: typer.Typer) -> None:
    """Add the command to the main application."""
    app.command()(receive)


def receive(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 takes a free port.")] = 9000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    secret: Annotated[
        list[str] | None,
        typer.Option(envvar="CDCD_SECRET", help="Check token and signature with it (several while rotating)."),
    ] = None,
    status: Annotated[int, typer.Option(min=200, max=599, help="Answer with this status.")] = 200,
    fail_first: Annotated[int, typer.Option(min=0, help="Answer 503 to the first N arrivals of each event.")] = 0,
    fail_rate: Annotated[float, typer.Option(min=0.0, max=1.0, help="Answer 503 to this share of requests.")] = 0.0,
    delay: Annotated[float, typer.Option(min=0.0, help="Seconds to wait before each answer.")] = 0.0,
    hang: Annotated[bool, typer.Option("--hang", help="Accept and never answer.")] = False,
    save: Annotated[Path | None, typer.Option(help="Append each request to this file as a JSON line.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the address.")] = False,
) -> None:
    """Take webhooks on this machine: check token and signature, show each event, misbehave on demand.

    The address is printed to stderr once it listens. Ctrl-C ends it.
    """
    try:
        keys = tuple(secret_key(text).value for text in secret or ())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--secret") from error
    if save is not None:
        try:
            save.open("ab").close()
        except OSError as error:
            print(f"cannot write to {save}: {error.strerror or error}", file=sys.stderr)
            raise typer.Exit(2) from error
    show = None if quiet else _json_line if as_json else _Lines()
    receiver = Receiver(Behaviour(status, fail_first, fail_rate, delay, hang), keys, save, show, host, port)
    try:
        _run(receiver, "" if keys or quiet else UNVERIFIED)
    except OSError as error:
        print(f"cannot listen on {host}:{port}: {error.strerror or error}", file=sys.stderr)
        raise typer.Exit(2) from error


def _run(receiver: Receiver, remark: str) -> None:
    try:
        import uvloop
    except ImportError:  # not on every platform; asyncio's own loop is slower, not different
        asyncio.run(_serve(receiver, remark))
    else:
        uvloop.run(_serve(receiver, remark))


async def _serve(receiver: Receiver, remark: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await receiver.start()
    try:
        print(f"listening on {receiver.url}", file=sys.stderr, flush=True)
        if remark:
            print(remark, file=sys.stderr, flush=True)
        await stop.wait()
    finally:
        await receiver.stop()


def _json_line(received: Received) -> None:
    sys.stdout.buffer.write(received.as_line())
    sys.stdout.buffer.flush()


class _Lines:
    """One line an event, for people."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    def __call__(self, received: Received) -> None:
        line = Text()
        line.append(datetime.fromtimestamp(received.arrived_at).strftime("%H:%M:%S.%f")[:-3], "dim")
        line.append(f" {received.status or '---'} ", "green" if 200 <= received.status < 300 else "bold red")
        try:
            event = json.loads(received.request.body)
            kind, subject, happened = str(event["type"]), str(event.get("subject", "")), str(event.get("time", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            line.append(f"not an event: {len(received.request.body)} bytes to {received.request.path}", "yellow")
        else:
            line.append(f"{kind:<10} ", "cyan")
            line.append(subject, "bold")
            line.append(_age(happened, received.arrived_at), "dim")
        line.append(f" {received.id}", "dim")
        line.append(f" {received.verdict}", "green" if received.verdict == VERIFIED else "yellow")
        self._console.print(line)


def _age(happened: str, arrived_at: float) -> str:
    try:
        moment = datetime.fromisoformat(happened)
    except ValueError:
        return ""
    return f" {(arrived_at - moment.astimezone(UTC).timestamp()) * 1000:.1f} ms"


if __name__ == "__main__":
    typer.run(receive)
