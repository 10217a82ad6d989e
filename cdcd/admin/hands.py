"""Who carries out what an operator asks for: the running daemon (`cdcd.delivery.steering`), or, while none runs, this process itself.

The rule: either way whoever changes deliveries owns the store. Without a daemon that is a recorder of one's own, which takes the owner's
lock or says who has it.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from cdcd.clock import Clock
from cdcd.delivery.steering import Change
from cdcd.event import Delivery, Record, Status
from cdcd.store.recorder import Recorder
from cdcd.store.writer import Effect
from cdcd.triggers.trigger import Trigger


class Hands(Protocol):
    """See `cdcd.delivery.steering.Steering`, which is one."""

    usual_rate: float | None

    def trigger(self, name: str) -> Trigger | None: ...
    def reading(self) -> AbstractContextManager[None]: ...
    def backlog(self, trigger: str) -> int: ...
    def again(self, delivery: Delivery, why: str) -> Change: ...
    def stage(self, delivery: Delivery) -> Change: ...
    def cancel(self, delivery: Delivery, why: str) -> Change | None: ...
    def hurry(self, delivery: Delivery, last_error: str) -> Change | None: ...
    def pause(self, trigger: str) -> Change: ...
    def resumed(self, trigger: str) -> None: ...
    async def commit(self, changes: Iterable[Change], effects: Sequence[Effect] = ()) -> None: ...


class Offline:
    """For the command line while no daemon runs. `start` raises StoreUnavailable when somebody owns the store, and StoreRefused."""

    usual_rate: float | None = None  # nobody sends

    def __init__(self, dsn: str, schema: str, project: str, triggers: Iterable[Trigger], clock: Clock) -> None:
        self._triggers: Mapping[str, Trigger] = {trigger.name: trigger for trigger in triggers if trigger.config.enabled}
        self._clock = clock
        self._over: asyncio.Future[None] | None = None
        self._recorder = Recorder(dsn, schema, project, clock, self._failed, [], lambda _: None, patience=0)

    def _failed(self, part: str, error: BaseException) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)

    async def start(self) -> None:
        """Become the owner of the store."""
        self._over = asyncio.get_running_loop().create_future()
        await self._recorder.start()

    async def stop(self) -> None:
        """Give the store up."""
        await self._recorder.stop()

    def trigger(self, name: str) -> Trigger | None:
        """The enabled trigger of this name."""
        return self._triggers.get(name)

    def reading(self) -> AbstractContextManager[None]:
        """Nobody else changes anything."""
        return nullcontext()

    def backlog(self, trigger: str) -> int:
        """Nobody sends, so nobody need wait."""
        return 0

    def again(self, delivery: Delivery, why: str) -> Change:
        """See `Steering`."""
        delivery.since = self._clock.now()
        return Change((Record(delivery, Status.STAGED, False, None, delivery.since, why, again=True),))

    def stage(self, delivery: Delivery) -> Change:
        """See `Steering`."""
        return Change((Record(delivery, Status.STAGED, False),))

    def cancel(self, delivery: Delivery, why: str) -> Change:
        """See `Steering`."""
        return Change((Record(delivery, Status.CANCELLED, True, None, 0.0, why),))

    def hurry(self, delivery: Delivery, last_error: str) -> Change:
        """See `Steering`."""
        return Change((Record(delivery, Status.STAGED, True, None, self._clock.now(), last_error),))

    def pause(self, trigger: str) -> Change:
        """See `Steering`."""
        return Change()

    def resumed(self, trigger: str) -> None:
        """See `Steering`."""

    async def commit(self, changes: Iterable[Change], effects: Sequence[Effect] = ()) -> None:
        """See `Steering`. Raises what ended the recorder."""
        assert self._over is not None
        changes = list(changes)
        written = self._recorder.submit(
            [record for change in changes for record in change.records],
            [*(effect for change in changes for effect in change.effects), *effects],
        )
        await asyncio.wait((written, self._over), return_when=asyncio.FIRST_COMPLETED)
        if self._over.done():
            self._over.result()
