"""The database source: a replication stream in, matched deliveries out.

The rules:
- it waits for nothing but room: no delivery, no store, no confirmation holds the reading up;
- a transaction that was being read when the connection broke is read again, and goes on behind its last change that was offered;
- what is read again after a restart, at or below the newest recorded position, is looked up by id before it is offered;
- only a position that the store holds is confirmed to the server. What nobody wanted moves it too, but is written by itself only
  when it moved by `IDLE_STEP`, so that a store in the same cluster never feeds itself.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from cdcd import failpoints
from cdcd.clock import Clock
from cdcd.config.model import Config, Database
from cdcd.errors import CdcdError, PermanentError, TransientError
from cdcd.event import Delivery, Position
from cdcd.lifecycle import Supervisor, Tasks
from cdcd.replication.frames import HEADER, KEEPALIVE, XLOG_DATA, parse_keepalive
from cdcd.replication.lsn import format_lsn
from cdcd.replication.messages import Begin, Commit, Delete, Insert, Relation, Update
from cdcd.replication.pgoutput import Decoder
from cdcd.replication.progress import Checkpoint, Progress
from cdcd.replication.stream import ReplicationStream
from cdcd.sources.matching import Matching
from cdcd.sources.opening import Opened, open_stream
from cdcd.sources.rows import Transaction
from cdcd.sources.translate import translated
from cdcd.sources.watch import Watch
from cdcd.store.reads import Reads
from cdcd.triggers.matcher import Index
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()

IDLE_STEP = 1024 * 1024  # bytes of WAL
SHORTEST_WAIT, LONGEST_WAIT = 0.2, 15.0  # seconds between attempts to connect
PERMANENT_WAIT = 60.0  # seconds until a running source that somebody must mend is tried again


class Pipeline(Protocol):
    """Where deliveries go (the engine)."""

    def offer(self, deliveries: Sequence[Delivery]) -> None: ...

    @property
    def full(self) -> bool: ...

    async def room(self) -> None: ...


class PositionWriter(Protocol):
    """Who writes positions (the recorder)."""

    def position_moved(self) -> None: ...


class ReplicationSource:
    """A part; see the module. Its own tasks are the only ones that touch the stream, the decoder and the progress."""

    def __init__(
        self,
        config: Config,
        database: Database,
        triggers: Sequence[Trigger],
        index: Index,
        pipeline: Pipeline,
        writer: PositionWriter,
        reads: Reads,
        clock: Clock,
        supervisor: Supervisor,
    ) -> None:
        self.name = f"source.{database.name}"
        self._config = config
        self._database = database
        self._triggers = triggers
        self._pipeline = pipeline
        self._writer = writer
        self._reads = reads
        self._clock = clock
        self._supervisor = supervisor
        self._tasks = Tasks(self.name, supervisor.failed)
        self._matching = Matching(config, database, index)
        self._log = log.bind(database=database.name, slot=database.slot)
        self._reading = False

        self._progress = Progress(0)
        self._identity: dict[str, str] = {}
        self._stream: ReplicationStream | None = None
        self._decoder = Decoder()
        self._watch: Watch | None = None
        # The transaction being read, kept when the connection breaks:
        self._transaction: Transaction | None = None
        self._checkpoint: Checkpoint | None = None
        self._ordinal = 0  # changes of it seen on this connection
        self._offered = 0  # changes of it done with, on whatever connection
        self._end = 0  # end of the last transaction that was read whole: where a new connection begins
        self._look_up_to = 0  # transactions that commit at or below this may be in the store already
        self._newest = 0  # commit of the newest transaction of which something may be recorded
        self._settled_time = 0
        self._recorded = 0  # settled position that the store holds
        self._writing: Position | None = None

    # Life

    async def start(self) -> None:
        """Return when the stream is open. Waits for a database that cannot be reached; raises what only a person can mend."""
        if self._reading:
            return
        wait = SHORTEST_WAIT
        while not self._supervisor.stopping:
            try:
                await self._open()
            except TransientError as error:
                wait = await self._wait(error, wait)
            else:
                break
        self._reading = True
        self._tasks.spawn(self._run(), "read")

    async def stop(self) -> None:
        """Stop reading. The stream stays open, so that what is settled now can still be confirmed (`end`)."""
        self._reading = False
        await self._tasks.cancel()
        if self._watch is not None:
            await self._watch.stop()

    async def end(self) -> None:
        """Confirm what is recorded and close the stream."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    async def _wait(self, error: CdcdError, wait: float) -> float:
        self._log.warning("source.unavailable", error=str(error), hint=error.hint, retry_in=round(wait, 1))
        await asyncio.sleep(wait * random.uniform(0.8, 1.2))
        return min(wait * 2, LONGEST_WAIT)

    # The connection

    async def _open(self) -> None:
        known = (await self._reads.positions()).get(self._database.name) if not self._end else None
        opened: Opened = await open_stream(self._config, self._database, self._triggers, known, self._end)
        if not self._end:
            self._identity = opened.identity
            self._progress = Progress(opened.start)
            self._end = self._recorded = opened.start
            self._look_up_to = known.recorded if known is not None else 0
            self._newest = self._look_up_to
        self._stream = opened.stream
        self._stream.confirm(self._recorded)
        self._decoder = Decoder()
        self._matching.opened(opened.types, opened.primary_keys)
        self._ordinal = 0
        if self._watch is not None:
            await self._watch.stop()
        self._watch = Watch(self._config, self._database, self._triggers, self._tasks)
        self._watch.start()
        self._log.info("source.reading", position=format_lsn(self._end), settled=format_lsn(self._progress.settled))

    async def _run(self) -> None:
        wait = SHORTEST_WAIT
        while True:
            try:
                if self._stream is None:
                    await self._open()
                await self._read()
            except TransientError as error:
                if self._matching.taken():
                    wait = SHORTEST_WAIT
                await self._drop()
                wait = await self._wait(error, wait)
            except PermanentError as error:
                await self._drop()
                self._log.error("source.stopped", error=str(error), hint=error.hint, retry_in=PERMANENT_WAIT)
                await asyncio.sleep(PERMANENT_WAIT)

    async def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    # Reading

    async def _read(self) -> None:
        assert self._stream is not None
        stream, decode, handlers = self._stream, self._decoder.decode, self._handlers()
        while True:
            with translated(self._database):
                frames = await stream.read()
                for frame in frames:
                    kind = frame[0]
                    if kind == XLOG_DATA:
                        message = decode(frame, HEADER)
                        handler = handlers.get(message.__class__)
                        if handler is not None:
                            handler(message)
                    elif kind == KEEPALIVE and self._transaction is None:
                        self._progress.idle(parse_keepalive(frame).wal_end)
            await self._offer()
            if self._progress.settled - self._recorded >= IDLE_STEP and self._writing is None:
                self._writer.position_moved()
            if self._pipeline.full:
                await self._pipeline.room()

    def _handlers(self) -> dict[type, Callable[[object], None]]:
        return {
            Begin: self._begin,
            Commit: self._commit,
            Insert: self._row,
            Update: self._row,
            Delete: self._row,
            Relation: self._relation,
        }  # type: ignore[dict-item]  # each handler takes the class it stands behind

    def _begin(self, message: Begin) -> None:
        self._ordinal = 0
        if self._transaction is not None and self._transaction.commit_lsn == message.final_lsn:
            return  # the connection broke inside it: it goes on behind what was offered
        self._transaction = Transaction.of(message.final_lsn, message.xid, message.commit_time)
        self._checkpoint = self._progress.open(message.final_lsn)
        self._offered = 0
        self._matching.begin(self._transaction)

    def _commit(self, message: Commit) -> None:
        assert self._checkpoint is not None
        self._closing.append((self._checkpoint, message.end_lsn))
        self._settled_time = message.commit_time
        self._transaction = self._checkpoint = None
        self._end = message.end_lsn

    def _relation(self, message: Relation) -> None:
        self._matching.described(message)

    def _row(self, message: Insert | Update | Delete) -> None:
        self._ordinal += 1
        if self._ordinal <= self._offered:
            return
        self._offered = self._ordinal
        assert self._checkpoint is not None
        self._matching.row(message, self._ordinal, self._checkpoint)

    async def _offer(self) -> None:
        deliveries = self._matching.take()
        if not deliveries:
            return
