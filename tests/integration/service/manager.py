"""A service manager for tests: it reads the unit file and does what it says, as systemd would, on a real datagram socket.

    async with Manager(unit, replace={"/opt/cdcd/bin/cdcd": [...], "/etc/cdcd": str(directory)}) as manager:
        await manager.start()                 # returns when READY=1 came; raises when the start takes too long
        await manager.reload()                # ExecReload=; returns when READY=1 follows RELOADING=1
        await manager.until_restarted()       # the watchdog killed it (SIGABRT), and Restart= started it anew
        assert await manager.stop() == 0      # SIGTERM; SIGKILL when it takes longer than it asked for

It knows: ExecStart, ExecReload, Environment, NotifyAccess=main, WatchdogSec (`watchdog` overrides it), TimeoutStartSec, TimeoutStopSec,
EXTEND_TIMEOUT_USEC, Restart=on-failure, RestartSec, StateDirectory, LoadCredential (systemd.service(5), systemd.exec(5)).
"""

import asyncio
import configparser
import contextlib
import os
import shlex
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[3]
UNIT = ROOT / "systemd" / "cdcd.service"


def read_unit(path: Path = UNIT) -> dict[str, list[str]]:
    """The settings of `[Service]`; each may stand several times."""

    class Several(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            if isinstance(value, list) and isinstance(self.get(key), list):
                self[key].extend(value)
            else:
                super().__setitem__(key, value)

    parser = configparser.RawConfigParser(strict=False, dict_type=Several, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path)
    return {name: str(value).split("\n") for name, value in parser.items("Service")}


def seconds(text: str) -> float:
    """A time as the unit has it: plain seconds."""
    return float(text)


class Manager:
    """One unit. `told` are all datagrams that the main process sent, as mappings."""

    def __init__(
        self,
        directory: Path,
        replace: Mapping[str, str],
        environment: Mapping[str, str],
        *,
        watchdog: float | None = None,
        first: Mapping[str, str] | None = None,
    ) -> None:
        """`first` is further environment of the first start only."""
        self.unit = read_unit()
        self.directory = directory
        self.replace = replace
        self.environment = environment
        self.watchdog = watchdog or seconds(self.unit["WatchdogSec"][-1])
        self.first = dict(first or {})
        self.told: list[dict[str, str]] = []
        self.starts = 0
        self.killed: list[int] = []
        self.process: asyncio.subprocess.Process | None = None
        self.deadline = 0.0
        self._alive_at = 0.0
        self._changed = asyncio.Condition()
        self._wanted = False
        self._path = directory / "notify.sock"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._socket.bind(str(self._path))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._wanted = False
        for task in self._tasks:
            task.cancel()
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    # The socket

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(struct.calcsize("3i")))
                sender = next(
                    (struct.unpack("3i", found)[0] for _, kind, found in ancillary if kind == socket.SCM_CREDENTIALS), 0
                )
                if self.process is not None and sender == self.process.pid:  # NotifyAccess=main
                    self._take(dict(line.split("=", 1) for line in data.decode().split("\n")))

    def _take(self, told: dict[str, str]) -> None:
        self.told.append(told)
        now = time.monotonic()
        if told.get("WATCHDOG") == "1" or told.get("READY") == "1":
            self._alive_at = now
        if "EXTEND_TIMEOUT_USEC" in told:
            self.deadline = max(self.deadline, now + int(told["EXTEND_TIMEOUT_USEC"]) / 1e6)
        self._tasks.append(asyncio.ensure_future(self._tell()))

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, found: Any, within: float, *, may_end: bool = False) -> None:
        """Wait until `found()`; `deadline` may be moved meanwhile. `may_end`: the process may, to be started anew."""
        self.deadline = time.monotonic() + within
        async with self._changed:
            while not found():
                left = self.deadline - time.monotonic()
                assert left > 0, f"not within its time; it told {self.told[-5:]}"
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, 0.5)):
                        await self._changed.wait()
                assert self.process is not None
                lives = self.process.returncode is None or may_end or not self._wanted
                assert lives or found(), f"it ended: {self.process.returncode}"

    # Its life

    def _command(self, name: str) -> list[str]:
        text = self.unit[name][-1]
        for old, new in self.replace.items():
            text = text.replace(old, new)
        assert self.process is not None or "$MAINPID" not in text
        return shlex.split(text.replace("$MAINPID", str(self.process.pid) if self.process else ""))

    def _directories(self) -> tuple[Path, Path]:
        """Its state, and its credentials."""
        state, given = self.directory / "state", self.directory / "credentials"
        for place in (state, given):
            place.mkdir(exist_ok=True, mode=0o700)
        for line in self.unit["LoadCredential"]:
            name, _, source = line.partition(":")
            for old, new in self.replace.items():
                source = source.replace(old, new)
            (given / name).write_bytes(Path(source).read_bytes())
        return state, given

    async def _launch(self) -> None:
        state, given = self._directories()
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "NOTIFY_SOCKET": str(self._path),
            "WATCHDOG_USEC": str(int(self.watchdog * 1e6)),
            "STATE_DIRECTORY": str(state),
            "CREDENTIALS_DIRECTORY": str(given),
            **self.environment,
            **(self.first if not self.starts else {}),
        }
        self.starts += 1
        # A shell tells the watchdog's process id, as systemd does, before it becomes the daemon.
        shell = ["/bin/sh", "-c", 'WATCHDOG_PID=$$ exec "$@"', "sh", *self._command("ExecStart")]
        self.process = await asyncio.create_subprocess_exec(
            *shell, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr, cwd="/"
        )

    async def start(self) -> None:
        """Returns when it is ready."""
        self._wanted = True
        await self._launch()
        await self.until(lambda: any("READY" in told for told in self.told), seconds(self.unit["TimeoutStartSec"][-1]))
        self._tasks.append(asyncio.create_task(self._watch()))

    async def _watch(self) -> None:
        """Kill it when it gives no sign of life; start it anew when it fails."""
        assert self.unit["Restart"] == ["on-failure"]
        while self._wanted:
            assert self.process is not None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self.process.wait()
            if self.process.returncode is None and self._is_wanted() and time.monotonic() - self._alive_at > self.watchdog:
                self.process.send_signal(signal.SIGABRT)
                await self.process.wait()
            if self.process.returncode:
                self.killed.append(self.process.returncode)
                await asyncio.sleep(seconds(self.unit["RestartSec"][-1]) / 10)
                self.told.clear()
                self._alive_at = time.monotonic() + seconds(self.unit["TimeoutStartSec"][-1])  # no watchdog until it is ready
                await self._launch()

    def _is_wanted(self) -> bool:
        return self._wanted

    async def until_restarted(self) -> None:
        """Returns when it is ready again after it was killed."""
        starts = self.starts
        await self.until(lambda: self.starts > starts and any("READY" in told for told in self.told), 120.0, may_end=True)

    async def reload(self) -> None:
        """Returns when it has told that it is reloading, and then that it is ready."""
        begun = len(self.told)
        command = await asyncio.create_subprocess_exec(*self._command("ExecReload"))
        assert await command.wait() == 0

        def over() -> bool:
            since = self.told[begun:]
            began = next((at for at, told in enumerate(since) if told.get("RELOADING") == "1"), None)
            return began is not None and any(told.get("READY") == "1" for told in since[began + 1 :])

        await self.until(over, 30.0)

    async def stop(self) -> int:
        """SIGTERM, and SIGKILL when that is not enough; the exit code."""
        assert self.unit["KillMode"] == ["mixed"]
        assert self.process is not None
        self._wanted = False
        self.deadline = time.monotonic() + seconds(self.unit["TimeoutStopSec"][-1])
        self.process.terminate()
        while self.process.returncode is None and time.monotonic() < self.deadline:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await self.process.wait()
        if self.process.returncode is None:
            self.process.kill()
        return await self.process.wait()
