"""Talks to the service manager that started this process (sd_notify(3)): datagrams to the socket named in `NOTIFY_SOCKET`.

Without a service manager every call does nothing. What cannot be sent is dropped: the manager draws its own conclusions.
"""

import os
import socket
import time
from collections.abc import MutableMapping

SHARE = 0.4  # of the watchdog's time that passes between two signs of life


class Notifier:
    """`environ` gives the manager's variables, which are taken out of it: children must not speak for us."""

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        path = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        for_us = environ.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if path else None
        if self._socket is not None:
            self._socket.setblocking(False)
        self.watchdog: float | None = None
        """Seconds between two signs of life; None: nobody waits for them."""
        if for_us and microseconds.isdecimal() and int(microseconds):
            self.watchdog = int(microseconds) / 1e6 * SHARE

    @property
    def listens(self) -> bool:
        """Whether there is a service manager."""
        return self._socket is not None

    def tell(self, *assignments: str) -> None:
        """Send `NAME=value`s in one datagram."""
        if self._socket is not None:
            try:
                self._socket.sendto("\n".join(assignments).encode(), self._address)
            except OSError:
                return

    def ready(self, status: str = "") -> None:
        """All runs; or: a reload is over."""
        self.tell("READY=1", *_status(status))

    def reloading(self) -> None:
        """A reload begins; `ready` follows. The time (CLOCK_MONOTONIC) is what systemd 253 and newer ask for."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, seconds: float) -> None:
        """It ends, within so many seconds."""
        self.tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}", "STATUS=stopping: attempts under way end")

    def extend(self, seconds: float, status: str = "") -> None:
        """The start takes so many seconds more."""
        self.tell(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}", *_status(status))

    def alive(self, status: str = "") -> None:
        """A sign of life, for the watchdog."""
        self.tell("WATCHDOG=1", *_status(status))

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self.tell(*_status(status))

    def close(self) -> None:
        """Say no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _status(status: str) -> tuple[str, ...]:
    return (f"STATUS={' '.join(status.split())}",) if status else ()
