"""The command line: one module per group of commands, registered here."""

from typing import Annotated

import typer

from cdcd import __version__
from cdcd.cli import check, demo, prepare, receive, run, status, token

app = typer.Typer(
    name="cdcd",
    help="Change data capture to webhooks: every committed row, reliably, in order, in milliseconds.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # it joins the lines of a paragraph
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"cdcd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


for module in (run, check, prepare, status, token, receive, demo):
    module.register(app)
