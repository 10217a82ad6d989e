"""What the commands share: the `-c FILE` option and how mistakes in the file are shown."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # what reads the file is imported when one is read
    from cdcd.config.model import Config

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="CDCD_CONFIG", help="The configuration file.", show_default=True)
]


def missing_hint(path: Path) -> str:
    """What to do when the file is not there; empty when it is."""
    return "" if path.exists() else "name the configuration file with -c FILE, or in the environment variable CDCD_CONFIG"


def load_or_exit(path: Path) -> "Config":
    """The valid configuration, expressions included; otherwise every mistake on stderr, and exit 1."""
    from cdcd.config import load
    from cdcd.errors import ConfigError
    from cdcd.server import rules
    from cdcd.triggers.trigger import mistakes_of

    try:
        config = load(path, os.environ, mistakes_of, rules.mistakes_of)
    except ConfigError as error:
        for mistake in error.mistakes:
            print(mistake, file=sys.stderr)
        if hint := error.hint or missing_hint(path):
            print(f"fix: {hint}", file=sys.stderr)
        count = len(error.mistakes)
        print(f"{count} mistake{'s' if count != 1 else ''}; nothing was started.", file=sys.stderr)
        raise typer.Exit(1) from error
    return config
