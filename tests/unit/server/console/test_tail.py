"""What a live tail tells: what is new or otherwise, what is gone, and nothing of what it has not looked at."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from cdcd.admin.deliveries import Found, Page
from cdcd.server.console.log import LOOK, MOST_TAILS, TAILED, Look, Tail, pause
from cdcd.server.console.words import stamp

BEGIN = 1_795_500_000_000  # milliseconds


def one(number: int, status: str = "processed") -> Found:
    identity = str(UUID(int=((BEGIN + number) << 80) | (8 << 76) | number))
    return Found(identity, (BEGIN + number) * 1000, "T", "s", "", "t", "", status, 1, "", 0, None, {})


def page(items: Sequence[Found], next: str | None = None, searched: float | None = None) -> Page:
    return Page(tuple(sorted(items, key=lambda found: found.id, reverse=True)), next, searched)


def test_all_together_look_for_a_tenth_of_the_time() -> None:
    for tails in range(1, MOST_TAILS + 1):
        for took in (0.001, 0.02, 0.1, 3.0):
            assert tails * took / pause(took, tails) < 0.1001
    assert pause(0.01, 5) == LOOK


def test_the_first_look_tells_everything() -> None:
    tail = Tail()
    assert tail.look(page([one(1), one(2)])) == Look((one(2), one(1)), [], False)
    assert tail.look(page([one(1), one(2)])) == Look((), [], False)


def test_what_is_new_and_what_is_otherwise() -> None:
    tail = Tail()
    tail.look(page([one(1, "staged"), one(3)]))
    assert tail.look(page([one(1), one(2), one(3), one(4)])) == Look((one(4), one(2), one(1)), [], False)


def test_what_the_filter_selects_no_longer() -> None:
    tail = Tail()
    tail.look(page([one(1, "staged"), one(2, "staged"), one(3, "staged")]))
    assert tail.look(page([one(1, "staged"), one(3, "staged")])).gone == [one(2).id]
    assert tail.look(page([])).gone == [one(3).id, one(1).id]


def test_what_fell_off_the_end_is_not_gone() -> None:
    tail = Tail()
    tail.look(page([one(n) for n in range(TAILED)], next="more"))
    look = tail.look(page([one(n) for n in range(5, TAILED + 5)], next="more"))
    assert look == Look(tuple(one(n) for n in range(TAILED + 4, TAILED - 1, -1)), [], False)


def test_what_was_not_looked_at_is_not_gone() -> None:
    tail = Tail()
    tail.look(page([one(1), one(1000), one(3000)]))
    look = tail.look(page([one(3000)], next="more", searched=(BEGIN + 2000) / 1000))
    assert look == Look((), [], False)
    tail.look(page([one(1000), one(3000)]))
    assert tail.look(page([one(3000)], next="more", searched=(BEGIN + 500) / 1000)).gone == [one(1000).id]


def test_a_flood_is_said_to_be_one() -> None:
    tail = Tail()
    assert not tail.look(page([one(n) for n in range(TAILED)], next="more")).more
    look = tail.look(page([one(n) for n in range(1000, 1000 + TAILED)], next="more"))
    assert look.more
    assert len(look.changed) == TAILED
    again = [replace(one(n), status="staged") for n in range(1000, 1000 + TAILED)]
    assert not tail.look(page(again, next="more")).more  # all of them are otherwise, none is new


def test_times_of_the_list() -> None:
    now = BEGIN / 1000
    assert stamp(now + 3.1234, now) == "06:00:03.123"
    assert stamp(now - 86400, now) == "2026-11-23 06:00:00"
