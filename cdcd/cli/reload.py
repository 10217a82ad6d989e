"""`cdcd reload`: the running daemon reads its configuration again; by its API, or where it has none by SIGHUP.

A process is signalled only when it is sure to be the one: it runs `cdcd run` with this very file.
"""

import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdcd.cli.doing import DONE, REFUSED, UNREACHED, print_json
from cdcd.cli.options import ConfigOption, JsonOption, TokenOption, UrlOption

if TYPE_CHECKING:
    from cdcd.config.model import Config

PROCESSES = Path("/proc")
_Option = Annotated[bool, typer.Option("--dry-run", help="Only say what is wrong with the files; ask nobody.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reload)


def reload(
    dry_run: _Option = False,
    as_json: JsonOption = False,
    config: ConfigOption = Path("cdcd.yaml"),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Let the running daemon read its configuration again, and take it over without a restart.

    It is taken over whole or refused with every mistake, and then the former one goes on. By the API, the answer says what changed and
    from which position on it holds. A daemon without `server` is signalled (SIGHUP), and its log says what came of it.

    Exit codes: 0 taken over (or signalled), 1 refused, 2 no daemon could be reached.

    Examples: `cdcd reload`, `cdcd reload --dry-run`, `cdcd reload --json | jq .behind`
    """
    import asyncio

    loaded = None if url is not None and token is not None and not dry_run else _loaded(config)
    if dry_run:
        print("no mistake; the daemon will also look at the databases")
        raise typer.Exit(DONE)
    if url is None and loaded is not None and loaded.server is None:
        raise typer.Exit(_signal(config))
    raise typer.Exit(asyncio.run(_ask(loaded, url, token, as_json)))


def _loaded(path: Path) -> "Config":
    """The files as they are now. What cannot be loaded here is refused there too."""
    from cdcd.cli.options import missing_hint
    from cdcd.config.load import load
    from cdcd.errors import ConfigError
    from cdcd.server import rules
    from cdcd.triggers.trigger import mistakes_of

    try:
        return load(path, os.environ, mistakes_of, rules.mistakes_of)
    except ConfigError as error:
        print(*error.mistakes, sep="\n", file=sys.stderr)
        if hint := error.hint or missing_hint(path):
            print(f"fix: {hint}", file=sys.stderr)
        count = len(error.mistakes)
        print(f"{count} mistake{'s' * (count != 1)}; nothing was reloaded.", file=sys.stderr)
        raise typer.Exit(REFUSED) from None


async def _ask(config: "Config | None", url: str | None, token: str | None, as_json: bool) -> int:
    from cdcd.cli.asking import Declined, Network, Unreachable
    from cdcd.cli.reach import address_of, pinned, token_of

    # While secrets rotate, the daemon may not have the first of them yet.
    tokens: list[str] = [token] if token is not None else []
    if config is not None and token is None:
        tokens = [token_of(config, secret) for secret in config.token_secrets]
    trust: Any = True
    if url is None:
        assert config is not None
        assert config.server is not None
        url, trust = address_of(config.server), pinned(config.server)
    refused: Declined | None = None
    try:
        for each in tokens:
            async with Network(url, partial(str, each), trust).opened() as network:
                try:
                    _show((await network.ask("POST", "/v1/reload")).json, as_json)
                except Declined as error:
                    refused = error
                    if error.status != 401:
                        break
                else:
                    return DONE
    except Unreachable as error:
        print(error.explain(), file=sys.stderr)
        return UNREACHED
    assert refused is not None
    print(refused.explain(), file=sys.stderr)
    return UNREACHED if refused.status == 503 else REFUSED


def _show(done: Any, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    for what in ("added", "changed", "removed", "options"):
        if done[what]:
            print(f"{what}: {', '.join(done[what])}")
    if not any(done[what] for what in ("added", "changed", "removed", "options")):
        print("nothing has changed")
    for database, position in done["positions"].items():
        behind = ", not read up to there yet" if database in done["behind"] else ""
        print(f"{database}: from {position} on{behind}")
    for trigger, count in done["kept"].items():
        print(f"{trigger}: {count} deliveries are kept; they go on when it comes back, or can be cancelled")
    for warning in done["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)


def _signal(config: Path) -> int:
    """SIGHUP to the daemon that runs with this file."""
    found = list(daemons(config))
    if len(found) != 1:
        what = f"several processes run with {config}: {found}" if found else f"no process here is seen to run with {config}"
        print(
            f"{what}, and it has no `server` that could be asked\n"
            "  fix: `systemctl reload cdcd`, or kill -HUP and its pid; or give it `server: {listen: 127.0.0.1:4122}`",
            file=sys.stderr,
        )
        return UNREACHED
    try:
        os.kill(found[0], signal.SIGHUP)
    except (PermissionError, ProcessLookupError) as error:
        print(f"process {found[0]} cannot be signalled: {error.strerror}\n  fix: ask as its user", file=sys.stderr)
        return UNREACHED
    print(f"process {found[0]} was asked (SIGHUP); its log says what came of it: reload.taken or reload.refused")
    return DONE


def daemons(config: Path, processes: Path = PROCESSES) -> Iterator[int]:
    """The processes that are `cdcd run` with this file, as far as this user may see. None where the system tells nothing of processes."""
    for directory in sorted(processes.glob("[0-9]*"), key=lambda each: int(each.name)):
        try:
            words = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            if int(directory.name) == os.getpid() or (arguments := _run_arguments(words)) is None:
                continue
            named = _named(arguments) or _environ(directory).get("CDCD_CONFIG") or "cdcd.yaml"
            if (Path(os.readlink(directory / "cwd")) / named).samefile(config):  # noqa: PTH115  # the link is not to be followed in here
                yield int(directory.name)
        except (OSError, ValueError):
            continue  # it has ended, or is somebody else's


def _run_arguments(words: list[str]) -> list[str] | None:
    """What follows `cdcd run`; None for another program."""
    for place, word in enumerate(words[:-1]):
        ours = Path(word).name == "cdcd" and (place < 2 or words[place - 1] == "-m")
        if ours and words[place + 1] == "run":
            return words[place + 2 :]
    return None


def _named(arguments: list[str]) -> str:
    for place, word in enumerate(arguments):
        if word in ("-c", "--config") and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith("--config="):
            return word.removeprefix("--config=")
    return ""


def _environ(directory: Path) -> dict[str, str]:
    pairs = (directory / "environ").read_bytes().decode(errors="replace").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
