"""Times as people write them on the command line, and as they read them."""

from datetime import UTC, datetime, timedelta

_WORDS = ("now", "today", "yesterday")


def moment(text: str, now: float) -> float:
    """Wall-clock seconds of `2h` (ago), `2026-11-24` or `2026-11-24 18:30` (here), `today`, or RFC 3339. Raises ValueError."""
    from cdcd.config.quantities import duration  # with it comes all that reads configurations

    text = text.strip()
    if text in _WORDS:
        midnight = datetime.fromtimestamp(now).astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        return {"now": now, "today": midnight.timestamp(), "yesterday": (midnight - timedelta(days=1)).timestamp()}[text]
    try:
        return now - duration(text.removesuffix(" ago"))
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("write a time as 2h (ago), today, 2026-11-24, '2026-11-24 18:30' or 2026-11-24T18:30:00Z") from None
    return found.timestamp()  # without an offset it is local time


def rfc3339(seconds: float) -> str:
    """In UTC, with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def seconds_of(text: str) -> float:
    """Wall-clock seconds of RFC 3339."""
    return datetime.fromisoformat(text).timestamp()


def local(text: str, now: float) -> str:
    """An RFC 3339 time as one reads it here: without the date when it is today's."""
    at = datetime.fromisoformat(text).astimezone()
    today = datetime.fromtimestamp(now).astimezone().date()
    return at.strftime("%H:%M:%S" if at.date() == today else "%Y-%m-%d %H:%M:%S")


def precise(text: str) -> str:
    """An RFC 3339 time with milliseconds and the date, here."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def apart(seconds: float) -> str:
    """A difference of time: `+3 ms`, `+1.24 s`, `+5m 3s`."""
    sign, size = ("-" if seconds < 0 else "+"), abs(seconds)
    if size < 1:
        return f"{sign}{size * 1000:.0f} ms" if size >= 0.01 else f"{sign}{size * 1000:.1f} ms"
    if size < 60:
        return f"{sign}{size:.2f} s"
    minutes, rest = divmod(round(size), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{amount}{unit}" for amount, unit in ((days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")) if amount]
    return sign + " ".join(parts[:2])
