"""The daemon as a process: `python -m cdcd run -c FILE`, its log lines, and every way to end it.

    async with Daemon(config) as daemon:                              # started, and its `ready` line seen
        await daemon.wait_log("slot.created", slot="cdcd_shop")
        await daemon.kill()                                           # kill -9
        await daemon.start()                                          # the same command again
        assert await daemon.stop() == 0                               # SIGINT, as Ctrl-C

    daemon = Daemon(config, failpoints="recorder.committed=3")        # ends itself with SIGKILL there
    await daemon.start(); assert await daemon.wait() == -9

Log lines are JSON objects on stderr with at least `event`; what is not JSON (a traceback) becomes {"event": "", "text": line}.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent


class Daemon:
    """One `cdcd run`, which may be started several times. `logs` keeps the lines of all its lives."""

    def __init__(
        self,
        config: Path,
        env: Mapping[str, str] | None = None,
        failpoints: str = "",
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.config = config
        self.env = dict(env or {})
        self.failpoints = failpoints
        self.arguments = arguments
        self.logs: list[dict[str, Any]] = []
        self.process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._begun = 0  # where in `logs` this life begins

    async def __aenter__(self) -> Self:
        await self.start()
        try:
            await self.ready()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.running:
            await (self.kill() if kind else self.stop())

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        """Start the process; does not wait for anything."""
        assert not self.running
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **self.env}
        environment.pop("CDCD_FAILPOINTS", None)
        if self.failpoints:
            environment["CDCD_FAILPOINTS"] = self.failpoints
        self._begun = len(self.logs)
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "cdcd", "run", "-c", str(self.config), *self.arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            limit=16 * 1024 * 1024,
        )
        self._reading = asyncio.create_task(self._read(self.process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            text = line.decode(errors="replace").rstrip("\n")
            try:
                entry = json.loads(text)
            except ValueError:
                entry = None
            self.logs.append(entry if isinstance(entry, dict) and "event" in entry else {"event": "", "text": text})
            async with self._changed:
                self._changed.notify_all()

    def find(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The log lines of this life with that event and these fields."""
        return [
            line
            for line in self.logs[self._begun :]
            if line["event"] == event and all(line.get(name) == value for name, value in fields.items())
        ]

    async def ready(self, timeout: float = 30.0) -> None:
        """Wait for the `ready` line of this life."""
        await self.wait_log("ready", timeout=timeout)

    async def wait_log(self, event: str, *, timeout: float = 30.0, **fields: Any) -> dict[str, Any]:
        """Wait until this life has logged `event` with `fields`. Fails at once when the process ends without it."""
        assert self._reading is not None
        looking = asyncio.create_task(self._find(event, fields))
        try:
            await asyncio.wait({looking, self._reading}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if found := self.find(event, **fields):
                return found[0]
        finally:
            looking.cancel()
        why = "within the time" if self.running else "before it ended"
        raise AssertionError(f"the daemon did not log {event!r} {fields or ''} {why}\n{self.tail()}")

    async def _find(self, event: str, fields: dict[str, Any]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self.find(event, **fields)))

    async def wait(self, timeout: float = 30.0) -> int:
        """Wait until it has ended and its log is read; the exit code (-9 when killed)."""
        assert self.process is not None
        assert self._reading is not None
        try:
            async with asyncio.timeout(timeout):
                code = await self.process.wait()
                await self._reading
        except TimeoutError:
            raise AssertionError(f"the daemon did not end within {timeout} s\n{self.tail()}") from None
        return code

    async def stop(self, how: signal.Signals = signal.SIGINT, timeout: float = 30.0) -> int:
        """Ask it to end; the exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(how)
        return await self.wait(timeout)

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        await self.stop(signal.SIGKILL)

    def tail(self, lines: int = 30) -> str:
        """The last log lines, for a message."""
        return "\n".join(line.get("text") or json.dumps(line) for line in self.logs[-lines:])
