"""Notifications that an application already sends (`NOTIFY channel, 'payload'`) as custom events.

The rules:
- a notification is put into the queue before anything else, and nothing more is read until it is there: the server keeps what
  follows for as long as the connection lasts;
- what is notified while nobody listens is lost, which is in the nature of NOTIFY; that cdcd did not listen is told, since when.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import orjson
import psycopg
import structlog

from cdcd.clock import Clock
from cdcd.config.model import Database
from cdcd.errors import CdcdError, SourceUnavailable, StoreRefused, StoreUnavailable
from cdcd.event import Queued
from cdcd.lifecycle import Failed, Tasks
from cdcd.replication.quoting import identifier
from cdcd.replication.refusal import translated as replication_errors
from cdcd.sources.opening import connect
from cdcd.sources.translate import translated
from cdcd.store.connection import RowRefused
from cdcd.store.inbox import Inbox

log = structlog.get_logger()

SHORTEST_WAIT, LONGEST_WAIT = 0.2, 15.0  # seconds between attempts


class ChannelSource:
    """A part; see the module. `inbox` is a connection of its own."""

    def __init__(
        self, project: str, database: Database, channels: Mapping[str, str], inbox: Inbox, clock: Clock, failed: Failed
    ) -> None:
        """`channels`: the types of the events, by channel."""
        self.name = f"source.{database.name}.channels"
        self.database = database.name
        self._source = f"cdcd/{project}/{database.name}"
        self._database = database
        self._channels = channels
        self._inbox = inbox
        self._clock = clock
        self._tasks = Tasks(self.name, failed)
        self._log = log.bind(database=database.name, channels=sorted(channels))
        self._started = False
        self._silent_since: float | None = None  # wall clock: when a connection broke that had listened

    @property
    def channels(self) -> Mapping[str, str]:
        """What is listened to, and the types of its events."""
        return self._channels

    def take_over(self, channels: Mapping[str, str], database: Database) -> None:
        """Of what it listens to already, only this is still wanted, under these types; `database` is where it is from now on."""
        self._channels, self._database = channels, database

    async def start(self) -> None:
        """Return when it listens. A database that cannot be reached is tried again in the background."""
        if not self._started:
            self._started = True
            listening = asyncio.Event()
            running = self._tasks.spawn(self._run(listening), "listen")
            waiting = asyncio.ensure_future(listening.wait())
            try:
                await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()

    async def stop(self) -> None:
        """Stop listening. What was received and is not in the queue yet is lost."""
        await self._tasks.cancel()
        await self._inbox.close()

    async def _run(self, tried: asyncio.Event) -> None:
        wait = SHORTEST_WAIT
        while True:
            try:
                async with await self._listen() as connection:
                    wait = SHORTEST_WAIT
                    tried.set()
                    await self._read(connection)
            except CdcdError as error:
                self._log.warning("channel.unavailable", error=str(error), hint=error.hint, retry_in=round(wait, 1))
            tried.set()
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _listen(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        with translated(self._database):
            connection = await connect(self._database)
            try:
                with replication_errors():
                    await connection.execute("SET idle_session_timeout = 0")
                    for channel in self._channels:
                        await connection.execute(f"LISTEN {identifier(channel)}".encode())
            except BaseException:
                await connection.close()
                raise
        if self._silent_since is not None:
            since = datetime.fromtimestamp(self._silent_since, UTC).isoformat(timespec="seconds")
            self._log.warning("channel.gap", since=since, hint="what was notified from about then on is lost")
            self._silent_since = None
        self._log.info("channel.listening")
        return connection

    async def _read(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        try:
            while True:
                with translated(self._database), replication_errors():
                    # All that came with the first one; the rest waits in the socket.
                    received = [notify async for notify in connection.notifies(stop_after=1)]
                if not received:
                    raise SourceUnavailable(f"database {self._database.name!r}: the connection ended")
                await self._put([self._event(each) for each in received if each.channel in self._channels])
        finally:
            self._silent_since = self._clock.now()

    def _event(self, notify: psycopg.Notify) -> Queued:
        return Queued(
            id=str(uuid4()),
            type=self._channels[notify.channel],
            source=self._source,
            due=int(self._clock.now() * 1_000_000),
            data=data_of(notify.payload),
            subject=notify.channel,
            extensions={"channel": notify.channel, "pid": notify.pid},
            at_once=True,
        )

    async def _put(self, events: Sequence[Queued]) -> None:
        """Return when they are durable."""
        wait = SHORTEST_WAIT
        while events:
            try:
                await self._inbox.put(events)
            except (StoreUnavailable, StoreRefused) as error:  # also what an operator must mend: they are kept until then
                waits = round(wait, 1)
                self._log.warning(
                    "channel.waiting", notifications=len(events), error=str(error), hint=error.hint, retry_in=waits
                )
                await self._inbox.close()
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
            except RowRefused as error:
                if len(events) > 1:
                    for event in events:
                        await self._put([event])
                else:
                    self._log.error("channel.refused", type=events[0].type, error=str(error))
                return
            else:
                return


def data_of(payload: str) -> bytes:
    """A notification's payload as JSON text: an object or a list as it is, everything else as `{"text": ...}`."""
    if payload.lstrip()[:1] in ("{", "["):
        try:
            orjson.loads(payload)
        except ValueError:
            pass
        else:
            return payload.encode()
    return orjson.dumps({"text": payload})
