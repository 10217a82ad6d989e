"""`cdcd setup` and `cdcd teardown`: make what cdcd needs in the databases, and take it away again."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from cdcd.cli.logs import configure
from cdcd.cli.loop import run_loop
from cdcd.cli.options import ConfigOption, load_or_exit
from cdcd.errors import CdcdError, SourceUnavailable, StoreUnavailable
from cdcd.upkeep.plan import setup_sql
from cdcd.upkeep.setup import setup as make
from cdcd.upkeep.teardown import look_for
from cdcd.upkeep.teardown import teardown as remove

NOT_LOOKED = "Nothing was removed: what could not be reached could not be looked at."


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(setup)
    app.command()(teardown)


def setup(
    config: ConfigOption = Path("cdcd.yaml"),
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the SQL that an owner of the database must run; change nothing.")
    ] = False,
    accept_gap: Annotated[
        bool,
        typer.Option(
            "--accept-gap",
            help="Begin anew where the slot was lost, dropped or moved, or the cluster is another. What was committed in "
            "between is never delivered; the gap is recorded and told.",
        ),
    ] = False,
    accept_files: Annotated[
        list[str] | None,
        typer.Option(
            "--accept-files",
            metavar="STORE",
            help="What is in this store's directory at the next start is what it holds; what is missing counts as deleted, also "
            "where its file system seemed not to be mounted.",
        ),
    ] = None,
) -> None:
    """Make the event store, the publications and the replication slots; or the change log and its triggers. What is there already
    stays.

    `cdcd run` does the same at its start, if its role may. Use this to do it beforehand, or `--print` to hand the SQL to
    whoever owns the database: then cdcd's own role needs LOGIN and REPLICATION, and nothing else.

    Exit codes: 0 done, 1 somebody must mend something first, 2 something could not be reached.

    Examples: `cdcd setup`, `cdcd setup --print | psql -v ON_ERROR_STOP=1 "$OWNER_URL"`, `cdcd setup --accept-gap`
    """
    configure(level="warning")
    loaded = load_or_exit(config)
    if print_only:

        async def write() -> int:
            text, unreached = await setup_sql(loaded)
            print(text, end="")
            for problem in unreached:
                print(f"not reached: {problem}", file=sys.stderr)
            return 2 if unreached else 0

        raise typer.Exit(run_loop(lambda: _told(write, by_setup=True)))
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        print(line, flush=True)

    async def main() -> int:
        await make(loaded, accept_gap=accept_gap, tell=tell, accept_files=accept_files or ())
        print("Ready for `cdcd run`." if told else "Everything is there already.")
        return 0

    raise typer.Exit(run_loop(lambda: _told(main, by_setup=True)))


def teardown(
    config: ConfigOption = Path("cdcd.yaml"),
    print_only: Annotated[bool, typer.Option("--print", help="Print the SQL that removes everything; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove the replication slots, the publications, the change logs and the event store with all it recorded. Nothing of cdcd stays.

    Refused while a daemon runs. The embedded event store goes with its whole server.

    Exit codes: 0 done (or nothing was there), 1 refused, 2 something could not be reached.

    Examples: `cdcd teardown`, `cdcd teardown --yes`, `cdcd teardown --print`
    """
    configure(level="warning")
    loaded = load_or_exit(config)

    async def main() -> int:
        remains = await look_for(loaded)
        for problem in remains.unreached:
            print(f"not reached: {problem}", file=sys.stderr)
        code = 2 if remains.unreached else 0
        if print_only:
            nothing = "-- Nothing is there." if not code else f"-- {NOT_LOOKED}"
            print(remains.sql().rstrip() if not remains.nothing else nothing)
            return code
        if remains.nothing:
            print("Nothing is there." if not code else NOT_LOOKED)
            return code
        if not yes and not _confirmed(remains.words()):
            return 1
        await remove(loaded, remains, print)
        return code

    raise typer.Exit(run_loop(lambda: _told(main)))


def _confirmed(lines: list[str]) -> bool:
    print("This will be removed, and cannot be brought back:", *(f"  {line}" for line in lines), sep="\n", flush=True)
    if not sys.stdin.isatty():
        print("Nothing was removed: there is no terminal to ask on; give --yes.", file=sys.stderr)
        return False
    if input("Remove it? Type yes: ").strip().lower() == "yes":
        return True
    print("Nothing was removed.")
    return False


async def _told(main: Callable[[], Awaitable[int]], *, by_setup: bool = False) -> int:
    """Run `main`; an error of ours is shown with its fix. 2 for what could not be reached, 1 for what must be mended."""
    try:
        return await main()
    except CdcdError as error:
        # `cdcd setup` has just been run: what is left of that advice is to let somebody else do it.
        words = error.explain().replace("run `cdcd setup`, or `cdcd setup --print` and", "run `cdcd setup --print` and")
        print(words if by_setup else error.explain(), file=sys.stderr)
        if isinstance(error, SourceUnavailable | StoreUnavailable):
            return 2
        if by_setup:
            print("`cdcd check` shows everything at once.", file=sys.stderr)
        return 1
