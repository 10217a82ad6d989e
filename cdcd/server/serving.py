"""The part that listens: connections, bodies and time within bounds, and every request answered, whatever it asks.

The rules:
- it starts last and stops first; nothing that a client does ends the daemon;
- a client gets `READ_TIMEOUT` seconds for a body, `IDLE` seconds for the next request, and one of `MOST_CONNECTIONS` connections;
- a body has at most `server.body` bytes; those that have come and are being queued take at most `limits.in_flight_bytes` in all, and beyond
  that the answer is 503, try again;
- who asks, and whether a role of theirs is one that the route names, is found out here and before the body is read, for every route;
- no token or body is ever logged;
- at most `MOST_STREAMS` answers go on at a time, none longer than `LONGEST_STREAM` seconds or than its token is good.
"""

import asyncio
import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath

import structlog
from aiohttp import web

from cdcd.config.model import Server as Address
from cdcd.errors import CannotListen, CdcdError, TransientError
from cdcd.event import Queued
from cdcd.server.auth import Claims, Tokens, require
from cdcd.server.certificate import Certificate
from cdcd.server.connections import Answer, Connection, Connections, Known, Lane
from cdcd.server.cors import Cors
from cdcd.server.events import Events, accepted
from cdcd.server.intake import Intake
from cdcd.server.problems import TYPE, Problem, Reason
from cdcd.server.replies import Reply, Stream, whole
from cdcd.server.routes import Call, Route, Table
from cdcd.server.rules import Rules
from cdcd.server.sessions import AGAIN, PAGE_HEADERS, Session, Sessions
from cdcd.server.waiting import Waiting
from cdcd.store.connection import RowRefused
from cdcd.store.scheduled import Schedule

log = structlog.get_logger()

READ_TIMEOUT = 30.0  # seconds for a body
IDLE = 75.0  # seconds for the next request, its headers included
MOST_CONNECTIONS = 2000
LONGEST_HEADER = 16 * 1024  # bytes of one header, and of the request's line
MOST_HEADERS = 100
HANDSHAKE = 10.0  # seconds for TLS's
STOP_WITHIN = 5.0  # seconds that a stop waits for requests under way
MOST_STREAMS = 100
LONGEST_STREAM = 3600.0  # seconds; a browser asks again by itself

_quiet = logging.getLogger("cdcd.server.http")  # what aiohttp says of requests that are no HTTP, with their remains
_quiet.disabled = True


@dataclass(slots=True, frozen=True)
class Handling:
    """What answers requests, by one configuration."""

    address: Address
    table: Table
    tokens: Tokens
    sessions: Sessions
    events: Events
    in_flight_bytes: int


class Server:
    """A part; see the module. `address` after `start` has the port that was really taken."""

    name = "server"

    def __init__(
        self,
        handling: Handling,
        waiting: Waiting,
        intake: Intake,
        schedule: Schedule,
        *,
        remake: Callable[[Rules], Handling] | None = None,
        most_connections: int = MOST_CONNECTIONS,
    ) -> None:
        """`intake` and `schedule` are closed at the end. `remake` makes what answers by the configuration in force."""
        self.address = handling.address
        self._streams: set[Stream] = set()
        self._waiting = waiting
        self._intake = intake
        self._schedule = schedule
        self._remake = remake
        self._lane = Lane("POST", "/v1/events", self._take_known)
        self._room = self._bytes = 0
        self._handle_by(handling)
        self._most_connections = most_connections
        self._runner: web.ServerRunner | None = None
        self._listening: asyncio.Server | None = None
        self._certificate: Certificate | None = None

    def _handle_by(self, handling: Handling) -> None:
        address = handling.address
        self._cors = Cors(address.cors)
        self._table = handling.table
        self._tokens = handling.tokens
        self._sessions = handling.sessions
        self._events = handling.events
        self._largest = address.body
        room = max(handling.in_flight_bytes, address.body)
        self._room, self._bytes = self._room + room - self._bytes, room

    def take_over(self, rules: Rules) -> None:
        """Requests that come from now on are answered by the configuration in force, and events are judged by `rules`. Where it listens
        does not change. Who follows something asks again where a secret is gone: theirs may be the token that it took back."""
        if self._remake is None:
            return
        before = self._tokens
        self._handle_by(self._remake(rules))
        if not self._tokens.takes_all_of(before):
            for stream in tuple(self._streams):
                stream.end()

    # Life

    async def start(self) -> None:
        """Listen. Raises CannotListen, ConfigError for a certificate that cannot be used."""
        if self._runner is not None:
            return
        server = Connections(
            self._handle,
            self._most_connections,
            self._lane,
            access_log=None,
            logger=_quiet,
            keepalive_timeout=IDLE,
            lingering_time=2.0,
            max_line_size=LONGEST_HEADER,
            max_field_size=LONGEST_HEADER,
            max_headers=MOST_HEADERS,
            auto_decompress=False,
        )
        runner = web.ServerRunner(server, shutdown_timeout=STOP_WITHIN)
        self._certificate = None if self.address.tls is None else Certificate(*self.address.tls)
        context = None if self._certificate is None else self._certificate.context
        await runner.setup()
        host, port = self.address.host, self.address.port
        handshake = None if context is None else HANDSHAKE
        try:
            self._listening = await asyncio.get_running_loop().create_server(
                server, host, port, backlog=1024, ssl=context, ssl_handshake_timeout=handshake
            )
        except OSError as error:
            await runner.cleanup()
            why = error.strerror or str(error)
            raise CannotListen(
                f"the API cannot listen on {host}:{port}: {why}",
                hint="stop what listens there (another cdcd?), or set server.listen to another address",
            ) from error
        self._runner = runner
        self.address = replace(self.address, port=self._listening.sockets[0].getsockname()[1])
        log.info("server.listening", host=host, port=self.address.port, url=self.address.url)

    @staticmethod
    def judge(address: Address | None) -> None:
        """Raise ConfigError for a certificate that cannot be used."""
        if address is not None and address.tls is not None:
            Certificate(*address.tls)

    def renew(self) -> None:
        """Read the certificate again: those who connect from now on see it. Raises ConfigError and keeps the old one."""
        if self._certificate is not None:
            self._certificate.read()

    async def stop(self) -> None:
        """Requests under way end; who waits for a delivery is told to ask again."""
        runner, self._runner = self._runner, None
        if runner is not None:
            for stream in tuple(self._streams):
                stream.end()
            self._waiting.stop()
            self._lane.open = False
            if self._listening is not None:
                self._listening.close()
            await self._intake.drained(STOP_WITHIN)
            await runner.cleanup()
        await self._intake.close()
        await self._schedule.close()

    # Requests

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        route: Route | None = None
        page = False
        reply: Reply | Stream
        try:
            if (allowed := self._cors.preflight(request.method, request.headers)) is not None:
                reply = Reply(200, b"{}", headers=allowed)
            else:
                route, parameters = self._table.find(request.method, request.rel_url.raw_path)
                page = route.page
                reply = await self._routed(route, request, parameters)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is answered, and told when it is a mistake of ours
            form = self._table.form(request.rel_url.raw_path) if route is None else route.form
            page = page or form.page
            reply = form.reply(_problem(error, route), request)
            if request.can_read_body and not request.content.is_eof():  # what is left of the body is not read
                reply.close()
        if page:
            reply.add(PAGE_HEADERS)
        else:
            reply.add(self._cors.headers(request.headers))
        if isinstance(request.protocol, Connection):
            request.protocol.handled(request, reply.status < 400)
        return reply

    async def _routed(self, route: Route, request: web.BaseRequest, parameters: Mapping[str, str]) -> Reply | Stream:
        """Who asks, may they, and what they get: the one place where roles are looked at."""
        session: Session | None = None
        claims: Claims = {}
        if route.page:
            session = self._sessions.of(request) if not route.open else None
            if session is None and not route.open:
                if self._sessions.from_elsewhere(request):
                    return Reply(200, AGAIN, "text/html; charset=utf-8")
                raise Problem(401, "nobody has signed in")
            claims = {} if session is None else session.claims
        elif not route.open:
            claims = self._tokens.claims(request.headers.get("Authorization"), request.remote or "")
        if not route.open:
            require(claims, route.roles)
        call = Call(request, claims, parameters, session=session)
        if route.page and not route.body:
            self._sessions.check(request, session, b"")
        reply = await (self._with_body(route, call) if route.body else route.handler(call))
        if isinstance(reply, Stream):
            self._begin(reply, route, claims)
            if request.method == "HEAD":
                reply.end()
        return reply

    def _begin(self, stream: Stream, route: Route, claims: Claims) -> None:
        if len(self._streams) >= MOST_STREAMS or self._runner is None:
            raise Problem(503, f"more than {MOST_STREAMS} streams are open", headers={"Retry-After": "10"})
        self._streams.add(stream)
        loop = asyncio.get_running_loop()
        left = self._tokens.left(claims)
        timer = loop.call_later(LONGEST_STREAM if left is None else min(left, LONGEST_STREAM), stream.end)

        def over() -> None:
            timer.cancel()
            self._streams.discard(stream)

        stream.over = over
        stream.failed = lambda error: _told(error, route)

    # The lane

    def _take_known(self, known: Known, body: bytes, answer: Answer) -> bool:
        """One more request like those before."""
        size = len(body)
        if size > self._room or size > self._largest:
            return False
        try:
            events = self._events.read(body, self._tokens.claims(known.authorization))
        except Problem:
            return False  # told the other way
        self._room -= size
        self._intake.submit(events, partial(self._answer_known, answer, size, events))
        return True

    def _answer_known(
        self, answer: Answer, size: int, events: Sequence[Queued], error: BaseException | None, new: AbstractSet[str]
    ) -> None:
        self._room += size
        if error is None:
            answer(whole(202, accepted([event.id for event in events], new)))
        elif isinstance(error, Exception):
            problem = _problem(error, None)
            answer(whole(problem.status, problem.body(), TYPE, problem.headers))
        else:
            answer(None)

    async def _with_body(self, route: Route, call: Call) -> Reply | Stream:
        """Read the body within all bounds; its bytes count until the answer."""
        request, content = call.request, call.request.content
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Problem(415, "the body must not be compressed")
        length = request.content_length
        if length is not None and length > self._largest:
            raise self._too_large()
        taken = 0
        try:
            if content.is_eof():
                call.body = await content.read()
                taken = self._take(len(call.body))
            else:
                if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
                    request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                parts: list[bytes] = []
                size = 0
                async with asyncio.timeout(READ_TIMEOUT):
                    while part := await content.readany():
                        parts.append(part)
                        size += len(part)
                        if size > self._largest:
                            raise self._too_large()
                        taken += self._take(len(part))
                call.body = b"".join(parts)
            if route.page:
                self._sessions.check(request, call.session, call.body)
            return await route.handler(call)
        except TimeoutError:
            raise Problem(408, f"the body did not come within {READ_TIMEOUT:g} s") from None
        except web.RequestPayloadError:
            raise Problem(400, "the body was cut off, or is not framed as HTTP says") from None
        finally:
            self._room += taken

    def _take(self, size: int) -> int:
        if size > self._room:
            raise Problem(503, "too much is being queued at once", headers={"Retry-After": "1"})
        self._room -= size
        return size

    def _too_large(self) -> Problem:
        return Problem(413, f"the body has more than {self._largest} bytes (server.body)")


def _problem(error: Exception, route: Route | None) -> Problem:
    """What is answered when a request raised this."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ConnectionError):
        return Problem(400, "the client is gone")  # nobody reads it
    if isinstance(error, RowRefused):
        return Problem(422, "nothing was queued", [Reason(f"the event store refuses it: {error}")])
    if isinstance(error, TransientError):
        return Problem(503, "the event store is not available", headers={"Retry-After": "1"})
    if isinstance(error, CdcdError):
        log.error("server.failed", route=_shown(route), error=str(error), hint=error.hint)
        return Problem(503, "the event store cannot be used", headers={"Retry-After": "60"})
    _told(error, route)
    return Problem(500, "cdcd made a mistake; its log says more")


def _told(error: Exception, route: Route | None) -> None:
    log.error("server.failed", route=_shown(route), error=type(error).__name__, hint=_place(error))


def _shown(route: Route | None) -> str:
    return "" if route is None else f"{route.method} {route.path}"


def _place(error: Exception) -> str:
    """Where in the code it was raised; its words might quote a request."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"please report it: raised at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
