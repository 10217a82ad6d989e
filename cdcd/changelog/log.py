"""Reading the change log: how far it has been written, what stands in it, and letting go of what is settled.

The rule: what is settled leaves by TRUNCATE of a whole leaf, while nobody writes to it, and never by DELETE. The leaf in which the
settled position lies stays, so that the change there can be recognised (`mark`).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from cdcd.changelog.horizon import Writer
from cdcd.changelog.names import LEAVES, Names, leaf_of
from cdcd.replication.errors import ReplicationError
from cdcd.replication.refusal import translated
from cdcd.replication.walsender import Connection

LOCK_NOT_AVAILABLE = "55P03"  # SQLSTATE

# Who holds the lock that every transaction takes with its first change: by its oldest transaction id, which it keeps to its end, also
# when it is prepared for a commit in two phases, and until it has one by its virtual id.
_WRITERS = """
WITH held AS MATERIALIZED (
    SELECT locktype, relation, database, virtualtransaction, pid, transactionid, mode, granted FROM pg_catalog.pg_locks
    WHERE locktype IN ('relation', 'transactionid')
)
SELECT CASE WHEN r.pid IS NOT NULL THEN r.virtualtransaction END,
       (SELECT x.transactionid::text FROM held x
        WHERE x.locktype = 'transactionid' AND x.granted AND x.mode = 'ExclusiveLock'
          AND x.virtualtransaction = r.virtualtransaction AND x.pid IS NOT DISTINCT FROM r.pid
        ORDER BY age(x.transactionid) DESC LIMIT 1),
       r.pid
FROM held r
WHERE r.locktype = 'relation' AND r.granted AND r.mode = 'RowExclusiveLock'
  AND r.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  AND r.relation = %s::regclass
"""

# What a writer's transaction is: who began it, and when (where we may see it).
_WHO = """
SELECT coalesce(a.application_name, ''), extract(epoch FROM a.xact_start)::float8, coalesce(a.state, '')
FROM pg_catalog.pg_stat_activity a WHERE a.pid = %s
"""
_WHICH_PREPARED = """
SELECT 'prepared transaction ' || quote_literal(p.gid), extract(epoch FROM p.prepared)::float8, 'prepared'
FROM pg_catalog.pg_prepared_xacts p WHERE p.transaction::text = %s
"""

# A server that lost us must notice, or our session would go on to say that the daemon is awake.
_SETTINGS = """
SET enable_sort = off; SET enable_bitmapscan = off; SET enable_seqscan = off; SET jit = off;
SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET tcp_user_timeout = 25000;
"""


class Entry(NamedTuple):
    """A change as it was written down. `at`: microseconds since the Unix epoch. `described` only where its shape was new."""

    seq: int
    xid: int
    at: int
    relid: int
    shape: int
    op: bytes
    described: bytes | None
    old: bytes | None
    new: bytes | None


class Who(NamedTuple):
    """Whose transaction it is. `application`: its application_name, or what it was prepared as; `since`: when it began, wall-clock
    seconds, None where the role may not see it."""

    application: str
    since: float | None
    state: str


@dataclass(slots=True, frozen=True)
class Size:
    """How large the log is: the highest number given out, bytes on disk."""

    written: int
    bytes: int


class ChangeLog:
    """The log over an open connection (autocommit, client_encoding UTF8). Not for use by two tasks at a time. Raises
    ReplicationError."""

    def __init__(self, connection: Connection, names: Names) -> None:
        self._connection = connection
        self._names = names
        self._chunk = f"""
            SELECT seq, xid, at, relid, shape, op, described, old, new
            FROM (
                SELECT c.*, sum(size) OVER (ORDER BY seq) - size AS before
                FROM (
                    SELECT seq, xid::text, (extract(epoch FROM at) * 1000000)::bigint AS at, relid, shape, op, described, old, new,
                           coalesce(octet_length(old), 0) + coalesce(octet_length(new), 0) AS size
                    FROM {names.changes} WHERE seq > %s AND seq <= %s ORDER BY seq LIMIT %s
                ) c
            ) d
            WHERE before < %s ORDER BY seq
        """.encode()

    async def begin(self) -> None:
        """Before the first `read` on a connection. The leaves change too fast for statistics, without which the server would sort
        everything that is there for each read, where eight indexes give it in order."""
        with translated():
            await self._connection.execute(_SETTINGS.encode())

    async def stay_awake(self) -> bool:
        """Tell the triggers that they need not notify: until `sleep`, or the end of the connection. False: it cannot be told just
        now. Behind a pooler it never can, since sessions are not ours there."""
        pid, mine = self._connection.info.backend_pid, self._names.awake
        query = (
            f"SELECT CASE WHEN pg_catalog.pg_backend_pid() = {pid} THEN pg_catalog.pg_try_advisory_lock({mine}) ELSE false END"
        )
        return bool((await self._one(query))[0])

    async def sleep(self) -> None:
        """They shall notify again. Transactions that are open now may not: look, and go on looking until these have ended."""
        if not (await self._one(f"SELECT pg_catalog.pg_advisory_unlock({self._names.awake})"))[0]:
            raise ReplicationError("the session that reads the change log is not the one that it was")

    async def written(self) -> int:
        """The highest number given out so far, whether its transaction has ended or not."""
        query = f"SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {self._names.quoted}.changes_seq"
        return int((await self._one(query))[0])

    async def notifies(self) -> bool:
        """Whether the triggers notify (see install.sql)."""
        return bool((await self._one("SELECT pg_catalog.current_setting('max_prepared_transactions') = '0'"))[0])

    async def writers(self) -> list[Writer]:
        """The transactions that may have numbers and have not ended."""
        with translated():
            cursor = await self._connection.execute(_WRITERS, [self._names.changes])
            return [Writer._make(row) for row in await cursor.fetchall()]

    async def who(self, writer: Writer) -> Who | None:
        """Whose it is; None when it has ended meanwhile."""
        with translated():
            if writer.pid is not None:
                cursor = await self._connection.execute(_WHO, [writer.pid])
            else:
                cursor = await self._connection.execute(_WHICH_PREPARED, [writer.xid])
            row = await cursor.fetchone()
        return None if row is None else Who._make(row)

    async def read(self, after: int, upto: int, rows: int, size: int) -> list[Entry]:
        """The next changes in order, at most `rows` of them and of about `size` bytes, but at least one if there is one."""
        with translated():
            cursor = self._connection.cursor()
            await cursor.execute(self._chunk, [after, upto, rows, size])
            result = cursor.pgresult
            assert result is not None
            value = result.get_value
            return [
                Entry._make(
                    [
                        *(int(value(row, column) or b"") for column in range(5)),
                        value(row, 5) or b"",
                        *(value(row, column) for column in range(6, 9)),
                    ]
                )
                for row in range(result.ntuples)
            ]

    async def mark(self, seq: int) -> str:
        """What tells the change with this number from one that another history gave it; empty when there is none."""
        query = (
            f"SELECT xid::text || '/' || (extract(epoch FROM at) * 1000000)::bigint FROM {self._names.changes} WHERE seq = %s"
        )
        with translated():
            row = await (await self._connection.execute(query.encode(), [seq])).fetchone()
        return "" if row is None else str(row[0])

    async def described(self, relid: int, shape: int) -> bytes | None:
        """What the table looked like; None when nobody has noted it."""
        query = f"SELECT described FROM {self._names.quoted}.changes_shapes WHERE relid = %s AND shape = %s"
        with translated():
            row = await (await self._connection.execute(query.encode(), [relid, shape])).fetchone()
        return None if row is None else str(row[0]).encode()

    async def note(self, relid: int, shape: int, described: bytes) -> None:
        """Note what a table looks like, so that its next changes need not say it."""
        query = f"INSERT INTO {self._names.quoted}.changes_shapes VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
        with translated():
            await self._connection.execute(query.encode(), [relid, shape, described.decode()])

    async def size(self) -> Size:
        """How large it is."""
        leaves = [self._names.leaf(number) for number in range(LEAVES)]
        with translated():
            cursor = await self._connection.execute(
                "SELECT sum(pg_catalog.pg_total_relation_size(t::regclass))::bigint FROM unnest(%s::text[]) t", [leaves]
            )
            row = await cursor.fetchone()
        assert row is not None
        return Size(await self.written(), int(row[0]))

    async def let_go(self, settled: int) -> tuple[int, int]:
        """Empty the leaves that hold nothing above `settled`, and neither it nor what is written next. Returns how many were emptied,
        and how many were in use: those are left for the next time."""
        written = await self.written()
        kept = {leaf_of(settled), leaf_of(written), leaf_of(written + 1)}
        emptied = busy = 0
        for number in range(LEAVES):
            if number in kept or not await self._settled(number, settled):
                continue
            leaf = self._names.leaf(number)
            try:
                with translated():
                    async with self._connection.transaction():
                        # Not a moment's wait: whoever writes would wait behind us. Once we have it, nobody has uncommitted changes there.
                        await self._connection.execute(f"LOCK TABLE {leaf} IN ACCESS EXCLUSIVE MODE NOWAIT".encode())
                        if await self._settled(number, settled):
                            await self._connection.execute(f"TRUNCATE {leaf}".encode())
                            emptied += 1
            except ReplicationError as error:
                if error.sqlstate != LOCK_NOT_AVAILABLE:
                    raise
                busy += 1
        return emptied, busy

    async def _settled(self, leaf: int, settled: int) -> bool:
        newest = (await self._one(f"SELECT max(seq) FROM {self._names.leaf(leaf)}"))[0]
        return newest is not None and newest <= settled

    async def _one(self, query: str) -> tuple[Any, ...]:
        with translated():
            row = await (await self._connection.execute(query.encode())).fetchone()
        assert row is not None
        return row
