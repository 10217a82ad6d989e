"""A local endpoint that takes webhooks, checks them, keeps them, and misbehaves on demand.

It costs so little that it can stand beside a benchmark: a bare asyncio protocol, and no work that nobody asked for. It runs in any
event loop, in its own process by `cdcd receive`.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, cast

from orjson import dumps

from cdcd.demo.http import BadRequest, Reader, Request
from cdcd.demo.verify import NOT_CHECKED, VERIFIED, Verifier

_IDS_KEPT = 1_000_000  # for fail_first: the oldest are forgotten


@dataclass(slots=True)
class Behaviour:
    """How the endpoint answers. May be changed while it runs.

    `status` is the answer to what is accepted. The first `fail_first` arrivals of each id, and a share `fail_rate` of all, are
    answered 503 instead. `delay` is seconds before any answer. `hang`: no answer ever. `reply` makes the body of a 2xx.
    """

    status: int = 200
    fail_first: int = 0
    fail_rate: float = 0.0
    delay: float = 0.0
    hang: bool = False
    reply: Callable[[Request], bytes] | None = None


@dataclass(slots=True, eq=False)
class Received:
    """One request as it came. `arrived_at` is wall-clock seconds when it was complete; `status` 0 means it is left unanswered."""

    arrived_at: float
    request: Request
    verdict: str
    status: int

    @property
    def id(self) -> str:
        """The `webhook-id`."""
        return self.request.header(b"webhook-id").decode("latin-1")

    def as_line(self) -> bytes:
        """One JSON line: `arrived_at, id, path, headers, body, verdict, status`. `body` is text, undecodable bytes replaced."""
        fields = {
            "arrived_at": self.arrived_at,
            "id": self.id,
            "path": self.request.path,
            "headers": self.request.headers,
            "body": self.request.body.decode(errors="replace"),
            "verdict": self.verdict,
            "status": self.status,
        }
        return dumps(fields) + b"\n"


class Receiver:
    """The endpoint. `start` listens; `stop` closes the port and every connection; it can be started again."""

    name = "receiver"

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        keys: tuple[bytes, ...] = (),
        save: Path | None = None,
        on_received: Callable[[Received], None] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int | None = None,
    ) -> None:
        """`keys`: what may have signed; with none nothing is checked. What fails the check is answered 401.

        `save` gets one JSON line a request (appended). `port` 0 takes a free one, and keeps it over a restart. `seed` makes
        `fail_rate` repeatable.
        """
        self.behaviour = behaviour or Behaviour()
        self.host = host
        self.port = port
        self.count = 0
        self._verifier = Verifier(keys) if keys else None
        self._save = save
        self._file: BinaryIO | None = None
        self._flushing = False
        self._on_received = on_received
        self._random = random.Random(seed)
        self._seen: dict[bytes, int] = {}
        self._server: asyncio.Server | None = None
        self.connections: set[_Connection] = set()

    @property
    def url(self) -> str:
        """Its origin, without a path."""
        return f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        if self._server is not None:
            return
        if self._save is not None:
            self._file = self._save.open("ab")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self.host, self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection at once."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.abort()
        if self._file is not None:
            self._file.close()
            self._file = None

    def take(self, request: Request) -> int:
        """Account for a request; the status to answer with, 0 for none."""
        self.count += 1
        behaviour = self.behaviour
        verdict = NOT_CHECKED
        now = 0.0
        if self._verifier is not None:
            now = time.time()
            verdict = self._verifier.verdict(request.headers, request.body, now)
        if behaviour.hang:
            status = 0
        elif self._fails(behaviour, request):
            status = 503
        else:
            status = behaviour.status if verdict in (VERIFIED, NOT_CHECKED) else 401
        if self._file is not None or self._on_received is not None:
            received = Received(now or time.time(), request, verdict, status)
            if self._file is not None:
                self._file.write(received.as_line())
                if not self._flushing:  # once for all that came in this turn of the event loop
                    self._flushing = True
                    asyncio.get_running_loop().call_soon(self._flush)
            if self._on_received is not None:
                self._on_received(received)
        return status

    def _fails(self, behaviour: Behaviour, request: Request) -> bool:
        if behaviour.fail_first:
            webhook_id = request.header(b"webhook-id")
            seen = self._seen.get(webhook_id, 0)
            if seen < behaviour.fail_first:
                if len(self._seen) >= _IDS_KEPT:
                    del self._seen[next(iter(self._seen))]
                self._seen[webhook_id] = seen + 1
                return True
        return behaviour.fail_rate > 0.0 and self._random.random() < behaviour.fail_rate

    def _flush(self) -> None:
        self._flushing = False
        if self._file is not None:
            self._file.flush()


class _Connection(asyncio.Protocol):
    """One connection: requests are answered in the order they came, one at a time."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.TimerHandle | None = None
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class
        self._receiver.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.connections.discard(self)
        self._transport = None
        if self._waiting is not None:
            self._waiting.cancel()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        if not self._busy:
            self._go_on()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _go_on(self) -> None:
        while not self._busy and self._transport is not None:
            try:
                request = self._reader.next()
            except BadRequest as error:
                self._transport.write(_answer(400, str(error).encode(), last=True))
                self._transport.close()
                return
            if request is None:
                if self._reader.continue_wanted:
                    self._reader.continue_wanted = False
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            status = self._receiver.take(request)
            behaviour = self._receiver.behaviour
            body = b"" if behaviour.reply is None or not 200 <= status < 300 else behaviour.reply(request)
            if status == 0:
                self._busy = True
            elif delay := behaviour.delay:
                self._busy = True
                self._waiting = asyncio.get_running_loop().call_later(delay, self._late, status, request.last, body)
            else:
                self._reply(status, request.last, body)

    def _late(self, status: int, last: bool, body: bytes) -> None:
        self._waiting = None
        self._busy = False
        self._reply(status, last, body)
        self._go_on()

    def _reply(self, status: int, last: bool, body: bytes) -> None:
        if self._transport is not None:
            self._transport.write(_OK if status == 200 and not last and not body else _answer(status, body, last))
            if last:
                self._transport.close()


def _answer(status: int, body: bytes, last: bool) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    close = "Connection: close\r\n" if last else ""
    length = "" if status in (204, 304) else f"Content-Length: {len(body)}\r\n"
    return f"HTTP/1.1 {status} {phrase}\r\n{length}{close}\r\n".encode() + body


_OK = _answer(200, b"", last=False)
