"""The database source where replication is refused: what triggers wrote to the change log in, matched deliveries out.

The rules:
- it reads in the order in which changes were made, and only up to where nothing can appear any more (`changelog.horizon`);
- a notification wakes it and is never the data; it also looks by itself every `LOOK_EVERY` seconds, more often while a transaction
  that has changed something is open, and where the server allows prepared transactions, which cannot notify;
- where much happens it is awake, and nobody notifies (`sources.awake`). Before it sleeps it first tells so and then looks: whoever
  took it to be awake had a number by then, and so is among those whose end is awaited;
- the change at its position is looked up again with each connection: in a history where it is another (a failover, a restored
  backup), everything that the log holds is read again and looked up by id;
- what is settled and recorded leaves the log by whole leaves.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence

import structlog

from cdcd import failpoints
from cdcd.changelog.horizon import Horizon
from cdcd.changelog.log import ChangeLog, Entry
from cdcd.changelog.names import LEAF_BITS
from cdcd.changelog.shape import Shape, shape_of
from cdcd.config.model import Config, Database
from cdcd.errors import PermanentError, SourceNotReady, TransientError
from cdcd.event import Position
from cdcd.lifecycle import Supervisor, Tasks
from cdcd.replication.messages import Delete, Insert, Update
from cdcd.replication.progress import Checkpoint, Progress
from cdcd.replication.refusal import translated as refusals
from cdcd.replication.tables import type_map
from cdcd.replication.values import FIRST_OID_OF_USERS, TypeInfo
from cdcd.replication.walsender import Connection
from cdcd.sources.awake import Awake
from cdcd.sources.cuts import Cuts, Moved, Wants
from cdcd.sources.logged import LogWatch, names_of, prepare
from cdcd.sources.matching import Matching
from cdcd.sources.opening import connect
from cdcd.sources.pipeline import Pipeline, PositionWriter
from cdcd.sources.rereading import unrecorded
from cdcd.sources.rows import Transaction
from cdcd.sources.standing import Standing
from cdcd.sources.translate import translated
from cdcd.sources.waiting import PATIENCE, Waiting
from cdcd.store.reads import Reads
from cdcd.triggers.matcher import Index
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()

ROWS, BYTES = 1000, 4 * 1024 * 1024  # of one read
LOOK_EVERY = 5.0  # seconds between looks that nothing asked for
UNTOLD = 0.2  # the same where transactions can be prepared, which those that notify cannot
SOONEST, LATEST = 0.005, 0.25  # seconds between looks while it is awake, or a transaction is open
LONGER = 1.5  # the longer a transaction is open, the longer are the pauses: half of the time that it has been
IDLE_STEP = 1000  # changes that nobody wanted, after which the position is written down
MOST_BEHIND = 100_000  # changes that may wait for endpoints; beyond, what is in memory is staged
SHORTEST_WAIT, LONGEST_WAIT = 0.2, 15.0  # seconds between attempts to connect
PERMANENT_WAIT = 60.0  # seconds until a running source that somebody must mend is tried again
WATCH_EVERY = 30.0  # seconds
ANSWER = 20.0  # seconds that the server may take to answer
LISTENED = 30.0  # seconds of silence after which it is asked whether the listening connection is still there
XIDS = 1 << 32  # a transaction's id as replication tells it


class AnotherHistory(TransientError):
    """The change at the position is not the one that was read."""


class ChangelogSource:
    """A part; see the module. Its own tasks are the only ones that touch the log and the progress."""

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
        watch_interval: float = WATCH_EVERY,
        patience: float = PATIENCE,
        patient: bool = False,
    ) -> None:
        """`watch_interval` and `patience` are seconds; `patient`: `start` tells what it would raise."""
        self.name = f"source.{database.name}"
        self._config = config
        self._database = database
        self._woken = asyncio.Event()
        self.cuts = Cuts(database, Wants(tuple(triggers), index, config.limits.payload), self._woken.set)
        self._patient = patient
        self._pipeline = pipeline
        self._writer = writer
        self._reads = reads
        self._tasks = Tasks(self.name, supervisor.failed)
        self._matching = Matching(config, database, index)
        self._watch = LogWatch(config, self.cuts, watch_interval)
        self._waiting = Waiting(database.name, patience)
        self._log = log.bind(database=database.name)
        self._started = False
        self._standing = Standing()
        self._connection: Connection | None = None
        self._changes: ChangeLog | None = None
        self._identity = ""  # of the log; empty: never opened
        self._system = 0  # the same as a number, for ids
        self._horizon = Horizon()
        self._shapes: dict[tuple[int, int], Shape] = {}
        self._progress = Progress(0)
        self._marks: deque[tuple[int, str]] = deque()  # where the position can come to stand: number, and what stands there
        self._read_up_to = (0, "")  # the last change that was read
        self._scanned = 0  # and up to where there is none behind it
        self._written = 0  # the highest number at the last look
        self._awake = Awake()
        self._notifies = False  # whether the triggers may notify at all
        self._told = False  # and are known to: nobody else holds the lock that keeps them from it
        self._turn = 0  # which leaf the recorded position had come to when settled ones were last let go of
        self._let_go_at = 0.0  # not before this moment (monotonic seconds)
        self._anew = False  # the next connection begins with everything that the log holds
        self._look_up_to = 0  # changes up to here may be in the store already
        self._newest = 0  # the newest change of which something may be recorded
        self._recorded = -1  # settled position that the store holds; -1: none
        self._recorded_newest = 0  # and up to where it may hold deliveries

    # Life

    def owing(self, wants: Wants) -> "asyncio.Future[None]":
        """What was committed before the first connection is matched by `wants`. Called before `start`; ends when that has been read."""
        self._matching.take_over(wants.index, wants.largest)
        return self.cuts.owing(wants)

    async def start(self) -> None:
        """Open the log; raises what only a person can mend. A database that cannot be reached is tried again in the background."""
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
        """Stop reading."""
        await self._tasks.cancel()

    async def end(self) -> None:
        """Leave."""
        await self._drop()
        await self._reads.close()

    async def _run(self) -> None:
        wait = SHORTEST_WAIT
        while True:
            try:
                if self._changes is None:
                    await self._open()
                    wait = SHORTEST_WAIT
                await self._read_while_watched()
            except Moved:
                await self._drop()
            except TransientError as error:
                await self._drop()
                self._standing.stopped(error)
                self._log.warning("source.unavailable", error=str(error), hint=error.hint, retry_in=round(wait, 1))
                await self.cuts.pause(wait * random.uniform(0.8, 1.2))
                wait = min(wait * 2, LONGEST_WAIT)
            except PermanentError as error:
                await self._drop()
                self._standing.stopped(error, permanent=True)
                self._log.error("source.stopped", error=str(error), hint=error.hint, retry_in=PERMANENT_WAIT)
                await self.cuts.pause(PERMANENT_WAIT)

    def standing(self) -> Standing:
        """How it stands now."""
        standing, progress = self._standing, self._progress
        standing.settled, standing.settled_time = progress.settled, progress.settled_time
        standing.unsettled = progress.outstanding
        standing.recorded, standing.written, standing.received = max(0, self._recorded), self._written, self._read_up_to[0]
        return standing

    # The connection

    async def _open(self) -> None:
        await self._drop()
        self.cuts.opening()
        self._database = self.cuts.database
        first = not self._identity
        stored = first or self._anew
        known = (await self._reads.positions()).get(self._database.name) if stored else self._arrived()
        with translated(self._database), refusals():
            connection = await connect(self._database)
            try:
                installed = await prepare(
                    connection, self._config, self._database, self.cuts.triggers, known, running=self._identity != ""
                )
                changes = ChangeLog(connection, names_of(self._config))
                await changes.begin()
                self._written = written = await changes.written()
                self._notifies = await changes.notifies()
                ours = known is None or not known.settled or await changes.mark(known.settled) == known.identity.get("mark")
            except BaseException:
                await connection.close()
                raise
        if not ours and not first and not self._anew:
            await connection.close()
            # What is unsettled, or not committed yet, could not be told from what is read again.
            self._anew = not self._progress.outstanding and self._progress.settled <= self._recorded
            self._writer.position_moved()
            raise AnotherHistory(
                f"database {self._database.name!r}: the change log is of another history than what was read",
                hint="everything that it holds is read again and looked up by id",
            )
        self._connection, self._changes = connection, changes
        self._identity, self._system = installed.log, int(installed.log.replace("-", "")[:16], 16)
        self._horizon = Horizon()
        self._awake, self._told = Awake(), False
        self._matching.forget()
        self._shapes.clear()
        if first or self._anew:
            self._begin_at(known, written, ours)
        self._scanned = self._read_up_to[0]
        self._anew = False
        self.cuts.opened(installed.log, written)
        self._standing.opened()
        self._log.info("source.reading", position=self._read_up_to[0], written=written)
        if known is None:
            self._writer.position_moved()  # from now on the store knows which log is read

    def _begin_at(self, known: Position | None, written: int, ours: bool) -> None:
        """As after a start: nothing is known but what the store holds. Not `ours`: of another history, so everything is read again."""
        settled, mark = (known.settled, known.identity.get("mark", "")) if known is not None and ours else (0, "")
        self._progress = Progress(settled, time=known.time if known is not None else 0)
        self._marks = deque([(settled, mark)])
        self._read_up_to = (settled, mark)
        self._recorded = settled if known is not None and ours else -1
        self._recorded_newest = known.recorded if known is not None else 0
        self._look_up_to = self._newest = max(self._newest, self._recorded_newest, 0 if ours else written)
        if not ours:
            before = self.cuts.ended()
            while self.cuts.ahead:
                self._go_over()  # its position means nothing here
            if before is not None:
                self._matching.take_over(before.index, before.largest)
            self._log.warning("changelog.another_history", position=known.settled if known else 0, written=written)

    def _arrived(self) -> Position:
        """Where the next connection goes on."""
        number, mark = self._read_up_to
        return Position(self._database.name, number, self._newest, 0, {"log": self._identity, "mark": mark})

    async def _drop(self) -> None:
        self.cuts.closed()
        connection, self._connection, self._changes = self._connection, None, None
        if connection is not None:
            await connection.close()

    async def _read_while_watched(self) -> None:
        """Read until the connection breaks, or until the watch finds that it must be opened anew."""
        parts = (self._read(), self._listen(), self._watch.run(self._identity), self.cuts.moving())
        doing = [asyncio.ensure_future(work) for work in parts]
        try:
            await asyncio.wait(doing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in doing:
                task.cancel()
            ended = await asyncio.gather(*doing, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _listen(self) -> None:
        """Be woken whenever something was written to the log; on a connection of its own."""
        with translated(self._database), refusals():
            async with await connect(self._database) as connection:
                channel = names_of(self._config).channel.replace('"', '""')
                await connection.execute(f'LISTEN "{channel}"'.encode())
                self._woken.set()  # what was written before
                while True:
                    async for _ in connection.notifies(timeout=LISTENED):
                        self._woken.set()
                    async with asyncio.timeout(ANSWER):  # nobody else would tell that it is dead
                        await connection.execute("SELECT 1")

    # Reading

    async def _read(self) -> None:
        await self._offer()  # what the last connection left
        loop, wait = asyncio.get_running_loop(), SOONEST
        while True:
            self._woken.clear()
            readable = await self._look(loop.time())
            moved = readable > self._scanned
            while self.cuts.ahead and readable >= (position := self.cuts.ahead[0].position):
                await self._read_to(position)
                self._go_over()
            if moved:
                await self._read_to(readable)
                wait = SOONEST
            await self._let_settled_go()
            if await self._wake_or_sleep(loop.time()) or (moved and not self._awake.held):
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause(wait)):
                    await self._woken.wait()
            wait = min(wait * LONGER, LATEST)

    def _go_over(self) -> None:
        """What follows is matched by other triggers; each shape is described anew."""
        self._matching.forget()
        self._shapes.clear()
        self.cuts.reached(cut := self.cuts.ahead[0])
        self._matching.take_over(cut.wants.index, cut.wants.largest)
        self._log.info("source.went_over", position=cut.position)

    def _pause(self, wait: float) -> float:
        """Seconds until the next look that nothing asks for. `wait`: where a transaction is open."""
        if self._horizon.waiting or self.cuts.ahead:
            return wait
        if self._awake.held:
            return SOONEST
        return LOOK_EVERY if self._told else UNTOLD

    async def _wake_or_sleep(self, now: float) -> bool:
        """Be awake where much happens; True when it must be looked once more, since nobody may have notified."""
        assert self._changes is not None
        if self._awake.quiet(now):
            self._awake.held = False
            if self._notifies:
                async with self._answered():
                    await self._changes.sleep()
            return True
        if self._awake.crowded(now):
            async with self._answered():
                self._awake.held = not self._notifies or await self._changes.stay_awake()
        elif self._notifies and not self._told and not self._awake.held:
            async with self._answered():  # a session that a network swallowed may still hold it for a while
                self._told = await self._changes.stay_awake()
                if self._told:
                    await self._changes.sleep()
            return self._told
        return False

    @contextlib.asynccontextmanager
    async def _answered(self) -> AsyncIterator[None]:
        """Questions to the log: a network that swallows them is found out, and errors are ours."""
        with translated(self._database), refusals():
            async with asyncio.timeout(ANSWER):
                yield

    async def _look(self, now: float) -> int:
        """Up to where the log can be read now."""
        assert self._changes is not None
        async with self._answered():
            written = await self._changes.written()
            self._standing.heard_at = now
            if written > self._written:
                self._written = written
                self._awake.found(now)
            if written <= self._scanned:
                return self._scanned
            readable = self._horizon.look(written, await self._changes.writers())
            await self._waiting.look(self._horizon, self._changes, now)
        return readable

    async def _read_to(self, readable: int) -> None:
        assert self._changes is not None
        while self._scanned < readable:
            async with self._answered():
                entries = await self._changes.read(self._scanned, readable, ROWS, BYTES)
                if not entries:
                    self._scanned = readable
                    return
                await self._match(entries)
            failpoints.hit("source.matched")
            await self._offer()
            if self._progress.settled - self._recorded >= IDLE_STEP:
                self._writer.position_moved()
            if self._pipeline.full:
                if readable - self._progress.settled > MOST_BEHIND:
                    self._pipeline.relieve()  # endpoints that are alive, but behind, let the log grow no more than this
                self._standing.waits_for_room = True
                await self._pipeline.room()
                self._standing.waits_for_room = False
            await self._let_settled_go()

    async def _match(self, entries: Sequence[Entry]) -> None:
        """Match one read. All of it can be read, or none of it is matched."""
        changes = [(entry, shape, self._change(entry, shape)) for entry in entries if (shape := await self._shape(entry))]
        checkpoint = self._progress.open(entries[0].seq)
        for entry, shape, change in changes:
            self._matching.begin(self._system, Transaction(entry.seq, entry.xid % XIDS, entry.at, None))
            if change is None:
                self._matching.truncated(shape.relation, entry.seq, checkpoint)
            else:
                self._matching.row(change, entry.seq, checkpoint)
        self._close(checkpoint, entries[-1])

    def _close(self, checkpoint: Checkpoint, last: Entry) -> None:
        self._read_up_to = (last.seq, f"{last.xid}/{last.at}")
        self._scanned = last.seq
        self._marks.append(self._read_up_to)
        checkpoint.close(last.seq, last.at)

    @staticmethod
    def _change(entry: Entry, shape: Shape) -> Insert | Update | Delete | None:
        relation = shape.relation
        if entry.op == b"I" and entry.new is not None:
            return Insert(relation, shape.row(entry.new))
        if entry.op == b"U" and entry.new is not None and entry.old is not None:
            return Update(relation, "full", shape.row(entry.old), shape.row(entry.new))
        if entry.op == b"D" and entry.old is not None:
            return Delete(relation, "full", shape.row(entry.old))
        return None

    async def _shape(self, entry: Entry) -> Shape | None:
        """What the table looked like; None when no trigger wants it."""
        known = self._shapes.get((entry.relid, entry.shape))
        if known is None:
            assert self._changes is not None
            described = entry.described or await self._changes.described(entry.relid, entry.shape)
            if described is None:
                raise SourceNotReady(
                    f"database {self._database.name!r}: nobody has noted what the table with OID {entry.relid} looked like at change "
                    f"{entry.seq}",
                    hint="changes_shapes was changed by somebody: put its row back, or delete this change and compare by hand",
                )
            if entry.described is not None:
                await self._changes.note(entry.relid, entry.shape, entry.described)
            known = self._shapes[entry.relid, entry.shape] = shape_of(len(self._shapes) + 1, described)
            await self._describe(known)
        return known if self._matching.wants(known.relation) else None

    async def _describe(self, shape: Shape) -> None:
        relation = shape.relation
        types: dict[int, TypeInfo] = {}
        own = {column.type_oid for column in relation.columns if column.type_oid >= FIRST_OID_OF_USERS}
        if own and self._matching.wants(relation):
            assert self._connection is not None
            types = await type_map(self._connection, own)
        self._matching.described(relation, (), types.get)

    async def _offer(self) -> None:
        """Give what was matched to the pipeline; what is read again is looked up first, so that it is not sent again."""
        deliveries = self._matching.waiting
        if not deliveries:
            return
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

    async def _let_settled_go(self) -> None:
        """Empty the leaves behind the recorded position, each time that it has come to another leaf. What is in use is tried again."""
        now, turn = asyncio.get_running_loop().time(), max(self._recorded, 0) >> LEAF_BITS
        if self._changes is None or turn == self._turn or now < self._let_go_at:
            return
        async with self._answered():
            emptied, busy = await self._changes.let_go(self._recorded)
        if busy:
            self._let_go_at = now + LOOK_EVERY
        else:
            self._turn = turn
        if emptied:
            self._log.info("changelog.let_go", leaves=emptied, settled=self._recorded)

    # The recorder's side (Tracked)

    def position_to_record(self) -> Position | None:
        """What holds once everything settled so far is committed; None when that is in the store already."""
        settled = self._progress.settled
        if not self._identity or (settled <= self._recorded and self._newest <= self._recorded_newest):
            return None
        while self._marks and self._marks[0][0] < settled:
            self._marks.popleft()
        identity = {"log": self._identity, "mark": self._marks[0][1]}
        return Position(self._database.name, settled, self._newest, self._progress.settled_time, identity)

    def position_recorded(self, position: Position) -> None:
        """The store holds `position`: what lies before may leave the log."""
        if position.identity["log"] != self._identity:
            return  # of a log that is gone
        self._recorded = max(self._recorded, position.settled)
        self._recorded_newest = max(self._recorded_newest, position.recorded)
        failpoints.hit("source.recorded")
