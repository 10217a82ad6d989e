"""Connections: as many as are allowed; and a lane for requests that come again and again.

Parsing a request and answering it by way of aiohttp costs several times what queueing its event does. An application sends the same
head (request line and headers, byte for byte) with each of its requests. So the rule of the lane:

- a head is *known* when aiohttp has parsed it, it asked the lane's route, carried a body of known length, and nothing that
  changes what the request means;
- bytes that are exactly one known head and its body, on a connection on which nothing else is under way, are that request: the body
  goes straight to whoever takes it;
- everything else, also whatever the lane does not want to take, goes aiohttp's way.

The lane knows aiohttp's `RequestHandler` from within (`_waiter`, `_next_keepalive_close_time`): this module alone does.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import HttpVersion11, web
from aiohttp.web_protocol import RequestHandler

from cdcd.server.problems import TYPE, Problem
from cdcd.server.replies import MOST_UNREAD, Reply

KNOWN = 2048  # heads
LONGEST_HEAD = 4096  # bytes
MOST_HELD = 64 * 1024  # bytes that may come while a request of the lane is under way, before reading pauses
_MEANINGFUL = ("Transfer-Encoding", "Expect", "Upgrade", "Content-Encoding", "Prefer", "Origin", "traceparent")


@dataclass(slots=True, frozen=True)
class Known:
    """A head that was parsed: the token it carries, the bytes of its body."""

    authorization: str
    length: int


Answer = Callable[[bytes | None], None]
"""Takes the whole answer; None: there is none, the connection ends."""
Take = Callable[[Known, bytes, Answer], bool]
"""Takes a request of the lane, which is answered once and not before this returns. False: the request is not wanted."""


@dataclass(slots=True)
class Lane:
    """The route of which heads are remembered, and who takes its requests."""

    method: str
    path: str
    take: Take
    heads: dict[bytes, Known] = field(default_factory=dict)
    open: bool = True

    def learn(self, head: bytes, request: web.BaseRequest) -> None:
        """Remember the head of a request that was answered well."""
        headers = request.headers
        if (
            request.method != self.method
            or request.path_qs != self.path
            or request.version != HttpVersion11
            or not request.keep_alive
            or headers.get("Content-Type", "application/json").partition(";")[0].strip().lower() != "application/json"
            or any(name in headers for name in _MEANINGFUL)
            or len(headers.getall("Content-Type", ())) > 1
            or any(name[:3].lower() == "ce-" for name in headers)
        ):
            return
        if len(self.heads) >= KNOWN:
            self.heads.clear()
        self.heads[head] = Known(headers.getall("Authorization")[0], request.content_length or 0)


class Connection(RequestHandler):
    """One client. `_clean`: aiohttp's parser holds nothing of a next request. `_last`: the last chunk that went to it, when that
    came upon a clean parser: its head, and how many bytes follow."""

    __slots__ = ("_busy", "_clean", "_held", "_lane", "_last")

    def __init__(self, manager: web.Server, lane: Lane | None, **options: Any) -> None:
        super().__init__(manager, **options)
        self._lane = lane
        self._busy = False
        self._clean = True
        self._held = b""
        self._last: tuple[bytes, int] | None = None

    def data_received(self, data: bytes) -> None:
        lane = self._lane
        if lane is None or not data:  # aiohttp calls it with nothing, to go on with what its parser holds
            super().data_received(data)
            return
        if self._busy:
            self._held += data
            if len(self._held) > MOST_HELD and self.transport is not None:
                self.transport.pause_reading()
            return
        self._last = None
        if self._clean:
            end = data.find(b"\r\n\r\n", 0, LONGEST_HEAD) + 4
            if end > 4:
                head = data[:end]
                known = lane.heads.get(head)
                if (
                    known is not None
                    and len(data) - end == known.length
                    and self._idle(lane)
                    and lane.take(known, data[end:], self._answer)
                ):
                    self._busy = True
                    self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
                    return
                self._last = (head, len(data) - end)
        self._clean = False
        super().data_received(data)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What is no HTTP is answered as everything else is; aiohttp would make a page of its own, which quotes the request."""
        problem = Problem(status, "cdcd made a mistake" if status >= 500 else "the request is no HTTP/1.1 that can be read")
        return Reply(problem.status, problem.body(), TYPE, close=True)

    def _idle(self, lane: Lane) -> bool:
        """Whether aiohttp waits for a next request."""
        return lane.open and self._waiter is not None and not self._waiter.done() and not self._close and not self._force_close

    def handled(self, request: web.BaseRequest, well: bool) -> None:
        """aiohttp's way has come to an answer: when the request was one whole chunk, the parser is clean again."""
        last, self._last = self._last, None
        if last is not None and last[1] == (request.content_length or 0) and "Transfer-Encoding" not in request.headers:
            self._clean = True
            if well and self._lane is not None:
                self._lane.learn(last[0], request)

    def _answer(self, written: bytes | None) -> None:
        self._busy = False
        if written is None:
            self.force_close()  # a stop that did not wait any longer
            return
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > MOST_UNREAD:
            transport.abort()
            return
        transport.write(written)
        if self._held:
            held, self._held = self._held, b""
            if len(held) > MOST_HELD:
                transport.resume_reading()
            self.data_received(held)


class Connections(web.Server):
    """All clients; one more than `most` is told so and closed."""

    def __init__(self, handler: Any, most: int, lane: Lane | None, **options: Any) -> None:
        super().__init__(handler, **options)
        self._most = most
        self._lane = lane
        self._options = options

    def __call__(self) -> RequestHandler:
        if len(self._connections) >= self._most:
            return cast(RequestHandler, _Full())
        return Connection(self, self._lane, loop=self._loop, **self._options)


class _Full(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        taken = cast(asyncio.Transport, transport)
        taken.write(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        taken.close()
