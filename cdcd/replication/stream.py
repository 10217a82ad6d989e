"""The replication stream: reads frames, answers the server. The only module that touches psycopg's libpq layer.

psycopg has no replication API. It connects; then this module sends START_REPLICATION on the libpq connection, which turns
into COPY in both directions, and waits for the socket by itself. psycopg documents none of that: its minor version is pinned.

Rules that cost others their data or their server:

* Reported write is what was received, flush and apply are what was confirmed, and nothing else, ever.
* Status goes out when the server asks, when the confirmed position moved, and every second (sooner under a very short
  wal_sender_timeout): also while nobody reads. A paused reader (one that does not call `read`) leaves the socket alone, so
  TCP holds the server back, and is not timed out.
* Answers are spaced: a server that waits for a position (it shuts down) asks again as soon as it is answered.
* The frame of a Relation or Type, and of a Begin before an Origin, has WAL position 0.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import NoReturn

from psycopg import OperationalError, pq
from psycopg.pq.abc import PGresult

from cdcd.replication.errors import ConnectionLost, PublicationMissing, ReplicationError, SlotLost
from cdcd.replication.frames import KEEPALIVE, XLOG_DATA, PrimaryKeepalive, parse_frame, standby_status
from cdcd.replication.lsn import format_lsn
from cdcd.replication.quoting import identifier, literal
from cdcd.replication.refusal import refusal, slot_refusal
from cdcd.replication.walsender import (
    Connection,
    SystemIdentity,
    identify,
    open_walsender,
    require_publications,
    sender_timeout,
    slot_is_lost,
)

STATUS_INTERVAL = 1.0
CONFIRM_SPACING = 0.1
ANSWER_SPACING = 0.05
STOPPING_AFTER = 4  # requests, each within moments of an answer, that tell that the server shuts down


class ReplicationStream:
    """One START_REPLICATION. Made by `connect`; used by one task; everything here runs on its event loop."""

    def __init__(
        self, connection: Connection, identity: SystemIdentity, start: int, confirmed: int, silence: float, stop_grace: float
    ) -> None:
        self.identity = identity
        self._connection = connection
        self._pgconn = connection.pgconn
        self._fd = connection.pgconn.socket  # raises once the connection is lost
        self._loop = asyncio.get_running_loop()
        self._silence = silence
        self._stop_grace = stop_grace
        self._received = start
        self._confirmed = confirmed
        self._interval = STATUS_INTERVAL
        self._status_at = 0.0
        self._heard_at = self._loop.time()
        self._requests = 0
        self._stopping_since = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._failure: ReplicationError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writing = False
        self._closed = False

    @classmethod
    async def connect(
        cls,
        dsn: str,
        slot: str,
        publications: Sequence[str],
        start: int = 0,
        *,
        confirmed: int | None = None,
        messages: bool = False,
        application_name: str = "cdcd",
        timeout: float = 30.0,
        silence: float = 60.0,
        stop_grace: float = 5.0,
    ) -> "ReplicationStream":
        """Start streaming `slot` from `start` (an LSN; the server begins at the slot's own position if that is later).

        `confirmed` is what the server is told to be durable until `confirm` says more; never what is not. It must not be 0, which
        the server takes for "as far as was written". None: `start`, for a reader that has nothing unsettled below it.

        `timeout`: seconds for connecting and starting. `silence`: seconds without a sign of life, while reading, after which
        the connection counts as lost. `stop_grace`: seconds for which a server that shuts down is kept waiting for further
        confirmations; it waits until all that it sent is confirmed, without end if that never comes.

        Raises SlotActive, SlotMissing, SlotLost, PublicationMissing, NotPermitted, ConnectionLost, ReplicationError.
        """
        connection = await open_walsender(dsn, application_name=application_name, timeout=timeout)
        try:
            identity = await identify(connection)
            await require_publications(connection, publications)
            stream = cls(connection, identity, start, start if confirmed is None else confirmed, silence, stop_grace)
            if (limit := await sender_timeout(connection)) > 0:
                stream._interval = min(STATUS_INTERVAL, limit / 4)
            options = {"proto_version": "1", "publication_names": ",".join(map(identifier, publications))}
            if messages:
                options["messages"] = "true"
            arguments = ", ".join(f"{name} {_literal(value)}" for name, value in options.items())
            await stream._start(f"START_REPLICATION SLOT {identifier(slot)} LOGICAL {format_lsn(start)} ({arguments})", timeout)
        except ReplicationError as exc:
            lost = exc.sqlstate == "55000" and not connection.closed and await slot_is_lost(connection, slot)
            await connection.close()
            if lost:
                raise SlotLost(str(exc), exc.sqlstate) from exc
            raise
        except BaseException:
            await connection.close()
            raise
        stream._tick()
        return stream

    # Positions

    @property
    def received(self) -> int:
        """The highest LSN that the server has sent."""
        return self._received

    @property
    def heard_at(self) -> float:
        """When the server last gave a sign of life, by the event loop's clock."""
        return self._heard_at

    @property
    def confirmed(self) -> int:
        """The highest LSN that was given to `confirm`."""
        return self._confirmed

    @property
    def stopping(self) -> bool:
        """Whether the server seems to shut down and to wait for our confirmation of all that it sent."""
        return self._requests >= STOPPING_AFTER

    def confirm(self, flushed: int) -> None:
        """Everything before `flushed` is durable here: the server may forget it. Told to it soon; never goes back."""
        if flushed > self._confirmed:
            self._confirmed = flushed
            if flushed > self._received:
                self._received = flushed
            self._status_within(CONFIRM_SPACING)

    # Reading

    async def read(self, max_frames: int = 256, max_bytes: int = 1 << 20) -> list[bytes]:
        """What has arrived: raw frames (`cdcd.replication.frames`), at least one, at most `max_frames`, and no more once they
        make `max_bytes`. Waits when there is none. Raises ConnectionLost, PublicationMissing, ReplicationError."""
        await asyncio.sleep(0)  # a stream that never runs dry must not starve the rest of the loop
        while not (frames := self._take(max_frames, max_bytes)):
            if self._failure is not None:
                raise self._failure
            await self._readable()
        self._note(frames)
        return frames

    def _take(self, max_frames: int, max_bytes: int) -> list[bytes]:
        """What libpq holds, and what the socket holds, without waiting. What ends the stream is kept for the next call."""
        frames: list[bytes] = []
        if self._failure is not None:
            return frames
        get = self._pgconn.get_copy_data
        size = 0
        seen = -1
        try:
            while True:
                length, data = get(1)
                if length > 0:
                    frames.append(bytes(data))
                    size += length
                    if len(frames) >= max_frames or size >= max_bytes:
                        break
                elif length == 0:
                    if len(frames) == seen:  # nothing has come since the socket was read
                        break
                    seen = len(frames)
                    self._pgconn.consume_input()
                else:
                    self._fail(self._ended())
                    break
        except OperationalError as exc:
            self._fail(ConnectionLost(str(exc).strip()))
        return frames

    def _note(self, frames: list[bytes]) -> None:
        """Take the positions from the frames, and answer if asked."""
        self._heard_at = self._loop.time()
        asked = data = False
        for frame in frames:
            if frame[0] == KEEPALIVE:
                keepalive = parse_frame(frame)
                assert isinstance(keepalive, PrimaryKeepalive)
                asked = asked or keepalive.reply
                if keepalive.wal_end > self._received:
                    self._received = keepalive.wal_end
            else:
                data = True
        if data:
            for frame in reversed(frames):
                if frame[0] == XLOG_DATA and (lsn := int.from_bytes(frame[1:9], "big")):
                    if lsn > self._received:
                        self._received = lsn
                    break
            self._requests = 0
        if asked:
            self._asked()

    def _asked(self) -> None:
        now = self._heard_at
        # Besides, a server asks only after half its wal_sender_timeout of silence, and we are never silent for so long.
        self._requests = self._requests + 1 if now - self._status_at < 2 * STATUS_INTERVAL else 0
        if self._requests < STOPPING_AFTER:
            self._stopping_since = now
        elif now - self._stopping_since > self._stop_grace:
            self._fail(ConnectionLost("the server is shutting down, and not all that it sent is confirmed", "57P01"))
        self._status_within(ANSWER_SPACING)

    async def _readable(self) -> None:
        self._waiter = waiter = self._loop.create_future()
        self._heard_at = self._loop.time()
        self._loop.add_reader(self._fd, self._wake)
        try:
            await waiter
        finally:
            self._loop.remove_reader(self._fd)
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: ReplicationError) -> None:
        if self._failure is None:
            self._failure = failure
        self._wake()

    def _ended(self) -> ReplicationError:
        """Why the server ended the COPY."""
        result = self._pgconn.get_result()
        if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
            message, sqlstate = _error_of(result)
            if sqlstate == "42704":  # the slot is held: what is missing now is a publication
                return PublicationMissing(message, sqlstate)
            return refusal(message, sqlstate)
        return ConnectionLost("the server ended the stream")

    # Feedback

    def _status_within(self, spacing: float) -> None:
        """Send a status, but no sooner than `spacing` seconds after the last."""
        if self._closed or self._failure is not None:
            return
        due = self._status_at + spacing
        if due <= self._loop.time():
            self._send_status()
        elif self._timer is None or self._timer.when() > due:
            self._set_timer(due)

    def _tick(self) -> None:
        silent = self._loop.time() - self._heard_at if self._waiter is not None else 0.0
        if silent > self._silence:
            self._fail(ConnectionLost(f"no sign of life from the server for {silent:.0f} s"))
        else:
            self._send_status(reply=silent > self._silence / 2)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._tick)

    def _send_status(self, *, reply: bool = False) -> None:
        if self._closed or self._failure is not None:
            return
        now_us = time.time_ns() // 1000
        try:
            # 0: libpq has no room, since the server has read nothing for long. The next status says the same and more.
            self._pgconn.put_copy_data(standby_status(self._received, self._confirmed, self._confirmed, now_us, reply))
            self._flush()
        except OperationalError as exc:
            self._fail(ConnectionLost(str(exc).strip()))
            return
        self._status_at = self._loop.time()
        self._set_timer(self._status_at + self._interval)

    def _flush(self) -> None:
        pending = self._pgconn.flush() == 1
        if pending != self._writing:
            self._writing = pending
            if pending:
                self._loop.add_writer(self._fd, self._flush_more)
            else:
                self._loop.remove_writer(self._fd)

    def _flush_more(self) -> None:
        try:
            self._flush()
        except OperationalError as exc:
            self._loop.remove_writer(self._fd)
            self._writing = False
            self._fail(ConnectionLost(str(exc).strip()))

    # Beginning and end

    async def _start(self, command: str, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                self._pgconn.send_query(command.encode())
                self._flush()
                while self._pgconn.is_busy():
                    await self._readable()
                    self._pgconn.consume_input()
        except (OperationalError, TimeoutError) as exc:
            raise ConnectionLost(f"starting the stream: {exc!r}") from exc
        result = self._pgconn.get_result()
        if result is None or result.status != pq.ExecStatus.COPY_BOTH:
            await self._refused(result)

    async def _refused(self, result: PGresult | None) -> NoReturn:
        if result is None:
            raise ConnectionLost("the server did not answer START_REPLICATION")
        while self._pgconn.status == pq.ConnStatus.OK and self._pgconn.get_result() is not None:
            pass  # leaves the connection fit for another question
        raise slot_refusal(*_error_of(result))

    async def close(self, timeout: float = 1.0) -> None:
        """Tell the server the confirmed position and leave. Returns when the server has released the slot, or after `timeout`
        seconds (in the middle of a long transaction it does not listen). A second call does nothing."""
        if self._closed:
            return
        self._send_status()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            if self._failure is None:
                async with asyncio.timeout(timeout):
                    await self._finish()
        except (OperationalError, TimeoutError):
            pass  # the connection goes now in any case
        finally:
            self._fail(ConnectionLost("the stream was closed"))
            if self._writing:
                self._loop.remove_writer(self._fd)
            await self._connection.close()

    async def _finish(self) -> None:
        self._pgconn.put_copy_end()
        self._flush()
        while True:
            length, _ = self._pgconn.get_copy_data(1)
            if length == 0:
                await self._readable()
                self._pgconn.consume_input()
            elif length < 0:
                break
        while self._pgconn.is_busy():
            await self._readable()
            self._pgconn.consume_input()
        self._pgconn.get_result()


def _error_of(result: PGresult) -> tuple[str, str]:
    fields = (pq.DiagnosticField.MESSAGE_PRIMARY, pq.DiagnosticField.MESSAGE_DETAIL)
    parts = [part.decode(errors="replace") for field in fields if (part := result.error_field(field))]
    return ": ".join(parts), (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()


def _literal(text: str) -> str:
    """A string of a replication command, whose grammar knows no `E''`: a backslash stands for itself."""
    return "'" + text.replace("'", "''") + "'" if "\\" in text else literal(text)
