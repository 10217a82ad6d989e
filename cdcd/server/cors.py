"""Which pages may call the API from a browser: the CORS protocol (Fetch standard, 3.2). Pure.

The rules:
- only origins that `server.cors` names; a token is what counts, so credentials that browsers add by themselves are never allowed;
- a preflight is answered before a token is asked for, since browsers send none with it;
- whoever is not allowed gets the answer that everybody gets, and their browser keeps it from the page.
"""

import re
from collections.abc import Mapping

METHODS = "GET, POST, PUT, PATCH, DELETE"
KEPT = 600  # seconds that a browser remembers a preflight
_NAMES = re.compile(r"[A-Za-z0-9_, -]{1,1000}")
_EXPOSED = {"Access-Control-Expose-Headers": "ETag, Location, Preference-Applied, Retry-After, WWW-Authenticate"}
_NONE: Mapping[str, str] = {}


class Cors:
    """`origins` are texts as browsers send them; `*` stands for any."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origins)

    def headers(self, asked: Mapping[str, str]) -> Mapping[str, str]:
        """What an answer has more, to a request with the headers `asked` (any case)."""
        if self._any:
            return {"Access-Control-Allow-Origin": "*", **_EXPOSED}
        if not self._origins:
            return _NONE
        origin = asked.get("Origin", "")
        if origin not in self._origins:
            return {"Vary": "Origin"}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin", **_EXPOSED}

    def preflight(self, method: str, asked: Mapping[str, str]) -> Mapping[str, str] | None:
        """What the answer to a preflight has more than others; None when it is none, or is not allowed."""
        if method != "OPTIONS" or "Access-Control-Request-Method" not in asked:
            return None
        if "Access-Control-Allow-Origin" not in self.headers(asked):
            return None
        names = asked.get("Access-Control-Request-Headers", "")
        return {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": names if _NAMES.fullmatch(names) else "Authorization, Content-Type",
            "Access-Control-Max-Age": str(KEPT),
        }
