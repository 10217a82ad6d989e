"""An answer as it goes over the wire: status, a few headers and the whole body, written at once.

aiohttp's own response costs as much as everything else that is done for a small request; this one is a subclass that is bytes
already. A `Stream` alone goes on: server-sent events, which end with their connection. How errors are told is a `Form`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from cdcd.server.problems import TYPE, Problem

JSON = "application/json"
EVENTS = "text/event-stream"
BEAT = (
    15.0  # seconds without anything to tell after which a stream sends an empty line, so that a client that is gone is noticed
)
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

    def close(self) -> None:
        """The connection ends with it."""
        self._keeps = False

    @property
    def status(self) -> int:
        return self._code

    @property
    def content(self) -> bytes:
        """The body."""
        return self._bytes

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


class Stream(web.StreamResponse):
    """An answer that goes on: each of `parts` is sent as it comes, until there are no more, `end` is called or the client has gone.

    `event` makes a part that is a server-sent event (HTML standard, 9.2). `parts` is closed in every case. `failed` is told what it raised,
    `over` that it is over.
    A client that leaves `MOST_UNREAD` bytes unread loses its connection, and asks again when it is a browser.
    """

    def __init__(  # not initialised as above
        self, parts: AsyncIterator[bytes], kind: str = EVENTS, headers: Mapping[str, str] | None = None
    ) -> None:
        self._parts = parts
        self._kind = kind
        self._more = dict(headers or {})
        self._transport: asyncio.Transport | None = None
        self._ended = asyncio.Event()
        self.failed: Callable[[Exception], None] = lambda _: None
        self.over: Callable[[], None] = lambda: None

    def add(self, headers: Mapping[str, str]) -> None:
        """Give it further headers."""
        self._more.update(headers)

    def end(self) -> None:
        """Send nothing further."""
        self._ended.set()

    @property
    def status(self) -> int:
        return 200

    @property
    def keep_alive(self) -> bool | None:
        return False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Note where to write; nothing yet, so that what ends it ends in `write_eof`."""
        self._transport = request.transport
        return None

    async def write_eof(self, data: Any = b"") -> None:
        """Write everything, as it comes."""
        coming: asyncio.Task[bytes] | None = None
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            self._write(_beginning(200, self._kind, {**self._more, "Connection": "close"}) + b"\r\n")
            while True:
                coming = coming or asyncio.ensure_future(_next(self._parts))
                await asyncio.wait((coming, ended), timeout=BEAT, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    return
                if not coming.done():
                    self._write(b":\n\n")
                    continue
                part = coming.result()
                coming = None
                self._write(part)
        except (StopAsyncIteration, ConnectionError):
            return
        except Exception as error:  # noqa: BLE001  # the head has gone out: there is nobody left to tell but the log
            self.failed(error)
        finally:
            ended.cancel()
            if coming is not None:
                coming.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await coming
            if (close := getattr(self._parts, "aclose", None)) is not None:
                await close()
            self.over()

    def _write(self, part: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if transport.get_write_buffer_size() > MOST_UNREAD:
            transport.abort()
            raise ConnectionResetError("the client does not read")
        transport.write(part)


async def _next(parts: AsyncIterator[bytes]) -> bytes:
    return await anext(parts)


def event(data: bytes, name: str = "", identity: str = "", retry: int | None = None) -> bytes:
    """A server-sent event. `retry` is milliseconds until a browser asks again. `name` and `identity` have no line breaks."""
    lines = [b"event: " + name.encode()] if name else []
    if identity:
        lines.append(b"id: " + identity.encode())
    if retry is not None:
        lines.append(b"retry: %d" % retry)
    lines += (b"data: " + line for line in data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))
    return b"\n".join(lines) + b"\n\n"


@dataclass(slots=True, frozen=True)
class Form:
    """How errors are told: `reply` makes the answer; `schema` and `kind` are what OpenAPI says of it. `page`: it is one of the console's,
    also where there is no route."""

    reply: Callable[[Problem, web.BaseRequest], Reply]
    schema: str = "Problem"
    kind: str = TYPE
    page: bool = False


def problem_reply(problem: Problem, _: web.BaseRequest) -> Reply:
    """As RFC 9457 says it."""
    return Reply(problem.status, problem.body(), TYPE, problem.headers)


PROBLEMS = Form(problem_reply)


def whole(status: int, body: bytes, kind: str = JSON, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole answer on the wire."""
    return b"%sContent-Length: %d\r\n\r\n%s" % (_beginning(status, kind, headers), len(body), body)


def _beginning(status: int, kind: str, headers: Mapping[str, str] | None) -> bytes:
    cached = headers is not None and "Cache-Control" in headers
    head = _head(status, kind, int(time.time()), kept=cached)
    if headers:
        head += "".join(f"{name}: {_on_one_line(value)}\r\n" for name, value in headers.items()).encode("ascii", "replace")
    return head


def _on_one_line(value: str) -> str:
    """A header's value, which ends nothing and begins nothing (RFC 9110, 5.5), wherever it comes from."""
    return value if value.isprintable() else "".join(letter if letter.isprintable() else " " for letter in value)


@lru_cache(maxsize=256)
def _head(status: int, kind: str, second: int, *, kept: bool) -> bytes:
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nDate: {formatdate(second, usegmt=True)}\r\nContent-Type: {kind}\r\n"
        f"{'' if kept else 'Cache-Control: no-store' + chr(13) + chr(10)}X-Content-Type-Options: nosniff\r\n"
    ).encode()
