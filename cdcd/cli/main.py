"""The command line: which commands there are, and in which module each is. A module is imported when its command is called: to
import all of them takes longer than most commands do."""

import gc
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from cdcd import __version__

_SETTINGS: dict[str, Any] = {
    "no_args_is_help": True,
    "rich_markup_mode": "markdown",  # it joins the lines of a paragraph
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

PREPARING, RUNNING, STEERING, TRYING = "Prepare", "Run", "See and steer", "Try"

COMMANDS = {
    "run": ("run", RUNNING, "Run the daemon: capture changes, deliver them, record every attempt."),
    "check": (
        "check",
        PREPARING,
        "Check the configuration, the databases, the event store, the API's address and the endpoints, by trying; change nothing.",
    ),
    "setup": (
        "prepare",
        PREPARING,
        "Make the event store, the publications and the replication slots; or the change log and its triggers.",
    ),
    "teardown": ("prepare", PREPARING, "Remove the replication slots, the publications, the change logs and the event store."),
    "import": ("imports", PREPARING, "Write triggers of another system as YAML, and list line by line what has no equal."),
    "status": ("status", RUNNING, "Show how things stand: each database's slot, the WAL it holds and why, lag; each trigger."),
    "health": ("health", RUNNING, "Is all well? Exit code 0: yes, 1: no, or nobody answers."),
    "reload": ("reload", RUNNING, "Let the running daemon read its configuration again, and take it over without a restart."),
    "schema": ("status", PREPARING, "Print the JSON Schema of the configuration file, for editors."),
    "token": ("token", RUNNING, "Print a token (JWT) for the HTTP API."),
    "events": ("events", STEERING, "The event log: list, show, follow, try again, cancel, replay."),
    "explain": (
        "explain",
        STEERING,
        "Explain a delivery: every step from the commit to the answer with its time, why its trigger fired",
    ),
    "queue": ("queue", STEERING, "Queue a custom event."),
    "triggers": ("triggers", STEERING, "Triggers: how they stand; try, pause and resume them."),
    "operations": (
        "operations",
        STEERING,
        "What operators did and do: retries, cancels, replays, pauses; and how far it is.",
    ),
    "receive": ("receive", TRYING, "Take webhooks on this machine: check token and signature, show each event, misbehave."),
    "demo": ("demo", TRYING, "A small shop on an embedded Postgres, a client that commits, endpoints of which one is flaky."),
}
"""Each command: the module of `cdcd.cli` that registers it, its panel in the help, and what the help says of it."""


def _load(module: str) -> dict[str, Any]:
    """The commands of a module, by name."""
    part = typer.Typer(name="cdcd", add_completion=False, **_SETTINGS)
    gc.disable()  # nothing that an import leaves is garbage: looking for it costs a seventh of a start
    try:
        import_module(f"cdcd.cli.{module}").register(part)
    finally:
        gc.freeze()
        gc.enable()
    return dict(get_group(part).commands)


def load_all() -> dict[str, Any]:
    """Every command, by name, in the order of the help."""
    found: dict[str, Any] = {}
    for module in dict.fromkeys(module for module, _, _ in COMMANDS.values()):
        found |= _load(module)
    assert found.keys() == COMMANDS.keys(), "each command stands in COMMANDS"
    return {name: found[name] for name in COMMANDS}


class _Lazy(TyperGroup):
    """Knows its commands by name; the one that is called is loaded."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in COMMANDS:
            self.commands.update(_load(COMMANDS[args[0]][0]))
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="cdcd",
    help="Change data capture to webhooks: every committed row, reliably, in order, in milliseconds.",
    cls=_Lazy,
    **_SETTINGS,
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


def _not_loaded() -> None:
    raise AssertionError("the command was not loaded")


for _name, (_, _panel, _help) in COMMANDS.items():
    app.command(_name, help=_help, rich_help_panel=_panel)(_not_loaded)
