"""The canary: a message through a database, the store and a signed webhook back to this process, again and again, and timed.

The rules:
- it goes the way of every event, as a delivery of a trigger of its own (`cdcd.canary`): users' triggers cannot be named so, nor name its
  type; nothing is written to a user's table: a logical message where replication is used, else an event in the queue;
- the endpoint is this part's own, on a port of loopback that the system chooses; what is not signed with the project's secret is refused;
- what comes late still comes; a newer one that came makes an older one that did not no matter.
"""

import asyncio
import hmac
import secrets
import socket
import time

import orjson
import structlog
from aiohttp import web

from cdcd.admin.snapshot import CanaryState
from cdcd.config.model import Canary as Options
from cdcd.config.model import Capture, Database, Kind, Order, Retries, TriggerConfig, Webhook
from cdcd.config.types import CANARY
from cdcd.delivery.signing import Signer
from cdcd.errors import CdcdError
from cdcd.event import Queued
from cdcd.lifecycle import Failed, Tasks
from cdcd.replication.refusal import translated as refusals
from cdcd.sources.emitted import PREFIX
from cdcd.sources.opening import catalog_of
from cdcd.sources.translate import translated
from cdcd.store.inbox import Inbox
from cdcd.triggers.trigger import Trigger, compile_trigger

log = structlog.get_logger()

PATH = "/canary"
LARGEST = 4096  # bytes of a body
ANSWER = 10.0  # seconds that the database may take
KEPT = 100  # that have not come


class Canary:
    """A part; see the module. `trigger` is to be matched as users' are."""

    name = "canary"

    def __init__(
        self, options: Options, project: str, database: Database, inbox: Inbox, signer: Signer, failed: Failed
    ) -> None:
        """`inbox` is a connection of its own, for a database without logical messages."""
        self._options = options
        self._project = project
        self._database = database
        self._inbox = inbox
        self._signer = signer
        self._tasks = Tasks(self.name, failed)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}{PATH}"
        self.trigger = _trigger(self.url)
        self._runner: web.ServerRunner | None = None
        self._under_way: dict[str, tuple[float, float]] = {}  # by what is in it: when it was sent, monotonic and wall-clock
        self._last: float | None = None
        self._came_at: float | None = None
        self._sent = self._came = 0
        self._told = False

    def state(self) -> CanaryState:
        """How it is."""
        now = time.monotonic()
        late = [wall + self._options.late for sent, wall in self._under_way.values() if now - sent > self._options.late]
        return CanaryState(
            database=self._database.name,
            every=self._options.every,
            last=self._last,
            came_at=self._came_at,
            late_since=min(late) if late else None,
            sent=self._sent,
            came=self._came,
        )

    def take_over(self, signer: Signer) -> None:
        """What comes back from now on is signed by this."""
        self._signer = signer

    async def start(self) -> None:
        """Listen, and send the first."""
        if self._runner is not None:
            return
        runner = web.ServerRunner(web.Server(self._receive, access_log=None), shutdown_timeout=1.0)
        await runner.setup()
        await web.SockSite(runner, self._socket).start()
        self._runner = runner
        self._tasks.spawn(self._run(), "send")

    async def stop(self) -> None:
        """Send no more. One that is under way finds nobody after the next start."""
        await self._tasks.cancel()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        self._socket.close()
        await self._inbox.close()

    async def _run(self) -> None:
        while True:
            await self._send()
            await asyncio.sleep(self._options.every)

    async def _send(self) -> None:
        nonce = secrets.token_hex(8)
        if len(self._under_way) >= KEPT:
            del self._under_way[next(reversed(self._under_way))]  # the oldest tells since when
        self._under_way[nonce] = (time.monotonic(), time.time())
        self._sent += 1
        data = orjson.dumps({"canary": nonce})
        try:
            async with asyncio.timeout(ANSWER):
                if self._database.capture is Capture.TRIGGERS:
                    source = f"cdcd/{self._project}/canary"
                    event = Queued(f"canary-{nonce}", CANARY, source, time.time_ns() // 1000, data, at_once=True)
                    await self._inbox.put([event])
                else:
                    with translated(self._database), refusals():
                        async with catalog_of(self._database) as connection:
                            await connection.execute(
                                "SELECT pg_catalog.pg_logical_emit_message(true, %s, %s)", [PREFIX + CANARY, data.decode()]
                            )
        except (CdcdError, TimeoutError) as error:
            if not self._told:
                log.warning("canary.unsent", database=self._database.name, error=str(error) or "no answer in time")
            self._told = True
        else:
            self._told = False

    async def _receive(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read(LARGEST + 1)
        headers = request.headers
        identity, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if request.method != "POST" or request.path != PATH or len(body) > LARGEST or not timestamp.isdecimal():
            return web.Response(status=404)
        wanted = self._signer.signature(identity, int(timestamp), body)
        if not hmac.compare_digest(wanted.encode(), headers.get("webhook-signature", "").encode()):
            log.warning("canary.unsigned", hint="somebody else sends to the canary's port, or signing does not work")
            return web.Response(status=401)
        self._arrived(str(orjson.loads(body)["data"]["canary"]))
        return web.Response(status=204)

    def _arrived(self, nonce: str) -> None:
        """One has come. A former life's is not known."""
        found = self._under_way.get(nonce)
        if found is None:
            return
        self._last, self._came_at = time.monotonic() - found[0], time.time()
        self._came += 1
        for other, (sent, _) in list(self._under_way.items()):
            if sent <= found[0]:
                del self._under_way[other]


def _trigger(url: str) -> Trigger:
    """Sent once, in no order: a late one must not hold up the next."""
    return compile_trigger(
        TriggerConfig(
            name=CANARY,
            types=frozenset({CANARY}),
            database="",
            tables=(),
            webhook=Webhook(url=url, endpoint=url.removesuffix(PATH)),
            kind=Kind.CUSTOM,
            retries=Retries(max=0),
            order=Order.NONE,
        )
    )
