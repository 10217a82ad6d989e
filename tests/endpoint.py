"""A real HTTP endpoint that records what it gets and answers by a script.

    async with Endpoint() as endpoint:
        endpoint.script(Answer(500), Answer(429, headers={"Retry-After": "1"}))       # the next two requests, then 200
        endpoint.script(Answer(410), path="/gone", id=some_delivery_id)               # only for that path and webhook-id
        endpoint.always(Answer(503), path="/dead")                                    # until told otherwise
        gate = endpoint.hold("/slow")                                                 # requests arrive, answers wait ...
        gate.set()                                                                    # ... until here
        await endpoint.wait_for(3)                                                    # three requests have *arrived*
        await endpoint.wait_until(lambda e: len(e.answered) == 3)                     # three answers have been *sent*
        endpoint.requests[0].event["data"]["doc"]

A scripted answer is used once; the one for a path and id goes before the one for a path or id alone, then the general ones,
then `always`, then 200.
"""

import asyncio
import itertools
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.proxy import linger_zero


@dataclass(slots=True, frozen=True)
class Answer:
    """What one request gets.

    `delay`: seconds before the status line. `hang`: never answers. `reset`: RST instead of an answer; `close`: FIN instead.
    `reset_after_headers`: sends status and headers with a body promised, then RST. `close_after`: answers with
    keep-alive, then closes the connection. `trickle`: seconds between the body's bytes. `size`: a body of that many bytes
    (streamed, no Content-Length) in place of `body`.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    hang: bool = False
    reset: bool = False
    close: bool = False
    reset_after_headers: bool = False
    close_after: bool = False
    trickle: float | None = None
    size: int | None = None


@dataclass(slots=True, frozen=True, eq=False)
class Request:
    """One request as it arrived. `at` is wall-clock seconds, `monotonic` time.monotonic(); `number` counts arrivals from 0."""

    number: int
    at: float
    monotonic: float
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    peer: tuple[str, int]

    @property
    def id(self) -> str:
        """The `webhook-id`, empty when there is none."""
        return self.headers.get("webhook-id", "")

    @property
    def event(self) -> dict[str, Any]:
        """The body as JSON."""
        event: dict[str, Any] = json.loads(self.body)
        return event


class Endpoint:
    """Listens on a free port of 127.0.0.1 (or `port`)."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.requests: list[Request] = []
        self.answered: list[tuple[Request, int]] = []
        self._scripts: dict[tuple[str | None, str | None], deque[Answer]] = {}
        self._always: dict[str | None, Answer] = {}
        self._gates: dict[str | None, asyncio.Event] = {}
        self._numbers = itertools.count()
        self._changed = asyncio.Condition()
        self._closing = asyncio.Event()
        self._runner: web.ServerRunner | None = None

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after `stop()` again on the same port, with everything recorded kept."""
        self._closing.clear()
        self._runner = runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # The script

    def script(self, *answers: Answer, path: str | None = None, id: str | None = None) -> None:
        """The next requests (to `path`, with this webhook-id) get these, one each."""
        self._scripts.setdefault((path, id), deque()).extend(answers)

    def always(self, answer: Answer, path: str | None = None) -> None:
        """What a request (to `path`) gets that nothing was scripted for. `Answer()` heals."""
        self._always[path] = answer

    def hold(self, path: str | None = None) -> asyncio.Event:
        """Requests (to `path`) that arrive from now on are recorded, and answered only after the returned event is set."""
        gate = self._gates[path] = asyncio.Event()
        return gate

    # Watching

    def to(self, path: str) -> list[Request]:
        """The requests that came to `path`."""
        return [request for request in self.requests if request.path == path]

    def ids(self, path: str | None = None) -> list[str]:
        """The webhook-ids in order of arrival."""
        return [request.id for request in self.requests if path is None or request.path == path]

    async def wait_for(self, count: int, path: str | None = None, timeout: float = 10.0) -> list[Request]:
        """Wait until `count` requests (to `path`) have arrived; return them."""
        await self.wait_until(lambda e: len(e.to(path) if path else e.requests) >= count, timeout)
        return (self.to(path) if path else self.requests)[:count]

    async def wait_until(self, predicate: Callable[["Endpoint"], bool], timeout: float = 10.0) -> None:
        """Wait until `predicate(endpoint)`; it is asked again whenever a request arrives or an answer has been sent."""
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(lambda: predicate(self)), timeout)
            except TimeoutError:
                last = ", ".join(f"{request.path} {request.id}" for request in self.requests[-5:])
                raise AssertionError(
                    f"endpoint: {len(self.requests)} requests, {len(self.answered)} answered after {timeout} s; last: {last}"
                ) from None

    # Workings

    def _choose(self, request: Request) -> Answer:
        for key in ((request.path, request.id), (None, request.id), (request.path, None), (None, None)):
            if answers := self._scripts.get(key):
                return answers.popleft()
        return self._always.get(request.path) or self._always.get(None) or Answer()

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        body = await http.read()
        transport = http.transport
        assert transport is not None
        request = Request(
            number=next(self._numbers),
            at=time.time(),
            monotonic=time.monotonic(),
            method=http.method,
            path=http.path,
            query=http.query_string,
            headers=http.headers.copy(),
            body=body,
            peer=transport.get_extra_info("peername")[:2],
        )
        self.requests.append(request)
        answer = self._choose(request)
        gate = self._gates.get(request.path) or self._gates.get(None)
        await self._notify()
        if gate is not None:
            await self._unless_closing(gate.wait())
        if answer.delay:
            await self._unless_closing(asyncio.sleep(answer.delay))
        if answer.hang:
            await self._closing.wait()
        if answer.reset:
            linger_zero(transport)
            transport.abort()
        elif answer.close or answer.hang:
            transport.close()
        response = await self._send(http, answer)
        self.answered.append((request, answer.status))
        await self._notify()
        return response

    async def _send(self, http: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=dict(answer.headers))
        transport = http.transport
        if transport is None or transport.is_closing():
            return response
        if answer.size is None:
            response.content_length = len(answer.body) + (1 if answer.reset_after_headers else 0)
        await response.prepare(http)
        if answer.reset_after_headers:
            await response.write(answer.body)
            linger_zero(transport)
            transport.abort()
            return response
        try:
            for piece in _pieces(answer):
                await response.write(piece)
                if answer.trickle is not None:
                    await self._unless_closing(asyncio.sleep(answer.trickle))
            await response.write_eof()
        except ConnectionError:  # the client has had enough
            return response
        if answer.close_after:
            transport.close()
        return response

    async def _unless_closing(self, work: Any) -> None:
        doing, closing = asyncio.ensure_future(work), asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({doing, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            doing.cancel()
            closing.cancel()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _pieces(answer: Answer) -> Iterable[bytes]:
    if (size := answer.size) is not None:
        return (b"x" * min(65536, size - at) for at in range(0, size, 65536))
    if answer.trickle is not None:
        return [answer.body[at : at + 1] for at in range(len(answer.body))]
    return [answer.body] if answer.body else []
