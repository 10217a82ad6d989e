"""Tells the service manager how it is: starting, ready, alive, reloading, stopping (sd_notify(3)).

The rules:
- a start that waits (for a store, a lock) asks for more time for as long as the event loop runs;
- signs of life come from the event loop and only while the pipeline moves, judged as `/livez` does: an event loop that is blocked gives
  none, and one that runs while nothing moves gives none either, so that the manager restarts the daemon;
- without a service manager nothing of this runs.
"""

import asyncio
from collections.abc import Callable

import structlog

from cdcd.admin.overview import Overview
from cdcd.lifecycle import Failed, Tasks
from cdcd.notify import Notifier

log = structlog.get_logger()

EXTEND_EVERY = 10.0  # seconds
EXTEND_BY = 30.0
GRACE = 20.0  # seconds beyond `limits.shutdown` that a stop may take
TELL_EVERY = 15.0  # seconds between two lines for `systemctl status` where no watchdog asks for signs of life


class Beginning:
    """A part that starts first: it asks for time until `Service` has started."""

    name = "service.beginning"

    def __init__(self, notifier: Notifier, failed: Failed) -> None:
        self._notifier = notifier
        self._tasks = Tasks(self.name, failed)

    async def start(self) -> None:
        """Begin to ask."""
        if self._notifier.listens and not len(self._tasks):
            self._tasks.spawn(self._run(), "extend")

    async def stop(self) -> None:
        """It is the last to stop: nothing is said after this."""
        await self.over()
        self._notifier.close()

    async def over(self) -> None:
        """All runs."""
        await self._tasks.cancel()

    async def _run(self) -> None:
        while True:
            self._notifier.extend(EXTEND_BY, "starting: waiting for the event store and the databases")
            await asyncio.sleep(EXTEND_EVERY)


class Service:
    """A part that starts last and stops first. `shutdown` is how long a stop may take, in seconds."""

    name = "service"

    def __init__(
        self, notifier: Notifier, beginning: Beginning, overview: Overview, shutdown: Callable[[], float], failed: Failed
    ) -> None:
        self._notifier = notifier
        self._beginning = beginning
        self._overview = overview
        self._shutdown = shutdown
        self._tasks = Tasks(self.name, failed)
        self._withheld = False

    async def start(self) -> None:
        """All runs."""
        await self._beginning.over()
        if self._notifier.listens and not len(self._tasks):
            self._notifier.ready("running")
            self._tasks.spawn(self._run(), "live")

    async def stop(self) -> None:
        """A stop begins."""
        if self._notifier.listens:
            self._notifier.stopping(self._shutdown() + GRACE)
        await self._tasks.cancel()

    def reloading(self) -> None:
        """The configuration is read again; `reloaded` follows."""
        self._notifier.reloading()

    def reloaded(self, how: str) -> None:
        """It was, or was refused: `how` says so in words."""
        self._notifier.ready(how)

    async def _run(self) -> None:
        every = self._notifier.watchdog
        while True:
            troubles = self._overview.motion()
            still = [trouble for trouble in troubles if trouble.stands_still]
            status = "; ".join(f"{trouble.where}: {trouble.what}" for trouble in troubles[:3]) or "running"
            if every is None or still:
                self._notifier.status(status)
            else:
                self._notifier.alive(status)
            if still and not self._withheld:
                log.error("watchdog.withheld", what=still[0].what, where=still[0].where, hint=still[0].fix)
            self._withheld = bool(still)
            await asyncio.sleep(every or TELL_EVERY)
