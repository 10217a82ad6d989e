"""A seeded workload of several clients that write at once: what an application does to its tables, mistakes included.

Every row has a `rid` that never changes and a version `v` that grows by one with each update, so that what arrives tells by itself
whether something is missing or out of order. What a client chooses comes from its seed; what becomes of it (deadlocks, rows
that are there already, a server that goes down) does not, and need not: the tables themselves are the truth at the end.
"""

import asyncio
import random
import uuid
from collections.abc import Callable

import psycopg
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from tests.torture.world import KEYED, Numbers

Connection = psycopg.AsyncConnection[TupleRow]


class Undo(Exception):
    """Roll the transaction back."""


class Client:
    """One client. `committed` counts its transactions, `changes` the rows that they changed."""

    def __init__(self, number: int, seed: int, dsn: str, numbers: Numbers) -> None:
        self.number = number
        self.committed = 0
        self.changes = 0
        self._random = random.Random(f"client {number} of {seed}")
        self._dsn = dsn
        self._numbers = numbers
        self._step = 0

    async def run(self, over: asyncio.Event) -> None:
        """Write until `over`; connect again whenever the server goes away."""
        while not over.is_set():
            try:
                async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True, connect_timeout=5) as connection:
                    while not over.is_set():
                        await self._transaction(connection)
                        await self._think(over)
            except psycopg.OperationalError:
                await self._think(over)

    async def _think(self, over: asyncio.Event) -> None:
        try:
            await asyncio.wait_for(over.wait(), self._random.uniform(0, 2 * self._numbers.think))
        except TimeoutError:
            pass

    async def _transaction(self, connection: Connection) -> None:
        try:
            async with connection.transaction():
                changes = await self._work(connection)
        except (Undo, psycopg.IntegrityError, psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
            return
        self.committed += 1
        self.changes += changes

    async def _work(self, connection: Connection) -> int:
        chance = self._random
        if chance.random() < 0.005:
            return await self._many(connection, chance.randint(100, 1000))
        changes = 0
        for _ in range(chance.randint(1, self._numbers.most_per_transaction)):
            if chance.random() < 0.2:
                changes += await self._savepoint(connection)
            else:
                changes += await self._change(connection)
        if chance.random() < 0.1:
            raise Undo
        return changes

    async def _savepoint(self, connection: Connection) -> int:
        """A part of the transaction that may be taken back alone; sometimes one within another."""
        chance = self._random
        try:
            async with connection.transaction():
                changes = await self._change(connection)
                if chance.random() < 0.3:
                    changes += await self._savepoint(connection)
                if chance.random() < 0.4:
                    raise Undo
                return changes
        except (Undo, psycopg.errors.UniqueViolation):
            return 0

    async def _change(self, connection: Connection) -> int:
        kinds: list[tuple[int, Callable[[Connection], object]]] = [
            (25, self._insert),
            (30, self._update),
            (12, self._rekey),
            (12, self._delete),
            (8, self._ledger),
            (6, self._no_key),
            (5, self._scratch),
            (2, self._truncate),
        ]
        (kind,) = self._random.choices([act for _, act in kinds], [weight for weight, _ in kinds])
        changed = kind(connection)
        assert asyncio.iscoroutine(changed)
        return int(await changed)

    # One change each; they return how many rows of captured tables they changed.

    def _table(self) -> tuple[str, str, tuple[object, ...]]:
        table = self._random.choice(list(KEYED))
        where = " AND ".join(f"{column} = %s" for column in KEYED[table])
        return table, where, self._key(table)

    def _key(self, table: str) -> tuple[object, ...]:
        number = self._random.randrange(self._numbers.keys)
        return (number % 3, f"ç {number}") if table == "by_index" else (number,)

    def _big(self) -> str:
        return (
            self._random.choice(("small", "ä", ""))
            if self._random.random() < 0.6
            else chr(97 + self._random.randrange(26)) * 9000
        )

    async def _insert(self, connection: Connection) -> int:
        table, _, key = self._table()
        names = [*KEYED[table], "rid", "v", "note", "big"]
        rid = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        values: list[object] = [*key, rid, 0, f"from {self.number}", self._big()]
        if table == "by_key":
            names += ["amount", "tags"]
            values += [self._random.randrange(10**6) / 100, ["a", 'b"', None]]
        elif table == "by_full":
            names += ["extra"]
            values += [Jsonb({"n": [1, None, {"deep": "ü"}]})]
        places = ", ".join(["%s"] * len(values))
        cursor = await connection.execute(
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places}) ON CONFLICT DO NOTHING", values
        )
        return cursor.rowcount

    async def _update(self, connection: Connection) -> int:
        table, where, key = self._table()
        if self._random.random() < 0.25:
            cursor = await connection.execute(f"UPDATE {table} SET v = v + 1, big = %s WHERE {where}", (self._big(), *key))
        else:
            note = self._random.choice((None, "", f"note {self._random.random()}"))
            cursor = await connection.execute(f"UPDATE {table} SET v = v + 1, note = %s WHERE {where}", (note, *key))
        return cursor.rowcount

    async def _rekey(self, connection: Connection) -> int:
        table, where, key = self._table()
        new = self._key(table)
        sets = ", ".join(f"{column} = %s" for column in KEYED[table])
        cursor = await connection.execute(f"UPDATE {table} SET v = v + 1, {sets} WHERE {where}", (*new, *key))
        return cursor.rowcount

    async def _delete(self, connection: Connection) -> int:
        table, where, key = self._table()
        cursor = await connection.execute(f"DELETE FROM {table} WHERE {where}", key)
        return cursor.rowcount

    async def _ledger(self, connection: Connection) -> int:
        self._step += 1
        await connection.execute("INSERT INTO ledger (client, step) VALUES (%s, %s)", (self.number, self._step))
        return 1

    async def _no_key(self, connection: Connection) -> int:
        self._step += 1
        await connection.execute("INSERT INTO no_key VALUES (%s, %s, 'x')", (self.number, self._step))
        if self._random.random() < 0.3:  # its updates are not captured, and must not be refused because of us
            await connection.execute("UPDATE no_key SET note = 'y' WHERE client = %s AND step = %s", (self.number, self._step))
        return 1

    async def _scratch(self, connection: Connection) -> int:
        await connection.execute("INSERT INTO scratch (note) VALUES ('nobody wants this')")
        return 0

    async def _truncate(self, connection: Connection) -> int:
        await connection.execute("TRUNCATE scratch")
        return 0

    async def _many(self, connection: Connection, count: int) -> int:
        """One statement of many rows: the ledger's, then an update of a whole table."""
        cursor = await connection.execute(
            "INSERT INTO no_key SELECT %s, g, 'many' FROM generate_series(%s::int, %s::int) g",
            (self.number, self._step + 1, self._step + count),
        )
        self._step += count
        changes = cursor.rowcount
        cursor = await connection.execute("UPDATE by_full SET v = v + 1, note = 'all'")
        return changes + cursor.rowcount
