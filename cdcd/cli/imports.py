"""`cdcd import`: triggers of Space Cloud, Hasura and Supabase as YAML, and what has no equal, line by line."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cdcd.cli.loop import run_loop
from cdcd.cli.options import ConfigOption, load_or_exit
from cdcd.config.types import LAST_RESORT
from cdcd.errors import CdcdError, ConfigError
from cdcd.imports import hasura, space_cloud, supabase
from cdcd.imports.catalog import webhook_triggers
from cdcd.imports.document import read
from cdcd.imports.found import Found, source_name
from cdcd.imports.metadata import hasura_metadata, text_of
from cdcd.imports.proving import prove
from cdcd.imports.writing import written
from cdcd.server import rules

OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write the YAML here, best in the directory that `include` names; else to stdout.",
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]
EnvOption = Annotated[
    Path | None,
    typer.Option(
        "--env-file", metavar="FILE", help="Write the secrets that were found here, NAME=value, readable by you alone."
    ),
]
RenameOption = Annotated[
    list[str] | None,
    typer.Option("--database", metavar="OLD=NEW", help="What a database is called here. May be repeated."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        name="import",
        help="Write triggers of another system as YAML, and list line by line what has no equal.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.command("space-cloud")(import_space_cloud)
    group.command("hasura")(import_hasura)
    group.command("supabase")(import_supabase)
    app.add_typer(group)


def import_space_cloud(
    source: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="What `space-cli get` wrote, or the whole config; or a directory of such files."),
    ],
    output: OutputOption = None,
    force: ForceOption = False,
    env_file: EnvOption = None,
    database: RenameOption = None,
) -> None:
    """Space Cloud's eventing triggers, with their filters, templates, event schemas and security rules.

    The triggers go to stdout, or to `--output`; what has no equal to stderr, each with its place. A trigger that would not do what it did
    is written with `enabled: false`. Secrets in the file are never shown: they become `${env:NAME}`.

    Exit codes: 0 written, 1 nothing was written.

    Example: `cdcd import space-cloud eventing.yaml -o triggers/space-cloud.yaml --env-file imported.env`
    """

    def find() -> Found:
        files = (
            sorted(path for path in source.rglob("*") if path.suffix in (".yaml", ".yml", ".json"))
            if source.is_dir()
            else [source]
        )
        documents = [document for file in files for document in read(str(file), text_of(file))]
        return space_cloud.translate(documents, _renaming(database))

    _import(find, f"Space Cloud ({source.name})", output, force, env_file)


def import_hasura(
    source: Annotated[Path, typer.Argument(metavar="METADATA", help="The metadata directory, or the exported JSON.")],
    output: OutputOption = None,
    force: ForceOption = False,
    env_file: EnvOption = None,
    database: RenameOption = None,
) -> None:
    """Hasura's event triggers and cron triggers, with their headers, retries and request transforms.

    Event triggers get `format: hasura`, so that endpoints need no change. Otherwise as for `space-cloud`.

    Exit codes: 0 written, 1 nothing was written.

    Example: `cdcd import hasura ./metadata --database default=main -o triggers/hasura.yaml`
    """
    _import(
        lambda: hasura.translate(hasura_metadata(source), _renaming(database)),
        f"Hasura ({source.name})",
        output,
        force,
        env_file,
    )


def import_supabase(
    config: ConfigOption = Path("cdcd.yaml"),
    url: Annotated[
        str | None,
        typer.Option(
            envvar="DATABASE_URL",
            help="The database to read, if the configuration does not name it; percent-encoded.",
            show_envvar=True,
        ),
    ] = None,
    database: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which of `databases` to read; with `--url`, what to call it.")
    ] = None,
    output: OutputOption = None,
    force: ForceOption = False,
    env_file: EnvOption = None,
) -> None:
    """Supabase's database webhooks, and triggers that call `net.http_post`, read from the database's catalog. Nothing there is changed.

    With a configuration file its database is read, else `--url`. The body is made as Supabase makes it, so that endpoints need no change.

    Exit codes: 0 written, 1 nothing was written, 2 the database could not be read.

    Example: `cdcd import supabase -o triggers/supabase.yaml`
    """
    name, dsn, in_file = database or "main", url, False
    if config.exists():
        known = load_or_exit(config).databases
        if database is None and len(known) == 1:
            name = next(iter(known))
        if name in known:
            dsn, in_file = known[name].url, True
        elif dsn is None:
            print(f"there is no database {name} in {config}; there are {', '.join(sorted(known)) or 'none'}", file=sys.stderr)
            raise typer.Exit(1)
    if not dsn:
        print("no database to read\n  fix: name one with --url, or the configuration with -c FILE", file=sys.stderr)
        raise typer.Exit(1)
    found: list[Found] = []

    async def main() -> int:
        try:
            _, triggers = await webhook_triggers(dsn)
        except CdcdError as error:
            print(error.explain(), file=sys.stderr)
            return 2
        found.append(supabase.translate(triggers, name, known=in_file))
        return 0

    if code := run_loop(main):
        raise typer.Exit(code)
    _import(lambda: found[0], "Supabase", output, force, env_file)


def _renaming(given: list[str] | None) -> Callable[[str], str]:
    names: dict[str, str] = {}
    for each in given or []:
        old, equals, new = each.partition("=")
        if not equals or source_name(new) != new:
            raise typer.BadParameter("write it as OLD=NEW; NEW is lowercase letters, digits and _", param_hint="--database")
        names[old] = new
    return lambda name: names.get(name) or source_name(name)


def _import(find: Callable[[], Found], origin: str, output: Path | None, force: bool, env_file: Path | None) -> None:
    for path in (output, env_file):
        if path is not None and path.exists() and not force:
            print(f"{path} is there already\n  fix: name another file, or give --force", file=sys.stderr)
            raise typer.Exit(1)
    try:
        found = find()
        prove(found, origin, rules.mistakes_of)
    except ConfigError as error:
        print(error.explain(), file=sys.stderr)
        raise typer.Exit(1) from error
    for remark in found.remarks:
        print(f"{'OFF ' if remark.off else ''}{remark}", file=sys.stderr)
    if not found.triggers:
        print("No trigger was found that cdcd can have; nothing was written.", file=sys.stderr)
        raise typer.Exit(1)
    text = written(found, origin)
    try:
        if output is not None:
            output.write_text(text, "utf-8")
        else:
            print(text, end="")
        if env_file is not None:
            _keep(env_file, found)
    except OSError as error:
        print(f"{error.filename} cannot be written: {error.strerror}", file=sys.stderr)
        raise typer.Exit(1) from error
    _summary(found, output, env_file)


def _keep(path: Path, found: Found) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        for name, value in sorted(found.variables.items()):
            file.write(f"{name}={_shell(value)}\n" if value else f"# {name}=\n")
    path.chmod(0o600)


def _shell(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def _summary(found: Found, output: Path | None, env_file: Path | None) -> None:
    off = sum(1 for draft in found.triggers.values() if not draft.options.get("enabled", True))
    lines = [
        f"{_count(len(found.triggers), 'trigger')} written{f' to {output}' if output else ''}, {_count(len(found.remarks), 'remark')}."
    ]
    if off:
        lines.append(
            f"{_count(off, 'trigger')} with `enabled: false`: see the lines that begin with OFF, and the comments in the YAML."
        )
    for name, place in sorted(found.variable_places.items()):
        lines.append(f"Set {name} ({place}).")
    if env_file is not None:
        lines.append(f"The values that were in the file are in {env_file}; those that it did not hold are empty there.")
    if found.databases or found.storage or found.events:
        lines.append("What belongs into cdcd.yaml itself stands at the end of the YAML, as a comment.")
    if any(str(draft.options["type"]).startswith(LAST_RESORT) for draft in found.triggers.values()):
        lines.append(f"Types {LAST_RESORT}NAME go by the name of the trigger here.")
    print("\n".join(["", *lines, "Then: cdcd check"]), file=sys.stderr)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
