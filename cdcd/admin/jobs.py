"""One operation over many deliveries, from where it stands to its end.

The rule: what is done is committed together with how far the operation has come, so after a `kill -9` nothing is done twice and nothing
left out. It goes in small parts, each bounded in bytes, and lets others go between them; where it puts deliveries into the backlog it
waits until the daemon has sent most of what it put there before.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from cdcd.admin.asking import Order, shown_url
from cdcd.admin.deciding import Decision, decide
from cdcd.admin.elsewhere import Elsewhere, Senders
from cdcd.admin.hands import Hands
from cdcd.clock import Clock
from cdcd.delivery.steering import Change
from cdcd.event import Delivery
from cdcd.store.finding import Finder, Found
from cdcd.store.operations import Operation, OperationStore, Subject, ended, progressed, redirecting
from cdcd.store.walks import known_ids, to_text

PART = 200  # deliveries that are dealt with together
AHEAD = 1000  # deliveries of a trigger that are put into the backlog beyond what was there, before it waits
LOOK_AGAIN = 0.1  # seconds
BUSY_SECONDS = 60.0  # that what is being sent is waited for at the end of a cancel
AT_A_TIME = 8  # deliveries that are sent to another URL at once
LOOKING = 2.0  # seconds that are searched before it is asked whether to stop


@dataclass(slots=True)
class Job:
    """`turn` is held while deliveries are read and changed, so that no two operations change the same one. `store` is the job's own."""

    operation: Operation
    order: Order
    hands: Hands
    finder: Finder
    store: OperationStore
    senders: Senders
    turn: asyncio.Lock
    clock: Clock
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _base: dict[str, int] = field(default_factory=dict)
    _busy: list[Found] = field(default_factory=list)
    _put: set[str] = field(default_factory=set)
    _trouble: str = ""

    @property
    def _rate(self) -> float | None:
        """Deliveries a second; None: no bound, since none is put into the backlog."""
        if self.order.action == "cancel" or (self.order.to and self.order.rate is None):
            return None
        return self.order.rate or self.hands.usual_rate

    async def run(self) -> None:
        """To the end, or until `stopping` is set. Raises StoreUnavailable: call it again."""
        async with Elsewhere(self.order.to, self.senders) as elsewhere:
            await self._walk(elsewhere)
            await self._wait_for_busy(elsewhere)
        operation = self.operation
        operation.state = "stopped" if self.stopping.is_set() else "done"
        operation.remark = self._trouble
        await self.hands.commit((), [progressed(operation), ended(operation)])

    async def _walk(self, elsewhere: Elsewhere) -> None:
        newest = self.order.newest_first
        cursor = known_ids([self.operation.reached])[0] if self.operation.reached else None
        size = PART if not self.order.to else 2 * AT_A_TIME
        if self._rate is not None:
            size = max(1, min(size, int(self._rate / 4)))
        while not self.stopping.is_set():
            stretch = await self.finder.find(self.order.wanted, size, cursor=cursor, newest=newest, seconds=LOOKING)
            began = self.clock.monotonic()
            if self.order.to:  # which changes no other, and takes its time
                await self._read_and_deal_with(stretch.found, elsewhere)
            else:
                async with self.turn:
                    with self.hands.reading():
                        await self._read_and_deal_with(stretch.found, elsewhere)
            if stretch.reached is None:
                return
            cursor = stretch.reached
            self.operation.reached = to_text(cursor)
            await self._pace(len(stretch.found), began)

    async def _pace(self, count: int, began: float) -> None:
        """As fast as is asked for, and no faster than what was put into the backlog leaves it."""
        if self._rate is not None and count:
            await self._sleep(began + count / self._rate - self.clock.monotonic())
        for trigger in self._put:
            while not self.stopping.is_set() and (behind := self.hands.backlog(trigger)) > self._base[trigger] + AHEAD:
                self._remark(f"waits for the backlog of {trigger}: {behind} deliveries")
                await self._sleep(LOOK_AGAIN)
        self._put.clear()
        self._remark("")

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self.stopping.wait()
            except TimeoutError:
                pass

    async def _read_and_deal_with(self, found: Sequence[Found], elsewhere: Elsewhere) -> None:
        by_id = {one.id: one for one in found}
        async for subjects in self.store.subjects(found):
            await self._deal_with(subjects, by_id, elsewhere)

    async def _deal_with(self, subjects: Sequence[Subject], found: dict[str, Found], elsewhere: Elsewhere) -> None:
        """Decide and commit; nothing else happens between the two."""
        operation = self.operation
        for subject in subjects:
            trigger = subject.delivery.trigger
            self._base.setdefault(trigger, self.hands.backlog(trigger))
        changes: list[Change] = []
        sends: list[Delivery] = []
        for subject in subjects:
            decision = decide(self.order, subject, operation.id, operation.who, self.hands)
            if decision.change is not None:
                changes.append(decision.change)
                self._put.add(subject.delivery.trigger)
                operation.done += 1
            elif decision.send is not None:
                sends.append(decision.send)
            elif decision.ours:
                pass  # it lies behind what it repeats, and so before us
            elif decision.busy:
                self._busy.append(found[subject.delivery.id])
            else:
                self._not_done(decision, subject.delivery.id)
        if subjects:
            last = known_ids([subjects[-1].delivery.id])[0]
            operation.reached = to_text(last if self.order.newest_first else last + 1)
        if sends:
            changes += await self._send(sends, elsewhere)
        redirects = [redirecting([one.id for one in sends], shown_url(self.order.to), operation.id)] if sends else []
        await self.hands.commit(changes, [progressed(operation), *redirects])

    def _not_done(self, decision: Decision, identity: str) -> None:
        if decision.failed:
            self.operation.failed += 1
            self._trouble = self._trouble or f"{identity}: {decision.failed}"
        else:
            self.operation.skipped += 1

    async def _send(self, deliveries: Sequence[Delivery], elsewhere: Elsewhere) -> list[Change]:
        """To another URL: in order, those of a key one after the other. What was recorded before a crash is not sent again."""
        known = await self.store.known(deliveries)
        self.operation.done += len(known)
        queues: dict[tuple[str, str], list[Delivery]] = {}
        for delivery in deliveries:
            if delivery.id not in known:
                queues.setdefault((delivery.trigger, delivery.event.subject), []).append(delivery)
        turns = asyncio.Semaphore(AT_A_TIME)
        changes: list[Change] = []

        async def send_all(queue: Sequence[Delivery]) -> None:
            for delivery in queue:
                trigger = self.hands.trigger(delivery.trigger)
                if trigger is None:  # a reload has taken it away meanwhile
                    self._not_done(Decision(failed=f"no enabled trigger is called {delivery.trigger!r} any more"), delivery.id)
                    continue
                async with turns:
                    attempt, record = await elsewhere.send(delivery, trigger)
                changes.append(Change((record,)))
                if attempt.error:
                    self._not_done(Decision(failed=attempt.error), delivery.id)
                else:
                    self.operation.done += 1

        await asyncio.gather(*(send_all(queue) for queue in queues.values()))
        return changes

    async def _wait_for_busy(self, elsewhere: Elsewhere) -> None:
        """What was being sent is looked at again when that is over."""
        until = self.clock.monotonic() + BUSY_SECONDS
        while self._busy and not self.stopping.is_set():
            await self._sleep(LOOK_AGAIN)
            busy, self._busy = self._busy, []
            reached = self.operation.reached
            async with self.turn:
                with self.hands.reading():
                    await self._read_and_deal_with(busy, elsewhere)
            self.operation.reached = reached
            if self.clock.monotonic() > until:
                break
        for one in self._busy:
            self._not_done(Decision(failed="it was being sent all the time"), one.id)

    def _remark(self, text: str) -> None:
        self.operation.remark = text or self._trouble
