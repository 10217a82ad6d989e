"""What the commands share: the `-c FILE` option and how mistakes in the file are shown; where to ask a daemon; names to be completed."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # what reads the file is imported when one is read
    from cdcd.config.model import Config

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="CDCD_CONFIG", help="The configuration file.", show_default=True)
]

UrlOption = Annotated[
    str | None, typer.Option("--url", envvar="CDCD_URL", help="Ask the daemon there, whatever the configuration says.")
]
TokenOption = Annotated[
    str | None,
    typer.Option("--token", envvar="CDCD_TOKEN", help="The token for --url; left out: one of the configuration's secret."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, as the API gives it.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass(slots=True, frozen=True)
class Where:
    """What a command was told of where to ask (`cdcd.cli.reach`). `quiet`: nothing for people on stderr."""

    config: Path
    url: str | None = None
    token: str | None = None
    quiet: bool = False


def trigger_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """For the shell's completion: the triggers of the configuration file and of those that it includes, read without checking them."""
    import yaml

    def names(path: Path, *, main: bool) -> list[str]:
        plain: Any = yaml.load(path.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - it is safe
        found = list(plain.get("triggers") or {})
        include = plain.get("include") or [] if main else []
        for pattern in [include] if isinstance(include, str) else include:
            for other in sorted(path.parent.glob(str(pattern))):
                found += names(other, main=False)
        return found

    try:
        path = Path(ctx.params.get("config") or os.environ.get("CDCD_CONFIG") or "cdcd.yaml")
        return [name for name in names(path, main=True) if name.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - whoever presses a key wants no error, whatever is wrong with the file
        return []


def missing_hint(path: Path) -> str:
    """What to do when the file is not there; empty when it is."""
    return "" if path.exists() else "name the configuration file with -c FILE, or in the environment variable CDCD_CONFIG"


def load_or_exit(path: Path, *, expressions: bool = True) -> "Config":
    """The valid configuration, `expressions` included; otherwise every mistake on stderr, and exit 1. Whoever only asks a daemon needs
    them not."""
    from cdcd.config import load
    from cdcd.errors import ConfigError

    try:
        if expressions:
            from cdcd.server import rules
            from cdcd.triggers.trigger import mistakes_of

            config = load(path, os.environ, mistakes_of, rules.mistakes_of)
        else:
            config = load(path, os.environ)
    except ConfigError as error:
        for mistake in error.mistakes:
            print(mistake, file=sys.stderr)
        if hint := error.hint or missing_hint(path):
            print(f"fix: {hint}", file=sys.stderr)
        count = len(error.mistakes)
        print(f"{count} mistake{'s' if count != 1 else ''}; nothing was started.", file=sys.stderr)
        raise typer.Exit(1) from error
    return config
