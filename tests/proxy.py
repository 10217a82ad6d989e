"""A TCP proxy that misbehaves on command, between cdcd and Postgres or between cdcd and an endpoint.

    async with Proxy.to_postgres(database.dsn) as proxy:       # a unix socket or TCP target
        dsn = proxy.dsn(database.dsn)                          # the same database, through the proxy
        proxy.black_hole()                                     # nothing passes, connections stay open
        proxy.heal()
    async with Proxy(("127.0.0.1", endpoint.port)) as proxy:
        url = proxy.url("/hook")
        proxy.cut_after(down=0)                                # the response is lost after the endpoint acted

"up" is from the client to the target, "down" is back. What the proxy holds back it delivers later, in order, as a network
does; it never drops bytes from within a stream. Commands act on open connections and on those to come, until `heal()`.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

Target = str | tuple[str, int]
Way = Literal["up", "down"]
CHUNK = 64 * 1024
IN_FLIGHT = 64  # chunks held between reading and writing; then the sender feels a full network


class Proxy:
    """Listens on a free port of 127.0.0.1 and forwards to `target`: a unix socket's path or `(host, port)`."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.port = 0
        self.accepted = 0
        self.passed: dict[Way, int] = {"up": 0, "down": 0}
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._changed = asyncio.Condition()
        self._held: set[Way] = set()
        self._delay = 0.0
        self._rate: float | None = None
        self._budget: dict[Way, int | None] = {"up": None, "down": None}
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    def to_postgres(cls, dsn: str) -> Self:
        """A proxy to the server of `dsn` (URL or key=value)."""
        parts = conninfo_to_dict(dsn)
        host, port = str(parts.get("host") or "127.0.0.1"), int(parts.get("port") or 5432)
        return cls(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port))

    def dsn(self, dsn: str) -> str:
        """`dsn` with this proxy in the place of its host. Through TCP the server asks for the password: give `tcp_dsn`."""
        return make_conninfo(dsn, host="127.0.0.1", port=self.port)

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._links)

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        await self.refuse()
        self.cut()
        if self._tasks:  # they end by themselves, unless they are about to open a connection
            await asyncio.wait(list(self._tasks), timeout=1.0)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Commands: the listener

    async def refuse(self) -> None:
        """New connections are refused (ECONNREFUSED); open ones go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def accept(self) -> None:
        """Listen (again, on the same port)."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=CHUNK)
            self.port = self._server.sockets[0].getsockname()[1]

    # Commands: open connections

    def cut(self) -> None:
        """Close every open connection on both sides (FIN)."""
        for link in list(self._links):
            link.close()

    def reset(self) -> None:
        """Reset every open connection on both sides (RST)."""
        for link in list(self._links):
            link.reset()

    def half_close(self, way: Way) -> None:
        """End one way of every open connection (FIN towards the target for "up", towards the client for "down")."""
        for link in list(self._links):
            link.half_close(way)

    # Commands: the traffic

    def black_hole(self, *ways: Way) -> None:
        """Nothing passes any more (in `ways`, by default both); nobody is told."""
        self._held = set(ways or ("up", "down"))
        self._tell()

    def delay(self, seconds: float) -> None:
        """Every byte takes `seconds` longer, in both ways. Bandwidth is not changed."""
        self._delay = seconds

    def throttle(self, bytes_per_second: float) -> None:
        """At most so much passes, in each way of each connection."""
        self._rate = bytes_per_second

    def cut_after(self, *, up: int | None = None, down: int | None = None) -> None:
        """Let so many more bytes through, over all connections, then cut whichever connection brings more, before they pass."""
        self._budget = {"up": up, "down": down}

    def heal(self) -> None:
        """Take back black_hole, delay, throttle and cut_after. What was held back is delivered."""
        self._held = set()
        self._delay = 0.0
        self._rate = None
        self._budget = {"up": None, "down": None}
        self._tell()

    # Watching

    async def wait_until(self, predicate: Callable[["Proxy"], bool], timeout: float = 10.0) -> None:
        """Wait until `predicate(proxy)`; it is asked again whenever a connection opens or ends, or bytes pass."""
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(lambda: predicate(self)), timeout)
            except TimeoutError:
                raise AssertionError(
                    f"proxy: {self.accepted} accepted, {self.connections} open, {self.passed} bytes passed, after {timeout} s"
                ) from None

    async def wait_connections(self, count: int, timeout: float = 10.0) -> None:
        """Wait until exactly `count` are open."""
        await self.wait_until(lambda proxy: proxy.connections == count, timeout)

    # Workings

    def _tell(self) -> None:
        task = asyncio.get_running_loop().create_task(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        link = _Link(self)
        try:
            if isinstance(self.target, str):
                there = await asyncio.open_unix_connection(self.target, limit=CHUNK)
            else:
                there = await asyncio.open_connection(*self.target, limit=CHUNK)
        except OSError:
            writer.close()
            self._tasks.discard(task)
            return
        self._links.add(link)
        self._tell()
        try:
            await link.run((reader, writer), there)
        finally:
            self._links.discard(link)
            self._tasks.discard(task)
            self._tell()

    async def gate(self, way: Way, size: int) -> bool:
        """Called with each chunk before it passes. False: the connection is to be cut instead."""
        if way in self._held:
            async with self._changed:
                await self._changed.wait_for(lambda: way not in self._held)
        budget = self._budget[way]
        if budget is not None:
            if size > budget:
                return False
            self._budget[way] = budget - size
        self.passed[way] += size
        self._tell()
        return True

    def pace(self) -> tuple[float, float | None]:
        """The delay and the rate that hold now."""
        return self._delay, self._rate


class _Link:
    """One proxied connection: two pumps, each with a queue between reading and writing so that a delay keeps the bandwidth."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._writers: dict[Way, asyncio.StreamWriter] = {}
        self._done = asyncio.Event()

    async def run(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        target: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._writers = {"up": target[1], "down": client[1]}
        pumps = [asyncio.create_task(self._pump("up", client[0])), asyncio.create_task(self._pump("down", target[0]))]
        watch: asyncio.Task[Any] = asyncio.create_task(self._done.wait())
        both: asyncio.Task[Any] = asyncio.create_task(asyncio.wait(pumps))
        try:
            await asyncio.wait({both, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.close()
            for task in (*pumps, both, watch):
                task.cancel()
            ended = await asyncio.gather(*pumps, both, watch, return_exceptions=True)
        for end in ended:
            if isinstance(end, Exception):
                raise end

    async def _pump(self, way: Way, reader: asyncio.StreamReader) -> None:
        """Returns when this way has ended in good order; ends the whole link when it was broken."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)

        async def forward() -> None:
            while True:
                due, chunk = await under_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not await self._proxy.gate(way, len(chunk)):
                    self.close()
                    return
                writer = self._writers[way]
                if not chunk:
                    if writer.can_write_eof() and not writer.is_closing():
                        writer.write_eof()
                    return
                if writer.is_closing():  # uvloop's raises RuntimeError
                    self.close()
                    return
                writer.write(chunk)
                await writer.drain()
                rate = self._proxy.pace()[1]
                if rate is not None:
                    await asyncio.sleep(len(chunk) / rate)

        async def read() -> None:
            chunk = b"first"
            while chunk:
                chunk = await reader.read(CHUNK if self._proxy.pace()[1] is None else 1024)
                await under_way.put((loop.time() + self._proxy.pace()[0], chunk))

        reading, forwarding = asyncio.create_task(read()), asyncio.create_task(forward())
        try:
            await asyncio.wait({reading, forwarding}, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            reading.cancel()
            forwarding.cancel()
            ended = await asyncio.gather(reading, forwarding, return_exceptions=True)
        for end in ended:
            if isinstance(end, OSError):  # a reset arrives on one side: the other side sees the end too
                self.close()
            elif isinstance(end, Exception):
                raise end

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._done.set()

    def reset(self) -> None:
        for writer in self._writers.values():
            linger_zero(writer.transport)
            writer.transport.abort()
        self._done.set()

    def half_close(self, way: Way) -> None:
        writer = self._writers.get(way)
        if writer is not None and writer.can_write_eof():
            writer.write_eof()


def linger_zero(transport: asyncio.BaseTransport) -> None:
    """Make the coming `abort()` send RST instead of FIN."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
