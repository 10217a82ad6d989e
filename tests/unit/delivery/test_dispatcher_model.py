"""The dispatcher against a model of everything around it: random offers, attempts, commits, claims, crashes and times.

`World` does what the engine, the recorder and the store do, in plain lists, one step at a time and in any order that can
really happen: a claim begins, looks and returns in three steps; records are committed later, in groups; a crash forgets what
was not. Every step checks the promises, and at the end, when all endpoints work again, everything must have become final
by the engine's own wake-ups alone.

`Model` lets hypothesis choose the steps, so that a failure comes with its shortest story. `walk` chooses them by a seed, each seed
with a taste of its own, and goes much further in the same time.
"""

import math
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cdcd.config.model import Limits, TriggerConfig, Webhook
from cdcd.delivery.circuit import State
from cdcd.delivery.dispatcher import Dispatcher
from cdcd.delivery.queues import Queue
from cdcd.event import Attempt, Delivered, Delivery, Event, GiveUp, Outcome, Record, Retry, Status

MOST_LANES = 3
LIMITS = Limits(concurrency=5, endpoint_concurrency=4, spill_after=1.0)
KEYS = "abcde"


def trigger(name: str, endpoint: str, concurrency: int | None = None) -> TriggerConfig:
    """A trigger as far as the dispatcher looks at it."""
    webhook = Webhook(url=f"{endpoint}/{name}", endpoint=endpoint)
    return TriggerConfig(name, frozenset(), "main", (), webhook, concurrency=concurrency)


TRIGGERS = [
    trigger("keyed", "http://a"),
    trigger("unordered", "http://a", 2),
    trigger("other", "http://b"),
    trigger("single", "http://b", 1),
    trigger("alone", "http://c"),
]
ENDPOINTS = ["http://a", "http://b", "http://c"]


@dataclass(eq=False)
class Offered:
    """One delivery as its source knows it: the same on every re-read."""

    id: str
    trigger: str
    lane: str | None
    also: str | None
    error: str
    size: int

    def delivery(self) -> Delivery:
        event = Event("DB_UPDATE", "cdcd/test", "t", self.lane or "", 0, b"x" * self.size)
        return Delivery(self.id, self.trigger, event, self.lane, also=self.also, error=self.error)

    @property
    def lanes(self) -> list[tuple[str, str]]:
        return [(self.trigger, lane) for lane in (self.lane, self.also) if lane is not None]


@dataclass(eq=False)
class Row:
    """A row of the backlog."""

    offered: Offered
    due_at: float
    attempts: int


@dataclass(eq=False)
class Claim:
    """A claim under way: what it leaves out, then what it found."""

    without: set[str]
    limit: int
    began: float
    found: list[Row] = field(default_factory=list)
    next_due: float = math.inf
    looked: bool = False


class World:
    """The engine, the recorder and the store around one dispatcher."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.offered: list[Offered] = []
        self.by_lane: dict[tuple[str, str], list[str]] = {}
        self.concluded: set[str] = set()  # had a final outcome, recorded or not
        self.final: dict[str, Status] = {}  # committed
        self.rows: list[Row] = []  # committed, in order
        self.sent: Counter[str] = Counter()
        self.paused: set[str] = set()
        self.begin()

    # Life

    def begin(self) -> None:
        """A new process: it knows what the store holds, and the sources read again what is not in it."""
        self.dispatcher = Dispatcher(TRIGGERS, LIMITS, MOST_LANES)
        self.dispatcher.paused = set(self.paused)
        self.concluded |= self.final.keys()  # what an operator wanted to be tried again and was not committed
        self.concluded -= {identity for identity in getattr(self, "taken_back", ()) if identity not in self.final}
        self.taken_back: set[str] = set()
        self.queued: list[Record] = []
        self.flying: dict[str, Delivery] = {}
        self.claims: dict[str, Claim] = {}
        self.due: dict[str, float] = {}
        for name, queue in self.dispatcher.queues.items():
            rows = [row for row in self.rows if row.offered.trigger == name]
            if rows:
                lanes = Counter(lane for row in rows for _, lane in row.offered.lanes)
                queue.backlog.restore(len(rows), dict(lanes) if len(lanes) <= MOST_LANES else None)
                self.due[name] = 0.0
        stored = {row.offered.id for row in self.rows} | self.final.keys()
        for offered in self.offered:
            if offered.id not in stored:
                self.record(self.dispatcher.offer(offered.delivery(), self.now))
        self.advance()

    def stop(self) -> None:
        """An orderly stop: attempts are broken off, what was recorded is committed."""
        for delivery in self.flying.values():
            self.dispatcher.give_back(delivery)
        assert self.dispatcher.in_flight == 0
        self.flying.clear()
        self.commit(len(self.queued))

    # The operator's steps

    def again(self, identity: str) -> None:
        """One that is final is tried again, behind all that its lanes have had so far."""
        offered = next(offered for offered in self.offered if offered.id == identity)
        if offered.error:
            return
        for lane in offered.lanes:
            if identity in self.by_lane.setdefault(lane, []):
                self.by_lane[lane].remove(identity)
            self.by_lane[lane].append(identity)
        self.concluded.discard(identity)
        self.taken_back.discard(identity)
        self.record(self.dispatcher.again(offered.delivery(), self.now, "again"))
        self.advance()

    def again_possible(self) -> list[str]:
        """What is final, and nothing else is being done to it."""
        uncommitted = {record.delivery.id for record in self.queued}
        return [identity for identity in self.final if identity not in uncommitted]

    def change(self, row: Row, status: Status) -> None:
        """One that is staged is cancelled or, when it is the first of its lanes, due now. Refused only while it is being sent, or what
        came of that is not committed."""
        before = self.rows[: self.rows.index(row)]
        if status is Status.STAGED and any(set(other.offered.lanes) & set(row.offered.lanes) for other in before):
            return
        delivery = row.offered.delivery()
        delivery.attempts = row.attempts
        record = self.dispatcher.change(delivery, status, self.now, "operator")
        if record is None:
            assert delivery.id in self.flying or any(each.delivery.id == delivery.id for each in self.queued)
        elif status is Status.CANCELLED:
            self.concluded.add(delivery.id)
            self.taken_back.add(delivery.id)
        self.record([record] if record is not None else [])
        self.advance()

    def pause(self, name: str) -> None:
        self.paused.add(name)
        self.record(self.dispatcher.pause(name))
        self.advance()

    def resume(self, name: str) -> None:
        self.paused.discard(name)
        self.dispatcher.paused.discard(name)
        self.due[name] = 0.0
        self.advance()

    # The engine's steps

    def offer(self, offered: Offered) -> None:
        self.offered.append(offered)
        for lane in offered.lanes:
            if not offered.error:
                self.by_lane.setdefault(lane, []).append(offered.id)
        self.record(self.dispatcher.offer(offered.delivery(), self.now))
        self.advance()

    def pump(self) -> None:
        while (delivery := self.dispatcher.take(self.now)) is not None:
            queue = self.dispatcher.queues[delivery.trigger]
            endpoint = queue.endpoint
            assert delivery.id not in self.final, "sent after its final outcome was recorded"
            assert delivery.id not in self.flying, "sent twice at once"
            assert delivery.id not in self.taken_back, "sent after it was cancelled"
            assert delivery.trigger not in self.paused, "sent though its trigger is paused"
            assert not delivery.error
            for lane in self.lanes_of(delivery):
                assert not any(lane in self.lanes_of(other) for other in self.flying.values()), "two of one lane at once"
                for before in self.by_lane[lane]:
                    if before == delivery.id:
                        break
                    assert before in self.concluded, "passed one that stands before it"
            self.flying[delivery.id] = delivery
            self.sent[delivery.id] += 1
            assert endpoint.in_flight <= endpoint.circuit.allowed
            assert endpoint.circuit.state is not State.OPEN
            assert queue.in_flight <= queue.concurrency
            assert len(self.flying) <= LIMITS.concurrency

    def finish(self, delivery: Delivery, status: int, outcome: Outcome, refused: bool = False) -> None:
        del self.flying[delivery.id]
        if not isinstance(outcome, Retry):
            self.concluded.add(delivery.id)
        attempt = Attempt(delivery.attempts + 1, self.now, 0.1, status, "", "" if status == 200 else "no", refused=refused)
        self.record(self.dispatcher.finished(delivery, attempt, outcome, self.now))
        self.advance()

    def record(self, records: list[Record]) -> None:
        self.queued += records
        for name in self.dispatcher.unclaimed:
            self.due[name] = 0.0
        self.dispatcher.unclaimed.clear()

    def commit(self, count: int) -> None:
        """The first `count` records become durable; then the dispatcher hears of them."""
        group, self.queued = self.queued[:count], self.queued[count:]
        for record in group:
            self.write(record)
        for record in group:
            queue = self.dispatcher.recorded(record)
            if record.status is not Status.STAGED:
                self.due[queue.name] = 0.0
            elif record.delivery.gone:
                self.due[queue.name] = min(self.due.get(queue.name, math.inf), record.due_at)
        self.advance()

    def write(self, record: Record) -> None:
        identity = record.delivery.id
        row = next((row for row in self.rows if row.offered.id == identity), None)
        if record.again:
            del self.final[identity]
        assert (row is not None) == record.was_staged
        assert identity not in self.final, "recorded after its final outcome"
        if record.status is not Status.STAGED:
            self.final[identity] = record.status
            self.concluded.add(identity)
            if row is not None:
                self.rows.remove(row)
            return
        if row is None:
            offered = next(offered for offered in self.offered if offered.id == identity)
            self.rows.append(row := Row(offered, record.due_at, 0))
        row.due_at = record.due_at
        row.attempts = record.delivery.attempts

    def advance(self) -> None:
        for name in self.due:
            self.begin_claim(name)

    def begin_claim(self, name: str) -> None:
        queue = self.dispatcher.queues[name]
        if name in self.claims or self.due[name] > self.now or not queue.backlog.count or name in self.paused:
            return
        if queue.endpoint.circuit.ready(self.now) and (limit := self.claimable(queue)):
            self.due[name] = math.inf
            self.claims[name] = Claim(set(self.dispatcher.claiming(name)), limit, self.now)

    @staticmethod
    def claimable(queue: Queue) -> int:
        most = min(queue.concurrency, queue.endpoint.circuit.allowed)
        if most == 1 and queue.endpoint.circuit.state is State.PROBING:
            return max(0, 1 - queue.claimed)
        return most * 2 - queue.claimed if queue.claimed <= most else 0

    def look(self, name: str) -> None:
        """The claim's SELECT: heads that are due, each with what stands behind it up to the first that is in two lanes."""
        claim = self.claims[name]
        claim.looked = True
        rows = [row for row in self.rows if row.offered.trigger == name]
        seen: set[tuple[str, str]] = set()
        heads: dict[str, Row] = {}
        open_lanes: set[tuple[str, str]] = set()
        for row in rows:
            lanes = row.offered.lanes
            if not seen.intersection(lanes):
                if row.offered.id not in claim.without:
                    if row.due_at <= claim.began:
                        heads[row.offered.id] = row
                        open_lanes.update(lanes)
                    else:
                        claim.next_due = min(claim.next_due, row.due_at)
            elif row.offered.also is not None:
                open_lanes.difference_update(lanes)
            elif open_lanes.issuperset(lanes) and row.offered.id not in claim.without:
                heads[row.offered.id] = row
            seen.update(lanes)
        claim.found = [Row(row.offered, row.due_at, row.attempts) for row in list(heads.values())[: claim.limit]]

    def end_claim(self, name: str) -> None:
        claim = self.claims.pop(name)
        for row in claim.found:
            delivery = row.offered.delivery()
            delivery.staged, delivery.attempts = True, row.attempts
            self.dispatcher.admit(delivery, self.now)
        again = claim.began if len(claim.found) >= claim.limit else claim.next_due
        self.due[name] = min(self.due[name], again)
        self.record([])
        self.advance()

    def tick(self) -> None:
        self.record(self.dispatcher.overdue(self.now))
        oldest = self.dispatcher.oldest()
        assert oldest is None or oldest > self.now - LIMITS.spill_after
        self.advance()
        self.pump()

    def rings_at(self) -> float:
        """When the engine's timer would ring."""
        when = math.inf
        oldest = self.dispatcher.oldest()
        if oldest is not None:
            when = oldest + LIMITS.spill_after
        for name, due in self.due.items():
            queue = self.dispatcher.queues[name]
            if due == math.inf or not queue.backlog.count or name in self.claims or name in self.paused:
                continue
            circuit = queue.endpoint.circuit
            if circuit.state is State.OPEN:
                when = min(when, max(circuit.open_until, due))
            elif due > self.now:
                when = min(when, due)
        return when

    # What must hold

    def lanes_of(self, delivery: Delivery) -> list[tuple[str, str]]:
        return [(delivery.trigger, lane) for lane in (delivery.lane, delivery.also) if lane is not None]

    def check(self) -> None:
        dispatcher = self.dispatcher
        flying = Counter(delivery.trigger for delivery in self.flying.values())
        assert dispatcher.in_flight == len(self.flying)
        uncommitted = {record.delivery.id for record in self.queued}
        staging = Counter(r.delivery.trigger for r in self.queued if r.status is Status.STAGED and not r.was_staged)
        memory: list[Delivery] = []
        for name, queue in dispatcher.queues.items():
            inside = {d.number: d for lane in queue.lanes.values() for d in lane}
            assert all(not delivery.gone for delivery in inside.values())
            memory += inside.values()
            assert queue.in_flight == flying[name]
            assert queue.live == sum(not d.staged for d in inside.values())
            assert queue.claimed == sum(d.staged for d in inside.values())
            claimed = {d.id for d in inside.values() if d.staged}
            assert claimed <= queue.held.keys() <= claimed | uncommitted
            for lane in queue.lanes.values():
                assert len({d.staged for d in lane}) == 1, "live and claimed in one lane"
                assert [d.number for d in lane] == sorted(d.number for d in lane)
                assert not any(d.sending for d in list(lane)[1:])
            for d in inside.values():
                keys = [d.id] if d.lane is None else [lane for _, lane in self.lanes_of(d)]
                assert d.gates == sum(queue.lanes[key][0] is not d for key in keys)
                if not d.gates and not d.sending:
                    assert d in queue.ready
                    assert queue.listed or queue.in_flight >= queue.concurrency
            rows = [row.offered for row in self.rows if row.offered.trigger == name]
            assert queue.backlog.count == len(rows) + staging[name]
            if queue.backlog.count and not queue.backlog.flooded:
                for offered in rows:
                    assert offered.lane is None or queue.backlog.holds(offered.delivery())
        for origin, endpoint in dispatcher.endpoints.items():
            queues = [queue for queue in dispatcher.queues.values() if queue.endpoint is endpoint]
            assert endpoint.in_flight == sum(queue.in_flight for queue in queues)
            assert endpoint.circuit.allowed >= 1, origin
            if endpoint.circuit.state is State.OPEN:
                assert all(queue.in_flight == queue.live + queue.claimed for queue in queues), (
                    "something waits for an open circuit"
                )
            elif any(not d.gone for queue in endpoint.turns for d in queue.ready):
                assert endpoint.listed or endpoint.in_flight >= endpoint.circuit.allowed
        assert dispatcher.usage.count == len(memory)
        assert dispatcher.usage.bytes == sum(delivery.size for delivery in memory)

    def drain(self) -> None:
        """All endpoints work: everything becomes final, woken by nothing but what wakes the engine."""
        for name in list(self.paused):
            self.resume(name)
        self.tick()  # the timer may have been due before
        for _ in range(2000):
            self.pump()
            self.check()
            if self.flying:
                self.finish(next(iter(self.flying.values())), 200, Delivered())
            elif self.queued:
                self.commit(len(self.queued))
            elif self.claims:
                name = next(iter(self.claims))
                self.look(name)
                self.end_claim(name)
            elif (when := self.rings_at()) < math.inf:
                self.now = max(self.now, when)
                self.tick()
            else:
                break
        stalled = [(row.offered.id, row.offered.trigger, row.due_at) for row in self.rows]
        assert not stalled, "in the store, and nothing wakes it"
        assert {offered.id for offered in self.offered} == self.final.keys(), "lost"
        dispatcher = self.dispatcher
        assert (dispatcher.usage.count, dispatcher.usage.bytes, dispatcher.in_flight) == (0, 0, 0)
        assert dispatcher.oldest() is None
        assert not dispatcher._arrivals
        for queue in dispatcher.queues.values():
            assert (queue.live, queue.claimed, queue.in_flight, queue.backlog.count) == (0, 0, 0, 0)
            assert not queue.lanes
            assert not queue.held
            assert not queue.backlog.flooded


class Model(RuleBasedStateMachine):
    """Random steps of `World`."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.number = 0
        self.dead: dict[str, bool] = dict.fromkeys(ENDPOINTS, False)

    def one(self, name: str, lane: str, also: str, error: bool, size: int) -> None:
        self.number += 1
        if name == "unordered":
            self.world.offer(Offered(f"id{self.number}", name, None, None, "bad" * error, size))
        else:
            second = also if also != lane else None
            self.world.offer(Offered(f"id{self.number}", name, lane, second, "bad" * error, size))

    @rule(
        name=st.sampled_from(TRIGGERS).map(lambda t: t.name),
        lane=st.sampled_from(KEYS),
        also=st.sampled_from(KEYS),
        two=st.integers(0, 3),
        error=st.integers(0, 20),
        size=st.integers(0, 5),
    )
    def offer(self, name: str, lane: str, also: str, two: int, error: int, size: int) -> None:
        self.one(name, lane, also if two == 0 else lane, error == 20, size)

    @rule(name=st.sampled_from(TRIGGERS).map(lambda t: t.name), lanes=st.lists(st.sampled_from(KEYS), min_size=2, max_size=12))
    def offer_many(self, name: str, lanes: list[str]) -> None:
        for lane in lanes:
            self.one(name, lane, lane, False, 1)

    @rule()
    def take(self) -> None:
        self.world.pump()

    @precondition(lambda self: self.world.flying)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        world = self.world
        delivery = world.flying[data.draw(st.sampled_from(list(world.flying)))]
        dead = self.dead[world.dispatcher.queues[delivery.trigger].endpoint.origin]
        match data.draw(
            st.sampled_from(["retry", "retry", "retry", "give up", "refused"] if dead else ["ok", "ok", "ok", "retry", "404"])
        ):
            case "ok":
                world.finish(delivery, 200, Delivered())
            case "retry":
                world.finish(
                    delivery, data.draw(st.sampled_from([0, 500, 429])), Retry(world.now + data.draw(st.integers(0, 5)), "no")
                )
            case "give up":
                world.finish(delivery, 500, GiveUp("no"))
            case "refused":
                world.finish(delivery, 0, GiveUp("no"), refused=True)
            case _:
                outcomes: list[Outcome] = [GiveUp("no"), Retry(world.now + 1, "no")]
                world.finish(delivery, 404, data.draw(st.sampled_from(outcomes)))
        if data.draw(st.booleans()):
            world.pump()

    @precondition(lambda self: self.world.flying)
    @rule(origin=st.sampled_from(ENDPOINTS), status=st.sampled_from([0, 503]), later=st.integers(0, 3))
    def endpoint_dies(self, origin: str, status: int, later: int) -> None:
        """Enough failures in a row to open the circuit, as far as there is something to fail."""
        world = self.world
        self.dead[origin] = True
        for _ in range(12):
            hit = [d for d in world.flying.values() if world.dispatcher.queues[d.trigger].endpoint.origin == origin]
            if not hit:
                break
            world.finish(hit[-1], status, Retry(world.now + later, "no"))
            world.pump()

    @rule(origin=st.sampled_from(ENDPOINTS), dead=st.booleans())
    def endpoint_turns(self, origin: str, dead: bool) -> None:
        self.dead[origin] = dead

    @precondition(lambda self: self.world.queued)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        self.world.commit(data.draw(st.integers(1, len(self.world.queued))))

    @precondition(lambda self: self.world.queued)
    @rule()
    def commit_all(self) -> None:
        self.world.commit(len(self.world.queued))

    @precondition(lambda self: any(not claim.looked for claim in self.world.claims.values()))
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        self.world.look(data.draw(st.sampled_from([name for name, claim in self.world.claims.items() if not claim.looked])))

    @precondition(lambda self: any(claim.looked for claim in self.world.claims.values()))
    @rule(data=st.data())
    def end_claim(self, data: st.DataObject) -> None:
        self.world.end_claim(data.draw(st.sampled_from([name for name, claim in self.world.claims.items() if claim.looked])))

    @rule(seconds=st.sampled_from([0.1, 0.6, 1.0, 5.0, 40.0]), rings=st.booleans())
    def time_passes(self, seconds: float, rings: bool) -> None:
        self.world.now += seconds
        if rings:
            self.world.tick()

    @rule()
    def relieve(self) -> None:
        self.world.record(self.world.dispatcher.relieve(self.world.now))
        self.world.advance()

    @rule(orderly=st.booleans())
    def restart(self, orderly: bool) -> None:
        if orderly:
            self.world.stop()
        self.world.begin()

    @precondition(lambda self: self.world.again_possible())
    @rule(data=st.data())
    def tried_again(self, data: st.DataObject) -> None:
        self.world.again(data.draw(st.sampled_from(self.world.again_possible())))

    @precondition(lambda self: self.world.rows)
    @rule(data=st.data(), status=st.sampled_from([Status.CANCELLED, Status.STAGED]))
    def changed(self, data: st.DataObject, status: Status) -> None:
        self.world.change(data.draw(st.sampled_from(self.world.rows)), status)

    @rule(name=st.sampled_from(TRIGGERS).map(lambda t: t.name))
    def paused(self, name: str) -> None:
        self.world.pause(name)

    @rule(name=st.sampled_from(TRIGGERS).map(lambda t: t.name))
    def resumed(self, name: str) -> None:
        self.world.resume(name)

    @invariant()
    def promises(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.drain()


Model.TestCase.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
TestDispatcherModel = Model.TestCase


STEPS = ["offer", "take", "finish", "commit", "look", "end", "die", "sleep", "ring", "relieve", "restart"]
STEPS += ["again", "cancel", "hurry", "pause", "resume"]


def walk(seed: int, steps: int) -> None:
    """A random walk. The seed also chooses how much there is of what, how few lanes there are, and what works."""
    dice = random.Random(seed)
    world = World()
    weights = [dice.choice([1, 1, 4, 16]) for _ in STEPS[:6]] + [dice.choice([0, 0.5, 2]) for _ in STEPS[6:]]
    names = [each.name for each in dice.sample(TRIGGERS, dice.randint(1, 3))]
    keys, two, worst = KEYS[: dice.randint(2, 5)], dice.choice([0.0, 0.1, 0.5]), dice.choice([0.0, 0.1, 0.5])
    eager = dice.random()
    for number in range(steps):
        match dice.choices(STEPS, weights)[0]:
            case "offer":
                name, lane, also = dice.choice(names), dice.choice(keys), dice.choice(keys)
                second = also if also != lane and dice.random() < two else None
                ordered = name != "unordered"
                world.offer(Offered(f"id{number}", name, lane if ordered else None, second if ordered else None, "", 1))
            case "take":
                world.pump()
            case "finish" if world.flying:
                delivery = world.flying[dice.choice(list(world.flying))]
                if dice.random() >= worst:
                    world.finish(delivery, 200, Delivered())
                else:
                    outcomes: list[Outcome] = [Retry(world.now + dice.choice([0, 1, 5]), "no"), GiveUp("no")]
                    world.finish(delivery, dice.choice([0, 404, 500]), dice.choices(outcomes, [5, 1])[0])
            case "commit" if world.queued:
                world.commit(dice.randint(1, len(world.queued)))
            case "look":
                for name in dice.sample(list(world.claims), len(world.claims)):
                    if not world.claims[name].looked:
                        world.look(name)
                        break
            case "end":
                for name in dice.sample(list(world.claims), len(world.claims)):
                    if world.claims[name].looked:
                        world.end_claim(name)
                        break
            case "die":
                origin = dice.choice(ENDPOINTS)
                for _ in range(12):
                    hit = [d for d in world.flying.values() if world.dispatcher.queues[d.trigger].endpoint.origin == origin]
                    if hit:
                        outcomes = [Retry(world.now + dice.choice([0, 1]), "no"), GiveUp("no")]
                        world.finish(dice.choice(hit), 503, dice.choice(outcomes))
                        world.pump()
            case "sleep":
                world.now += dice.choice([0.1, 0.5, 1.0, 3.0])
            case "ring":
                world.now = max(world.now, min(world.rings_at(), world.now + 60))
                world.tick()
            case "relieve":
                world.record(world.dispatcher.relieve(world.now))
                world.advance()
            case "again" if final := world.again_possible():
                world.again(dice.choice(final))
            case "cancel" if world.rows:
                world.change(dice.choice(world.rows), Status.CANCELLED)
            case "hurry" if world.rows:
                world.change(dice.choice(world.rows), Status.STAGED)
            case "pause":
                world.pause(dice.choice(names))
            case "resume":
                world.resume(dice.choice(names))
            case "restart":
                if dice.random() < 0.5:
                    world.stop()
                world.begin()
        if dice.random() < eager:
            world.pump()
        world.check()
    world.drain()


@pytest.mark.parametrize("block", range(10))
def test_random_walks(block: int) -> None:
    for seed in range(block * 40, block * 40 + 40):
        try:
            walk(seed, 250)
        except AssertionError as error:
            error.add_note(f"walk({seed}, 250)")
            raise
