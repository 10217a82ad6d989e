"""An answer as it goes over the wire: status, a few headers and the whole body, written at once.

aiohttp's own response costs as much as everything else that is done for a small request; this one is a subclass that is bytes
already. Every answer of the API is whole: nothing is streamed.
"""

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

JSON = "application/json"
MOST_UNREAD = 1024 * 1024  # bytes that a client leaves unread before its connection is closed


class Reply(web.StreamResponse):
    """`close`: the connection ends with it (the request was not read to its end)."""

    def __init__(  # the base class is not initialised: it would build what `prepare` here does without
        self, status: int, body: bytes, kind: str = JSON, headers: Mapping[str, str] | None = None, *, close: bool = False
    ) -> None:
        self._code = status
        self._bytes = body
        self._kind = kind
        self._more = headers
        self._keeps = not close

    def add(self, headers: Mapping[str, str]) -> None:
        """Give it further headers."""
        if headers:
            self._more = {**(self._more or {}), **headers}

    @property
    def status(self) -> int:
        return self._code

    @property
    def keep_alive(self) -> bool | None:
        return self._keeps

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write everything. Raises ConnectionError when the client is gone, or reads nothing."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if transport.get_write_buffer_size() > MOST_UNREAD:
            transport.abort()
            raise ConnectionResetError("the client does not read")
        self._keeps = self._keeps and bool(request.keep_alive)
        more = self._more
        if not self._keeps:
            more = {**(more or {}), "Connection": "close"}
        elif request.version < HttpVersion11:
            more = {**(more or {}), "Connection": "keep-alive"}
        answer = whole(self._code, self._bytes, self._kind, more)
        transport.write(answer[: len(answer) - len(self._bytes)] if request.method == "HEAD" else answer)
        return None

    async def write_eof(self, data: Any = b"") -> None:
        """Everything is written already."""


def whole(status: int, body: bytes, kind: str = JSON, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole answer on the wire."""
    head = _head(status, kind, int(time.time()))
    if headers:
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")
    return b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)


@lru_cache(maxsize=256)
def _head(status: int, kind: str, second: int) -> bytes:
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nDate: {formatdate(second, usegmt=True)}\r\nContent-Type: {kind}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
    ).encode()
