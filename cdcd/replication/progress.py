"""How far a source of transactions has been received and settled: two positions, apart, that only grow.

Transactions settle in the order of their commits: `settled` is the end of the last transaction such that it and every one
before it is closed (read to its end) and has nothing unsettled. While no transaction is open and nothing is unsettled,
`idle` may move it to what the server says it has sent, so that an idle database holds no WAL back.
"""

from collections import deque


class Checkpoint:
    """One transaction: how many of its deliveries are unsettled, and whether it was read to its end."""

    __slots__ = ("_end", "_progress", "_time", "_unsettled", "commit_lsn")

    def __init__(self, progress: "Progress", commit_lsn: int) -> None:
        self.commit_lsn = commit_lsn
        self._progress = progress
        self._unsettled = 0
        self._end = -1
        self._time = 0

    @property
    def unsettled(self) -> int:
        """How many holds have not been settled."""
        return self._unsettled

    def hold(self) -> None:
        """One more delivery belongs to this transaction. Only before `close`."""
        if self._end >= 0:
            raise ValueError("hold after close")
        self._unsettled += 1

    def settle(self) -> None:
        """One of its deliveries is settled."""
        if self._unsettled <= 0:
            raise ValueError("settle without hold")
        self._unsettled -= 1
        if not self._unsettled and self._end >= 0:
            self._progress._advance()

    def close(self, end_lsn: int, time: int = 0) -> None:
        """The transaction was read to its end: `end_lsn` and commit time (microseconds since the Unix epoch) of its Commit message."""
        if self._end >= 0:
            raise ValueError("closed twice")
        self._end = end_lsn
        self._time = time
        if not self._unsettled:
            self._progress._closed_empty(self)


class Progress:
    """The received and settled positions of one stream. LSNs as integers. All methods are O(1), amortised."""

    __slots__ = ("_open", "_received", "_settled", "_time")

    def __init__(self, settled: int, received: int = 0, time: int = 0) -> None:
        """`time`: that of the last settled commit, as in `Checkpoint.close`."""
        self._settled = settled
        self._time = time
        self._received = max(received, settled)
        self._open: deque[Checkpoint] = deque()

    @property
    def settled(self) -> int:
        """Everything before this position is settled."""
        return self._settled

    @property
    def settled_time(self) -> int:
        """When the last settled transaction was committed; 0: none was."""
        return self._time

    @property
    def received(self) -> int:
        """The highest position that was read."""
        return self._received

    @property
    def outstanding(self) -> int:
        """How many transactions are open, unsettled, or wait for one before them; empty ones count with that."""
        return len(self._open)

    @property
    def oldest(self) -> Checkpoint | None:
        """The first transaction that keeps `settled` where it is."""
        return self._open[0] if self._open else None

    def receive(self, lsn: int) -> None:
        """Something at `lsn` was read."""
        if lsn > self._received:
            self._received = lsn

    def open(self, commit_lsn: int) -> Checkpoint:
        """A transaction begins to be read. The one before must be closed."""
        if self._open and self._open[-1]._end < 0:
            raise ValueError("a transaction is still open")
        checkpoint = Checkpoint(self, commit_lsn)
        self._open.append(checkpoint)
        return checkpoint

    def idle(self, wal_end: int) -> None:
        """The server has sent everything before `wal_end` (a keepalive's). Moves `settled` if nothing is outstanding."""
        self.receive(wal_end)
        if not self._open and wal_end > self._settled:
            self._settled = wal_end

    def _closed_empty(self, checkpoint: Checkpoint) -> None:
        """A transaction that nobody waits for goes with the one before it: a million of them behind an unsettled one take no room."""
        transactions = self._open
        if len(transactions) > 1 and transactions[-1] is checkpoint:
            transactions.pop()
            transactions[-1]._end = max(transactions[-1]._end, checkpoint._end)
            transactions[-1]._time = checkpoint._time or transactions[-1]._time
        else:
            self._advance()

    def _advance(self) -> None:
        transactions = self._open
        while transactions and transactions[0]._end >= 0 and not transactions[0]._unsettled:
            first = transactions.popleft()
            self._time = first._time or self._time
            if first._end > self._settled:
                self._settled = first._end
        self.receive(self._settled)
