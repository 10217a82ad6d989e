"""The dispatcher: which delivery is sent next, which is staged, and when there is room for more. Pure.

It owns every delivery in memory. Its methods change its state and *return* what is to be done (deliveries to send, records to
write); the engine does it. Times are monotonic seconds, given by the caller.

The rules:
- one delivery of a lane at a time, in order (`lanes`); a delivery in two lanes waits for both;
- turns go round the endpoints, and within an endpoint round its triggers, so a busy one never starves another;
- an endpoint has at most `circuit.allowed` requests under way, a trigger at most its `concurrency`, the daemon `concurrency`;
- a live delivery that is not settled after `spill_after`, that finds its lane backlogged or its endpoint's circuit open, is
  staged: the recorder makes it durable and it leaves memory. One that is being sent right now is staged *in place*: it stays in
  memory until its attempt ends, but the source's position no longer waits for it.
"""

from collections import deque
from collections.abc import Iterable

from cdcd.config.model import Limits, TriggerConfig
from cdcd.delivery.circuit import State
from cdcd.delivery.lanes import MOST_LANES, lanes_of
from cdcd.delivery.meter import REFUSED, Meter
from cdcd.delivery.queues import NOWHERE, Endpoint, Queue, Stored, Usage
from cdcd.event import REPLAY_OF, Attempt, Delivered, Delivery, GiveUp, Outcome, Record, Retry, Status


class Dispatcher:
    """Owned and called by the engine's event loop only."""

    def __init__(self, triggers: Iterable[TriggerConfig], limits: Limits, most_lanes: int = MOST_LANES) -> None:
        self.limits = limits
        self.endpoints: dict[str, Endpoint] = {}
        self.queues: dict[str, Queue] = {}
        self.meter = Meter(self.queues)
        self.usage = Usage()
        self.in_flight = 0
        self.paused: set[str] = set()  # triggers that capture and send nothing
        self.passed: set[str] | None = None  # staged ones of which something was committed since an operator began to read
        self.unclaimed: set[str] = set()  # triggers of which claimed deliveries left memory unsent: the engine claims again
        self._turns: deque[Endpoint] = deque()
        self._number = 0
        self._arrivals: deque[Delivery] = deque()  # live ones, oldest first
        self._most_lanes = most_lanes
        self._elsewhere: dict[str, Endpoint] = {}  # by id: where an attempt is under way whose trigger has moved since
        self.take_over(triggers, limits, {})

    # A reload

    def take_over(self, triggers: Iterable[TriggerConfig], limits: Limits, stored: Stored) -> None:
        """Send by these triggers from now on; those of other names stay as they are (`retire`). `stored`: of those without a queue."""
        self.limits = limits
        for endpoint in self.endpoints.values():
            endpoint.circuit.limit(limits.endpoint_concurrency)
        for trigger in triggers:
            origin = trigger.webhook.endpoint
            endpoint = self.endpoints.setdefault(origin, Endpoint(origin, limits.endpoint_concurrency))
            concurrency = trigger.concurrency or limits.endpoint_concurrency
            queue = self.queues.get(trigger.name)
            if queue is None:
                queue = self.queues[trigger.name] = Queue(trigger, endpoint, concurrency, self._most_lanes)
                queue.backlog.restore(*stored.get(trigger.name, (0, None)))
            queue.concurrency = concurrency
            self._move(queue, endpoint)
            self._list(queue)
        served = {queue.endpoint.origin for queue in self.queues.values()}
        for endpoint in [each for each in self.endpoints.values() if each.origin not in served]:
            if not endpoint.in_flight and not endpoint.listed:
                del self.endpoints[endpoint.origin]

    def retire(self, trigger: str) -> list[Record]:
        """It is gone: what is in memory is staged, what is being sent ends, and nothing is claimed until it comes back."""
        queue = self.queues[trigger]
        records = self.flush(trigger)
        self._move(queue, NOWHERE)
        return records

    def keep(self, trigger: TriggerConfig, stored: Stored) -> None:
        """It is gone: what still comes of it is staged, and nothing is claimed until it comes back."""
        if trigger.name not in self.queues:
            queue = self.queues[trigger.name] = Queue(trigger, NOWHERE, 0, self._most_lanes)
            queue.backlog.restore(*stored.get(trigger.name, (0, None)))

    def flush(self, trigger: str) -> list[Record]:
        """Stage what is in memory of it."""
        queue = self.queues[trigger]
        return self._clear(queue, queue.lanes)

    def _move(self, queue: Queue, endpoint: Endpoint) -> None:
        """Its deliveries go to another endpoint. An attempt that is under way counts where it began."""
        former = queue.endpoint
        if former is endpoint:
            return
        for lane in queue.lanes.values():
            if lane[0].sending and not lane[0].gone:
                self._elsewhere.setdefault(lane[0].id, former)
        if queue.listed:
            former.turns.remove(queue)
            queue.listed = False
        queue.endpoint = endpoint
        if queue.backlog.count:
            self.unclaimed.add(queue.name)  # what was not due to be looked at there may be here

    def _began_at(self, queue: Queue, delivery: Delivery) -> Endpoint:
        """The endpoint that an attempt which ends was made to."""
        return self._elsewhere.pop(delivery.id, queue.endpoint) if self._elsewhere else queue.endpoint

    # What comes in

    def offer(self, delivery: Delivery, now: float) -> list[Record]:
        """Take a new delivery. It is queued for sending (no records), or staged at once (records)."""
        queue = self.queues[delivery.trigger]
        delivery.taken_at = now
        if delivery.error:
            return [self._failed_unsent(queue, delivery)]
        endpoint = queue.endpoint
        if (
            (self.paused and queue.name in self.paused)
            or queue.backlog.holds(delivery)
            or (endpoint.circuit.state is not State.CLOSED and (queue.backlog.count or not endpoint.circuit.ready(now)))
        ):
            return [*self._stage_live(queue, lanes_of(delivery)), self._stage(queue, delivery)]
        queue.live += 1
        self._arrivals.append(delivery)
        self._enqueue(queue, delivery)
        return []

    def stage(self, delivery: Delivery) -> list[Record]:
        """Take a new delivery whose source cannot be read again: it is durable before it is sent."""
        queue = self.queues[delivery.trigger]
        if delivery.error:
            return [self._failed_unsent(queue, delivery)]
        return [*self._stage_live(queue, lanes_of(delivery)), self._stage(queue, delivery)]

    def claiming(self, trigger: str) -> list[str]:
        """A claim begins: the ids it must leave out. Until it has ended there is no other for this trigger."""
        queue = self.queues[trigger]
        queue.moved.clear()
        for delivery in queue.held.values():
            if delivery.gone and not delivery.number:  # an operator's change: nothing may pass it until it is committed
                queue.moved.update(self._keys(delivery))
        return list(queue.held)

    def admit(self, delivery: Delivery, now: float) -> list[Record]:
        """Take a delivery claimed from the store: the front of its lane there, or next behind one that was admitted.

        It is left to the next claim when its endpoint is not to be sent to any more, or when the claim may have seen a delivery
        that was staged in place after the claim began, and so was not left out: that one is under way, or its outcome newer.
        One that cannot be sent (its event is gone) is final at once.
        """
        queue = self.queues[delivery.trigger]
        if (
            queue.name in self.paused
            or not queue.endpoint.circuit.ready(now)
            or not queue.moved.isdisjoint(self._keys(delivery))
        ):
            queue.moved.update(self._keys(delivery))  # nor may anything behind it pass
            self.unclaimed.add(queue.name)
            return []
        delivery.taken_at = now
        delivery.counted = True
        self._hold(queue, delivery)
        if delivery.error:
            return [self._failed_unsent(queue, delivery)]
        queue.claimed += 1
        self._enqueue(queue, delivery)
        return []

    def _enqueue(self, queue: Queue, delivery: Delivery) -> None:
        self.usage.count += 1
        self.usage.bytes += delivery.size
        self._number += 1
        delivery.number = self._number
        delivery.gates = 0
        for key in self._keys(delivery):
            lane = queue.lanes.get(key)
            if lane is None:
                lane = queue.lanes[key] = deque()
            else:
                delivery.gates += 1
            lane.append(delivery)
        if not delivery.gates:
            queue.ready.append(delivery)
            self._list(queue)

    @staticmethod
    def _keys(delivery: Delivery) -> Iterable[str]:
        """Where it stands in `Queue.lanes`: an unordered one has a lane of its own."""
        return (delivery.id,) if delivery.lane is None else lanes_of(delivery)

    # What goes out

    def take(self, now: float) -> Delivery | None:
        """The next delivery to send, or None when nothing may be sent now."""
        turns = self._turns
        while turns and self.in_flight < self.limits.concurrency:
            endpoint = turns[0]
            if endpoint.in_flight < endpoint.circuit.allowed and endpoint.circuit.ready(now):
                delivery = self._take_from(endpoint)
                if delivery is not None:
                    turns.rotate(-1)
                    return delivery
            turns.popleft()
            endpoint.listed = False
        return None

    def _take_from(self, endpoint: Endpoint) -> Delivery | None:
        turns = endpoint.turns
        while turns:
            queue = turns[0]
            if queue.ready and queue.in_flight < queue.concurrency:
                delivery = queue.ready.popleft()
                if delivery.gone:
                    continue
                delivery.sending = True
                queue.in_flight += 1
                endpoint.in_flight += 1
                self.in_flight += 1
                if queue.ready:
                    turns.rotate(-1)
                else:
                    turns.popleft()
                    queue.listed = False
                return delivery
            turns.popleft()
            queue.listed = False
        return None

    def _list(self, queue: Queue) -> None:
        endpoint = queue.endpoint
        if queue.ready and not queue.listed:
            queue.listed = True
            endpoint.turns.append(queue)
        self._list_endpoint(endpoint)

    def _list_endpoint(self, endpoint: Endpoint) -> None:
        if endpoint.turns and not endpoint.listed:
            endpoint.listed = True
            self._turns.append(endpoint)

    # What an attempt showed

    def finished(self, delivery: Delivery, attempt: Attempt, outcome: Outcome, now: float) -> list[Record]:
        """An attempt has ended; the records to write, in order."""
        queue = self.queues[delivery.trigger]
        endpoint = self._began_at(queue, delivery)
        queue.in_flight -= 1
        endpoint.in_flight -= 1
        self.in_flight -= 1
        delivery.attempts += 1
        latency = None if attempt.error else max(0.0, attempt.started_at + attempt.duration - _happened(delivery))
        answer = REFUSED if attempt.refused else attempt.status // 100
        self.meter.attempted(queue, endpoint, answer, attempt.duration, latency, now)
        opened = False
        if attempt.refused:
            pass  # it never reached the endpoint
        elif attempt.status == 0 or attempt.status >= 500 or attempt.status == 429:
            opened = endpoint.circuit.failed(now)
        else:
            endpoint.circuit.succeeded()
        if attempt.error:
            queue.last_error = attempt.error
        if delivery.staged:
            delivery.holds += 1  # until the record below is committed
        self._leave(queue, delivery)
        if isinstance(outcome, Retry):
            records = self._try_again(queue, delivery, attempt, outcome)
        else:
            records = [self._final(queue, delivery, attempt, outcome)]
            self._pass(queue, delivery)
        if opened:
            records += self._stage_endpoint(endpoint)
        self._list(queue)
        self._list_endpoint(endpoint)
        return records

    def _pass(self, queue: Queue, delivery: Delivery) -> None:
        """It is done with: the next of its lanes may go."""
        for key in self._keys(delivery):
            lane = queue.lanes[key]
            lane.popleft()
            if not lane:
                del queue.lanes[key]
                continue
            following = lane[0]
            following.gates -= 1
            if not following.gates:
                queue.ready.append(following)

    def _try_again(self, queue: Queue, delivery: Delivery, attempt: Attempt, outcome: Retry) -> list[Record]:
        queue.retried += 1
        return [self._join(queue, delivery, attempt, outcome.due_at, outcome.why), *self._clear(queue, self._keys(delivery))]

    def _final(self, queue: Queue, delivery: Delivery, attempt: Attempt, outcome: Delivered | GiveUp) -> Record:
        if isinstance(outcome, Delivered):
            queue.delivered += 1
            return Record(delivery, Status.PROCESSED, delivery.staged, attempt)
        queue.failed += 1
        return Record(delivery, Status.FAILED, delivery.staged, attempt, reason=outcome.why)

    def _failed_unsent(self, queue: Queue, delivery: Delivery) -> Record:
        queue.failed += 1
        queue.last_error = delivery.error
        delivery.gone = True
        return Record(delivery, Status.FAILED, delivery.staged, reason=delivery.error)

    def give_back(self, delivery: Delivery) -> None:
        """An attempt was broken off by the shutdown: nothing is known of it, it is sent again after the next start."""
        queue = self.queues[delivery.trigger]
        queue.in_flight -= 1
        self._began_at(queue, delivery).in_flight -= 1
        self.in_flight -= 1
        self._leave(queue, delivery)

    # Leaving memory for the store

    def overdue(self, now: float) -> list[Record]:
        """Stage every live delivery that has been in memory for `spill_after`, with what stands behind it in its lane."""
        records: list[Record] = []
        latest = now - self.limits.spill_after
        self._forget_gone()
        while self._arrivals and self._arrivals[0].taken_at <= latest:
            delivery = self._arrivals[0]
            records += self._clear(self.queues[delivery.trigger], self._keys(delivery))
            self._forget_gone()  # it is staged now
        return records

    def oldest(self) -> float | None:
        """When the oldest live delivery entered memory; None when there is none."""
        self._forget_gone()
        return self._arrivals[0].taken_at if self._arrivals else None

    def relieve(self, now: float) -> list[Record]:
        """A source has waited too long for room: stage what waits in memory for the trigger that takes most of it."""
        worst = max(self.queues.values(), key=lambda queue: queue.live, default=None)
        return self._stage_live(worst, worst.lanes) if worst is not None and worst.live else []

    def _stage(self, queue: Queue, delivery: Delivery) -> Record:
        delivery.gone = True
        return self._join(queue, delivery)

    def _stage_in_place(self, queue: Queue, delivery: Delivery) -> Record:
        """Stage the delivery that is being sent: it stays in memory, held, until its attempt ends."""
        queue.live -= 1
        queue.claimed += 1
        self._hold(queue, delivery)
        delivery.holds += 1  # this record
        queue.moved.update(self._keys(delivery))
        return self._join(queue, delivery)

    @staticmethod
    def _join(queue: Queue, delivery: Delivery, attempt: Attempt | None = None, due_at: float = 0.0, why: str = "") -> Record:
        """It joins the backlog, or moves on in it."""
        record = Record(delivery, Status.STAGED, delivery.staged, attempt, due_at, why)
        if not delivery.staged:
            delivery.staged = delivery.counted = True
            queue.backlog.add(delivery)
        return record

    def _stage_live(self, queue: Queue, keys: Iterable[str]) -> list[Record]:
        """Clear those of these lanes that are live."""
        live = [key for key in keys if (lane := queue.lanes.get(key)) is not None and not lane[0].staged]
        return self._clear(queue, live) if live else []

    def _clear(self, queue: Queue, keys: Iterable[str]) -> list[Record]:
        """Take everything that waits in these lanes, and in lanes that share a delivery with them, out of memory: live ones are
        staged in order of arrival, claimed ones are in the store already. One that is being sent is staged in place."""
        found: dict[int, Delivery] = {}
        looked_at: set[str] = set()
        to_look_at = list(keys)
        while to_look_at:
            key = to_look_at.pop()
            if key in looked_at:
                continue
            looked_at.add(key)
            for delivery in queue.lanes.get(key, ()):
                found[delivery.number] = delivery
                if delivery.also is not None:
                    to_look_at += lanes_of(delivery)
        for key in looked_at:
            if lane := queue.lanes.get(key):
                if lane[0].sending and not lane[0].gone:
                    queue.lanes[key] = deque((lane[0],))
                else:
                    del queue.lanes[key]
        records: list[Record] = []
        for number in sorted(found):
            delivery = found[number]
            if delivery.gone:
                continue
            if not delivery.sending:
                self._leave(queue, delivery)
                if delivery.staged:
                    self.unclaimed.add(queue.name)
                else:
                    records.append(self._stage(queue, delivery))
            elif not delivery.staged:
                records.append(self._stage_in_place(queue, delivery))
        if len(queue.ready) > 2 * (queue.live + queue.claimed) + 64:
            queue.ready = deque(delivery for delivery in queue.ready if not delivery.gone)
        return records

    def _stage_endpoint(self, endpoint: Endpoint) -> list[Record]:
        records: list[Record] = []
        for queue in self.queues.values():
            if queue.endpoint is endpoint:
                records += self._clear(queue, queue.lanes)
        return records

    # What an operator asks for

    def pause(self, trigger: str) -> list[Record]:
        """It sends nothing any more: what is in memory is staged. What is being sent ends as it ends."""
        self.paused.add(trigger)
        queue = self.queues.get(trigger)
        return [] if queue is None else self._clear(queue, queue.lanes)

    def again(self, delivery: Delivery, due_at: float, why: str) -> list[Record]:
        """One that was final joins the back of its lanes."""
        queue = self.queues[delivery.trigger]
        delivery.gone = True
        records = self._stage_live(queue, lanes_of(delivery))
        queue.moved.update(self._keys(delivery))  # a claim that is under way may leave it out, as it was before
        record = self._join(queue, delivery, None, due_at, why)
        record.again = True
        return [*records, record]

    def change(self, delivery: Delivery, status: Status, due_at: float, why: str) -> Record | None:
        """Change a staged delivery, as the store has it, to final or to another due time. None: not now, since it is being sent, or
        what came of that is not yet committed, or was after it was read. Its lanes leave memory and are claimed again after the commit."""
        queue = self.queues[delivery.trigger]
        held = queue.held.get(delivery.id)
        if held is not None and not held.sending and not held.gone:
            self._clear(queue, self._keys(held))
        if delivery.id in queue.held or (self.passed is not None and delivery.id in self.passed):
            return None
        delivery.staged = delivery.counted = delivery.gone = True
        self._hold(queue, delivery)
        queue.moved.update(self._keys(delivery))  # a claim that is under way may have seen it as it was
        return Record(delivery, status, True, None, due_at, why)

    # Budgets and holds

    def _leave(self, queue: Queue, delivery: Delivery) -> None:
        self.usage.count -= 1
        self.usage.bytes -= delivery.size
        delivery.gone = True
        if delivery.staged:
            queue.claimed -= 1
            self._release(queue, delivery)
        else:
            queue.live -= 1
            self._forget_gone()

    def _forget_gone(self) -> None:
        arrivals = self._arrivals
        while arrivals and (arrivals[0].gone or arrivals[0].staged):
            arrivals.popleft()
        if len(arrivals) > 2 * self.usage.count + 64:  # one that stays long must not keep all that came after it in memory
            self._arrivals = deque(delivery for delivery in arrivals if not (delivery.gone or delivery.staged))

    def _hold(self, queue: Queue, delivery: Delivery) -> None:
        delivery.holds += 1
        queue.held[delivery.id] = delivery

    def _release(self, queue: Queue, delivery: Delivery) -> None:
        delivery.holds -= 1
        if delivery.holds <= 0:
            queue.held.pop(delivery.id, None)

    def recorded(self, record: Record) -> Queue:
        """`record` is committed. Returns the queue it belongs to, since its backlog may have something due now.

        One that was given as staged may come back final: the store refused its data. If it is being sent, it keeps its place
        in the backlog until its attempt has ended, as any that is staged in place.
        """
        queue = self.queues[record.delivery.trigger]
        delivery = record.delivery
        if delivery.counted and delivery.gone and record.status is not Status.STAGED:
            delivery.counted = False
            queue.backlog.remove(delivery)
        if delivery.holds:
            self._release(queue, delivery)
        if self.passed is not None and record.was_staged:
            self.passed.add(delivery.id)
        return queue


def _happened(delivery: Delivery) -> float:
    """Since when it is to be delivered, wall-clock seconds: the event's time, or when an operator asked for it (again)."""
    if delivery.since and (delivery.earlier or REPLAY_OF in (delivery.event.extensions or ())):
        return delivery.since
    return delivery.event.time / 1e6
