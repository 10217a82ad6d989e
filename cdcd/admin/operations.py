"""What an operator does to deliveries and triggers: one of them at once, many as an operation that goes on by itself.

The rule: each action is written down with who asked for it, in the commit of what it did, and told in the log. A long one survives a
restart of the daemon. One action changes deliveries at a time.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import structlog

from cdcd.admin.asking import Order, check_url, plain_filter, plain_options, read_order, shown_url
from cdcd.admin.deciding import Decision, decide, retry, would_not
from cdcd.admin.deliveries import Count, Deliveries, Filter, NotThere, Unfit
from cdcd.admin.elsewhere import Elsewhere, Senders
from cdcd.admin.hands import Hands
from cdcd.admin.jobs import Job
from cdcd.clock import Clock
from cdcd.delivery.steering import Change
from cdcd.errors import CdcdError, StoreUnavailable
from cdcd.event import Attempt
from cdcd.lifecycle import Failed, Tasks
from cdcd.store.finding import Found
from cdcd.store.operations import Operation, OperationStore, Paused, Subject, begun, ended, pausing, redirecting, resuming

__all__ = ["Conflict", "Operation", "Operations", "Order", "Paused", "Planned", "Preview", "Sent"]

log = structlog.get_logger()

AGAIN = 2.0  # seconds until an operation goes on that the store has thrown out
AT_A_TIME = 16  # operations that run
SHOWN = 5  # deliveries that a dry run shows
LOOKED = 1.0  # seconds for which it counts, and looks for these: whoever is to say yes should know to how many


class Conflict(CdcdError):
    """It cannot be done to this delivery, or not now; the message says why."""


@dataclass(slots=True, frozen=True)
class Sent:
    """What came of sending a delivery to another URL. `id` is that of the new delivery."""

    id: str
    attempt: Attempt
    operation: Operation


@dataclass(slots=True, frozen=True)
class Planned:
    """What would become of a delivery; empty `why_not`: it would be done."""

    delivery: Found
    why_not: str


@dataclass(slots=True, frozen=True)
class Preview:
    """What an operation would do: how many it selects, and the first few in the order in which they would come."""

    total: Count
    first: tuple[Planned, ...]


class Operations:
    """A part. Raises NotThere, Conflict, Unfit; StoreUnavailable and StoreRefused when the store cannot be asked. May be used by any
    number of tasks. `who` is told in the log and kept: the subject of a token, a user of the machine."""

    name = "operations"

    def __init__(self, dsn: str, schema: str, hands: Hands, senders: Senders, clock: Clock, failed: Failed) -> None:
        self._place = dsn, schema
        self._hands = hands
        self._senders = senders
        self._clock = clock
        self._deliveries = Deliveries(dsn, schema)
        self._finder = self._deliveries.finder
        self._store = OperationStore(dsn, schema)
        self._reading = asyncio.Lock()
        self._reader = OperationStore(dsn, schema)
        self._turn = asyncio.Lock()
        self._beginning = asyncio.Lock()
        self._jobs: dict[str, Job] = {}
        self._tasks = Tasks(self.name, failed)

    # Life

    async def start(self) -> None:
        """Go on with what was running when the daemon ended."""
        self._tasks.spawn(self._resume(), "resume")

    async def _resume(self) -> None:
        found: Sequence[Operation] | None = None
        while found is None:
            try:
                async with self._reading:
                    found = await self._reader.operations(1000, running=True)
            except StoreUnavailable:
                await asyncio.sleep(AGAIN)
        for operation in reversed(found):
            if operation.id not in self._jobs:
                log.info("operation.resumed", id=operation.id, action=operation.action, who=operation.who, done=operation.done)
                self._spawn(operation, read_order(operation.action, operation.filter, operation.options))

    async def stop(self) -> None:
        """Leave what runs where it is: it goes on after the next start."""
        await self._tasks.cancel()
        await self._deliveries.close()
        await self._store.close()
        await self._reader.close()

    # One delivery

    async def retry(self, identity: str, who: str, *, processed: bool = False) -> Operation:
        """Try a delivery again under the same id: a final one at the back of its lane, a waiting one now. `processed`: also one that was
        delivered."""
        operation = _single("retry", {"id": identity}, who)
        async with self._turn:
            with self._hands.reading():
                subject = await self._subject(identity)
                await self._settle(retry(subject, who, self._hands, processed=processed), operation)
        log.info("delivery.retried", id=identity, trigger=subject.delivery.trigger, who=who)
        return operation

    async def cancel(self, identity: str, who: str) -> Operation:
        """Take a waiting delivery out of the backlog; the next of its lane may go."""
        operation = _single("cancel", {"id": identity}, who)
        async with self._turn:
            with self._hands.reading():
                subject = await self._subject(identity)
                await self._settle(decide(Order("cancel", Filter()), subject, operation.id, who, self._hands), operation)
        log.info("delivery.cancelled", id=identity, trigger=subject.delivery.trigger, who=who)
        return operation

    async def _settle(self, decision: Decision, operation: Operation) -> None:
        if decision.busy:
            raise Conflict("it is being sent just now; look again when that has ended")
        if decision.change is None:
            raise Conflict(decision.failed or decision.skipped)
        await self._hands.commit([decision.change], [begun(operation)])

    async def send(self, identity: str, url: str, who: str) -> Sent:
        """Send a delivery's event to another URL, once and at once, as a new delivery that is recorded with what came of it."""
        check_url(url)
        operation = _single("send", {"id": identity}, who, to=shown_url(url))
        async with self._turn:
            subject = await self._subject(identity)
        order = Order("replay", Filter(), to=url, single=True)
        decision = decide(order, subject, operation.id, who, self._hands)
        trigger = self._hands.trigger(subject.delivery.trigger)
        if decision.send is None or trigger is None:
            raise Conflict(decision.failed or decision.skipped)
        delivery = decision.send
        async with Elsewhere(url, self._senders) as elsewhere:
            attempt, record = await elsewhere.send(delivery, trigger)
        await self._hands.commit(
            [Change((record,))], [redirecting([delivery.id], shown_url(url), operation.id), begun(operation)]
        )
        log.info(
            "delivery.sent_elsewhere", id=delivery.id, replay_of=identity, trigger=trigger.name, to=shown_url(url), who=who
        )
        return Sent(delivery.id, attempt, operation)

    async def _subject(self, identity: str) -> Subject:
        detail = await self._deliveries.show(identity, with_data=False)
        async for subjects in self._store.subjects([detail.delivery]):
            for subject in subjects:
                return subject
        raise NotThere(f"there is no delivery {identity} any more")

    # Many

    async def preview(self, order: Order, *, seconds: float = LOOKED) -> Preview:
        """What an operation would do; `seconds` are for counting, and as many for the first few."""
        order = self._checked(order)
        total = await self._deliveries.count(order.wanted, seconds=seconds)
        stretch = await self._finder.find(order.wanted, SHOWN, newest=order.newest_first, seconds=seconds)
        planned: list[Planned] = []
        by_id = {found.id: found for found in stretch.found}
        async with self._turn:
            async for subjects in self._store.subjects(stretch.found):
                planned += [Planned(by_id[one.delivery.id], would_not(order, one, self._hands)) for one in subjects]
        return Preview(total, tuple(planned))

    async def begin(self, order: Order, who: str, identity: str = "") -> Operation:
        """Begin an operation; it goes on by itself. `identity` is a UUID of whoever asks: what is asked for again with the same one has
        been begun, and is not begun once more."""
        order = self._checked(order)
        try:
            identity = str(UUID(identity)) if identity else str(uuid4())
        except ValueError:
            raise Unfit("the operation's id must be a UUID") from None
        async with self._beginning:
            with contextlib.suppress(NotThere):
                return await self.show(identity)
            return await self._begin(order, who, identity)

    async def _begin(self, order: Order, who: str, identity: str) -> Operation:
        if len(self._jobs) >= AT_A_TIME:
            raise Conflict(f"{AT_A_TIME} operations run already; wait for one of them, or stop one")
        total = await self._deliveries.count(order.wanted, seconds=LOOKED)
        operation = Operation(
            *(identity, order.action, plain_filter(order.wanted), plain_options(order), who),
            total=total.number,
            exact=total.exact,
            started=int(self._clock.now() * 1e6),
        )
        await self._hands.commit((), [begun(operation)])
        log.info("operation.begun", id=operation.id, action=order.action, who=who, deliveries=total.number)
        self._spawn(operation, order)
        return _masked(operation)

    def _checked(self, order: Order) -> Order:
        order.check()
        return order.bounded(self._clock.now())

    async def stop_one(self, identity: str, who: str) -> Operation:
        """Stop an operation where it is; what it has done stays done."""
        operation = await self.show(identity)
        job = self._jobs.get(identity)
        if job is not None:
            job.stopping.set()
            log.info("operation.stopped", id=identity, action=operation.action, who=who)
        elif operation.state == "running":
            operation.state = "stopped"
            await self._hands.commit((), [ended(operation)])
        return operation

    async def wait(self, identity: str) -> Operation:
        """Return when an operation is over."""
        while (job := self._jobs.get(identity)) is not None:
            await job.over.wait()
        return await self.show(identity)

    async def list(self, limit: int = 50, before: tuple[int, str] | None = None) -> Sequence[Operation]:
        """Newest first; `before` is (started, id) of the last one seen."""
        if not 1 <= limit <= 200:
            raise Unfit("limit must be from 1 to 200")
        async with self._reading:
            found = await self._reader.operations(limit, before)
        return [self._fresh(operation) for operation in found]

    async def show(self, identity: str) -> Operation:
        """One operation."""
        with contextlib.suppress(ValueError):
            async with self._reading:
                found = await self._reader.get(identity)
            if found is not None:
                return self._fresh(found)
        raise NotThere(f"there is no operation {identity[:100]!r}")

    def _fresh(self, operation: Operation) -> Operation:
        job = self._jobs.get(operation.id)
        if job is not None and operation.state == "running":
            now = job.operation
            operation = replace(operation, done=now.done, skipped=now.skipped, failed=now.failed, remark=now.remark)
        return _masked(operation)

    # Jobs

    def _spawn(self, operation: Operation, order: Order) -> None:
        store = OperationStore(*self._place)
        job = Job(operation, order, self._hands, self._finder, store, self._senders, self._turn, self._clock)
        self._jobs[operation.id] = job
        self._tasks.spawn(self._run(job), operation.id)

    async def _run(self, job: Job) -> None:
        operation = job.operation
        try:
            while True:
                try:
                    await job.run()
                    break
                except StoreUnavailable as error:
                    operation.remark = str(error)
                    await asyncio.sleep(AGAIN)
            counts = {"done": operation.done, "skipped": operation.skipped, "failed": operation.failed}
            log.info("operation.ended", id=operation.id, action=operation.action, state=operation.state, **counts)
        except Exception as error:  # noqa: BLE001  # an operation that breaks must not end the daemon
            known = isinstance(error, CdcdError)
            operation.state, operation.remark = (
                "failed",
                str(error) if known else f"a mistake of cdcd's: {type(error).__name__}",
            )
            hint = error.hint if isinstance(error, CdcdError) else "please report it"
            log.error("operation.failed", id=operation.id, action=operation.action, error=operation.remark, hint=hint)
            await self._hands.commit((), [ended(operation)])
        finally:
            self._jobs.pop(operation.id, None)
            job.over.set()
            await job.store.close()

    # Triggers

    async def paused(self) -> Sequence[Paused]:
        """The triggers that are paused."""
        async with self._reading:
            return await self._reader.paused()

    async def pause(self, trigger: str, who: str) -> None:
        """A trigger goes on capturing and sends nothing, over restarts, until it is resumed. One that is paused stays so."""
        if self._hands.trigger(trigger) is None:
            raise NotThere(f"no enabled trigger is called {trigger[:200]!r}")
        operation = _single("pause", {"trigger": [trigger]}, who)
        async with self._turn:
            if not await self._is_paused(trigger):
                await self._hands.commit([self._hands.pause(trigger)], [pausing(trigger, who), begun(operation)])
                log.info("trigger.paused", trigger=trigger, who=who)

    async def resume(self, trigger: str, who: str) -> None:
        """A paused trigger goes on: what waits goes, in order. One that is not paused stays so."""
        operation = _single("resume", {"trigger": [trigger]}, who)
        async with self._turn:
            if await self._is_paused(trigger):
                await self._hands.commit((), [resuming(trigger), begun(operation)])
                self._hands.resumed(trigger)
                log.info("trigger.resumed", trigger=trigger, who=who)
            elif self._hands.trigger(trigger) is None:
                raise NotThere(f"no enabled trigger is called {trigger[:200]!r}")

    async def _is_paused(self, trigger: str) -> bool:
        return any(one.trigger == trigger for one in await self.paused())


def _masked(operation: Operation) -> Operation:
    """As it may be shown: the query of a URL may hold a key."""
    if "to" not in operation.options:
        return replace(operation)
    return replace(operation, options={**operation.options, "to": shown_url(operation.options["to"])})


def _single(action: str, what: Mapping[str, Any], who: str, **options: str) -> Operation:
    """An action that is done at once."""
    return Operation(str(uuid4()), action, what, options, who, "done", total=1, done=1)
