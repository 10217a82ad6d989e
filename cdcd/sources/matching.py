"""From row changes to deliveries: which triggers want a change, under which id and lane.

A change that nobody wants costs one look-up. The event's data is built once, when the first trigger matched, and shared by all
of them. What cannot become a request (an expression that raises, a value that is not JSON, too large) becomes a delivery that
carries its `error`, so that it is recorded as `failed` with the reason.

A lane is a key of the store's indexes, where an entry has an upper size and text has neither NUL nor lone surrogates. One that is
long or odd is replaced by a hash, always by the same.
"""

from hashlib import blake2b

from cdcd.config.model import Config, Database
from cdcd.errors import EventError, PayloadTooLarge
from cdcd.event import Delivery, Event
from cdcd.replication.messages import Delete, Insert, Relation, Update
from cdcd.replication.progress import Checkpoint
from cdcd.replication.values import Resolve
from cdcd.sources.rows import Change, Table, Transaction
from cdcd.sources.truncation import TRUNCATE, TRUNCATIONS, truncation, truncation_data
from cdcd.triggers.ids import TransactionIds
from cdcd.triggers.matcher import Index, TriggerSet

LONGEST_LANE = 400  # characters, of at most 4 bytes: less than the 2704 bytes that an entry of a B-tree may take
LONGEST_ERROR = 2000  # characters
LEAST_JSON = 2 / 3  # JSON takes at least so much of the text that the server sent: bytea goes from hexadecimal to base64


class Wanted:
    """A relation that some trigger names."""

    __slots__ = ("table", "triggers")

    def __init__(self, table: Table, triggers: TriggerSet) -> None:
        self.table = table
        self.triggers = triggers


class Matching:
    """Turns the rows of one database's stream into deliveries. Owned by its source."""

    def __init__(self, config: Config, database: Database, index: Index) -> None:
        self._database = database.name
        self._source = f"cdcd/{config.project}/{database.name}"
        self._limit = config.limits.payload
        self._index = index
        self._system = 0
        self._wanted: dict[int, tuple[Relation, Wanted | None]] = {}
        self._transaction: Transaction | None = None
        self._ids: TransactionIds | None = None
        self.waiting: list[Delivery] = []  # matched, in order, until the source has offered them

    def begin(self, system: int, transaction: Transaction) -> None:
        """The rows that follow belong to `transaction` of the cluster with this system identifier."""
        self._transaction = transaction
        self._ids = TransactionIds(system, transaction.commit_lsn, transaction.xid, transaction.time)

    def forget(self) -> None:
        """A new stream describes every relation anew."""
        self._wanted.clear()

    def take_over(self, index: Index, largest: int) -> list[Relation]:
        """What follows is matched by other triggers. The relations that are wanted now and were not before: they must be `described`."""
        self._index, self._limit = index, largest
        fresh = []
        for oid, (relation, wanted) in self._wanted.items():
            triggers = self._look_up(relation)
            if triggers is not None and wanted is None:
                fresh.append(relation)
            self._wanted[oid] = (relation, None if triggers is None or wanted is None else Wanted(wanted.table, triggers))
        return fresh

    def wants(self, relation: Relation) -> bool:
        """Whether any trigger names this relation."""
        return self._look_up(relation) is not None

    def described(self, relation: Relation, primary_key: tuple[str, ...], resolve: Resolve) -> None:
        """A relation that is wanted is read like this from now on."""
        triggers = self._look_up(relation)
        wanted = (
            Wanted(Table(self._source, self._database, relation, primary_key, resolve), triggers)
            if triggers is not None
            else None
        )
        self._wanted[relation.oid] = (relation, wanted)

    def _look_up(self, relation: Relation) -> TriggerSet | None:
        return self._index.lookup(self._database, relation.schema, relation.name)

    def row(self, message: Insert | Update | Delete, ordinal: int, checkpoint: Checkpoint) -> None:
        """Match one change, the `ordinal`th of its transaction (from 1)."""
        wanted = self._wanted[message.relation.oid][1]
        if wanted is None:
            return
        assert self._transaction is not None
        assert self._ids is not None
        change = Change(wanted.table, message, self._transaction)
        matches = wanted.triggers.match(change)
        if not matches:
            return
        event, problem = self._event(change)
        for trigger, found in matches:
            lane, wrong = (None, found) if isinstance(found, EventError) else (found, problem)
            delivery = Delivery(self._ids.id(ordinal, trigger.name), trigger.name, event, lane, checkpoint)
            if wrong is not None:
                delivery.error = wrong.explain()[:LONGEST_ERROR]
            elif lane is not None:
                delivery.lane = storable(lane)
                if lane == change.subject and change.old_subject is not None:
                    delivery.also = storable(change.old_subject)
            checkpoint.hold()
            self.waiting.append(delivery)

    def truncated(
        self, relation: Relation, ordinal: int, checkpoint: Checkpoint, *, cascade: bool = False, restart_identity: bool = False
    ) -> None:
        """Match a table that was emptied, the `ordinal`th of its transaction (from 1). These are counted by themselves, so that
        the ids of rows are what they are without them."""
        wanted = self._wanted[relation.oid][1]
        if wanted is None:
            return
        assert self._transaction is not None
        assert self._ids is not None
        table, transaction = wanted.table, self._transaction
        event: Event | None = None
        for trigger, found in wanted.triggers.match(truncation(table, transaction)):
            if event is None:
                data = truncation_data(table, transaction, cascade, restart_identity)
                event = Event(TRUNCATE, self._source, table.path, "", transaction.time, data, transaction.commit_lsn)
            delivery = Delivery(self._ids.id(TRUNCATIONS + ordinal, trigger.name), trigger.name, event, None, checkpoint)
            if isinstance(found, EventError):
                delivery.error = found.explain()[:LONGEST_ERROR]
            elif found is not None:
                delivery.lane = storable(found)
            checkpoint.hold()
            self.waiting.append(delivery)

    def _event(self, change: Change) -> tuple[Event, EventError | None]:
        problem: EventError | None = None
        try:
            if change.size * LEAST_JSON > self._limit:
                raise _too_large(change.size, self._limit)
            data = change.data()
            if len(data) > self._limit:
                raise _too_large(len(data), self._limit)
        except EventError as error:
            problem, data = error, change.summary()
        transaction = change.transaction
        event = Event(change.type, self._source, change.subject, change.row_key, transaction.time, data, transaction.commit_lsn)
        return event, problem


def storable(lane: str) -> str:
    """The lane as the store can hold and index it."""
    if len(lane) <= LONGEST_LANE and lane.isprintable():
        return lane
    raw = lane.encode(errors="surrogatepass")
    return "#" + blake2b(raw, digest_size=20).hexdigest()


def _too_large(size: int, limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the row has {size:,} bytes, more than limits.payload ({limit:,})",
        hint="raise limits.payload, or capture fewer columns",
    )
