"""Reading a test database's changes the way a source does: publication, slot, stream, decoder."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from cdcd.replication import publication, slot
from cdcd.replication.frames import HEADER, XLOG_DATA
from cdcd.replication.messages import Begin, Commit, Message, Relation
from cdcd.replication.pgoutput import Decoder
from cdcd.replication.stream import ReplicationStream
from cdcd.replication.tables import resolve_tables
from tests.postgres import Database

PATIENCE = 30.0
_numbers = itertools.count(1)


@dataclass
class Reading:
    """A stream under way, and the decoder of it."""

    database: Database
    slot: str
    publication: str
    stream: ReplicationStream
    decoder: Decoder = field(default_factory=lambda: Decoder(strict=True))
    frames: list[bytes] = field(default_factory=list)

    async def transaction(self) -> list[Message]:
        """The next transaction that has changes: its messages without Begin and Commit."""
        messages: list[Message] = []
        async with asyncio.timeout(PATIENCE):
            while True:
                while self.frames:
                    frame = self.frames.pop(0)
                    if frame[0] != XLOG_DATA:
                        continue
                    message = self.decoder.decode(frame, HEADER)
                    if isinstance(message, Commit):
                        if messages:
                            return messages
                    elif not isinstance(message, Begin):
                        messages.append(message)
                self.frames += await self.stream.read()

    async def changes(self) -> list[Message]:
        """As `transaction`, without Relation messages."""
        return [message for message in await self.transaction() if not isinstance(message, Relation)]

    def execute(self, query: str) -> None:
        self.database.execute(query)


def new_slot() -> str:
    """A name that is free on every server of this run (a slot's name is the whole cluster's)."""
    return f"cdcd_test_{next(_numbers)}"


async def prepare(
    database: Database, patterns: Sequence[str] = ("public.*",), publish: Sequence[str] = publication.ALL_KINDS
) -> str:
    """Publication `cdcd` for the tables, and a slot of a name that is free; returns the name."""
    async with await database.aconnect() as connection:
        tables = await resolve_tables(connection, patterns)
        names = [(table.schema, table.name) for table in tables if table.publishable]
        await publication.ensure(connection, "cdcd", names, publish)
        await slot.create(connection, name := new_slot())
    return name


@contextlib.asynccontextmanager
async def reading(database: Database, patterns: Sequence[str] = ("public.*",), **options: bool) -> AsyncIterator[Reading]:
    """Publish the tables that exist now, and read their changes."""
    name = await prepare(database, patterns)
    stream = await ReplicationStream.connect(database.dsn, name, ["cdcd"], **options)  # type: ignore[arg-type]
    try:
        yield Reading(database, name, "cdcd", stream)
    finally:
        await stream.close()


async def eventually(database: Database, query: str) -> None:
    """Return when the query's first value is true. Each question waits for its answer; none is asked after PATIENCE."""
    async with asyncio.timeout(PATIENCE), await database.aconnect() as connection:
        while True:
            row = await (await connection.execute(query)).fetchone()
            if row is not None and row[0]:
                return
