"""One attempt: build, sign, send, read. What it means is for the caller to classify.

The bytes that are signed are the bytes that are sent. Redirects are never followed (the token would go along), cookies are not
kept, nothing comes from the environment. An endpoint can do nothing that makes `send` raise: what went wrong becomes words.

A keep-alive connection that the endpoint has closed meanwhile shows only when the next request is written to it. Such a request
was not an attempt: it is sent again once, at once, uncounted.
"""

import asyncio
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
from yarl import URL

from cdcd.clock import Clock, SystemClock
from cdcd.config.model import Limits
from cdcd.delivery.answers import headers_of, may_carry
from cdcd.delivery.failure import FAILURES, is_closed_by_peer, words
from cdcd.delivery.guard import Dial, Guard, current_dial
from cdcd.delivery.outcome import retry_after
from cdcd.delivery.request import Outgoing, PreparedRequest, Route, Wire, fingerprint, tls
from cdcd.delivery.signing import Signer
from cdcd.delivery.tracing import Tracing
from cdcd.errors import ConfigError, EventError
from cdcd.event import Answer, Attempt, Delivery
from cdcd.triggers.trigger import Trigger

KEEPALIVE = 15.0
"""Seconds an unused connection is kept; most servers keep theirs longer, so we close first."""

DNS_TTL = 30
"""Seconds an address is remembered."""

STALE_WITHIN = 1.0
"""Seconds in which a closed keep-alive connection shows itself; an endpoint that hangs up later than that was at work."""

DRAIN = 64 * 1024
"""Bytes beyond the kept ones that are read and dropped to keep a connection; it is closed when more come."""

AT_ONCE = 20
"""Triggers whose requests are prepared before others get their turn."""

_LARGE = 1 << 20  # aiohttp writes a larger body piece by piece only when it comes from a file


@dataclass(slots=True)
class Prepared:
    """How the requests of some triggers are made: by name, and the connections that they share."""

    limits: Limits
    routes: dict[str, tuple[Route, aiohttp.ClientSession]] = field(default_factory=dict)
    sessions: dict[tuple[Wire, bytes], aiohttp.ClientSession] = field(default_factory=dict)


class Sender:
    """A part. Connections are shared by all triggers with the same egress policy and TLS settings."""

    name = "sender"

    def __init__(self, limits: Limits, signer: Signer, triggers: Iterable[Trigger], clock: Clock | None = None) -> None:
        self._limits = limits
        self._signer = signer
        self._triggers = tuple(triggers)
        self._clock = clock or SystemClock()
        self.tracing: Tracing | None = None
        self._prepared = Prepared(limits)
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Prepare every trigger's requests. Raises ConfigError with every certificate file that cannot be used."""
        if not self._prepared.routes:
            self._prepared = await self.prepare(self._limits, self._signer, self._triggers)

    async def stop(self) -> None:
        """Close all connections."""
        prepared, self._prepared = self._prepared, Prepared(self._limits)
        await _close(prepared.sessions.values())
        for closing in self._closing:
            closing.cancel()
        if self._closing:
            await asyncio.wait(self._closing)

    # A reload

    @property
    def triggers(self) -> frozenset[str]:
        """Those whose requests it can make, by name."""
        return frozenset(self._prepared.routes)

    async def prepare(self, limits: Limits, signer: Signer, triggers: Iterable[Trigger]) -> "Prepared":
        """The requests of other triggers, ready; nothing changes yet. Certificate files are read. Raises ConfigError with every one that
        cannot be used."""
        prepared = Prepared(limits)
        mistakes: list[str] = []
        try:
            for number, trigger in enumerate(triggers):
                if number % AT_ONCE == AT_ONCE - 1:
                    await asyncio.sleep(0)  # a thousand of them must not hold up what runs
                route = Route(trigger, signer, limits)
                try:
                    prepared.routes[trigger.name] = route, self._session(route.wire, trigger, prepared)
                except ConfigError as error:
                    mistakes += error.mistakes
            if mistakes:
                raise ConfigError(mistakes)
        except BaseException:
            await self.discard(prepared)
            raise
        return prepared

    def take_over(self, prepared: "Prepared", staying: Iterable[str] = ()) -> None:
        """Attempts that begin from now on are made like this; those of `staying` triggers as before. Those under way end as they began;
        connections that nobody uses any more are closed when they have."""
        former, self._prepared = self._prepared, prepared
        for name in staying:
            _, session = prepared.routes[name] = former.routes[name]
            prepared.sessions.update((key, each) for key, each in former.sessions.items() if each is session)
        self._limits = prepared.limits
        left = [session for key, session in former.sessions.items() if prepared.sessions.get(key) is not session]
        if left:
            longest = max((route.timeout.total or 0.0 for route, _ in former.routes.values()), default=0.0)
            # Two requests at most, see the module.
            closing = asyncio.get_running_loop().create_task(_close_after(2 * longest + 1.0, left), name="sender.close")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def discard(self, prepared: "Prepared") -> None:
        """It is not taken over."""
        await _close(session for key, session in prepared.sessions.items() if self._prepared.sessions.get(key) is not session)

    def _session(self, wire: Wire, trigger: Trigger, prepared: "Prepared") -> aiohttp.ClientSession:
        where = f"{trigger.config.where}: triggers.{trigger.name}"
        key = (wire, fingerprint(wire))
        session = prepared.sessions.get(key) or self._prepared.sessions.get(key)
        if session is None:
            egress, allow, *_ = wire
            connector = aiohttp.TCPConnector(
                limit=0,  # the engine bounds concurrency
                ttl_dns_cache=DNS_TTL,
                keepalive_timeout=KEEPALIVE,
                ssl=tls(wire, where),
                socket_factory=Guard(egress, allow),
            )
            session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                request_class=PreparedRequest,
                trust_env=False,
            )
        prepared.sessions[key] = session
        return session

    async def send(self, delivery: Delivery, trigger: Trigger) -> Attempt:
        """Make one attempt; raises only when cancelled."""
        route, session = self._prepared.routes[trigger.name]
        made = _Made(delivery.attempts + 1, self._clock)
        if len(delivery.event.data) > self._limits.payload:
            return made.refused(_too_large(len(delivery.event.data), self._limits.payload))
        try:
            request = route.request(delivery, made.started)
        except EventError as error:
            return made.refused(error.explain())
        if self.tracing is not None:
            request.headers["traceparent"] = self.tracing.header(delivery, delivery.attempts + 1)
        dial = Dial()
        current_dial.set(dial)
        try:
            try:
                response = await _send(session, route, request)
            except FAILURES as error:
                if dial.dialled or not is_closed_by_peer(error) or made.seconds() > STALE_WITHIN:
                    raise
                response = await _send(session, route, request)
            content = response.content
            if content.is_eof() and content.exception() is None:  # the body came together with the head: the usual case
                answer = content.read_nowait(-1)
            else:
                answer = await _read(response, self._limits.response)
        except FAILURES as error:
            if dial.refused and not dial.dialled:
                return made.refused(dial.refused)
            return made.unanswered(route.redacting(request).clean(words(error, route.timeout.total or 0.0), request.token))
        return made.answered(route, request, response, answer, self._limits.response)


async def _close(sessions: Iterable[aiohttp.ClientSession]) -> None:
    for session in sessions:
        await session.close()


async def _close_after(seconds: float, sessions: Iterable[aiohttp.ClientSession]) -> None:
    """Cancelled, it closes them at once."""
    try:
        await asyncio.sleep(seconds)
    finally:
        await _close(sessions)


class _Made:
    """An attempt in the making: what it becomes."""

    __slots__ = ("_begun", "_clock", "_number", "started")

    def __init__(self, number: int, clock: Clock) -> None:
        self._number = number
        self._clock = clock
        self.started = clock.now()
        self._begun = clock.monotonic()

    def seconds(self) -> float:
        """How long it has taken so far."""
        return self._clock.monotonic() - self._begun

    def refused(self, why: str) -> Attempt:
        return Attempt(self._number, self.started, self.seconds(), 0, "", why, refused=True)

    def unanswered(self, why: str) -> Attempt:
        return Attempt(self._number, self.started, self.seconds(), 0, "", why)

    def answered(self, route: Route, request: Outgoing, response: aiohttp.ClientResponse, answer: bytes, limit: int) -> Attempt:
        status = response.status
        redactor = route.redacting(request) if answer or status >= 300 else route.redactor
        text = redactor.text(answer, limit, request.token) if answer else ""
        if 200 <= status < 300:
            kept = None
            whole = len(answer) <= limit and response.content.at_eof() and response.content.exception() is None
            if may_carry(response.headers, answer):
                kept = Answer(headers_of(response.headers), answer[:limit], not whole, redactor.holds(answer, request.token))
            return Attempt(self._number, self.started, self.seconds(), status, text, answer=kept, cut=not whole)
        asked = response.headers.get("Retry-After")
        after = None if asked is None else retry_after(asked, self._clock.now())
        why = redactor.clean(_refusal(response, request.url), request.token)
        return Attempt(self._number, self.started, self.seconds(), status, text, why, after)


async def _send(session: aiohttp.ClientSession, route: Route, request: Outgoing) -> aiohttp.ClientResponse:
    body = request.body
    data = body if body is None or len(body) < _LARGE else io.BytesIO(body)
    return await session.request(
        route.method, request.url, data=data, headers=request.headers, timeout=route.timeout, allow_redirects=False
    )


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The start of the body, one byte over `limit` when there is more.

    The head has said what became of the event, so a body that breaks off is kept as far as it came. A small rest is read so
    that the connection can be used again; a large one is not: the connection is closed.
    """
    content = response.content
    pieces = []
    size = 0
    length = response.content_length
    enough = limit + DRAIN if length is None or length <= limit + DRAIN else limit
    try:
        while size <= enough and (piece := await content.readany()):
            if size <= limit:
                pieces.append(piece)
            size += len(piece)
    except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
        response.close()
    except asyncio.CancelledError:
        response.close()
        raise
    else:
        if not content.at_eof():
            response.close()
    return b"".join(pieces)[: limit + 1]


def _refusal(response: aiohttp.ClientResponse, url: URL) -> str:
    """The words for an answer other than 2xx. Nothing in them is the endpoint's own, but where it redirects to."""
    status = response.status
    location = response.headers.get("Location")
    if 300 <= status < 400 and location is not None:
        try:
            target = str(url.join(URL(location)).with_user(None))
        except ValueError:
            target = "an address that is none"
        return f"redirects are not followed: set url to {target[:500]}"
    try:
        return f"answered {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"answered {status}"


def _too_large(size: int, limit: int) -> str:
    return f"the payload is {size} bytes, over limits.payload ({limit})"
