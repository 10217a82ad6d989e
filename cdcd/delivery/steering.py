"""What an operator does to deliveries while the daemon runs: the dispatcher's state and the store change together.

The rule: everything goes through the dispatcher, which knows what is in memory. Each method decides and gives a `Change`; `commit` gives
these to the recorder, which writes them in one commit with the effects given (an operation's progress, say). What was decided must be
committed at once, and what it was decided about must have been read within `reading`. One caller at a time (`cdcd.admin.operations`):
whoever changes deliveries has read them from the store, and no other operator may have changed them since.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cdcd.clock import Clock
from cdcd.delivery.dispatcher import Dispatcher
from cdcd.delivery.engine import Engine
from cdcd.event import Delivery, Record, Status
from cdcd.store.operations import cancelling
from cdcd.store.recorder import Recorder
from cdcd.store.writer import Effect
from cdcd.triggers.trigger import Trigger


@dataclass(slots=True, frozen=True)
class Change:
    """What is to be written."""

    records: Sequence[Record] = ()
    effects: Sequence[Effect] = ()


class Steering:
    """See the module. `usual_rate`: deliveries a second that are put into the backlog when nobody says how many, so that what happens
    meanwhile hardly waits for them."""

    usual_rate: float | None = 500.0

    def __init__(self, engine: Engine, recorder: Recorder, clock: Clock) -> None:
        self._engine = engine
        self._recorder = recorder
        self._clock = clock

    @property
    def _dispatcher(self) -> Dispatcher:
        return self._engine.dispatcher

    def trigger(self, name: str) -> Trigger | None:
        """The enabled trigger of this name."""
        return self._engine.trigger(name)

    def backlog(self, trigger: str) -> int:
        """How many of its deliveries are staged."""
        queue = self._dispatcher.queues.get(trigger)
        return 0 if queue is None else queue.backlog.count

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Deliveries are read from the store within this, and changed: what happens to them after they were read is seen."""
        self._dispatcher.passed = set()
        try:
            yield
        finally:
            self._dispatcher.passed = None

    def again(self, delivery: Delivery, why: str) -> Change:
        """A final delivery is tried again, at the back of its lanes. `trigger` must know its own."""
        delivery.since = self._clock.now()
        return Change(self._dispatcher.again(delivery, delivery.since, why))

    def stage(self, delivery: Delivery) -> Change:
        """A new delivery, behind what its lanes hold. `trigger` must know its own."""
        return Change(self._dispatcher.stage(delivery))

    def cancel(self, delivery: Delivery, why: str) -> Change | None:
        """A staged delivery becomes `cancelled`. None: not now, it is being sent."""
        now = self._clock.now()
        if delivery.trigger not in self._dispatcher.queues:  # a trigger that is gone
            return Change((), cancelling([delivery], why, now))
        record = self._dispatcher.change(delivery, Status.CANCELLED, now, why)
        return None if record is None else Change((record,))

    def hurry(self, delivery: Delivery, last_error: str) -> Change | None:
        """A staged delivery that is the first of its lane is due now. None: it is being sent. `trigger` must know its own."""
        record = self._dispatcher.change(delivery, Status.STAGED, self._clock.now(), last_error)
        return None if record is None else Change((record,))

    def pause(self, trigger: str) -> Change:
        """Nothing of it is sent until it is resumed."""
        return Change(self._dispatcher.pause(trigger))

    def resumed(self, trigger: str) -> None:
        """It is resumed, and that is committed: what waits of it goes, in order."""
        self._dispatcher.paused.discard(trigger)
        self._engine.look(trigger)

    async def commit(self, changes: Iterable[Change], effects: Sequence[Effect] = ()) -> None:
        """Write all of it; it is durable when this returns, and will be if this is cancelled."""
        changes = list(changes)
        await self._recorder.submit(
            [record for change in changes for record in change.records],
            [*(effect for change in changes for effect in change.effects), *effects],
        )
