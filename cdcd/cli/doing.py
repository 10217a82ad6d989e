"""Running a command that asks the API: one event loop, errors with their fix, and the exit code.

Exit codes of all these commands: 0 done, 1 refused or not there or not all of it done, 2 nobody could be reached (or the command was called
wrongly), 130 ended by Ctrl-C.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from cdcd.cli.options import Where

if TYPE_CHECKING:  # imported when it is needed: showing help needs neither
    from cdcd.cli.reach import Reach

DONE, REFUSED, UNREACHED, INTERRUPTED = 0, 1, 2, 130


def do(where: Where, main: "Callable[[Reach], Awaitable[int]]") -> NoReturn:
    """Run `main` and exit with what it returns."""
    from cdcd.cli.asking import Unreachable
    from cdcd.cli.logs import configure
    from cdcd.cli.reach import reached
    from cdcd.errors import CdcdError, TransientError

    configure(level="error")

    async def run() -> int:
        async with reached(where) as reach:
            return await main(reach)

    try:
        code = asyncio.run(run())
    except CdcdError as error:
        print(error.explain(), file=sys.stderr)
        raise typer.Exit(UNREACHED if isinstance(error, Unreachable | TransientError) else REFUSED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:  # whoever read it has seen enough
        sys.stderr.close()
        raise typer.Exit(DONE) from None
    raise typer.Exit(code)


def print_json(value: Any, *, lines: bool = False) -> None:
    """One JSON value: indented, or on one line."""
    import orjson

    print(orjson.dumps(value, option=0 if lines else orjson.OPT_INDENT_2).decode(), flush=lines)


def confirmed(question: str, *, yes: bool) -> bool:
    """Whether somebody said yes: on a terminal, or with --yes before."""
    if yes:
        return True
    if not sys.stdin.isatty():
        print(f"{question} Nothing was done: there is no terminal to ask on; give --yes.", file=sys.stderr)
        return False
    if input(f"{question} Type yes: ").strip().lower() in ("yes", "y"):
        return True
    print("Nothing was done.", file=sys.stderr)
    return False
