"""A URL with expressions in its path and query: what they give is one segment, one name or one value, and nothing else.

Every value is percent-encoded whole (RFC 3986, 2.1), so it opens no segment, parameter or fragment. In the path it may neither make
a segment empty nor `.` or `..`, which would be another path: `DELETE /products/` is not what `/products/${ old.id }` means. Nor may it
for a server that decodes the path before it takes it apart, or once more than it should: `..%2Fadmin` is refused too.
"""

import re
from urllib.parse import unquote

from yarl import URL

from cdcd.errors import ExpressionError
from cdcd.triggers.stored import Stored
from cdcd.triggers.template import Term, Text
from cdcd.triggers.templated import Templates


class Address:
    """The URL of one trigger; what is literal in it is normalised once."""

    __slots__ = ("_empty", "_pieces")

    def __init__(self, text: Text) -> None:
        """`text` is the URL in pieces: scheme, host and port are literal (`cdcd.config.checks`)."""
        literal = "".join(piece for piece in text if isinstance(piece, str))
        mark = "v"
        while mark in literal:
            mark += "v"
        marks = [f"{mark}{number}v" for number, piece in enumerate(text) if isinstance(piece, Term)]
        rest = str(URL("".join(piece if isinstance(piece, str) else f"{mark}{number}v" for number, piece in enumerate(text))))
        self._empty = _segments(rest).count("")
        self._pieces: list[str | Term] = []
        for each, term in zip(marks, (piece for piece in text if isinstance(piece, Term)), strict=True):
            before, _, rest = rest.partition(each)
            self._pieces += (before, term)
        self._pieces.append(rest)

    def url(self, templates: Templates, facts: Stored) -> URL:
        """Where this event's request goes. Raises EventError."""
        text = "".join([piece if isinstance(piece, str) else templates.word(piece, facts) for piece in self._pieces])
        segments = _segments(text)
        if segments.count("") != self._empty or any(map(_climbs, segments)):
            raise ExpressionError(
                f"trigger {facts.trigger}: webhook.url: an expression makes a segment of the path empty, `.` or `..`",
                hint="such a request would go elsewhere; guard it in `when`",
            )
        return URL(text, encoded=True)


def _climbs(segment: str) -> bool:
    """Whether a server could take it for another place in the path."""
    if "." not in segment and "%" not in segment:
        return False
    return not _DOTS.isdisjoint(_SLASHES.split(unquote(unquote(segment))))


_SLASHES, _DOTS = re.compile(r"[/\\]"), frozenset((".", ".."))


def _segments(url: str) -> list[str]:
    return url.partition("://")[2].partition("?")[0].split("/")
