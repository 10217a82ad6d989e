"""Times, sizes and data as the pages show them: short to read, exact on demand. Pure.

Each filter of the templates is a function here.
"""

import json
from datetime import UTC, datetime

from markupsafe import Markup, escape

from cdcd.upkeep.words import size

_quoted = json.JSONEncoder(ensure_ascii=False).encode
_STEPS = ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h"), (14 * 86400, 86400, "d"))
LONGEST_SHOWN = 256 * 1024  # characters of data that a page shows; the rest is a click away
MOST_LINES = 10_000  # into which data is put: more would take the time of others
DEEPEST = 20  # levels of data that are indented: what is further within stands on one line


def moment(value: float | datetime | None) -> datetime | None:
    """A time in UTC, of seconds since 1970 or of what the store gives."""
    if value is None:
        return None
    return value.astimezone(UTC) if isinstance(value, datetime) else datetime.fromtimestamp(value, UTC)


def when(value: float | datetime | None, now: float, *, never: str = "never") -> Markup:
    """`3 min ago` as an element that knows the exact time; a script keeps it true."""
    at = moment(value)
    if at is None:
        return Markup('<span class="soft">{}</span>').format(never)
    machine = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}" title="{}" data-ago>{}</time>').format(
        machine, exact(at), distance(at.timestamp() - now)
    )


def exact(value: float | datetime) -> str:
    """`2026-11-24 05:12:03.123 UTC`."""
    at = moment(value)
    assert at is not None
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{at.microsecond // 1000:03d} UTC"


def stamp(value: float | datetime, now: float) -> str:
    """The time of day in UTC, `05:12:03.123`; of another day than today `2026-11-24 05:12:03`."""
    at = moment(value)
    assert at is not None
    today = at.date() == datetime.fromtimestamp(now, UTC).date()
    return at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03d}" if today else at.strftime("%Y-%m-%d %H:%M:%S")


def clock(value: float | datetime) -> Markup:
    """The exact time, as an element."""
    at = moment(value)
    assert at is not None
    return Markup('<time datetime="{}">{}</time>').format(
        at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), exact(at)
    )


def distance(seconds: float) -> str:
    """How far away a time is, in one unit: `now`, `12 s ago`, `in 3 min`, and from two weeks on in days."""
    away = abs(seconds)
    if away < 1:
        return "now"
    length, unit = next(((length, unit) for below, length, unit in _STEPS if away < below), (86400, "d"))
    words = f"{int(away // length)} {unit}"
    return f"{words} ago" if seconds < 0 else f"in {words}"


def span(seconds: float | None) -> str:
    """A duration: `3.1 ms`, `1.20 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None:
        return "–"
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    whole = int(seconds)
    for length, unit, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= length:
            rest = whole % length // below
            return f"{whole // length} {unit}" + (f" {rest} {small}" if rest else "")
    raise AssertionError(seconds)


def number(value: float | None) -> str:
    """`12 345`, with narrow spaces that do not break."""
    if value is None:
        return "–"
    return f"{value:,.0f}".replace(",", "\u202f")


def rate(value: float | None) -> str:
    """A rate in one second: `0`, `0.25`, `12.3`, `1 234`."""
    if value is None:
        return "–"
    if value == 0 or value >= 100:
        return number(value)
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def share(value: float | None) -> str:
    """`99.3 %` of a part between 0 and 1; 100 only where it is all of it."""
    if value is None:
        return "–"
    if value in (0, 1):
        return f"{value:.0%}".replace("%", "\u202f%")
    return f"{min(max(value * 100, 0.1), 99.9):.1f}\u202f%"


def amount(value: float | None) -> str:
    """Bytes: `1.5 MB`."""
    return "–" if value is None else size(round(value))


def written(value: object) -> str:
    """A value of data on one line, as JSON writes it."""
    return json.dumps(value, ensure_ascii=False, default=str)


def beginning(data: bytes) -> str:
    """Data as text, as much of it as is shown, and more than that where there is more."""
    return data[: 4 * LONGEST_SHOWN + 4].decode(errors="replace")


def pretty(text: str | bytes | None) -> str:
    """JSON with one member a line, numbers as they were written; anything else as it is."""
    if text is None:
        return ""
    words = beginning(text) if isinstance(text, bytes) else text
    if len(words) > LONGEST_SHOWN:
        return words[:LONGEST_SHOWN] + "\n…"
    if sum(map(words.count, ",[{")) > MOST_LINES:
        return words
    try:
        return _indented(json.loads(words, parse_float=_Literal, parse_int=_Whole))
    except (ValueError, RecursionError):  # no JSON, or nested as no honest one is
        return words


class _Literal(float):
    """A number that remembers how it was written."""

    def __new__(cls, text: str) -> "_Literal":
        made = super().__new__(cls, text)
        made.text = text
        return made

    text: str

    def __repr__(self) -> str:
        return self.text


class _Whole(int):
    """As above; more digits than Python reads at once are kept too."""

    def __new__(cls, text: str) -> "_Whole":
        made = super().__new__(cls, 0)
        made.text = text
        return made

    text: str

    def __repr__(self) -> str:
        return self.text


def _indented(value: object, depth: int = 0) -> str:
    if depth >= DEEPEST:
        return _flat(value)
    pad = "  " * (depth + 1)
    if isinstance(value, dict) and value:
        inner = ",\n".join(f"{pad}{_quoted(k)}: {_indented(v, depth + 1)}" for k, v in value.items())
        return "{\n" + inner + "\n" + "  " * depth + "}"
    if isinstance(value, list) and value:
        inner = ",\n".join(f"{pad}{_indented(each, depth + 1)}" for each in value)
        return "[\n" + inner + "\n" + "  " * depth + "]"
    return _flat(value)


def _flat(value: object) -> str:
    """On one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(k)}: {_flat(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flat, value)) + "]"
    if isinstance(value, _Literal | _Whole):
        return value.text
    return _quoted(value)


def coloured(text: str | bytes | None) -> Markup:
    """`pretty`, with its parts marked for the stylesheet."""
    words = pretty(text)
    if not words.startswith(("{", "[")) or len(words) > 32 * 1024:
        return escape(words)
    lines: list[Markup] = []
    for line in words.split("\n"):
        bare = line.lstrip(" ")
        mark = escape(" " * (len(line) - len(bare)))
        if bare.startswith('"') and (end := _key_end(bare)):
            mark += Markup('<span class="j-key">{}</span>: ').format(bare[:end])
            bare = bare[end + 2 :]
        tail = "," if bare.endswith(",") else ""
        bare = bare.removesuffix(",")
        if bare.startswith('"'):
            mark += Markup('<span class="j-text">{}</span>').format(bare)
        elif bare in ("true", "false", "null"):
            mark += Markup('<span class="j-word">{}</span>').format(bare)
        elif bare[:1].isdigit() or bare.startswith("-"):
            mark += Markup('<span class="j-num">{}</span>').format(bare)
        else:
            mark += escape(bare)
        lines.append(mark + tail)
    return Markup("\n").join(lines)


def _key_end(line: str) -> int:
    """Where the key of `"key": value` ends; 0 where the text is no key."""
    place = 1
    while place < len(line) and line[place] != '"':
        place += 2 if line[place] == "\\" else 1
    return place + 1 if line[place + 1 : place + 3] == ": " else 0
