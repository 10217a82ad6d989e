"""The database source: a replication stream in, matched deliveries out.

The rules:
- it waits for nothing but room: no delivery, no store, no confirmation holds the reading up;
- a transaction that was being read when the connection broke is read again, and goes on behind its last change that was offered;
- what is read again after a restart, at or below the newest recorded position, is looked up by id before it is offered;
- only a position that the store holds is confirmed to the server. What nobody wanted moves it too, but is written by itself only
  when it moved by `IDLE_STEP`, so that a store in the same cluster never feeds itself.
"""

import asyncio
import math
import random
from collections.abc import Sequence

import structlog

from cdcd import failpoints
from cdcd.config.model import Config, Database
from cdcd.errors import CdcdError, PermanentError, SourceUnavailable, TransientError
from cdcd.event import Position
from cdcd.lifecycle import Supervisor, Tasks
from cdcd.replication.errors import PublicationMissing
from cdcd.replication.frames import HEADER, KEEPALIVE, XLOG_DATA
from cdcd.replication.lsn import format_lsn
from cdcd.replication.messages import Begin, Commit, Delete, Insert, LogicalMessage, Message, Relation, Truncate, Update
from cdcd.replication.pgoutput import Decoder
from cdcd.replication.progress import Checkpoint, Progress
from cdcd.replication.stream import ReplicationStream
from cdcd.replication.tables import primary_key, type_map
from cdcd.replication.values import FIRST_OID_OF_USERS, TypeInfo
from cdcd.sources.cuts import Cut, Cuts, Moved, Wants
from cdcd.sources.emitted import Ignored, Messages
from cdcd.sources.matching import Matching
from cdcd.sources.opening import HistoryChanged, Opened, catalog_of, open_stream
from cdcd.sources.pipeline import Pipeline, PositionWriter
from cdcd.sources.rereading import unrecorded
from cdcd.sources.rows import Transaction
from cdcd.sources.standing import Standing
from cdcd.sources.translate import translated
from cdcd.sources.watch import INTERVAL, KEPT, Watch
from cdcd.store.reads import Reads
from cdcd.triggers.matcher import Index
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()

IDLE_STEP = 1024 * 1024  # bytes of WAL
SHORTEST_WAIT, LONGEST_WAIT = 0.2, 15.0  # seconds between attempts to connect
MOST_HELD = 64 * 1024 * 1024  # bytes of WAL that may wait for endpoints; beyond, what is in memory is staged
# Seconds without room after which the stream is given up: a server that shuts down waits for whoever reads.
LONGEST_PAUSE = 10.0
MOST_TOLD = 100  # types of messages that cannot be events
PERMANENT_WAIT = 60.0  # seconds until a running source that somebody must mend is tried again


class Paused(TransientError):
    """There was no room for long. The stream is closed, and opened again where it was when there is."""


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
        supervisor: Supervisor,
        *,
        watch_interval: float = INTERVAL,
        patient: bool = False,
    ) -> None:
        """`watch_interval`: seconds between looks at publications, tables, slot. `patient`: `start` tells what it would raise."""
        self.name = f"source.{database.name}"
        self._config = config
        self._database = database
        self.cuts = Cuts(database, Wants(tuple(triggers), index, config.limits.payload))
        self._patient = patient
        self._pipeline = pipeline
        self._writer = writer
        self._reads = reads
        self._supervisor = supervisor
        self._tasks = Tasks(self.name, supervisor.failed)
        self._matching = Matching(config, database, index)
        self._messages = Messages(config, database, index)
        self._ignored: set[str] = set()  # types of messages that were told
        self._watch = Watch(config, self.cuts, watch_interval)
        self._log = log.bind(database=database.name, slot=database.slot)
        self._started = False
        self._standing = Standing()
        self._progress = Progress(0)
        self._opened: Opened | None = None
        self._stream: ReplicationStream | None = None
        self._decoder = Decoder()
        self._anew = False  # the next stream begins at the stored position
        self._undecodable = False  # the last one ended for lack of a publication
        # The transaction being read, kept when the connection breaks:
        self._transaction: Transaction | None = None
        self._checkpoint: Checkpoint | None = None
        self._begun = False  # whether this connection has brought its beginning
        self._ordinal = 0  # changes of it seen on this connection
        self._offered = 0  # changes of it that were matched, on whatever connection
        self._truncated = self._truncated_offered = 0  # the same of tables that were emptied
        self._emitted = self._emitted_offered = 0  # and of messages
        self._end = 0  # end of the last transaction that was read whole: where a new connection begins
        self._look_up_to = 0  # transactions that commit at or below this may be in the store already
        self._newest = 0  # commit of the newest transaction of which something may be recorded
        self._recorded = 0  # settled position that the store holds
        self._kept_from = 0  # the server keeps WAL from here, as of the last look
        self._confirm_from = math.inf  # a position behind this is worth being confirmed by itself
        self._releasing = False
        self._recorded_newest = 0  # and up to where it may hold deliveries

    # Life

    def owing(self, wants: Wants) -> "asyncio.Future[None]":
        """What was committed before the first connection is matched by `wants`. Called before `start`; ends when that has been read."""
        self._matching.take_over(wants.index, wants.largest)
        self._messages.take_over(wants.index, wants.largest)
        return self.cuts.owing(wants)

    async def start(self) -> None:
        """Open the stream; raises what only a person can mend. A database that cannot be reached is tried again in the background:
        it must not keep the others waiting."""
        if self._started:
            return
        try:
            await self._open()
        except (TransientError, PermanentError) as error:
            if isinstance(error, PermanentError) and not self._patient:
                raise
            self._standing.stopped(error)
            self._log.warning("source.unavailable", error=str(error), hint=error.hint, retry_in=SHORTEST_WAIT)
        self._started = True
        self._tasks.spawn(self._run(), "read")

    async def stop(self) -> None:
        """Stop reading. The stream stays open, so that what is settled now can still be confirmed (`end`)."""
        self._releasing = True  # nothing is begun any more
        await self._tasks.cancel()

    async def end(self) -> None:
        """Confirm what is recorded and leave."""
        await self._drop()
        await self._reads.close()

    async def _wait(self, error: CdcdError, wait: float) -> float:
        self._standing.stopped(error)
        self._log.warning("source.unavailable", error=str(error), hint=error.hint, retry_in=round(wait, 1))
        await self.cuts.pause(wait * random.uniform(0.8, 1.2))
        return min(wait * 2, LONGEST_WAIT)

    def standing(self) -> Standing:
        """How it stands now."""
        standing, progress = self._standing, self._progress
        standing.settled, standing.settled_time = progress.settled, progress.settled_time
        standing.unsettled = progress.outstanding
        standing.recorded, standing.written, standing.received = self._recorded, self._watch.intact, progress.received
        if self._stream is not None:
            standing.received, standing.heard_at = max(self._stream.received, progress.received), self._stream.heard_at
        return standing

    # The connection

    async def _open(self) -> None:
        asking = self.cuts.opening()
        self._database = self.cuts.database
        resuming = self._opened is not None and not self._anew
        known = self._arrived() if resuming else (await self._reads.positions()).get(self._database.name)
        try:
            opened = await open_stream(
                self._config,
                self._database,
                self.cuts.triggers,
                known,
                running=self._opened is not None,
                resuming=resuming,
                intact=self._watch.intact,
                undecodable=self._undecodable,
                messages=asking,
            )
        except HistoryChanged:
            # What is unsettled, or not committed yet, could not be told from what is read again.
            self._anew = not self._unsettled and self._progress.settled <= self._recorded
            self._writer.position_moved()
            raise
        if not resuming:
            self._begin_at(opened.start, known)
        self._anew = self._undecodable = False
        self._opened = opened
        self.cuts.opened(opened.identity["system"], opened.intact, asking=asking)
        self._watch.intact = opened.intact
        self._stream = opened.stream
        self._stream.confirm(self._recorded)
        self._decoder = Decoder()
        self._matching.forget()
        self._begun = False
        self._ordinal = 0
        self._standing.opened()
        self._log.info("source.reading", position=format_lsn(opened.start), tables=len(opened.captured.tables))
        if known is None or opened.start > known.settled:
            self._writer.position_moved()  # from now on the store knows where reading began

    def _begin_at(self, start: int, known: Position | None) -> None:
        """As after a start: nothing is known but what the store holds."""
        self._progress = Progress(start, time=known.time if known is not None else 0)
        self._transaction = self._checkpoint = None
        self._offered = self._truncated_offered = self._emitted_offered = 0
        self._end = start
        self._recorded = min(known.settled, start) if known is not None else 0
        self._recorded_newest = known.recorded if known is not None else 0
        self._look_up_to = self._newest = max(self._newest, self._recorded_newest)

    def _arrived(self) -> Position:
        """Where the next connection goes on: behind the last whole transaction, or what the server had sent without any."""
        assert self._opened is not None
        end = max(self._end, self._progress.settled)
        return Position(self._database.name, end, self._newest, self._progress.settled_time, self._opened.identity)

    @property
    def _unsettled(self) -> bool:
        """Whether anything that was read is neither delivered nor staged."""
        being_read = self._checkpoint
        if being_read is None:
            return self._progress.outstanding > 0
        return self._progress.outstanding > 1 or being_read.unsettled > 0

    async def _drop(self) -> None:
        self.cuts.closed()
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    async def _lost(self) -> None:
        """The stream is over. What was matched before must not wait for the next one."""
        await self._drop()
        try:
            await self._offer()
        except CdcdError as error:  # it is offered before anything else is read
            self._log.warning("source.waiting", deliveries=len(self._matching.waiting), error=str(error))

    async def _run(self) -> None:
        wait = SHORTEST_WAIT
        while True:
            try:
                if self._stream is None:
                    await self._open()
                    wait = SHORTEST_WAIT
                await self._read_while_watched()
            except Moved:
                await self._lost()
            except Paused:
                await self._lost()
                self._log.info("source.paused", hint="the event store takes nothing; reading goes on when it does")
                self._standing.waits_for_room = True
                await self._pipeline.room()
            except TransientError as error:
                self._undecodable = self._undecodable or isinstance(error.__cause__, PublicationMissing)
                await self._lost()
                wait = await self._wait(error, wait)
            except PermanentError as error:
                await self._lost()
                self._standing.stopped(error, permanent=True)
                self._log.error("source.stopped", error=str(error), hint=error.hint, retry_in=PERMANENT_WAIT)
                await self.cuts.pause(PERMANENT_WAIT)

    async def _read_while_watched(self) -> None:
        """Read until the stream breaks, or until the watch finds that it must be opened anew."""
        assert self._opened is not None
        reading = asyncio.ensure_future(self._read())
        watching = asyncio.ensure_future(self._watch.run(self._opened.identity["publications"]))
        moving = asyncio.ensure_future(self.cuts.moving())
        try:
            await asyncio.wait((reading, watching, moving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reading, watching, moving):
                task.cancel()
            ended = await asyncio.gather(reading, watching, moving, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    # Reading

    async def _read(self) -> None:
        stream = self._stream
        assert stream is not None
        decode, cuts = self._decoder.decode, self.cuts
        await self._offer()  # what the last connection left
        while True:
            with translated(self._database):
                frames = await stream.read()
                for frame in frames:
                    kind = frame[0]
                    if kind == XLOG_DATA:
                        message = decode(frame, HEADER)
                        if isinstance(message, (Insert, Update, Delete)):
                            self._row(message)
                        elif isinstance(message, Relation):
                            await self._described(message)
                        else:
                            if cuts.ahead and isinstance(message, Begin):
                                await self._cut_before(message.final_lsn)
                            self._boundary(message)
                    elif kind == KEEPALIVE:
                        self._keepalive(wal_end := int.from_bytes(frame[1:9], "big"))
                        if cuts.ahead and self._transaction is None:
                            await self._cut_before(wal_end)
            await self._offer()
            settled = self._progress.settled
            if settled - self._recorded >= IDLE_STEP or settled >= self._confirm_from:
                self._confirm_from = math.inf
                self._writer.position_moved()
            if stream.stopping and not self._progress.outstanding:
                # The server waits for a confirmation of WAL that nobody wants. It goes down faster without us.
                raise SourceUnavailable(f"database {self._database.name!r}: the server is shutting down")
            if self._pipeline.full:
                if self._watch.intact - self._progress.settled > MOST_HELD:  # as of the last look at the server
                    self._pipeline.relieve()  # endpoints that are alive, but behind, hold no more WAL than this
                try:
                    self._standing.waits_for_room = True
                    async with asyncio.timeout(LONGEST_PAUSE):
                        await self._pipeline.room()
                except TimeoutError:
                    raise Paused(f"database {self._database.name!r}: there is no room") from None
                self._standing.waits_for_room = False

    async def _cut_before(self, lsn: int) -> None:
        """Nothing more comes that was committed before `lsn`."""
        while (ahead := self.cuts.ahead) and lsn >= ahead[0].position:
            await self._go_over(ahead[0])

    async def _go_over(self, cut: Cut) -> None:
        """What follows in the stream is matched by other triggers."""
        await self._offer()  # what the former ones wanted
        fresh = self._matching.take_over(cut.wants.index, cut.wants.largest)
        self._messages.take_over(cut.wants.index, cut.wants.largest)
        self.cuts.reached(cut)
        self._log.info("source.went_over", position=format_lsn(cut.position))
        for relation in fresh:
            await self._described(relation)

    def _row(self, message: Insert | Update | Delete) -> None:
        self._ordinal += 1
        if self._ordinal > self._offered:
            assert self._checkpoint is not None
            self._matching.row(message, self._ordinal, self._checkpoint)
            self._offered = self._ordinal  # not before: a row that could not be decoded is not passed over

    def _emptied(self, message: Truncate) -> None:
        for relation in message.relations:
            self._truncated += 1
            if self._truncated > self._truncated_offered:
                assert self._checkpoint is not None
                self._matching.truncated(
                    *(relation, self._truncated, self._checkpoint),
                    cascade=message.cascade,
                    restart_identity=message.restart_identity,
                )
                self._truncated_offered = self._truncated

    def _message(self, message: LogicalMessage) -> None:
        if message.transactional:
            self._emitted += 1
            if self._emitted <= self._emitted_offered:
                return
        assert self._opened is not None
        try:
            for delivery in self._messages.match(message, self._opened.system, self._transaction, self._emitted):
                assert self._checkpoint is not None
                delivery.checkpoint = self._checkpoint
                self._checkpoint.hold()
                self._matching.waiting.append(delivery)
        except Ignored as ignored:
            if ignored.kind not in self._ignored and len(self._ignored) < MOST_TOLD:
                self._ignored.add(ignored.kind)
                self._log.warning("source.message_ignored", type=ignored.kind, problem=str(ignored))
        if message.transactional:
            self._emitted_offered = self._emitted

    def _keepalive(self, wal_end: int) -> None:
        """The server has sent everything that was committed before `wal_end`."""
        if self._transaction is None:
            self._progress.idle(wal_end)
        elif not self._begun and wal_end > self._transaction.commit_lsn:
            self._cut_off()

    def _boundary(self, message: Message) -> None:
        if isinstance(message, Begin):
            self._ordinal = self._truncated = self._emitted = 0
            self._begun = True
            if self._transaction is not None:
                if self._transaction.commit_lsn == message.final_lsn:
                    return  # the connection broke inside it: it goes on behind what was matched
                self._cut_off()
            assert self._opened is not None
            self._transaction = Transaction.of(message.final_lsn, message.xid, message.commit_time)
            self._checkpoint = self._progress.open(message.final_lsn)
            self._offered = self._truncated_offered = self._emitted_offered = 0
            self._matching.begin(self._opened.system, self._transaction)
        elif isinstance(message, Commit):
            assert self._checkpoint is not None
            self._end = message.end_lsn
            self._checkpoint.close(message.end_lsn, message.commit_time)
            self._transaction = self._checkpoint = None
        elif isinstance(message, Truncate):
            self._emptied(message)
        elif isinstance(message, LogicalMessage):
            self._message(message)

    def _cut_off(self) -> None:
        """The transaction that was being read does not come again. What was matched of it goes its way."""
        assert self._transaction is not None
        assert self._checkpoint is not None
        self._log.error(
            "source.gap",
            since=self._transaction.lsn,
            until=self._transaction.lsn,
            hint=f"the rest of transaction {self._transaction.xid} cannot be read any more and was not delivered",
        )
        self._checkpoint.close(self._transaction.commit_lsn)
        self._transaction = self._checkpoint = None

    async def _described(self, relation: Relation) -> None:
        """A table as it was when the changes that follow were made."""
        keys: tuple[str, ...] = ()
        types: dict[int, TypeInfo] = {}
        if self._matching.wants(relation):
            own = {column.type_oid for column in relation.columns if column.type_oid >= FIRST_OID_OF_USERS}
            keyless = relation.replica_identity not in "di"  # then its key is the catalog's
            if own or keyless:
                async with catalog_of(self._database) as catalog:
                    types = await type_map(catalog, own) if own else {}
                    keys = await primary_key(catalog, relation.oid) if keyless else ()
        self._matching.described(relation, keys, types.get)

    async def _offer(self) -> None:
        """Give what was matched to the pipeline; what is read again is looked up first, so that it is not sent again."""
        deliveries = self._matching.waiting
        if not deliveries:
            return
        failpoints.hit("source.matched")
        if self._look_up_to:
            left = await unrecorded(self._reads, deliveries, self._look_up_to, self._log)
            if left is None:
                self._look_up_to = 0
            else:
                deliveries = left
        self._matching.waiting = []
        if deliveries:
            self._newest = max(self._newest, deliveries[-1].event.position)  # from here on it may be recorded
            self._pipeline.offer(deliveries)
        failpoints.hit("source.offered")

    # The recorder's side (Tracked)

    def position_to_record(self) -> Position | None:
        """What holds once everything settled so far is committed; None when that is in the store already.

        Behind a delivery that is still under way others are recorded: then the settled position stands, and the newest moves.
        """
        settled = self._progress.settled
        if self._opened is None or (settled <= self._recorded and self._newest <= self._recorded_newest):
            return None
        return Position(self._database.name, settled, self._newest, self._progress.settled_time, self._opened.identity)

    def position_recorded(self, position: Position) -> None:
        """The store holds `position`: the server may forget what lies before."""
        if self._opened is None or position.identity != self._opened.identity:
            return  # of a history that has ended meanwhile
        self._recorded = max(self._recorded, position.settled)
        self._recorded_newest = max(self._recorded_newest, position.recorded)
        failpoints.hit("source.recorded")
        if self._stream is not None:
            self._stream.confirm(self._recorded)
            if self._recorded - self._kept_from > 2 * KEPT and not self._releasing:
                self._releasing = True
                self._tasks.spawn(self._release(), "release")

    async def _release(self) -> None:
        """The server may let go of much WAL, and would do so only after a while."""

        def confirm(lsn: int) -> None:
            self._confirm_from = lsn

        try:
            self._kept_from = await self._watch.release(confirm)
        except CdcdError as error:  # it lets go by itself, later
            self._log.debug("slot.not_released", error=str(error))
            self._kept_from = self._recorded
        self._releasing = False
