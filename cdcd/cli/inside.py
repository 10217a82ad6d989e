"""The admin API within this process, straight on the event store: what commands ask while no daemon answers.

The rule: it is the daemon's own routes, so that what is asked, answered and refused is the same. Reading needs nothing; whatever changes
deliveries first takes the store's lock, so that no daemon runs meanwhile; what only a running daemon can do is refused.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import orjson
from aiohttp import StreamReader, hdrs, web
from aiohttp.http import HttpVersion11, RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from cdcd.admin.deliveries import Deliveries
from cdcd.admin.editing import Editing
from cdcd.admin.explaining import Explaining
from cdcd.admin.hands import Offline
from cdcd.admin.operations import Operations
from cdcd.admin.overview import Overview
from cdcd.admin.snapshot import EndpointState, TriggerState
from cdcd.admin.triggers import Triggers
from cdcd.admin.trying import Trying
from cdcd.cli.asking import Answer, Declined, Query, answer, declined
from cdcd.clock import SystemClock
from cdcd.config.model import Config
from cdcd.delivery.sender import Sender
from cdcd.delivery.signing import Signer
from cdcd.errors import StoreRefused, StoreUnavailable
from cdcd.event import Record
from cdcd.server.auth import audience
from cdcd.server.events import accepted
from cdcd.server.intake import Intake
from cdcd.server.problems import Problem, Reasons
from cdcd.server.queueing import Queueing
from cdcd.server.reading import read_json
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Group, Route, Table
from cdcd.server.rules import compile_rules
from cdcd.server.v1 import deliveries, explaining, operations, triggers, trying
from cdcd.server.waiting import Waiting
from cdcd.store.causes import Causes
from cdcd.store.inbox import Inbox
from cdcd.store.pending import Backlog
from cdcd.store.standing import look
from cdcd.triggers.trigger import compile_all
from cdcd.upkeep.embedded import store_server
from cdcd.upkeep.home import find_home

NOT_MADE, MAKE = "there is no event store yet", "`cdcd setup` or `cdcd run` makes it"
UNOWNED = frozenset({"/v1/explain", "/v1/events", "/v1/triggers/try"})
"""POST routes that need no lock: they change no delivery, and anybody may queue."""


class Inside:
    """See the module. `who` is told where changes are noted; `unowned` is the advice when a daemon has the store."""

    words = "the event store"
    direct = True

    def __init__(self, config: Config, who: str, unowned: str) -> None:
        self._config = config
        self._claims: Mapping[str, Any] = {"role": "admin", "aud": audience(config.project), "sub": who}
        self._unowned = unowned
        self._owned = False
        self._failure: BaseException | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Inside"]:
        """Within, it may be asked. Raises StoreUnavailable, StoreRefused."""
        config, clock = self._config, SystemClock()
        schema = config.eventing.schema
        home = await asyncio.to_thread(find_home, config)
        if home.denied:
            raise StoreRefused(f"the {home.words} belongs to another user", hint="run as the one that runs cdcd, or as root")
        if not home.made:
            raise StoreRefused(NOT_MADE, hint=MAKE)
        async with AsyncExitStack() as stack:
            dsn = await stack.enter_async_context(store_server(config))
            standing = await look(dsn, schema, config.project)
            if not standing.made or standing.missing:
                raise StoreRefused(NOT_MADE if not standing.made else "the event store is of an older cdcd", hint=MAKE)
            compiled = compile_all(config)
            signer = Signer(config.secrets, config.project, "cdcd-command")
            self._hands = Offline(dsn, schema, config.project, compiled, clock)
            log = Deliveries(dsn, schema)
            stack.push_async_callback(log.close)
            causes = Causes(dsn, schema)
            stack.push_async_callback(causes.close)
            steering = Operations(
                dsn, schema, self._hands, lambda those: Sender(config.limits, signer, those), clock, self._failed
            )
            stack.push_async_callback(self._give_up)
            stack.push_async_callback(steering.stop)
            self._inbox = Inbox(dsn, schema)
            stack.push_async_callback(self._inbox.close)
            intake, waiting = Intake(self._inbox, lambda: None, clock, self._failed), Waiting(_Nobody())
            self._queueing = Queueing(config.project, compile_rules(config), intake, waiting, clock, config.limits.payload)
            self._table = Table.of(
                [
                    Group((Route("POST", "/v1/events", self._queue, body=True),)),
                    deliveries.routes(log, steering),
                    operations.routes(steering),
                    explaining.routes(Explaining(lambda: config, log, causes, steering.paused)),
                    *self._triggers(stack, dsn, log, steering, signer),
                ]
            )
            yield self

    def _triggers(
        self, stack: AsyncExitStack, dsn: str, log: Deliveries, steering: Operations, signer: Signer
    ) -> Sequence[Group]:
        """The routes that look at triggers and try them. Nobody would take over what is written, so nothing is."""
        config = self._config
        editing = Editing(lambda: config, lambda _: config, _no_reload)
        listing = Triggers(lambda: config, cast(Overview, _Still()), Backlog(dsn, config.eventing.schema), steering.paused)
        stack.push_async_callback(listing.stop)
        trial = Trying(lambda: config, editing, log, lambda: signer, lambda those: Sender(config.limits, signer, those))
        looking = [route for route in triggers.routes(listing, editing).routes if route.method == "GET"]
        return (Group(tuple(looking)), trying.routes(trial))

    def _failed(self, part: str, error: BaseException) -> None:
        self._failure = error

    async def _own(self) -> None:
        try:
            await self._hands.start()
        except StoreUnavailable as error:
            raise StoreUnavailable(str(error), hint=self._unowned) from error
        self._owned = True

    async def _give_up(self) -> None:
        if self._owned:
            await self._hands.stop()

    async def _queue(self, call: Call) -> Reply:
        """Checked as the API checks it, and put into the store; a daemon that listens to it is told."""
        now, reasons = self._queueing.now(), Reasons()
        asked = read_json(call.body, now, reasons)
        self._queueing.check(asked, call.claims, reasons)
        events = self._queueing.events(asked, now)
        return Reply(202, accepted([event.id for event in events], await self._inbox.put(events)))

    async def ask(
        self, method: str, path: str, query: Query = (), body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """See Way. Raises errors of the store and of databases as they are."""
        if self._failure is not None:
            raise self._failure
        if headers and "Prefer" in headers:
            raise Declined(
                "only a running cdcd can be waited for", 404, hint="start it, with `server:` configured; or leave --wait out"
            )
        try:
            route, parameters = self._table.find(method, str(URL(path, encoded=True)))
        except Problem as problem:
            if problem.status == 404:
                raise Declined(
                    f"only a running cdcd can do this ({method} {path})", 404, hint="start it, with `server:` configured"
                ) from None
            raise declined(problem.status, orjson.loads(problem.body())) from None
        reads = method == "GET" or path in UNOWNED or (isinstance(body, Mapping) and body.get("dryRun") is True)
        if not reads and not self._owned:
            await self._own()
        content = b"" if body is None else orjson.dumps(body)
        try:
            reply = await route.handler(Call(_request(method, path, query), self._claims, parameters, content))
        except Problem as problem:
            raise declined(problem.status, orjson.loads(problem.body())) from None
        assert isinstance(reply, Reply)
        return answer(reply.status, reply.content, {})


def _request(method: str, path: str, query: Query) -> web.BaseRequest:
    """What handlers look at: the query, and headers of which there are none."""
    loop = asyncio.get_running_loop()
    url = URL(path, encoded=True).with_query(list(query))
    headers = CIMultiDictProxy(CIMultiDict({hdrs.HOST: "localhost"}))
    message = RawRequestMessage(method, str(url), HttpVersion11, headers, (), False, None, False, False, url)
    protocol = web.RequestHandler(web.Server(_unused), loop=loop)
    task = asyncio.current_task()
    assert task is not None
    return web.BaseRequest(message, StreamReader(protocol, 0, loop=loop), protocol, web.StreamResponse(), task, loop)  # type: ignore[arg-type]


@dataclass(slots=True, frozen=True)
class _Still:
    """What a daemon would tell of its triggers and endpoints, when there is none."""

    triggers: tuple[TriggerState, ...] = ()
    endpoints: tuple[EndpointState, ...] = ()

    async def now(self) -> "_Still":
        return self


async def _no_reload(_: str) -> object:
    raise AssertionError("nothing is written without a daemon")


class _Nobody:
    """Whom there is to be watched while no daemon runs."""

    def watch(self, delivery: str, told: Callable[[Record], None]) -> None:
        raise AssertionError("nobody waits")

    def unwatch(self, delivery: str) -> None:
        raise AssertionError("nobody waits")


async def _unused(_: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError("it is never asked over a network")
