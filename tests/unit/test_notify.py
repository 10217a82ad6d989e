"""What the service manager is told, on a real socket."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "notify"))
        found.settimeout(5)
        yield found


def told(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def test_without_a_manager_nothing_happens() -> None:
    notifier = Notifier({})
    assert not notifier.listens
    assert notifier.watchdog is None
    notifier.ready("x")
    notifier.close()


def test_what_is_told(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid()), "A": "b"}
    notifier = Notifier(environ)
    assert environ == {"A": "b"}  # children must not speak for us
    assert notifier.listens
    assert notifier.watchdog == 24.0
    notifier.extend(30.0, "starting")
    assert told(manager) == ["EXTEND_TIMEOUT_USEC=30000000", "STATUS=starting"]
    notifier.ready("all\nis  well")
    assert told(manager) == ["READY=1", "STATUS=all is well"]  # one line, whatever is in it
    notifier.alive()
    assert told(manager) == ["WATCHDOG=1"]
    notifier.reloading()
    reloading, moment = told(manager)
    assert reloading == "RELOADING=1"
    assert abs(int(moment.removeprefix("MONOTONIC_USEC=")) / 1e6 - time.monotonic()) < 5
    notifier.stopping(12.5)
    assert told(manager)[:2] == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=12500000"]
    notifier.close()


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0cdcd-test-{os.getpid()}")
        manager.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": f"@cdcd-test-{os.getpid()}"})
        notifier.status("here")
        assert told(manager) == ["STATUS=here"]
        notifier.close()


def test_a_watchdog_of_somebody_else(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}
    notifier = Notifier(environ)
    assert notifier.watchdog is None
    notifier.close()


def test_a_manager_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    notifier.ready()
    notifier.close()
