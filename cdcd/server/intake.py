"""Takes events in: what many requests ask for at once becomes durable in one commit.

The rule: whatever gathered while the last commit ran is the next group (no timer); a request is answered after its group is
committed. What the store refuses for its data is found by putting the requests of that group one by one.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial

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


Told = Callable[[BaseException | None, AbstractSet[str]], None]
"""Called once, with why nothing was queued, or None and the ids of those that are new. CancelledError: cdcd stops."""


@dataclass(slots=True, eq=False)
class _Unit:
    """One request's events, and who is told what became of them."""

    events: Sequence[Queued]
    size: int
    told: Told


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

    async def put(self, events: Sequence[Queued]) -> AbstractSet[str]:
        """Return when they are durable: the ids of those that are new. Raises StoreUnavailable, StoreRefused, RowRefused."""
        done: asyncio.Future[AbstractSet[str]] = asyncio.get_running_loop().create_future()
        self.submit(events, partial(_end, done))
        return await done

    def submit(self, events: Sequence[Queued], told: Told) -> None:
        """As `put`, for many requests a second: a future costs more than what it waits for."""
        self._waiting.append(_Unit(events, sum([len(event.data) for event in events]), told))
        if not self._running:
            self._running = True
            self._task = self._tasks.spawn(self._run(), "write")

    async def drained(self, within: float) -> None:
        """Return when everything was committed, or after so many seconds."""
        if self._running and self._task is not None:
            await asyncio.wait({self._task}, timeout=within)

    async def close(self) -> None:
        """What was not committed is not answered."""
        await self._tasks.cancel()
        _tell(self._waiting, asyncio.CancelledError())
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
                _tell(units, error)
        except CdcdError as error:
            _tell(units, error)
        except asyncio.CancelledError as error:
            _tell(units, error)
            raise
        except Exception as error:  # noqa: BLE001  # the API must not take the daemon down: who asked is told, and logs it
            _tell(units, error)
            await self._inbox.close()
        else:
            self.groups += 1
            soon = (self._clock.now() + LOOK_EVERY) * 1e6
            if any(event.due <= soon for event in events):
                self._wake()
            # The next group goes to the store first: that works while these are answered.
            asyncio.get_running_loop().call_soon(_tell, units, None, new)


def _tell(units: Iterable[_Unit], error: BaseException | None, new: AbstractSet[str] = frozenset()) -> None:
    """Whatever goes wrong for one, the others are told."""
    for unit in units:
        try:
            unit.told(error, new)
        except Exception as mistake:  # noqa: BLE001  # told by the loop, as every callback's
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a request could not be answered", "exception": mistake}
            )


def _end(done: "asyncio.Future[AbstractSet[str]]", error: BaseException | None, new: AbstractSet[str]) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(new)
    elif isinstance(error, asyncio.CancelledError):
        done.cancel()
    else:
        done.set_exception(error)
