"""The dispatcher's rules one by one; `test_dispatcher_model` has their random interplay."""

from collections import Counter
from collections.abc import Iterable

import pytest

from cdcd.config.model import Limits, TriggerConfig, Webhook
from cdcd.delivery.circuit import THRESHOLD, State
from cdcd.delivery.dispatcher import Dispatcher
from cdcd.event import Attempt, Delivered, Delivery, Event, GiveUp, Outcome, Record, Retry, Status

LATER = Retry(1000.0, "no")
OK = Delivered()
LIMITS = Limits()


class Desk:
    """A dispatcher with short words for what is done to it. `now` is moved by hand."""

    def __init__(self, *triggers: str, limits: Limits = LIMITS, most_lanes: int = 100, **concurrency: int) -> None:
        """Each trigger is `name@endpoint`; `concurrency` is by trigger name."""
        configs = []
        for each in triggers or ("t@e",):
            name, _, endpoint = each.partition("@")
            webhook = Webhook(f"http://{endpoint}/{name}", f"http://{endpoint}")
            configs.append(TriggerConfig(name, frozenset(), "main", (), webhook, concurrency=concurrency.get(name)))
        self.dispatcher = Dispatcher(configs, limits, most_lanes)
        self.now = 0.0
        self.number = 0

    def make(self, lane: str | None, also: str | None = None, trigger: str = "t", size: int = 0, error: str = "") -> Delivery:
        self.number += 1
        event = Event("DB_UPDATE", "cdcd/test", "x", "1", 0, b"x" * size)
        return Delivery(f"{trigger}{self.number}", trigger, event, lane, also=also, error=error)

    def offer(self, lane: str | None, also: str | None = None, trigger: str = "t", size: int = 0) -> tuple[Delivery, list[str]]:
        """Offer a new one; it and what is recorded for that."""
        delivery = self.make(lane, also, trigger, size)
        return delivery, told(self.dispatcher.offer(delivery, self.now))

    def live(self, lane: str | None, also: str | None = None, trigger: str = "t") -> Delivery:
        delivery, records = self.offer(lane, also, trigger)
        assert not records
        return delivery

    def claim(self, *deliveries: Delivery) -> None:
        """A claim that finds these."""
        self.dispatcher.claiming(deliveries[0].trigger)
        self.admit(*deliveries)

    def admit(self, *deliveries: Delivery) -> list[Delivery]:
        """The store's answer: a fresh object for each."""
        made = []
        for old in deliveries:
            new = Delivery(old.id, old.trigger, old.event, old.lane, also=old.also, attempts=old.attempts, staged=True)
            self.dispatcher.admit(new, self.now)
            made.append(new)
        return made

    def take(self) -> Delivery:
        delivery = self.dispatcher.take(self.now)
        assert delivery is not None
        return delivery

    def take_all(self) -> list[Delivery]:
        taken = []
        while (delivery := self.dispatcher.take(self.now)) is not None:
            taken.append(delivery)
        return taken

    def finish(self, delivery: Delivery, status: int = 200, outcome: Outcome = OK, refused: bool = False) -> list[Record]:
        error = "" if status == 200 else f"status {status}"
        attempt = Attempt(delivery.attempts + 1, 0.0, 0.1, status, "", error, refused=refused)
        return self.dispatcher.finished(delivery, attempt, outcome, self.now)

    def commit(self, records: Iterable[Record]) -> None:
        for record in records:
            self.dispatcher.recorded(record)

    def open(self, trigger: str = "t") -> list[Record]:
        """Fail in a row, unordered and for good, until the circuit opens; the last one's records."""
        records: list[Record] = []
        for _ in range(THRESHOLD):
            failing = self.make(None, trigger=trigger)
            assert not self.dispatcher.offer(failing, self.now)
            while (delivery := self.take()) is not failing:
                self.finish(delivery, 404, GiveUp("no"))
            records = self.finish(failing, 500, GiveUp("no"))
        assert self.dispatcher.queues[trigger].endpoint.circuit.state is State.OPEN
        return records


def told(records: Iterable[Record]) -> list[str]:
    """Records in short: which delivery, and its status."""
    return [f"{record.delivery.id} {record.status}" for record in records]


# Lanes


def test_one_of_a_lane_at_a_time_in_order() -> None:
    desk = Desk()
    first, second, other = desk.live("a"), desk.live("a"), desk.live("b")
    assert desk.take_all() == [first, other]
    assert told(desk.finish(first)) == ["t1 processed"]
    assert desk.take_all() == [second]


def test_unordered_ones_do_not_wait_for_each_other() -> None:
    desk = Desk()
    deliveries = [desk.live(None) for _ in range(3)]
    assert desk.take_all() == deliveries


def test_one_in_two_lanes_waits_for_both_and_holds_both() -> None:
    desk = Desk()
    a, b = desk.live("a"), desk.live("b")
    both = desk.live("a", "b")
    after = desk.live("b")
    assert desk.take_all() == [a, b]
    desk.finish(b)
    assert not desk.take_all()
    desk.finish(a)
    assert desk.take_all() == [both]
    desk.finish(both)
    assert desk.take_all() == [after]


def test_the_next_goes_on_after_one_was_given_up() -> None:
    desk = Desk()
    first, second = desk.live("a"), desk.live("a")
    desk.take()
    assert told(desk.finish(first, 500, GiveUp("no"))) == ["t1 failed"]
    assert desk.take() is second


def test_a_retry_takes_its_whole_lane_into_the_store_in_order() -> None:
    desk = Desk()
    first = desk.live("a")
    for _ in range(2):
        desk.live("a")
    other = desk.live("b")
    desk.take()
    records = desk.finish(first, 500, LATER)
    assert told(records) == ["t1 staged", "t2 staged", "t3 staged"]
    assert [record.due_at for record in records] == [1000.0, 0.0, 0.0]
    assert desk.take_all() == [other]
    assert desk.offer("a")[1] == ["t5 staged"]


def test_a_retry_stages_in_place_what_is_under_way_in_a_lane_tied_to_its_own() -> None:
    desk = Desk()
    a, b = desk.live("a"), desk.live("b")
    desk.live("a", "b")
    desk.take_all()
    assert told(desk.finish(a, 500, LATER)) == ["t1 staged", "t2 staged", "t3 staged"]
    assert b.staged
    assert not b.gone
    (record,) = desk.finish(b)
    assert (record.status, record.was_staged) == (Status.PROCESSED, True)


def test_one_that_joins_the_backlog_takes_along_what_lives_in_its_second_lane() -> None:
    desk = Desk()
    first = desk.live("a")
    desk.take()
    desk.finish(first, 500, LATER)
    desk.live("b")
    assert desk.offer("a", "b")[1] == ["t2 staged", "t3 staged"]


def test_one_that_cannot_be_sent_is_failed_at_once() -> None:
    desk = Desk()
    (record,) = desk.dispatcher.offer(desk.make("a", error="not JSON"), 0.0)
    assert (record.status, record.reason, record.was_staged) == (Status.FAILED, "not JSON", False)
    assert not desk.take_all()
    assert desk.dispatcher.usage.count == 0


# Budgets and turns


def test_concurrency_of_daemon_endpoint_and_trigger() -> None:
    desk = Desk("t@e", "u@e", "v@f", limits=Limits(concurrency=7, endpoint_concurrency=5), t=2)
    for trigger in "tuv":
        for _ in range(10):
            desk.live(None, trigger=trigger)
    taken = Counter(delivery.trigger for delivery in desk.take_all())
    assert sum(taken.values()) == 7
    assert taken["t"] <= 2
    assert taken["t"] + taken["u"] <= 5
    assert taken["v"] >= 2


def test_a_freed_slot_is_used_again() -> None:
    desk = Desk(t=1)
    first, second = desk.live("a"), desk.live("b")
    assert desk.take_all() == [first]
    desk.finish(first)
    assert desk.take_all() == [second]


def test_a_huge_queue_does_not_keep_a_small_one_waiting() -> None:
    desk = Desk("huge@e", "small@e", "other@f", limits=Limits(concurrency=1))
    for number in range(1000):
        desk.live(f"k{number}", trigger="huge")
    desk.live("a", trigger="small")
    desk.live("a", trigger="other")
    order = []
    for _ in range(4):
        delivery = desk.take()
        order.append(delivery.trigger)
        desk.finish(delivery)
    assert {"small", "other"} < set(order)


def test_a_hanging_endpoint_takes_its_own_slots_only() -> None:
    desk = Desk("dead@e", "well@f", limits=Limits(concurrency=8, endpoint_concurrency=4))
    for number in range(100):
        desk.live(f"k{number}", trigger="dead")
    assert len(desk.take_all()) == 4
    for number in range(50):
        delivery = desk.live(f"k{number}", trigger="well")
        assert desk.take_all() == [delivery]
        desk.finish(delivery)


def test_a_dead_endpoint_beside_a_well_one_costs_it_no_turn() -> None:
    desk = Desk("dead@e", "well@f", limits=Limits(concurrency=2, endpoint_concurrency=1))
    served = 0
    for number in range(100):
        desk.offer(f"k{number}", trigger="dead")
        desk.live(f"k{number}", trigger="well")
        for delivery in desk.take_all():
            if delivery.trigger == "dead":
                desk.finish(delivery, 0, LATER)
            else:
                served += 1
                desk.finish(delivery)
    assert served == 100


def test_usage_counts_what_is_in_memory() -> None:
    desk = Desk()
    first, _ = desk.offer("a", size=100)
    desk.offer("a", size=50)
    usage = desk.dispatcher.usage
    assert (usage.count, usage.bytes) == (2, 150 + 2 * 512)
    desk.take()
    desk.finish(first, 500, LATER)
    assert (usage.count, usage.bytes) == (0, 0)


# Spilling


def test_after_spill_after_it_is_staged_with_its_lane() -> None:
    desk = Desk(limits=Limits(endpoint_concurrency=1))
    sent = desk.live("a")
    desk.take()
    desk.now = 0.5
    desk.live("a")
    young = desk.live("b")
    assert desk.dispatcher.oldest() == 0.0
    assert told(desk.dispatcher.overdue(0.9)) == []
    assert told(desk.dispatcher.overdue(1.0)) == ["t1 staged", "t2 staged"]
    assert desk.dispatcher.oldest() == 0.5
    assert desk.dispatcher.usage.count == 2
    (record,) = desk.finish(sent)
    assert record.was_staged
    assert desk.take() is young


def test_one_staged_in_place_is_held_until_its_last_record_is_committed() -> None:
    desk = Desk()
    delivery = desk.live("a")
    desk.take()
    staged = desk.dispatcher.overdue(1.0)
    queue = desk.dispatcher.queues["t"]
    assert desk.dispatcher.claiming("t") == [delivery.id]
    desk.commit(staged)
    assert delivery.id in queue.held
    final = desk.finish(delivery)
    assert delivery.id in queue.held
    assert queue.backlog.count == 1
    desk.commit(final)
    assert not queue.held
    assert queue.backlog.count == 0


def refuse(records: list[Record]) -> None:
    """The store refuses the data of these: the recorder makes them failed."""
    for record in records:
        record.status = Status.FAILED


def test_one_that_the_store_refuses_to_stage_is_no_backlog() -> None:
    desk = Desk()
    desk.live("a")
    staged = desk.dispatcher.overdue(1.0)
    queue = desk.dispatcher.queues["t"]
    assert queue.backlog.count == 1
    refuse(staged)
    desk.commit(staged)
    assert (queue.backlog.count, queue.held) == (0, {})
    assert desk.live("a") is desk.take()


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("outcome", [OK, LATER, GiveUp("no")])
def test_one_that_the_store_refuses_while_it_is_being_sent_is_counted_once(early: bool, outcome: Outcome) -> None:
    """`early`: the refusal is known before the attempt ends."""
    desk = Desk()
    delivery = desk.live("a")
    desk.take()
    first = desk.dispatcher.overdue(1.0)
    other = desk.make("b")
    desk.dispatcher.queues["t"].backlog.add(other)
    queue = desk.dispatcher.queues["t"]
    refuse(first)
    if early:
        desk.commit(first)
        assert queue.backlog.count == 2
    last = desk.finish(delivery, 200 if outcome is OK else 500, outcome)
    if not early:
        desk.commit(first)
    if outcome is LATER:
        refuse(last)
    desk.commit(last)
    assert (queue.backlog.count, queue.held) == (1, {})
    assert not queue.backlog.holds(delivery)
    assert desk.dispatcher.usage.count == 0
    assert desk.dispatcher.usage.bytes == 0


def test_relieve_stages_the_trigger_that_takes_most() -> None:
    desk = Desk("t@e", "u@e")
    desk.live("a", trigger="u")
    for _ in range(3):
        desk.live(None)
    assert told(desk.dispatcher.relieve(0.0)) == ["t2 staged", "t3 staged", "t4 staged"]
    assert told(desk.dispatcher.relieve(0.0)) == ["u1 staged"]
    assert not desk.dispatcher.relieve(0.0)


def test_relieve_leaves_claimed_ones_where_they_are() -> None:
    desk = Desk()
    claimed = desk.make("a")
    desk.dispatcher.queues["t"].backlog.restore(1, {"a": 1})
    desk.claim(claimed)
    desk.live("b")
    assert told(desk.dispatcher.relieve(0.0)) == ["t2 staged"]
    assert desk.take().id == claimed.id


def test_a_flooded_trigger_stages_what_is_new_behind_what_lives_in_its_lane() -> None:
    desk = Desk(most_lanes=2)
    desk.live("d")
    for lane in "abc":
        failing = desk.live(lane)
        while desk.take() is not failing:
            pass
        desk.finish(failing, 500, LATER)
    assert desk.offer("e")[1] == ["t5 staged"]
    assert desk.offer("d")[1] == ["t1 staged", "t6 staged"]


def test_what_left_memory_is_not_kept_by_a_queue_that_cannot_be_sent() -> None:
    desk = Desk(t=1)
    desk.live(None)
    desk.take()
    for number in range(10):
        desk.now = 2.0 * number
        for _ in range(100):
            desk.live(None)
        desk.dispatcher.overdue(desk.now + 1.0)
    queue = desk.dispatcher.queues["t"]
    assert queue.live == 0
    assert len(queue.ready) <= 100


def test_what_left_memory_is_not_kept_by_an_older_one_that_stays() -> None:
    desk = Desk()
    desk.live(None)
    desk.take()
    for _ in range(1000):
        delivery = desk.live(None)
        desk.take()
        desk.finish(delivery)
    assert len(desk.dispatcher._arrivals) <= 100


# The circuit


def test_an_opened_circuit_stages_all_triggers_of_its_endpoint() -> None:
    desk = Desk("t@e", "u@e", "v@f", limits=Limits(endpoint_concurrency=64), u=1)
    sent, waiting, other = desk.live("a", trigger="u"), desk.live("b", trigger="u"), desk.live("a", trigger="v")
    assert desk.take_all() == [sent, other]
    assert told(desk.open())[1:] == [f"{sent.id} staged", f"{waiting.id} staged"]
    assert desk.offer("c", trigger="u")[1] == ["u14 staged"]
    assert not desk.take_all()


def test_what_cdcd_itself_refuses_says_nothing_of_the_endpoint() -> None:
    desk = Desk()
    for _ in range(2 * THRESHOLD):
        delivery = desk.live("a")
        desk.take()
        desk.finish(delivery, 0, GiveUp("over the limit"), refused=True)
    assert desk.dispatcher.queues["t"].endpoint.circuit.state is State.CLOSED


def test_claimed_ones_that_an_opened_circuit_drops_are_claimed_again() -> None:
    desk = Desk("t@e", "u@e", u=1)
    desk.dispatcher.queues["u"].backlog.restore(2, {"a": 1, "b": 1})
    desk.claim(desk.make("a", trigger="u"), desk.make("b", trigger="u"))
    desk.take()
    desk.open()
    assert desk.dispatcher.unclaimed == {"u"}
    assert list(desk.dispatcher.queues["u"].held) == ["u1"]


def test_a_claim_that_returns_to_an_open_circuit_is_declined() -> None:
    desk = Desk()
    desk.dispatcher.queues["t"].backlog.restore(1, {"a": 1})
    desk.dispatcher.claiming("t")
    desk.open()
    desk.admit(desk.make("a"))
    queue = desk.dispatcher.queues["t"]
    assert desk.dispatcher.unclaimed == {"t"}
    assert (queue.claimed, queue.held, queue.lanes) == (0, {}, {})
    desk.now = 100.0
    desk.claim(desk.make("b"))
    assert desk.take().lane == "b"


def test_in_a_half_open_circuit_a_lane_goes_to_the_backlog_whole() -> None:
    desk = Desk()
    desk.open()
    desk.now = 100.0
    probe = desk.live("p")
    desk.live("a")
    assert desk.take_all() == [probe]
    desk.dispatcher.queues["t"].backlog.restore(1, {"x": 1})
    assert desk.offer("a")[1] == ["t12 staged", "t13 staged"]


# Claims


def test_claimed_ones_go_in_order_and_free_their_lane_when_committed() -> None:
    desk = Desk()
    queue = desk.dispatcher.queues["t"]
    queue.backlog.restore(2, {"a": 2})
    desk.claim(desk.make("a"), desk.make("a"))
    first = desk.take()
    assert not desk.take_all()
    records = desk.finish(first)
    second = desk.take()
    assert (first.id, second.id) == ("t1", "t2")
    desk.commit([*records, *desk.finish(second)])
    assert not queue.held
    assert not queue.backlog.count
    assert desk.live("a") is desk.take()


def test_a_claimed_one_that_fails_puts_back_those_behind_it() -> None:
    desk = Desk()
    queue = desk.dispatcher.queues["t"]
    queue.backlog.restore(2, {"a": 2})
    desk.claim(desk.make("a"), desk.make("a"))
    (record,) = desk.finish(desk.take(), 500, LATER)
    assert (record.status, record.was_staged) == (Status.STAGED, True)
    assert list(queue.held) == ["t1"]
    assert queue.claimed == 0
    desk.commit([record])
    assert not queue.held


def test_a_claim_that_saw_one_staged_in_place_meanwhile_is_declined() -> None:
    """Its row was committed after the claim began, so the claim did not leave it out; it has been sent already."""
    desk = Desk()
    delivery = desk.live("a")
    desk.take()
    desk.dispatcher.claiming("t")
    desk.commit(desk.dispatcher.overdue(1.0))
    desk.commit(desk.finish(delivery))
    desk.admit(delivery)
    assert not desk.take_all()
    assert desk.dispatcher.unclaimed == {"t"}


def test_what_stands_behind_a_declined_one_is_declined_too() -> None:
    desk = Desk()
    desk.live("a")
    desk.take()
    desk.dispatcher.claiming("t")
    desk.dispatcher.overdue(1.0)
    desk.admit(desk.make("a", "b"), desk.make("b"), desk.make("c"))
    assert desk.take().lane == "c"
    assert not desk.take_all()


def test_one_given_back_leaves_memory_and_its_lane_stands_still() -> None:
    desk = Desk()
    first = desk.live("a")
    desk.live("a")
    desk.take()
    desk.dispatcher.give_back(first)
    assert not desk.take_all()
    assert desk.dispatcher.in_flight == 0
    assert desk.dispatcher.usage.count == 1


def as_read(delivery: Delivery) -> Delivery:
    """A staged one as an operator reads it from the store."""
    return Delivery(
        delivery.id, delivery.trigger, delivery.event, delivery.lane, also=delivery.also, attempts=delivery.attempts
    )


def test_what_is_being_sent_is_not_changed_nor_what_ended_since_it_was_read() -> None:
    desk = Desk()
    first, second = desk.live("a"), desk.live("a")
    desk.dispatcher.take(desk.now)
    staged = desk.dispatcher.finished(first, Attempt(1, 0.0, 0.1, 404, "", "no"), LATER, desk.now)
    for record in staged:
        desk.dispatcher.recorded(record)
    (claimed,) = [each for each in desk.admit(first, second) if each.id == first.id]
    assert desk.take() is claimed
    dispatcher = desk.dispatcher
    dispatcher.passed = set()  # an operator begins to read
    assert dispatcher.change(as_read(first), Status.CANCELLED, 0.0, "why") is None
    (final,) = dispatcher.finished(claimed, Attempt(2, 0.0, 0.1, 200, ""), OK, desk.now)
    assert dispatcher.change(as_read(first), Status.CANCELLED, 0.0, "why") is None
    dispatcher.recorded(final)
    assert dispatcher.change(as_read(first), Status.CANCELLED, 0.0, "why") is None  # it was staged when it was read
    cancelled = dispatcher.change(as_read(second), Status.CANCELLED, 0.0, "why")
    assert cancelled is not None
    assert dispatcher.queues["t"].backlog.count == 1
    dispatcher.recorded(cancelled)
    dispatcher.passed = None
    assert dispatcher.queues["t"].backlog.count == 0
    assert not dispatcher.queues["t"].held


def test_a_paused_trigger_stages_what_comes_and_sends_nothing() -> None:
    desk = Desk("t@e", "u@e")
    first, second = desk.live("a"), desk.live(None)
    sending = desk.take()
    assert sending is first
    assert told(desk.dispatcher.pause("t")) == [f"{first.id} staged", f"{second.id} staged"]
    third, records = desk.offer(None)
    assert records == [f"{third.id} staged"]
    assert desk.dispatcher.take(desk.now) is None
    other = desk.live("a", trigger="u")
    assert desk.take() is other
    desk.claim(second)
    assert desk.dispatcher.take(desk.now) is None
    assert desk.dispatcher.unclaimed == {"t"}
