"""The ticks of a schedule: when a cron line fires in a time zone. Pure.

The rules, where clocks are put forward or back: a time of day that there is not fires when the clock has passed over it; one that
there is twice fires the first time; a line with a `*` for minutes or hours goes by elapsed time (Debian's cron).
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim

from cdcd.config.model import Schedule


class Ticks:
    """Of one schedule. Times are whole seconds since the Unix epoch."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._zone = UTC if schedule.timezone == "UTC" else ZoneInfo(schedule.timezone)

    def after(self, moment: int) -> Iterator[int]:
        """All ticks after `moment`, each once, in order. Ends when there is none for 50 years."""
        newest = moment
        for tick in CronSim(self.schedule.cron, datetime.fromtimestamp(moment, self._zone)):
            at = int(tick.timestamp())
            if at > newest:  # where the clock is put back, wall-clock time says what has been
                newest = at
                yield at

    def next(self, moment: int) -> int | None:
        """The first tick after `moment`; None when there is none for 50 years."""
        return next(self.after(moment), None)

    def written(self, tick: int) -> str:
        """A tick as RFC 3339, in the schedule's time zone: `2026-11-23T09:00:00+01:00`."""
        text = datetime.fromtimestamp(tick, self._zone).isoformat()
        return text.removesuffix("+00:00") + "Z" if self._zone is UTC else text
