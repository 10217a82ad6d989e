"""When schedules tick: in their time zone, each once, in order, also where clocks are put forward and back."""

from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from cdcd.config.model import Schedule
from cdcd.sources.ticks import Ticks

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, fold: int = 0) -> int:
    """Berlin's wall clock as seconds since the Unix epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp())


def ticks(cron: str, moment: int, count: int, timezone: str = "Europe/Berlin") -> list[str]:
    schedule = Ticks(Schedule(cron, timezone))
    return [schedule.written(tick) for tick in islice(schedule.after(moment), count)]


def test_it_ticks_after_the_moment_and_not_at_it() -> None:
    assert ticks("0 9 * * 1-5", at("2026-11-23 09:00"), 2) == ["2026-11-24T09:00:00+01:00", "2026-11-25T09:00:00+01:00"]
    assert ticks("*/15 * * * *", 0, 1, "UTC") == ["1970-01-01T00:15:00Z"]
    assert Ticks(Schedule("0 9 * * *")).next(at("2026-11-23 09:00")) == at("2026-11-23 10:00")


def test_a_time_that_there_is_not_fires_when_the_clock_has_passed_it() -> None:
    """2026-03-29: from 02:00 on it is 03:00."""
    assert ticks("30 2 * * *", at("2026-03-28 12:00"), 2) == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    assert ticks("0 2,3 * * *", at("2026-03-28 12:00"), 2) == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]


def test_a_time_that_there_is_twice_fires_once() -> None:
    """2026-10-25: at 03:00 it is 02:00 again."""
    expected = ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    assert ticks("30 2 * * *", at("2026-10-25 01:00"), 2) == expected
    assert ticks("30 2 * * *", at("2026-10-25 02:30"), 1) == expected[1:]
    assert ticks("30 2 * * *", at("2026-10-25 02:10", fold=1), 1) == expected[1:]
    assert ticks("30 2 * * *", at("2026-10-25 02:50", fold=1), 1) == expected[1:]


def test_what_goes_by_elapsed_time_does_not_pause() -> None:
    assert ticks("*/30 * * * *", at("2026-10-25 01:30"), 5) == [
        f"2026-10-25T{each}"
        for each in ("02:00:00+02:00", "02:30:00+02:00", "02:00:00+01:00", "02:30:00+01:00", "03:00:00+01:00")
    ]


@given(
    cron=st.sampled_from(["30 2 * * *", "0 2,3 * * *", "*/20 1-3 * * *", "0 * * * *", "5 4 1 * 0", "59 1,2 * 3,10 *"]),
    day=st.sampled_from([at("2026-03-28 00:00"), at("2026-10-24 00:00")]),
    offset=st.integers(0, 3 * 86400),
    split=st.integers(0, 3 * 86400),
)
def test_begun_anywhere_it_is_the_same_series(cron: str, day: int, offset: int, split: int) -> None:
    """A restart between two ticks neither repeats nor leaves out one."""
    schedule = Ticks(Schedule(cron, "Europe/Berlin"))
    until = day + 4 * 86400
    begun = day + offset

    def series(moment: int, end: int) -> list[int]:
        found = []
        for tick in schedule.after(moment):
            if tick > end:
                break
            found.append(tick)
        return found

    middle = min(begun + split, until)
    assert series(begun, middle) + series(middle, until) == series(begun, until)
    assert series(begun, until) == sorted(set(series(begun, until)))
