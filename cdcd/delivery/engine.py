"""The engine: carries out what the dispatcher decides.

    source --offer--> dispatcher --take--> sender --attempt--> classify --finished--> dispatcher --records--> recorder
                          ^                                                                                      |
                          +---------------- admit <-- claim of what is due in the store <---- recorded ----------+

It has no loop of its own. Work moves on when something happens: a delivery is offered, an attempt ends, a group is committed, or
the one timer rings for the next thing that is due (a spill, a retry, the end of a circuit's wait). When nothing happens, nothing
runs. Everything here runs on one event loop; this class is the only caller of the dispatcher.
"""

import asyncio
import math
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from cdcd import failpoints
from cdcd.clock import Clock
from cdcd.config.model import Kind, Limits, TriggerConfig
from cdcd.delivery.circuit import State
from cdcd.delivery.dispatcher import Dispatcher
from cdcd.delivery.feeding import Feeding
from cdcd.delivery.following import Following
from cdcd.delivery.lanes import MOST_LANES
from cdcd.delivery.outcome import classify
from cdcd.delivery.queues import Queue, Stored
from cdcd.delivery.telling import Teller
from cdcd.delivery.tracing import Tracing
from cdcd.errors import StoreUnavailable
from cdcd.event import Attempt, Delivery, Record, Status
from cdcd.lifecycle import Failed, Tasks
from cdcd.store.pending import Backlog
from cdcd.store.recorder import Recorder
from cdcd.store.writer import Effect
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()

PATIENCE = 0.5  # seconds that a source waits for room before the trigger that takes most of it is staged
ROOM_AGAIN = 0.75  # share of the budget under which a waiting source goes on
STORE_RETRY = 1.0  # seconds until a claim that failed is tried again
LOOK_AGAIN = 60.0  # seconds after which the clock is looked at again, since somebody may have set it


class Transport(Protocol):
    """What makes one attempt. It never raises for what an endpoint does."""

    async def send(self, delivery: Delivery, trigger: Trigger) -> Attempt: ...


class Engine:
    """A part; see the module. `offer` and `room` are the sources' side of it, `recorded` the recorder's."""

    name = "engine"

    def __init__(
        self,
        triggers: Iterable[Trigger],
        limits: Limits,
        transport: Transport,
        recorder: Recorder,
        backlog: Backlog,
        clock: Clock,
        failed: Failed,
        *,
        following: Following | None = None,
        look_again: float = LOOK_AGAIN,
    ) -> None:
        self._triggers: Mapping[str, Trigger] = {trigger.name: trigger for trigger in triggers}
        self._limits = limits
        self._transport = transport
        self._recorder = recorder
        self._backlog = backlog
        self._clock = clock
        self._look_again = look_again
        self._following = following or Following("", lambda _: False, limits)
        self.dispatcher = Dispatcher((trigger.config for trigger in self._triggers.values()), limits)
        self._tasks = Tasks(self.name, failed)
        self._teller = Teller()
        self._feeding = Feeding()
        self._workers: set[asyncio.Task[None]] = set()
        self._failed = failed
        self.tracing: Tracing | None = None
        self._due: dict[str, float] = {}  # wall clock: when the store next has something for a trigger
        self._claiming: set[str] = set()
        self.claiming_since: float | None = None  # monotonic seconds: when the one that reads now began
        self._reading = asyncio.Lock()  # the backlog has one connection
        self._waiting: list[asyncio.Future[None]] = []
        self._watched: dict[str, Callable[[Record], None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf
        self._accepting = False

    # Life

    async def start(self) -> None:
        """Learn what the store holds, and begin with what is due. Waits for a store that is unavailable."""
        while not self._accepting:
            try:
                await self._restore()
            except StoreUnavailable as error:
                log.warning("backlog.unreachable", error=str(error), retry_in=STORE_RETRY)
                await asyncio.sleep(STORE_RETRY)
            else:
                self._accepting = True
                self._advance()

    async def _restore(self) -> None:
        counts = await self._backlog.counts()
        self.dispatcher.paused = await self._backlog.paused()
        for name in self.dispatcher.paused:
            log.info("trigger.paused", trigger=name, deliveries=counts.get(name, 0))
        for name, count in counts.items():
            if name in self._triggers:
                log.info("backlog.found", trigger=name, deliveries=count)
            else:
                log.warning("backlog.orphaned", trigger=name, deliveries=count, hint="no enabled trigger has this name")
            if (queue := self.dispatcher.queues.get(name)) is not None:
                queue.backlog.restore(count, await self._backlog.lanes(name, MOST_LANES))
                self._due[name] = 0.0

    async def stop(self) -> None:
        """Send nothing new; let attempts under way end until `limits.shutdown`, then break them off."""
        self._accepting = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._tasks.cancel()
        workers = set(self._workers)
        if workers:
            _, late = await asyncio.wait(workers, timeout=self._limits.shutdown)
            for worker in late:
                worker.cancel()
            if late:
                log.warning("attempts.broken_off", count=len(late), hint="they are made again after the next start")
                await asyncio.wait(late)
        await self._backlog.close()

    # A reload

    async def stored(self, names: Iterable[str]) -> Stored:
        """What the store holds of triggers that are not there yet. Raises StoreUnavailable."""
        fresh = [name for name in names if name not in self.dispatcher.queues]
        if not fresh:
            return {}
        async with self._reading:
            counts = await self._backlog.counts()
            return {name: (counts[name], await self._backlog.lanes(name, MOST_LANES)) for name in fresh if name in counts}

    def take_over(self, triggers: Iterable[Trigger], limits: Limits, stored: Stored) -> None:
        """Deliver to these from now on, and still to those that are not among them, until they are retired. Attempts under way end as
        they began."""
        now, new = self._clock.monotonic(), {trigger.name: trigger for trigger in triggers}
        back = [name for name in new if name in self.dispatcher.queues and name not in self._triggers]
        self._triggers = {**self._triggers, **new}
        self._limits = limits
        self.dispatcher.take_over((trigger.config for trigger in new.values()), limits, stored)
        self._due.update(dict.fromkeys((*stored, *back), 0.0))
        self._make_room()
        self._pump(now)
        self._advance()

    def retire(self, names: Collection[str]) -> dict[str, int]:
        """These are gone: what is in memory of them is staged, and stays. How many are staged of each."""
        for name in names:
            self._triggers = {each: trigger for each, trigger in self._triggers.items() if each != name}
            self._record(self.dispatcher.retire(name))
        return {name: count for name in names if (count := self.dispatcher.queues[name].backlog.count)}

    def keep(self, trigger: TriggerConfig, stored: Stored) -> None:
        """It is gone: what still comes of it is staged, and stays. `stored`: of it, where the start does not find out."""
        self.dispatcher.keep(trigger, stored)

    def flush(self, names: Iterable[str]) -> None:
        """Stage what is in memory of these."""
        for name in names:
            self._record(self.dispatcher.flush(name))

    # The sources' side

    def offer(self, deliveries: Iterable[Delivery]) -> None:
        """Take new deliveries, in the order of their source. Never waits: see `room`."""
        now = self._clock.monotonic()
        for delivery in deliveries:
            if records := self.dispatcher.offer(delivery, now):
                self._record(records)
        self._pump(now)
        if self._rings_at > now + self._limits.spill_after:
            self._arm(now)

    async def stage(self, deliveries: Iterable[Delivery], effects: Sequence[Effect] = ()) -> None:
        """Take new deliveries of a source that cannot be read again, and return when they are durable, with `effects` in the same
        commit. They are sent from the store, in order behind what their lanes hold already."""
        records = [record for delivery in deliveries for record in self.dispatcher.stage(delivery)]
        for record in records:
            if record.status is Status.FAILED:
                self._has_failed(record)
        await self._recorder.submit(records, effects)

    @property
    def full(self) -> bool:
        """Whether the in-flight budget, in count or bytes, is used up."""
        return not self._within(1.0)

    def _within(self, share: float) -> bool:
        """Whether what is in memory, records that are not yet committed included, stays within a share of the budget."""
        usage, limits = self.dispatcher.usage, self._limits
        size = self._recorder.queued[1]
        return (
            usage.count + self._recorder.waiting < limits.in_flight * share
            and usage.bytes + size < limits.in_flight_bytes * share
        )

    async def room(self) -> None:
        """Return when there is room for more. A source calls this between batches, and waits nowhere else."""
        while self.full:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            done, _ = await asyncio.wait((waiter,), timeout=PATIENCE)
            if not done:
                self._waiting.remove(waiter)
                self.relieve()

    def relieve(self) -> None:
        """Stage what waits in memory for the trigger that takes most of it, so that the source's position can pass it."""
        self._record(self.dispatcher.relieve(self._clock.monotonic()))

    def _make_room(self) -> None:
        if self._within(ROOM_AGAIN):
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiting.clear()

    # Who waits for what becomes of a delivery

    def watch(self, delivery: str, told: Callable[[Record], None]) -> None:
        """Call `told` with each record of the delivery with this id, once it is durable, until `unwatch`. It must not raise."""
        self._watched[delivery] = told

    def unwatch(self, delivery: str) -> None:
        """Nobody waits for it any more."""
        self._watched.pop(delivery, None)

    # Attempts

    def _pump(self, now: float) -> None:
        """Start what may be sent, one worker each; a worker goes on with whatever is next."""
        if not self._accepting:
            return
        while (delivery := self.dispatcher.take(now)) is not None:
            work = self._work(delivery, self._triggers[delivery.trigger])  # which may be gone before it begins
            worker = asyncio.get_running_loop().create_task(work, name="engine.worker")
            self._workers.add(worker)
            worker.add_done_callback(self._worker_ended)

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self._failed(self.name, error)

    async def _work(self, following: Delivery, trigger: Trigger) -> None:
        while True:
            failpoints.hit("engine.taken")
            try:
                attempt = await self._transport.send(following, trigger)
            except asyncio.CancelledError:
                self.dispatcher.give_back(following)
                raise
            failpoints.hit("engine.sent")
            if (further := self._finish(following, trigger, attempt)) is None:
                return
            following, trigger = further, self._triggers[further.trigger]

    def _finish(self, delivery: Delivery, trigger: Trigger, attempt: Attempt) -> Delivery | None:
        now, moment = self._clock.monotonic(), self._clock.now()
        outcome = classify(
            attempt,
            trigger.config.retries,
            delivery.attempts + 1 - delivery.earlier,
            # Its event may have happened long before anybody told of it.
            max(delivery.event.time / 1e6, delivery.since or moment - (now - delivery.taken_at)),
            moment,
            random.random,
        )
        was_staged = delivery.staged
        if self.tracing is not None:
            self.tracing.attempted(delivery, trigger, attempt)
        records = self.dispatcher.finished(delivery, attempt, outcome, now)
        if attempt.answer is not None:
            trouble = self._following.answered(records[0], attempt.answer, self._clock.now())
            if trouble is not None:
                self._teller.not_followed(records[0], trouble, now)
        if trigger.kind is Kind.DATABASE and not attempt.error:
            self._watch_feeding(delivery, attempt, now)
        self._record(records)
        if attempt.error or self._teller.down:
            self._teller.endpoint(self.dispatcher.queues[delivery.trigger].endpoint, attempt.error)
        if self._waiting:
            self._make_room()
        if self.dispatcher.unclaimed:  # the circuit has opened: what was claimed for others too is due when it closes
            self._advance()
        if was_staged:
            self._claim_of(delivery.trigger, now)
        if not self._accepting:
            return None
        following = self.dispatcher.take(now)
        if following is not None:
            self._pump(now)
        return following

    def _watch_feeding(self, delivery: Delivery, attempt: Attempt, now: float) -> None:
        event, begun = delivery.event, attempt.started_at
        times = self._feeding.delivered(delivery.trigger, event.subject, event.time / 1e6, begun, begun + attempt.duration, now)
        if times:
            self._teller.feeding_itself(delivery.trigger, times)

    def _record(self, records: Iterable[Record]) -> None:
        for record in records:
            if record.status is Status.FAILED:
                self._has_failed(record)
            self._recorder.record(record)

    def _has_failed(self, record: Record) -> None:
        now = self._clock.monotonic()
        self._teller.failed(record, now)
        self.last_resort(record)

    def last_resort(self, record: Record) -> None:
        """`record` is of a delivery that has failed: something may follow (called by the recorder too)."""
        trouble = self._following.failed(record, self._clock.now())
        if trouble is not None:
            self._teller.not_followed(record, trouble, self._clock.monotonic())

    # The loop back: what the store holds

    def recorded(self, records: Iterable[Record]) -> None:
        """A group is committed (called by the recorder)."""
        if self._watched or self.tracing is not None:
            self._tell(records := list(records))
        touched = False
        for record in records:
            queue = self.dispatcher.recorded(record)
            if record.status is Status.STAGED:
                touched = True
                if record.delivery.gone:
                    self._due[queue.name] = min(self._due.get(queue.name, math.inf), record.due_at)
            elif record.was_staged:
                touched = True
                self._due[queue.name] = 0.0
        if self._waiting:
            self._make_room()
        if touched:
            self._advance()

    def _tell(self, records: Iterable[Record]) -> None:
        if self.tracing is not None:
            self.tracing.recorded(records)
        for record in records:
            if (told := self._watched.get(record.delivery.id)) is not None:
                told(record)

    def _advance(self) -> None:
        now = self._clock.monotonic()
        self._claim_due(now)
        self._arm(now)

    def _claim_due(self, now: float) -> None:
        self._claim_again()
        for name in self._due:
            self._claim_of(name, now)

    def _claim_of(self, name: str, now: float) -> None:
        """Start a claim for a trigger that has something due and room to send it."""
        if not self._accepting or name in self._claiming or self._due.get(name, math.inf) > self._clock.now():
            return
        if name in self.dispatcher.paused:
            return
        queue = self.dispatcher.queues[name]
        if self.full and queue.claimed:
            return  # memory is used up; what is claimed already goes on, and its end comes back here
        if queue.backlog.count and queue.endpoint.circuit.ready(now) and (limit := queue.claimable):
            self._claiming.add(name)
            self._tasks.spawn(self._claim(queue, limit), f"claim.{name}")

    async def _claim(self, queue: Queue, limit: int) -> None:
        name = queue.name
        began = self._clock.now()
        self._due[name] = math.inf  # whatever is committed while the claim runs lowers it again
        try:
            async with self._reading:
                self.claiming_since = self._clock.monotonic()
                held = self.dispatcher.claiming(name)
                budget = self._limits.in_flight_bytes
                most = max(0, min(budget // 4, budget - self.dispatcher.usage.bytes))  # a claim gives one in any case
                claim = await self._backlog.claim(name, held, limit, most, began)
                self.claiming_since = None
            now = self._clock.monotonic()
            for delivery in claim.deliveries:
                self._record(self.dispatcher.admit(delivery, now))
            due = math.inf if claim.next_due is None else claim.next_due
            self._due[name] = min(self._due[name], began if len(claim.deliveries) >= limit else due)
            if not claim.deliveries and self._due[name] == math.inf and not queue.held:
                await self._recount(queue)
        except StoreUnavailable as error:
            self.claiming_since = None
            log.warning("backlog.unreachable", trigger=name, error=str(error))
            self._due[name] = min(self._due[name], self._clock.now() + STORE_RETRY)
        finally:
            self._claiming.discard(name)
        now = self._clock.monotonic()
        self._pump(now)
        self._claim_again()
        self._claim_of(name, now)  # what was committed meanwhile found this claim under way
        self._arm(now)

    def overdue(self) -> list[str]:
        """Triggers of which something is due in the store and could be claimed, but is not. For a moment that is so all the time."""
        now, wall = self._clock.monotonic(), self._clock.now()
        if not self._accepting or self.full:
            return []
        return [
            name
            for name, due in self._due.items()
            if due <= wall
            and name not in self._claiming
            and name not in self.dispatcher.paused
            and (queue := self.dispatcher.queues[name]).backlog.count
            and (queue.endpoint.circuit.state is not State.OPEN or queue.endpoint.circuit.open_until <= now)
            and queue.claimable
        ]

    def _claim_again(self) -> None:
        """What was claimed and left memory unsent is due as before."""
        for name in self.dispatcher.unclaimed:
            self._due[name] = 0.0
        self.dispatcher.unclaimed.clear()

    async def _recount(self, queue: Queue) -> None:
        """Rows may have left the backlog by somebody else's hand (a cancel in SQL); then what memory counts is stale."""
        if self._recorder.queued[0]:
            return
        async with self._reading:
            count = (await self._backlog.counts()).get(queue.name, 0)
            lanes = await self._backlog.lanes(queue.name, MOST_LANES) if count else {}
        if self._recorder.queued == (0, 0) and not queue.held:  # nothing has come meanwhile
            queue.backlog.restore(count, lanes)

    # The operator's side

    def trigger(self, name: str) -> Trigger | None:
        """The trigger of this name, if it is one to deliver to."""
        return self._triggers.get(name) if name in self.dispatcher.queues else None

    def look(self, trigger: str) -> None:
        """Something of its backlog may be due."""
        if trigger in self.dispatcher.queues:
            self._due[trigger] = 0.0
            self._advance()

    # The one timer

    def _arm(self, now: float) -> None:
        """Set the timer for the next thing that becomes due by time alone."""
        when = math.inf
        oldest = self.dispatcher.oldest()
        if oldest is not None:
            when = oldest + self._limits.spill_after
        wall = self._clock.now()
        for name, due in self._due.items():
            queue = self.dispatcher.queues[name]
            if due == math.inf or not queue.backlog.count or name in self._claiming or name in self.dispatcher.paused:
                continue
            circuit = queue.endpoint.circuit
            if circuit.state is State.OPEN:
                when = min(when, max(circuit.open_until, now + due - wall))
            elif due > wall:
                when = min(when, now + due - wall)
            else:
                self._claim_of(name, now)  # it became due since somebody last looked
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._rings_at = when
        if when != math.inf and self._accepting:
            # A clock that is set leaves `now + due - wall` wrong.
            delay = min(max(when - now, 0.001), self._look_again)
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._rings_at = math.inf
        now = self._clock.monotonic()
        self._record(self.dispatcher.overdue(now))
        self._claim_due(now)
        self._pump(now)
        self._arm(now)
