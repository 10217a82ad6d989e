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

SAME_ROW = 20
ANY_ROW = 50
MOST_ROWS = 512  # of each trigger: twice as many are remembered at most
TOLD_EVERY = 60.0  # seconds, for each trigger


class _Seen:
    """What was last seen of a trigger, and of its rows: when the attempt began and ended, and how many times in a row."""

    __slots__ = ("begun", "ended", "older", "rows", "times", "told")

    def __init__(self) -> None:
        self.begun, self.ended, self.times = 0.0, -1.0, 0
        self.rows: dict[str, tuple[float, float, int]] = {}
        self.older: dict[str, tuple[float, float, int]] = {}
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
        apart = begun >= seen.ended
        seen.times = seen.times + 1 if apart and seen.begun <= committed <= seen.ended else 0
        seen.begun, seen.ended = begun, ended if apart else max(ended, seen.ended)
        times = 0
        before = seen.rows.get(row) or seen.older.get(row)
        if before is not None and before[0] <= committed <= before[1]:
            times = before[2] + 1
        seen.rows[row] = (begun, ended, times)
        if len(seen.rows) >= MOST_ROWS:
            seen.older, seen.rows = seen.rows, {}
        if (times < SAME_ROW and seen.times < ANY_ROW) or now - seen.told < TOLD_EVERY:
            return 0
        seen.told = now
        return max(times, seen.times)
