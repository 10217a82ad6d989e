"""The form of an event, as the body that the API takes: times in UTC, how long to wait."""

import pytest

from cdcd.server.console import queueing
from cdcd.server.problems import Reasons


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2030-01-31T12:30", "2030-01-31T12:30:00Z"),
        ("2030-01-31T12:30:05", "2030-01-31T12:30:05Z"),
        ("2030-01-31T12:30:05.250", "2030-01-31T12:30:05.250Z"),
        ("2030-01-31T12:30:00+01:00", "2030-01-31T12:30:00+01:00"),
        ("soon", "soon"),
        ("", ""),
    ],
)
def test_a_time_without_a_zone_is_in_utc(written: str, meant: str) -> None:
    assert queueing.zoned(written) == meant


@pytest.mark.parametrize(("text", "seconds"), [("", None), ("1", 1.0), ("60", 60.0)])
def test_seconds_to_wait(text: str, seconds: float | None) -> None:
    reasons = Reasons()
    assert queueing.wait_of(text, reasons) == seconds
    assert reasons.found == []


@pytest.mark.parametrize("text", ["0", "61", "-1", "1.5", "1e9", "60000000000", "\u0661", "x"])
def test_what_is_no_time_to_wait(text: str) -> None:
    reasons = Reasons()
    assert queueing.wait_of(text, reasons) is None
    assert [reason.pointer for reason in reasons.found] == ["/wait"]
