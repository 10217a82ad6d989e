"""`cdcd demo`: see it work on a machine that has nothing but Python."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.live import Live

from cdcd.cli.logs import configure
from cdcd.cli.loop import run_loop
from cdcd.cli.token import console_address
from cdcd.config.load import load
from cdcd.demo.show import Scene, Show
from cdcd.demo.stage import Stage
from cdcd.demo.view import final, live
from cdcd.errors import CdcdError
from cdcd.server.auth import make_token

DAY = 86400.0  # seconds that the console's token is good


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    count: Annotated[int | None, typer.Option(min=1, help="End by itself after about this many committed changes.")] = None,
    rate: Annotated[float, typer.Option(min=1.0, help="Committed changes a second.")] = 100.0,
    seed: Annotated[int, typer.Option(help="Makes the workload repeatable.")] = 1,
    folder: Annotated[Path, typer.Option(help="Where the demo's server, its cdcd.yaml and logs live.")] = Path("cdcd-demo"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the account as one JSON object, and nothing else.")] = False,
) -> None:
    """A small shop on an embedded Postgres, a client that commits, endpoints of which one is flaky and one dead for a while.

    Beside the rows: events by SQL, for now and for later, one that an endpoint's answer queues, and files dropped into a folder.

    The console's address is printed at the start, with a token that signs in: watch there, look into deliveries, add a trigger.

    cdcd is killed with -9 once on the way and started again. At the end: an account of what was committed and what arrived.
    Runs until Ctrl-C, or until --count. Exit 1 when anything was lost or out of order.
    """
    configure(json=False, level="error")
    raise typer.Exit(run_loop(lambda: _main(folder.absolute(), rate, count, seed, as_json)))


async def _main(folder: Path, rate: float, count: int | None, seed: int, as_json: bool) -> int:
    console = Console(file=sys.stderr if as_json else sys.stdout, quiet=as_json)
    told: list[str] = []
    animated = console.is_terminal and not as_json

    def tell(words: str) -> None:
        told.append(words)
        if not animated:
            console.print(words, soft_wrap=True)

    scene = Scene()
    stage = Stage(folder, tell)
    show = Show(stage, scene, rate, count, seed)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, show.stopping.set)
    try:
        await stage.start()
        tell(f"the database:       {stage.psql}")
        tell(f"the configuration:  {stage.config}")
        tell(f"the console:        {_console(stage)}")
        fine = await _played(show, stage, scene, console if animated else None, told)
        if as_json:
            print(orjson.dumps(stage.account.result()).decode())
        else:
            final(console, stage)
            console.print(f"The configuration ({stage.config.name}) and the logs are in {folder}.")
    except CdcdError as error:
        print(error.explain(), file=sys.stderr)
        return 1
    finally:
        await stage.stop()
    return 0 if fine else 1


def _console(stage: Stage) -> str:
    """Its address with a token that signs in."""
    config = load(stage.config, os.environ)
    assert config.server is not None
    claims = {"role": "admin", "exp": int(time.time() + DAY)}
    return console_address(config.server, make_token(config.token_secrets[0], config.project, claims))


async def _played(show: Show, stage: Stage, scene: Scene, console: Console | None, told: list[str]) -> bool:
    playing = asyncio.ensure_future(show.run())
    if console is None:
        return await playing
    # A screen of its own: nothing of it stays in the scrollback.
    with Live(live(console, stage, scene, told), console=console, refresh_per_second=8, screen=True) as screen:
        while not playing.done():
            await asyncio.wait({playing}, timeout=0.2)
            screen.update(live(console, stage, scene, told))
    for words in told:
        console.print(words, soft_wrap=True)
    return await playing
