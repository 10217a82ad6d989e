"""Real PostgreSQL servers for tests: 14 to 18, without Docker, as root and as an ordinary user.

Fixtures (registered by tests/conftest.py):

    postgres      Postgres: a running server, shared by the tests of one xdist worker, `wal_level=logical`, fsync off, 32 slots
                  and senders, unix socket and TCP. A test may restart or crash it; the next finds it running again.
    database      Database: a fresh, empty database on it, dropped afterwards with its slots, sessions, prepared transactions.
    databases     a factory of the same: `databases()`; `databases(template="store", build=fn)` clones a template that
                  `fn(database)` filled once per server (migrations, big schemas), which costs 20 to 50 ms a clone.
    own_server    a factory of private servers: `own_server(settings={"wal_level": "replica"}, port=None, major=None)` gives a
                  started `cdcd.embedded.postgres.PostgresServer` (about 0.7 s), removed afterwards.

    def test_x(database: Database) -> None:
        database.execute("CREATE TABLE t (id int PRIMARY KEY)")         # autocommit, returns rows as tuples
        with database.connect() as connection: ...                      # psycopg.Connection (autocommit)
        async with await database.aconnect() as connection: ...         # psycopg.AsyncConnection (autocommit)
        database.dsn, database.tcp_dsn                                  # URLs; unix socket, TCP with password
        database.postgres.server.restart(crash=True)                    # blocking; in a coroutine: asyncio.to_thread(...)

`async def test_...` runs on uvloop (CDCD_TEST_LOOP=asyncio: on asyncio's own). There are no async fixtures: asynchronous
neighbours (`tests.proxy.Proxy`, `tests.endpoint.Endpoint`, `tests.daemon.Daemon`) are async context managers.

Majors: one by default, the newest at hand. A test marked `@pytest.mark.matrix` runs on each of CDCD_TEST_POSTGRES=14,15 (one
that is not at hand is skipped with the reason) or CDCD_TEST_POSTGRES=all (every one of 14 to 18 must be there). Unmarked
tests run on the newest of those, and `@pytest.mark.matrix(ends=True)` on the oldest and the newest. `python
tests/fetch_postgres.py` fetches what is missing.
"""

import contextlib
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
from psycopg import sql

from cdcd.embedded.postgres import PostgresServer
from cdcd.embedded.service import find_binaries
from cdcd.errors import PermanentError

MAJORS = (14, 15, 16, 17, 18)
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "postgres"
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "120",
    "max_wal_senders": "32",
    "max_replication_slots": "32",
    "max_prepared_transactions": "8",
}
MEMORY = Path("/dev/shm")
ROOM = 8 * 2**30  # bytes: what the servers of a run hold at most, WAL above all, and twice as much
STALE_AFTER = 60.0  # seconds: a younger directory may be one that another worker is about to lock


def binaries(major: int) -> Path | None:
    """The prefix of an installation of `major`, if one is at hand."""
    candidates = [CACHE / str(major), Path(f"/usr/lib/postgresql/{major}")]
    if major == MAJORS[-1]:
        with contextlib.suppress(PermanentError):
            candidates.insert(0, find_binaries())
    return next((prefix for prefix in candidates if (prefix / "bin" / "postgres").exists()), None)


def chosen_majors() -> list[int]:
    """The majors that tests marked `matrix` run on; the last is that of all others."""
    asked = os.environ.get("CDCD_TEST_POSTGRES", "")
    if asked == "all":
        return list(MAJORS)
    if asked:
        return sorted(int(major) for major in asked.split(","))
    return [major for major in MAJORS if binaries(major)][-1:] or [MAJORS[-1]]


@dataclass(slots=True)
class Postgres:
    """A server that is shared by the tests of one worker."""

    major: int
    server: PostgresServer
    templates: set[str] = field(default_factory=set)

    def dsn(self, dbname: str = "postgres", *, tcp: bool = False) -> str:
        return self.server.dsn(dbname, tcp=tcp)

    @property
    def bin(self) -> Path:
        """The directory of its programs (`psql`, `pgbench`)."""
        return self.server.bin

    def execute(self, query: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Run one statement in the database `postgres`."""
        return _execute(self.dsn(), query, params)


@dataclass(slots=True)
class Database:
    """A database of one test."""

    name: str
    postgres: Postgres

    @property
    def dsn(self) -> str:
        return self.postgres.dsn(self.name)

    @property
    def tcp_dsn(self) -> str:
        return self.postgres.dsn(self.name, tcp=True)

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.dsn, autocommit=True)

    async def aconnect(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        return await psycopg.AsyncConnection.connect(self.dsn, autocommit=True)

    def execute(self, query: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Run one statement (without `params`: any number of them) in autocommit; the rows of the last result."""
        return _execute(self.dsn, query, params)

    def slots(self) -> list[str]:
        """The names of the replication slots of this database."""
        rows = self.postgres.execute("SELECT slot_name FROM pg_replication_slots WHERE database = %s", [self.name])
        return [name for (name,) in rows]


class Databases(Protocol):
    """The factory that the fixture `databases` gives."""

    def __call__(self, template: str = ..., build: Callable[[Database], None] | None = ...) -> Database: ...


class OwnServer(Protocol):
    """The factory that the fixture `own_server` gives."""

    def __call__(
        self, settings: Mapping[str, str] | None = ..., port: int | None = ..., major: int | None = ...
    ) -> PostgresServer: ...


def _execute(dsn: str, query: str, params: Any = None) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query, params)
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description else []


def _place() -> Path:
    """Where the servers are: in memory, where that has room.

    A fresh database is 300 files, and to make and drop them on a disk takes ten times the processor's time. No test cuts the power
    (fsync is off): what a crash of the server or of a client leaves is the same in both places.
    """
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        return MEMORY
    return Path(tempfile.gettempdir())


class Servers:
    """The servers of one worker, one a major, started when first wanted; and the private ones."""

    def __init__(self) -> None:
        self.base = _place() / f"cdcd-tests-{os.geteuid()}"
        # As root, another user runs the servers and must reach their directories, which are 0700 themselves.
        self.base.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, exist_ok=True)
        self._numbers = itertools.count()
        self._shared: dict[int, Postgres] = {}
        self._sweep()

    def _sweep(self) -> None:
        """Remove what killed test runs left: directories whose lock nobody holds, with the servers that still run there."""
        for left in self.base.iterdir():
            with contextlib.suppress(PermanentError, FileNotFoundError):
                if time.time() - left.stat().st_mtime > STALE_AFTER:
                    PostgresServer(left, Path("/nonexistent")).remove()

    def new(self, major: int, settings: Mapping[str, str] | None = None, port: int | None = 0) -> PostgresServer:
        """Make and start a server. Skips the test when `major` is not at hand, unless all are required."""
        prefix = binaries(major)
        if prefix is None:
            missing = f"PostgreSQL {major} is not at hand (python tests/fetch_postgres.py {major})"
            if os.environ.get("CDCD_TEST_POSTGRES") == "all":
                pytest.fail(missing, pytrace=False)
            pytest.skip(missing)
        directory = self.base / f"{major}-{os.getpid()}-{next(self._numbers)}"
        server = PostgresServer(directory, prefix, port, {**SETTINGS, **(settings or {})})
        server.start()
        return server

    def shared(self, major: int) -> Postgres:
        if major not in self._shared:
            self._shared[major] = Postgres(major, self.new(major))
        self._shared[major].server.start()  # a test may have left it down
        return self._shared[major]

    def close(self) -> None:
        for postgres in self._shared.values():
            postgres.server.remove()
        with contextlib.suppress(OSError):
            self.base.rmdir()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test that uses a server its majors."""
    if "postgres" in metafunc.fixturenames:
        majors = chosen_majors()
        marker = metafunc.definition.get_closest_marker("matrix")
        ends = marker is not None and marker.kwargs.get("ends")
        wanted = majors[-1:] if marker is None else sorted({majors[0], majors[-1]}) if ends else majors
        metafunc.parametrize("postgres", wanted, ids=[f"pg{major}" for major in wanted], indirect=True)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    servers = Servers()
    yield servers
    servers.close()


@pytest.fixture
def postgres(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Postgres]:
    """A running server."""
    yield (shared := servers.shared(request.param))
    shared.server.start()


@pytest.fixture
def databases(postgres: Postgres) -> Iterator[Databases]:
    """A factory of fresh databases."""
    made: list[Database] = []

    def make(template: str = "template0", build: Callable[[Database], None] | None = None) -> Database:
        if build is not None and template not in postgres.templates:
            _create(postgres, template, "template0")
            build(Database(template, postgres))
            postgres.templates.add(template)
        database = Database(f"test_{next(_names)}", postgres)
        _create(postgres, database.name, template)
        made.append(database)
        return database

    yield make
    postgres.server.start()
    for database in made:
        drop(database)


_names = itertools.count(1)


@pytest.fixture
def database(databases: Databases) -> Database:
    """A fresh, empty database."""
    return databases()


@pytest.fixture
def own_server(servers: Servers) -> Iterator[OwnServer]:
    """A factory of private servers."""
    made: list[PostgresServer] = []

    def make(settings: Mapping[str, str] | None = None, port: int | None = None, major: int | None = None) -> PostgresServer:
        made.append(servers.new(major or chosen_majors()[-1], settings, port))
        return made[-1]

    yield make
    for server in made:
        directory = server.directory
        server.remove()
        shutil.rmtree(directory, ignore_errors=True)


def _create(postgres: Postgres, name: str, template: str) -> None:
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        # A killed run of a template's builder may have left it half-made; nobody else has this server.
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))


def drop(database: Database) -> None:
    """Drop a database with everything that could hold it: prepared transactions, sessions, slots."""
    with psycopg.connect(database.postgres.dsn(), autocommit=True) as admin:
        found = admin.execute("SELECT gid FROM pg_prepared_xacts WHERE database = %s", [database.name]).fetchall()
        for (gid,) in found:
            with database.connect() as inside:
                inside.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
        admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [database.name])
        admin.execute(
            "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE database = %s AND active",
            [database.name],
        )
        admin.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s", [database.name]
        )
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database.name)))
