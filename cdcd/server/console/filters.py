"""The filter of the event log as a page's address writes it, and back. Times may be written as a moment or as how long ago.

The names are those of `admin.deliveries.Filter` and of the API's query.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from cdcd.admin.deliveries import Filter
from cdcd.config.quantities import duration
from cdcd.event import Status
from cdcd.server.problems import Problem, Reason

NAMES = ("status", "trigger", "type", "source", "key", "since", "until", "text", "error")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?")


@dataclass(slots=True, frozen=True)
class Asked:
    """What was asked for: `filter`, and how it was written, for the form. `fixed` are the same pairs with times that stay."""

    filter: Filter
    written: tuple[tuple[str, str], ...]
    fixed: tuple[tuple[str, str], ...]

    @property
    def query(self) -> str:
        """As an address writes it, "" for everything."""
        return urlencode(self.written)

    @property
    def fixed_query(self) -> str:
        """The same where "an hour ago" is a moment, so that it selects the same later."""
        return urlencode(self.fixed)

    def get(self, name: str) -> str:
        """One value as it was written."""
        return next((value for known, value in self.written if known == name), "")

    def all(self, name: str) -> list[str]:
        """All values as they were written."""
        return [value for known, value in self.written if known == name]

    def words(self) -> list[str]:
        """What it says, for people."""
        return [f"{name} {value}" for name, value in self.fixed]


def asked(pairs: Iterable[tuple[str, str]], now: float) -> Asked:
    """Read the pairs of an address or a form; others than `NAMES` are left alone. Raises Problem 422 with what is wrong."""
    written = tuple((name, value.strip()) for name, value in pairs if name in NAMES and value.strip())
    values: dict[str, list[str]] = {name: [] for name in NAMES}
    for name, value in written:
        values[name] += [value] if name not in ("trigger", "type", "status") else [one.strip() for one in value.split(",")]
    reasons: list[Reason] = []
    statuses = []
    for value in values["status"]:
        try:
            statuses.append(Status(value))
        except ValueError:
            reasons.append(Reason(f"status must be one of {', '.join(Status)}"))
    times: dict[str, float | None] = {"since": None, "until": None}
    for name in times:
        if values[name]:
            times[name] = _time(values[name][-1], now)
            if times[name] is None:
                reasons.append(Reason(f"{name} must be how long ago (30m, 24h, 7d) or a time in UTC (2026-11-24T10:00)"))
    if reasons:
        raise Problem(422, "the filter cannot be read", reasons)
    found = Filter(
        status=tuple(dict.fromkeys(statuses)),
        trigger=tuple(dict.fromkeys(filter(None, values["trigger"]))),
        type=tuple(dict.fromkeys(filter(None, values["type"]))),
        source=_last(values["source"]),
        key=_last(values["key"]) or None,
        since=times["since"],
        until=times["until"],
        text=_last(values["text"]),
        error=_last(values["error"]),
    )
    fixed = tuple((name, _shown(times[name]) if name in times else value) for name, value in written)
    return Asked(found, written, fixed)


def _last(values: list[str]) -> str:
    return values[-1] if values else ""


def _time(text: str, now: float) -> float | None:
    if _MOMENT.fullmatch(text):
        try:
            at = datetime.fromisoformat(text)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    try:
        return now - duration(text.removesuffix("ago").strip())
    except ValueError:
        return None


def _shown(seconds: float | None) -> str:
    assert seconds is not None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
