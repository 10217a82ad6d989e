"""The command line as a process, a configuration file for it, and what a database's catalog looks like from outside."""

import json
import multiprocessing
import os
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from cdcd.__main__ import main
from cdcd.cli.main import load_all
from tests.daemon import ROOT
from tests.postgres import Database

SECRET = "0123456789abcdef0123456789"

load_all()  # once, for all processes that are forked


@dataclass(slots=True, frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def found(self, level: str, code: str = "") -> list[dict[str, str]]:
        """The findings of `cdcd check --json` of this level (about `code`)."""
        findings: list[dict[str, str]] = self.json["findings"]
        return [each for each in findings if each["level"] == level and code in ("", each["code"])]

    def mistake(self, code: str) -> dict[str, str]:
        """The one mistake about `code`."""
        (found,) = self.found("mistake", code)
        return found


def cdcd(*arguments: str | Path, answer: str = "") -> Result:
    """Run `cdcd` with these arguments and `answer` on its standard input, in a process of its own.

    It is forked from one that has imported cdcd already: importing takes longer than most commands, and there are hundreds.
    """
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "0").write_text(answer)
        process = _forkserver().Process(target=_run, args=([*map(str, arguments)], directory, {**os.environ, "COLUMNS": "120"}))
        process.start()
        process.join(60)
        assert process.exitcode is not None, "it did not end"
        result = Result(process.exitcode, (directory / "1").read_text(), (directory / "2").read_text())
    assert "Traceback" not in result.err, result.err
    return result


@cache
def _forkserver() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _run(arguments: list[str], directory: Path, environment: dict[str, str]) -> None:
    """In the new process: what `python -m cdcd` does, with files for its standard streams."""
    flags = os.O_CREAT | os.O_RDWR
    for number in range(3):
        os.dup2(os.open(directory / str(number), flags), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115 - until it ends
    sys.argv = ["cdcd", *arguments]
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    main()


TRIGGER: dict[str, Any] = {
    "type": ["DB_INSERT", "DB_UPDATE", "DB_DELETE"],
    "table": "public.users",
    "webhook": "http://127.0.0.1:1/hook",
}


def write_config(directory: Path, url: str, triggers: dict[str, Any] | None = None, **options: Any) -> Path:
    """`cdcd.yaml` in `directory` (JSON is YAML): the database `main` at `url`, and the store in it unless `eventing` is None."""
    config = {
        "project": "shop",
        "secret": SECRET,
        "databases": {"main": {"url": url}},
        "eventing": {"database": "main"},
        "triggers": {"users": TRIGGER} if triggers is None else triggers,
        **options,
    }
    path = directory / "cdcd.yaml"
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}, indent=2))
    return path


def as_role(database: Database, role: str, attributes: str = "LOGIN") -> str:
    """Make a role with a password; the database's URL for it, over TCP."""
    name = f"{role}_{database.name}"
    database.execute(f"DROP ROLE IF EXISTS {name}; CREATE ROLE {name} {attributes} PASSWORD 'secret'")
    text = make_conninfo(database.tcp_dsn, user=name, password="secret")
    psycopg.connect(text).close()
    return text


def drop_role(database: Database, role: str) -> None:
    """Remove what `as_role` made."""
    name = f"{role}_{database.name}"
    database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def catalog(database: Database) -> list[tuple[Any, ...]]:
    """Every object in the database and every slot of it, to be compared."""
    return database.execute(
        """
        SELECT 'namespace', nspname, NULL FROM pg_namespace WHERE nspname NOT LIKE 'pg_%temp%'
        UNION ALL SELECT 'class', relname, relnamespace::regnamespace::text FROM pg_class
          WHERE relnamespace::regnamespace::text !~ '^pg_.*temp'
        UNION ALL SELECT 'type', typname, typnamespace::regnamespace::text FROM pg_type
          WHERE typnamespace::regnamespace::text !~ '^pg_.*temp'
        UNION ALL SELECT 'proc', proname, pronamespace::regnamespace::text FROM pg_proc
        UNION ALL SELECT 'publication', pubname, NULL FROM pg_publication
        UNION ALL SELECT 'published', prrelid::regclass::text, NULL FROM pg_publication_rel
        UNION ALL SELECT 'trigger', tgname, NULL FROM pg_trigger
        UNION ALL SELECT 'slot', slot_name, NULL FROM pg_replication_slots WHERE database = current_database()
        UNION ALL SELECT 'identity', relname, relreplident::text FROM pg_class WHERE relkind IN ('r', 'p')
        ORDER BY 1, 2, 3
        """
    )
