"""Asking the admin API: over the network, or within this process when no daemon answers. What is asked and answered is the same.

The rule: a problem (RFC 9457) becomes `Declined`, with every reason; what cannot be reached becomes `Unreachable`. Nothing else is raised.
"""

import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import orjson

from cdcd.errors import CdcdError

TIMEOUT = 90.0  # seconds of one answer: somebody may wait for 60 s
CONNECT = 5.0  # seconds

Query = Sequence[tuple[str, str]]


class Declined(CdcdError):
    """The API refused. `status` is HTTP's."""

    def __init__(self, message: str, status: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Unreachable(CdcdError):
    """No API answers there."""


@dataclass(slots=True, frozen=True)
class Answer:
    """What came back. `json` is None for a body that is none."""

    status: int
    json: Any
    headers: Mapping[str, str]


class Way(Protocol):
    """How the API is asked."""

    words: str
    """Where it is, for people."""
    direct: bool
    """Whether this process is all there is: nobody goes on with what it leaves."""

    async def ask(
        self, method: str, path: str, query: Query = (), body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request; `body` is made JSON. Raises Declined, Unreachable."""
        ...


class Network:
    """The API of a daemon."""

    direct = False

    def __init__(self, url: str, token: Callable[[], str], tls: "ssl.SSLContext | aiohttp.Fingerprint | bool" = True) -> None:
        """`token` makes the token of each request anew: one that is short-lived must outlive long work."""
        self.words = url
        self._url = url.rstrip("/")
        self._token = token
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Network"]:
        """Within, it may be asked."""
        limits = aiohttp.ClientTimeout(total=TIMEOUT, sock_connect=CONNECT)
        async with aiohttp.ClientSession(timeout=limits, json_serialize=lambda value: orjson.dumps(value).decode()) as session:
            self._session = session
            yield self

    async def ask(
        self, method: str, path: str, query: Query = (), body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """See Way."""
        assert self._session is not None
        wanted = {"Authorization": f"Bearer {self._token()}", **(headers or {})}
        data = None
        if body is not None:
            data = orjson.dumps(body)
            wanted["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                *(method, self._url + path),
                params=list(query),
                data=data,
                headers=wanted,
                ssl=self._tls,
                allow_redirects=False,
            ) as response:
                return answer(response.status, await response.read(), response.headers)
        except aiohttp.ServerFingerprintMismatch as error:
            raise Declined(
                f"{self._url} shows another certificate than the one in server.tls",
                0,
                hint="it was renewed and the daemon still has the old one, or something else listens there",
            ) from error
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            why = _why(error)
            raise Unreachable(
                f"{self._url} cannot be reached: {why}", hint="is cdcd running there, and is the URL right?"
            ) from error


def _why(error: Exception) -> str:
    """In the system's words: aiohttp's have the address again, and more."""
    number = error.os_error.errno if isinstance(error, aiohttp.ClientConnectorError) else None
    if number is not None and number > 0:
        return os.strerror(number).lower()
    return str(error) or "no answer in time"


def answer(status: int, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Raises Declined for what is no success."""
    try:
        content = orjson.loads(body) if body else None
    except ValueError:
        content = None
    if status < 300:
        return Answer(status, content, headers)
    raise declined(status, content)


def declined(status: int, content: Any) -> Declined:
    """A problem in words."""
    if not isinstance(content, dict) or "detail" not in content:
        return Declined(
            f"it answered {status}, and not as the API of cdcd does", status, hint="is that the URL of cdcd's server?"
        )
    reasons = [
        f"{each['pointer']}: {each['detail']}" if each.get("pointer") else str(each["detail"])
        for each in content.get("errors", ())
    ]
    lines = [str(content["detail"]), *(f"  {reason}" for reason in reasons)]
    hint = str(content.get("hint", ""))
    if status == 401:
        hint = hint or "give a token that `cdcd token --role operator` made there, with --token or in CDCD_TOKEN"
    elif status == 403:
        hint = hint or "the token's role may not do this; `cdcd token --role admin` makes one that may"
    return Declined("\n".join(lines), status, hint=hint)
