"""Whether a database trigger feeds itself: its webhook writes what fires it. Pure.

The sign: an event was committed while the attempt of the one before it ran, again and again without a gap. Two forms are looked for:

- the same row (an update that leads to the next): `SAME_ROW` times in a row;
- any row of the trigger, one at a time (an insert that leads to the next): `ANY_ROW` times in a row, no attempt overlapping
  the next.

Load from elsewhere does not look like this. What comes faster than it is delivered is committed before the attempt in front of it
begins; what comes slower, after that attempt's end; and different rows that come steadily have attempts that overlap. So a single
event that lies elsewhere ends the count.

What it cannot see: a write after the endpoint has answered; a loop through several triggers or rows at a time, other than that
of one row; and one whose database's clock differs from ours by more than an attempt takes. What it could take for one: writes
from elsewhere that keep the endpoint's own pace to a few hundredths. Nothing is held up: it only tells.
"""

from collections import OrderedDict

SAME_ROW = 20
ANY_ROW = 50
MOST_ROWS = 1024  # remembered at a time, for each trigger
TOLD_EVERY = 60.0  # seconds, for each trigger


class _Thread:
    """What was last seen of a row, or of a trigger. Times are wall-clock seconds."""

    __slots__ = ("begun", "ended", "times")

    def __init__(self, begun: float, ended: float) -> None:
        self.begun = begun
        self.ended = ended
        self.times = 0

    def goes_on(self, committed: float, begun: float, ended: float) -> int:
        """How many times in a row an event was committed within the attempt before it, this one counted."""
        self.times = self.times + 1 if self.begun <= committed <= self.ended else 0
        self.begun, self.ended = begun, ended
        return self.times


class _Seen:
    """One trigger."""

    __slots__ = ("any_row", "rows", "told")

    def __init__(self) -> None:
        self.rows: OrderedDict[str, _Thread] = OrderedDict()
        self.any_row = _Thread(0.0, -1.0)
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
        rows, any_row = seen.rows, seen.any_row
        times = 0
        if begun < any_row.ended:
            any_row.begun, any_row.ended, any_row.times = begun, max(ended, any_row.ended), 0
        elif (count := any_row.goes_on(committed, begun, ended)) >= ANY_ROW:
            times = count
        thread = rows.get(row)
        if thread is None:
            rows[row] = _Thread(begun, ended)
            if len(rows) > MOST_ROWS:
                rows.popitem(last=False)
        elif (count := thread.goes_on(committed, begun, ended)) >= SAME_ROW:
            times = max(times, count)
        if not times or now - seen.told < TOLD_EVERY:
            return 0
        seen.told = now
        return times
