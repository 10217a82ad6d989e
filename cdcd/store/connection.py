"""Connections to the event store, and the one place where psycopg's errors become cdcd's.

A `Session` connects when it is first used, drops a connection that broke, and connects again on the next use. Retrying is the
caller's: every method raises `StoreUnavailable` (wait), `StoreRefused` (an operator must act) or `RowRefused` (one row's data).
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format
from psycopg.rows import TupleRow

from cdcd.config.conninfo import ENCODE, conninfo_problem
from cdcd.errors import CdcdError, EventError, StoreRefused, StoreUnavailable
from cdcd.store.arrays import ARRAYS
from cdcd.store.statements import SQL

Connection = AsyncConnection[TupleRow]

# What a dead network may cost: a peer that stays silent is given up after about 25 s. A DSN that says otherwise wins.
_CONNECT = {
    "application_name": "cdcd",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}

_REFUSED_CLASSES = {
    "0A": "the server is too old or lacks a feature",
    "28": "let the role log in",
    "2B": "drop what else was made on it (a view on a partition, say), or let that go to the whole table",
    "2F": "see the server's log",
    "3D": "create the database or correct the URL",
    "3F": "run `cdcd setup`",
    "42": "run `cdcd setup`, or `cdcd setup --print` and let the owner of the database run it",
}
_ROW_CLASSES = ("22", "23", "54")


class RowRefused(EventError):
    """The server refused the data of a row: retrying the same bytes cannot help."""


class LockBusy(StoreUnavailable):
    """Somebody holds a lock that the statement asked for only briefly."""


def translate(error: psycopg.Error | OSError) -> CdcdError:
    """The error of cdcd's tree that says who must act (SQLSTATE classes: PostgreSQL manual, appendix A)."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]  # the rest is the server's context
    state = getattr(error, "sqlstate", None) or ""
    if _quotes_input(error):
        return StoreRefused("the event store's URL cannot be used", hint=ENCODE)
    if state == "55P03":
        return LockBusy(f"the event store is busy: {text}")
    if state[:2] in _ROW_CLASSES:
        return RowRefused(text)
    if state[:2] in _REFUSED_CLASSES:
        return StoreRefused(f"the event store refuses: {text}", hint=_REFUSED_CLASSES[state[:2]])
    if state[:2] == "25":
        return StoreUnavailable(
            f"the event store is read-only: {text}", hint="let it take writes again; nothing is lost meanwhile"
        )
    if state == "53100":
        return StoreUnavailable(f"the event store's disk is full: {text}", hint="free space; nothing is lost meanwhile")
    return StoreUnavailable(f"the event store is unavailable: {text}")


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Within this, psycopg's and the network's errors come out as cdcd's."""
    try:
        yield
    except (psycopg.Error, OSError) as error:
        raise translate(error) from (None if _quotes_input(error) else error)


def _quotes_input(error: psycopg.Error | OSError) -> bool:
    """Not a server's words but the client's, which quote what they could not read: a password, say."""
    return isinstance(error, psycopg.ProgrammingError) and not error.sqlstate


def quoted(identifier: str) -> str:
    """`identifier` as SQL writes it."""
    if not identifier or "\0" in identifier:
        raise StoreRefused(f"{identifier!r} cannot name a schema")
    return '"' + identifier.replace('"', '""') + '"'


class _RawDumper(Dumper):
    """The bytes are the wire form already."""

    format = Format.BINARY

    def dump(self, obj: Any) -> Buffer | None:
        return cast(bytes, obj)


class _RawLoader(Loader):
    """The bytes of the wire form, not parsed (`json`)."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


_DUMPERS = [(array, type(f"{array.__name__}Dumper", (_RawDumper,), {"oid": array.oid})) for array in ARRAYS]


async def open_connection(dsn: str, *, any_encoding: bool = False, **options: Any) -> Connection:
    """A connection that speaks UTF-8, whatever the URL, the environment or the role says. `options` go to psycopg.

    Raises StoreRefused for a URL that cannot be read, and for a database that is not UTF-8 (unless `any_encoding`): what it
    cannot hold would be refused or come back as other bytes, and a body must be the same on every attempt.
    """
    if problem := conninfo_problem(dsn):
        raise StoreRefused(f"the event store's URL: {problem}")
    with translated():
        given = conninfo_to_dict(dsn)
        connection = await AsyncConnection.connect(
            make_conninfo(
                dsn, **{name: value for name, value in _CONNECT.items() if name not in given}, client_encoding="UTF8"
            ),
            **options,
        )
        encoding = connection.info.parameter_status("server_encoding") or "?"
        if encoding != "UTF8" and not any_encoding:
            await connection.close()
            raise StoreRefused(
                f"the event store's database is encoded in {encoding}, not in UTF8",
                hint="name a database in eventing.database that was made with: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
            )
    return connection


async def connect(dsn: str, schema: str) -> Connection:
    """A connection in autocommit, with `schema` alone on its search path and no limits of the role's own in its way."""
    connection = await open_connection(dsn, autocommit=True, cursor_factory=AsyncRawCursor, prepare_threshold=0)
    with translated():
        try:
            for array, dumper in _DUMPERS:
                connection.adapters.register_dumper(array, dumper)
            connection.adapters.register_loader("json", _RawLoader)
            await run(connection, "session", quoted(schema) + ", pg_temp")
        except BaseException:
            await connection.close()
            raise
    return connection


async def run(connection: Connection, name: str, *params: object) -> AsyncRawCursor[TupleRow]:
    """Execute the statement `name` of `queries.sql`; parameters and results in binary."""
    return cast(AsyncRawCursor[TupleRow], await connection.execute(SQL[name], params, binary=True))


class Session:
    """One connection to the store, made when needed. Not for use by two tasks at a time."""

    def __init__(self, dsn: str, schema: str, prepared_by: str = "") -> None:
        """`prepared_by`: a further statement that sets up each connection."""
        self._dsn = dsn
        self._schema = schema
        self._prepared_by = prepared_by
        self._connection: Connection | None = None

    async def connection(self) -> Connection:
        """The connection, made anew when there is none or it broke."""
        if self._connection is not None and (self._connection.closed or self._connection.broken):
            await self.close()
        if self._connection is None:
            self._connection = await connect(self._dsn, self._schema)
            if self._prepared_by:
                with translated():
                    await run(self._connection, self._prepared_by)
        return self._connection

    async def fetch(self, name: str, *params: object) -> list[TupleRow]:
        """All rows of the statement `name`."""
        with translated():
            cursor = await run(await self.connection(), name, *params)
            return await cursor.fetchall()

    async def look(self, name: str, *params: object) -> list[TupleRow]:
        """As `fetch`, planned anew for these parameters: for what has so many forms that no plan fits all of them."""
        with translated():
            connection = await self.connection()
            cursor = await connection.execute(SQL[name], params, binary=True, prepare=False)
            return await cursor.fetchall()

    async def execute(self, name: str, *params: object) -> int:
        """Run the statement `name`; how many rows it touched."""
        with translated():
            return (await run(await self.connection(), name, *params)).rowcount

    @contextlib.asynccontextmanager
    async def pipeline(self) -> AsyncIterator[Connection]:
        """Statements executed within are sent together; their results are there when it ends."""
        with translated():
            connection = await self.connection()
            async with connection.pipeline():
                yield connection

    async def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
