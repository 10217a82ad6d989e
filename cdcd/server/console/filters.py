"""The filter of the event log as a page's address writes it, and back, and in words. Times may be written as a moment or as how long ago.

The names are those of `admin.deliveries.Filter` and of the API's query. An address is always written in one way: one pair for each value,
nothing twice, nothing empty. So a link to a page is the filter, and what is the same filter is the same link.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from cdcd.admin.asking import read_filter
from cdcd.admin.deliveries import Filter
from cdcd.config.quantities import duration
from cdcd.event import Status
from cdcd.server.problems import Problem, Reason
from cdcd.server.v1.asked import LONGEST, MOST_VALUES

MANY, TIMES, TEXTS = ("status", "trigger", "type"), ("since", "until"), ("text", "error")
NAMES = (*MANY, "source", "key", *TIMES, *TEXTS)
RANGES = (("15m", "15 min"), ("1h", "1 h"), ("24h", "24 h"), ("7d", "7 d"))
"""What is a click away: how `since` is written, and the words for it."""
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?")
_ZONE = re.compile(r":\d\d\S*[+-]\d\d:?\d\d$")
_SHOWN = 80  # characters of a value in words

Pairs = tuple[tuple[str, str], ...]


@dataclass(slots=True, frozen=True)
class Chip:
    """One thing that a filter asks for, in words, and the address without it. `exact`: the whole of it, where the words are short."""

    name: str
    value: str
    exact: str
    query: str


@dataclass(slots=True, frozen=True)
class Asked:
    """What was asked for: `filter`, and how it was written. `fixed` are the same pairs with times that stay. `reasons` say what cannot be
    read; the filter then leaves that out, and must not be used."""

    filter: Filter
    written: Pairs
    fixed: Pairs
    reasons: tuple[Reason, ...] = ()

    def check(self) -> None:
        """Raises Problem 422 with what is wrong."""
        if self.reasons:
            raise Problem(422, "the filter cannot be read", self.reasons)

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

    def but(self, **others: str | None) -> str:
        """The address with these values in place of those of their names; None for none."""
        kept = [(name, value) for name, value in self.written if name not in others]
        pairs = [*kept, *((name, value) for name, value in others.items() if value)]
        return urlencode(sorted(pairs, key=lambda pair: NAMES.index(pair[0])))

    def chips(self) -> list[Chip]:
        """Each value, and the address without it."""
        found = []
        for at, (name, value) in enumerate(self.written):
            rest = urlencode(self.written[:at] + self.written[at + 1 :])
            exact = self.fixed[at][1] if name in TIMES and not self.reasons else value
            shown = _moment_told(value) if name in TIMES and not self.reasons else value
            found.append(Chip(name, _cut(shown), exact, rest))
        return found


def asked(pairs: Iterable[tuple[str, str]], now: float) -> Asked:
    """Read the pairs of an address or a form; others than `NAMES` are left alone. What cannot be read is told in `reasons`."""
    values = _values(pairs)
    reasons = [
        Reason(f"{name} has more than {MOST_VALUES} values or one of more than {LONGEST} characters")
        for name, found in values.items()
        if len(found) > MOST_VALUES or any(len(value) > LONGEST for value in found)
    ]
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
    found = Filter(
        status=tuple(statuses),
        trigger=tuple(values["trigger"]),
        type=tuple(values["type"]),
        source=_last(values["source"]),
        key=_last(values["key"]) or None,
        since=times["since"],
        until=times["until"],
        text=_last(values["text"]),
        error=_last(values["error"]),
    )
    written = tuple((name, value) for name in NAMES for value in values[name])
    fixed = tuple((name, moment_of(times[name]) or value if name in TIMES else value) for name, value in written)
    return Asked(found, written, fixed, tuple(reasons))


def is_plain(pairs: Iterable[tuple[str, str]], wanted: Asked) -> bool:
    """Whether an address says each thing once; one that a form without scripts has made holds empty values too."""
    return sorted((name, value) for name, value in pairs if name in NAMES) == sorted(wanted.written)


def pairs_of(wanted: Filter) -> Pairs:
    """As an address writes a filter. Its times stay."""
    values: Mapping[str, Sequence[str]] = {
        **{"status": wanted.status, "trigger": wanted.trigger, "type": wanted.type},
        **{"source": [wanted.source], "key": [wanted.key or ""], "text": [wanted.text], "error": [wanted.error]},
        **{"since": [moment_of(wanted.since)], "until": [moment_of(wanted.until)]},
    }
    return tuple((name, str(value)) for name in NAMES for value in values[name] if value)


def kept_filter(plain: Mapping[str, Any]) -> Filter:
    """The filter of an operation, as it was written down; of one that is about a single delivery everything."""
    return read_filter({name: value for name, value in plain.items() if name in NAMES})


def sentence(wanted: Filter) -> str:
    """What a filter selects, for people: `Failed deliveries of trigger warehouse, of events since …`."""
    which = f"{_any(wanted.status)} deliveries" if wanted.status else "all deliveries"
    parts = [which[:1].upper() + which[1:] + (f" of {_plural('trigger', wanted.trigger)}" if wanted.trigger else "")]
    if wanted.type:
        parts.append(f"of {_plural('type', wanted.type)}")
    if wanted.source:
        parts.append(f"from {_cut(wanted.source)}")
    if wanted.key is not None:
        parts.append(f"with the key {_cut(wanted.key)}")
    if wanted.text:
        parts.append(f"with “{_cut(wanted.text)}” in the payload")
    if wanted.error:
        parts.append(f"with “{_cut(wanted.error)}” in the error")
    since, until = (_moment_told(moment_of(moment)) for moment in (wanted.since, wanted.until))
    match wanted.since, wanted.until:
        case None, None:
            pass
        case _, None:
            parts.append(f"of events since {since}")
        case None, _:
            parts.append(f"of events before {until}")
        case _:
            parts.append(f"of events between {since} and {until}")
    return ", ".join(parts)


def _plural(word: str, values: Sequence[str]) -> str:
    return f"{word}{'s' if len(values) > 1 else ''} {_any(values)}"


def _any(values: Sequence[str]) -> str:
    shown = [_cut(str(value)) for value in values[:10]]
    if len(values) > len(shown):
        return f"{', '.join(shown)} or {len(values) - len(shown)} more"
    return " or ".join((", ".join(shown[:-1]), shown[-1])) if len(shown) > 1 else shown[0]


def _values(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The values of each name: several may be in one, with commas, where there may be several; of the others the last counts."""
    values: dict[str, list[str]] = {name: [] for name in NAMES}
    for name, value in pairs:
        if name in MANY:
            values[name] += filter(None, (one.strip() for one in value.split(",")))
        elif name in NAMES and value.strip():
            values[name] = [value.strip()]
    return {name: list(dict.fromkeys(found)) for name, found in values.items()}


def _last(values: list[str]) -> str:
    return values[-1] if values else ""


def _cut(value: str) -> str:
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"


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


def moment_of(seconds: float | None) -> str:
    """A moment as an address writes it, "" for none."""
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):
        return ""


def _moment_told(text: str) -> str:
    """`2026-11-24 10:00 UTC`, to the second, or how long ago as it was written."""
    if not _MOMENT.fullmatch(text):
        return text if text.endswith("ago") else f"{text} ago"
    words = re.sub(r"\.\d+", "", text.removesuffix("Z").replace("T", " "))
    words = re.sub(r"(:\d\d):00$", r"\1", words)
    return words if _ZONE.search(words) else f"{words} UTC"
