"""`cdcd run`: the daemon in the foreground."""

import asyncio
import contextlib
import gc
import signal
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer

from cdcd.app import Daemon
from cdcd.cli.logs import Format, Level, configure
from cdcd.cli.loop import run_loop
from cdcd.cli.options import ConfigOption, load_or_exit
from cdcd.errors import CdcdError, PermanentError
from cdcd.upkeep.beforehand import look_before_first_run

log = structlog.get_logger()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


def run(
    config: ConfigOption = Path("cdcd.yaml"),
    log_format: Annotated[Format, typer.Option(help="auto: console on a terminal, else JSON.")] = Format.AUTO,
    log_level: Annotated[Level, typer.Option(help="The least grave events that are shown.")] = Level.INFO,
) -> None:
    """Run the daemon: capture changes, deliver them, record every attempt.

    The first SIGINT or SIGTERM stops it in order: attempts under way end, everything is recorded. The second stops it at once.
    SIGHUP reloads the configuration.
    Exit codes: 0 stopped in order, 1 a mistake that somebody must mend, 130 stopped at once.
    """
    configure(json={Format.JSON: True, Format.CONSOLE: False}.get(log_format), level=log_level)
    daemon = Daemon(load_or_exit(config))
    raise typer.Exit(run_loop(lambda: _main(daemon)))


async def _main(daemon: Daemon) -> int:
    loop = asyncio.get_running_loop()
    aborted = False

    def stop() -> None:
        nonlocal aborted
        if daemon.supervisor.stopping:
            aborted = True
            daemon.supervisor.abort()
        else:
            log.info("stopping", hint="attempts under way end first; once more stops at once")
            daemon.supervisor.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, daemon.reload, "SIGHUP")
    # What was made by now lives as long as the process: the collector need never look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        await look_before_first_run(daemon.config)
        await daemon.run()
    except CdcdError as error:
        more = {"see": "`cdcd check` shows everything at once"} if isinstance(error, PermanentError) else {}
        log.error("failed", error=str(error), hint=error.hint, **more)
        with contextlib.suppress(OSError):
            print(error.explain(), *more.values(), sep="\n", file=sys.stderr) if sys.stderr.isatty() else None
        return 1
    finally:
        # With the loop its handlers go: a reload that is asked for too late would end the process as if it had failed.
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    log.info("stopped")
    return 130 if aborted else 0
