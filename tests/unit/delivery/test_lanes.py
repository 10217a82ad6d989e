"""What a trigger's backlog counts: all of it, its lanes while they are few, and when a new delivery must join it."""

from hypothesis import given
from hypothesis import strategies as st

from cdcd.delivery.lanes import Backlog, lanes_of
from cdcd.event import Delivery, Event

EVENT = Event("DB_INSERT", "cdcd/test", "t/1", "1", 0, b"{}")


def delivery(lane: str | None, also: str | None = None) -> Delivery:
    return Delivery("id", "t", EVENT, lane, also=also)


def test_lanes_of_none_one_and_two() -> None:
    assert list(lanes_of(delivery(None))) == []
    assert list(lanes_of(delivery("a"))) == ["a"]
    assert list(lanes_of(delivery("a", "b"))) == ["a", "b"]


def test_an_empty_backlog_holds_nothing() -> None:
    assert not Backlog().holds(delivery("a", "b"))


def test_a_lane_is_held_until_the_last_of_it_is_final() -> None:
    backlog = Backlog()
    backlog.add(delivery("a"))
    backlog.add(delivery("a", "b"))
    assert backlog.holds(delivery("a"))
    assert backlog.holds(delivery("c", "b"))
    assert not backlog.holds(delivery("c"))
    backlog.remove(delivery("a"))
    assert backlog.holds(delivery("a"))
    backlog.remove(delivery("a", "b"))
    assert not backlog.holds(delivery("a"))
    assert not backlog.holds(delivery("b"))
    assert backlog.count == 0


def test_an_unordered_delivery_never_joins() -> None:
    backlog = Backlog(most_lanes=0)
    flooded = []
    for lane in (None, "a"):
        backlog.add(delivery(lane))
        flooded.append(backlog.flooded)
        assert not backlog.holds(delivery(None))
    assert flooded == [False, True]
    assert backlog.count == 2


def test_it_is_flooded_once_and_until_it_has_drained() -> None:
    backlog = Backlog(most_lanes=2)
    flooded = []
    for lane in "abacd":
        backlog.add(delivery(lane))
        flooded.append(backlog.flooded)
    assert flooded == [False, False, False, True, True]
    assert backlog.holds(delivery("never seen"))
    flooded.clear()
    for lane in "abacd":
        backlog.remove(delivery(lane))
        flooded.append(backlog.flooded)
    assert flooded == [True, True, True, True, False]
    assert not backlog.holds(delivery("a"))


def test_restore_takes_over_what_the_store_holds() -> None:
    backlog = Backlog()
    backlog.restore(3, {"a": 2, "b": 1})
    assert backlog.holds(delivery("a"))
    assert not backlog.holds(delivery("c"))
    for count in (20_000, 0):
        backlog.restore(count, None)
        assert backlog.flooded == bool(count)
        assert backlog.holds(delivery("c")) == bool(count)


def test_more_removed_than_was_counted_does_no_harm() -> None:
    backlog = Backlog()
    backlog.remove(delivery("a"))
    backlog.add(delivery("b"))
    backlog.add(delivery("b"))
    backlog.remove(delivery("a"))
    assert backlog.count == 1
    assert backlog.holds(delivery("b"))


LANES = st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"))


@given(st.lists(st.tuples(st.booleans(), LANES), max_size=60), st.integers(0, 4))
def test_it_holds_every_lane_that_has_something_in_it(steps: list[tuple[bool, tuple[str, str]]], most: int) -> None:
    backlog = Backlog(most)
    inside: list[Delivery] = []
    for add, (lane, other) in steps:
        if add:
            inside.append(delivery(lane, other if other != lane else None))
            backlog.add(inside[-1])
        elif inside:
            backlog.remove(inside.pop(0))
        assert backlog.count == len(inside)
        full = {lane for each in inside for lane in lanes_of(each)}
        for lane in "abcd":
            assert backlog.holds(delivery(lane)) == (bool(inside) if backlog.flooded else lane in full)
