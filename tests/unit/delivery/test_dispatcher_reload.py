"""Other triggers are taken over: attempts that are under way, queues that move, are gone, and come back."""

from collections.abc import Mapping

from cdcd.config.model import Limits, TriggerConfig, Webhook
from cdcd.delivery.circuit import THRESHOLD, State
from cdcd.event import Retry
from tests.unit.delivery.test_dispatcher import LATER, Desk, told

Stored = Mapping[str, tuple[int, dict[str, int] | None]]


class Reloaded(Desk):
    """A desk whose triggers may become others."""

    def take_over(self, *triggers: str, limits: Limits | None = None, stored: Stored | None = None, **concurrency: int) -> None:
        configs = []
        for each in triggers:
            name, _, endpoint = each.partition("@")
            webhook = Webhook(f"http://{endpoint}/{name}", f"http://{endpoint}")
            configs.append(TriggerConfig(name, frozenset(), "main", (), webhook, concurrency=concurrency.get(name)))
        self.dispatcher.take_over(configs, limits or self.dispatcher.limits, stored or {})


def test_an_attempt_counts_where_it_began() -> None:
    """Its end frees the former endpoint, and its failure is that one's."""
    desk = Reloaded("t@old")
    under_way = desk.live("a")
    assert desk.take() is under_way
    old = desk.dispatcher.endpoints["http://old"]
    desk.take_over("t@new")
    new = desk.dispatcher.endpoints["http://new"]
    other = desk.live("b")
    assert desk.take() is other
    assert (old.in_flight, new.in_flight) == (1, 1)
    for _ in range(THRESHOLD - 1):
        old.circuit.failed(0.0)
    desk.finish(under_way, 500, LATER)
    assert (old.in_flight, new.in_flight) == (0, 1)
    assert (old.circuit.state, new.circuit.state) == (State.OPEN, State.CLOSED)
    desk.finish(other)
    assert desk.dispatcher.in_flight == new.in_flight == 0


def test_what_waits_goes_to_the_new_endpoint() -> None:
    desk = Reloaded("t@old", "u@old", t=1)
    first, second = desk.live(None), desk.live(None)
    assert desk.take_all() == [first]
    desk.take_over("t@new", "u@old", t=1)
    desk.finish(first)
    assert desk.take_all() == [second]
    desk.finish(second)
    assert desk.dispatcher.endpoints["http://new"].in_flight == 0


def test_the_former_endpoint_goes_on_with_others_when_an_attempt_ends_there() -> None:
    desk = Reloaded("t@old", "u@old", limits=Limits(endpoint_concurrency=1))
    moved, stays = desk.live("a"), desk.live("a", trigger="u")
    assert desk.take_all() == [moved]
    desk.take_over("t@new", "u@old")
    assert desk.take_all() == []
    desk.finish(moved)
    assert desk.take_all() == [stays]


def test_gone_what_is_in_memory_is_staged_and_nothing_is_claimed() -> None:
    desk = Reloaded("t@e")
    sending, behind, apart = desk.live("a"), desk.live("a"), desk.live("b")
    assert desk.take() is sending
    records = desk.dispatcher.retire("t")
    assert told(records) == [f"{sending.id} staged", f"{behind.id} staged", f"{apart.id} staged"]
    assert desk.take_all() == []
    late, staged = desk.offer("c")  # it was on its way here
    assert staged == [f"{late.id} staged"]
    desk.dispatcher.claiming("t")
    desk.dispatcher.admit(apart, desk.now)
    assert desk.take_all() == []
    assert told(desk.finish(sending)) == [f"{sending.id} processed"]
    assert desk.dispatcher.queues["t"].backlog.count == 4  # until the recorder has them


def test_an_attempt_of_a_trigger_that_is_gone_may_be_tried_again_when_it_is_back() -> None:
    desk = Reloaded("t@e")
    sending = desk.live("a")
    desk.take()
    desk.dispatcher.retire("t")
    assert told(desk.finish(sending, 500, Retry(5.0, "no"))) == [f"{sending.id} staged"]
    desk.take_over("t@e")
    assert "t" in desk.dispatcher.unclaimed
    behind, records = desk.offer("a")
    assert told([*desk.dispatcher.overdue(9.0)]) == []
    assert records == [f"{behind.id} staged"]  # behind what the store holds of its lane


def test_a_new_trigger_stands_behind_what_the_store_holds_of_its_name() -> None:
    desk = Reloaded("t@e")
    desk.take_over("t@e", "u@e", stored={"u": (3, {"a": 3})})
    assert desk.offer("a", trigger="u")[1] != []
    assert desk.offer("b", trigger="u")[1] == []


def test_other_limits_hold_at_once() -> None:
    desk = Reloaded("t@e", limits=Limits(endpoint_concurrency=1))
    waiting = [desk.live(None) for _ in range(4)]
    assert desk.take_all() == waiting[:1]
    desk.take_over("t@e", limits=Limits(endpoint_concurrency=3))
    assert desk.take_all() == waiting[1:3]
    desk.take_over("t@e", limits=Limits(endpoint_concurrency=1))
    for each in waiting[:2]:
        desk.finish(each)
    assert desk.take_all() == []
    desk.finish(waiting[2])
    assert desk.take_all() == waiting[3:]


def test_endpoints_that_nobody_names_any_more_are_forgotten() -> None:
    desk = Reloaded("t@old")
    desk.take_over("t@new")
    assert list(desk.dispatcher.endpoints) == ["http://new"]
