"""Whether a database trigger feeds itself: its webhook writes what fires it. Pure.

The sign has two parts. An event was committed while the attempt of the one before it ran, `IN_A_ROW` times without a gap: of the
same row (an update that leads to the next), or of any row while no two attempts of the trigger overlap (an insert that leads to the
next). And the commits keep step with the attempts: when one begins late, so does the next commit.

Load from elsewhere does not do both. What comes faster than it is delivered is committed before the attempt in front of it begins,
what comes slower after its end, and different rows that come steadily have attempts that overlap. Only a pace that happens to fall
between can go on for long, and it does not care when attempts begin: the later one does, the less far into it the next commit
comes. `_Thread.keeps_step` looks at the slope of the one over the other: 0 in a loop, -1 otherwise.

What it cannot see: a write after the endpoint has answered; a loop of inserts whose endpoint is still at work when the next attempt
begins; a loop through several triggers, or several rows of which none comes again; and one whose database's clock differs from ours by
more than an attempt takes. Nothing is held up: it only tells.
"""

IN_A_ROW = 50
MOST_ROWS = 512  # of each trigger: twice as many are remembered at most
TOLD_EVERY = 60.0  # seconds, for each trigger
STEP = -0.5  # the slope that divides the two


class _Thread:
    """What was last seen of a row, or of a whole trigger: when its attempt began and ended, and how many times in a row an event was
    committed within the attempt before it. Of these, the sums of how late each attempt began and how far into it the next commit
    came, of the squares and of the products."""

    __slots__ = ("begun", "committed", "ended", "far", "late", "late_far", "late_late", "times")

    def __init__(self, committed: float, begun: float, ended: float) -> None:
        self.times = 0
        self.late = self.far = self.late_late = self.late_far = 0.0
        self.committed, self.begun, self.ended = committed, begun, ended

    def follow(self, committed: float, begun: float, ended: float) -> int:
        """The next event; how many times in a row."""
        if self.begun <= committed <= self.ended:
            if not self.times:
                self.late = self.far = self.late_late = self.late_far = 0.0
            late, far = self.begun - self.committed, committed - self.begun
            self.times += 1
            self.late += late
            self.far += far
            self.late_late += late * late
            self.late_far += late * far
        else:
            self.times = 0
        self.committed, self.begun, self.ended = committed, begun, ended
        return self.times

    def keeps_step(self) -> bool:
        """Whether the commits follow the attempts, as far as these varied."""
        varied = self.times * self.late_late - self.late * self.late
        together = self.times * self.late_far - self.late * self.far
        return varied > 0.0 and together > STEP * varied


_Last = tuple[float, float, float, _Thread | None]
"""The last event of a row: when it was committed, when its attempt began and ended, and the thread that it belongs to."""


class _Seen:
    """One trigger."""

    __slots__ = ("any_row", "older", "rows", "told")

    def __init__(self) -> None:
        self.any_row = _Thread(0.0, 0.0, -1.0)
        self.rows: dict[str, _Last] = {}
        self.older: dict[str, _Last] = {}
        self.told = -TOLD_EVERY


class Feeding:
    """One for an engine."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def delivered(self, trigger: str, row: str, committed: float, begun: float, ended: float, now: float) -> int:
        """A delivery was taken by its endpoint. Gives how many times in a row the trigger fed itself when that is to be told now,
        else 0. `row` names the event's row, `committed`, `begun` and `ended` are wall-clock seconds, `now` is monotonic."""
        seen = self._seen.get(trigger)
        if seen is None:
            seen = self._seen[trigger] = _Seen()
        any_row = seen.any_row
        if begun >= any_row.ended:
            any_row.follow(committed, begun, ended)
        else:
            any_row.times = 0
            any_row.committed, any_row.begun, any_row.ended = committed, begun, max(ended, any_row.ended)
        before = seen.rows.get(row) or seen.older.get(row)
        if before is None or not before[1] <= committed <= before[2]:  # the usual case: no thread
            thread = None
        else:
            thread = before[3] or _Thread(before[0], before[1], before[2])
            thread.follow(committed, begun, ended)
        seen.rows[row] = (committed, begun, ended, thread)
        if len(seen.rows) >= MOST_ROWS:
            seen.older, seen.rows = seen.rows, {}
        if (thread is None or thread.times < IN_A_ROW) and any_row.times < IN_A_ROW:
            return 0
        if now - seen.told < TOLD_EVERY:
            return 0
        counted = (any_row,) if thread is None else (thread, any_row)
        times = max((each.times for each in counted if each.times >= IN_A_ROW and each.keeps_step()), default=0)
        if times:
            seen.told = now
        return times
