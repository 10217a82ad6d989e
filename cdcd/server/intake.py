"""Takes events in: what many requests ask for at once becomes durable in one commit.

The rule: whatever gathered while the last commit ran is the next group (no timer); a request is answered after its group is
committed. What the store refuses for its data is found by putting the requests of that group one by one.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cdcd import failpoints
from cdcd.clock import Clock
from cdcd.errors import CdcdError
from cdcd.event import Queued
from cdcd.lifecycle import Failed, Tasks
from cdcd.sources.queue import LOOK_EVERY
from cdcd.store.connection import RowRefused
from cdcd.store.inbox import Inbox

GROUP_EVENTS = 2000
GROUP_BYTES = 16 * 1024 * 1024


@dataclass(slots=True, eq=False)
class _Unit:
    """One request's events, and who waits for them."""

    events: Sequence[Queued]
    size: int
    done: asyncio.Future[set[str]]


class Intake:
    """One connection to the store. `wake` is called after each commit of something that is due before the queue is looked at anyway.
    One task writes at a time, and only while there is work."""

    def __init__(self, inbox: Inbox, wake: Callable[[], None], clock: Clock, failed: Failed) -> None:
        self._inbox = inbox
        self._wake = wake
        self._clock = clock
        self._tasks = Tasks("server.intake", failed)
        self._waiting: deque[_Unit] = deque()
        self._running = False
        self._task: asyncio.Task[None] | None = None
        self.groups = 0

    def put(self, events: Sequence[Queued]) -> asyncio.Future[set[str]]:
        """Ends when they are durable, with the ids of those that are new; or with StoreUnavailable, StoreRefused, RowRefused."""
        done: asyncio.Future[set[str]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Unit(events, sum(len(event.data) for event in events), done))
        if not self._running:
            self._running = True
            self._task = self._tasks.spawn(self._run(), "write")
        return done

    async def drained(self, within: float) -> None:
        """Return when everything was committed, or after so many seconds."""
        if self._running and self._task is not None:
            await asyncio.wait({self._task}, timeout=within)

    async def close(self) -> None:
        """What was not committed is not answered."""
        await self._tasks.cancel()
        for unit in self._waiting:
            unit.done.cancel()
        self._waiting.clear()
        self._running = False
        await self._inbox.close()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._commit(self._take())
        finally:
            self._running = False

    def _take(self) -> list[_Unit]:
        units: list[_Unit] = []
        count = size = 0
        while self._waiting and (not units or (count < GROUP_EVENTS and size < GROUP_BYTES)):
            unit = self._waiting.popleft()
            if not unit.done.done():
                units.append(unit)
                count += len(unit.events)
                size += unit.size
        return units

    async def _commit(self, units: list[_Unit]) -> None:
        events = [event for unit in units for event in unit.events]
        try:
            failpoints.hit("server.before_commit")
            new = await self._inbox.put_first(events)
            failpoints.hit("server.committed")
        except RowRefused as error:
            if len(units) > 1:
                for unit in units:
                    await self._commit([unit])
            else:
                _end(units, error)
        except CdcdError as error:
            _end(units, error)
        except asyncio.CancelledError:
            for unit in units:
                unit.done.cancel()
            raise
        except Exception as error:  # noqa: BLE001  # the API must not take the daemon down: who asked is told, and logs it
            _end(units, error)
            await self._inbox.close()
        else:
            self.groups += 1
            soon = (self._clock.now() + LOOK_EVERY) * 1e6
            if any(event.due <= soon for event in events):
                self._wake()
            for unit in units:
                if not unit.done.done():
                    unit.done.set_result(new)


def _end(units: Sequence[_Unit], error: Exception) -> None:
    for unit in units:
        if not unit.done.done():
            unit.done.set_exception(error)
