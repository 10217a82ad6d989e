"""A trigger that feeds itself is told, load from elsewhere is not."""

import random

import pytest

from cdcd.delivery.feeding import ANY_ROW, MOST_ROWS, SAME_ROW, TOLD_EVERY, Feeding


class Loop:
    """A webhook that takes `takes` seconds and writes after `writes` of them; its event is sent `latency` after the commit."""

    def __init__(self, writes: float = 0.01, takes: float = 0.02, latency: float = 0.015) -> None:
        self.feeding = Feeding()
        self.writes, self.takes, self.latency = writes, takes, latency
        self.committed = 1000.0
        self.told: list[int] = []

    def turn(self, row: str) -> None:
        begun = self.committed + self.latency
        if told := self.feeding.delivered("t", row, self.committed, begun, begun + self.takes, begun):
            self.told.append(told)
        self.committed = begun + self.writes


def test_a_row_that_feeds_itself_is_told_once_a_minute() -> None:
    loop = Loop()
    for _ in range(SAME_ROW):
        loop.turn("1")
    assert loop.told == []
    loop.turn("1")
    assert loop.told == [SAME_ROW]
    began = loop.committed
    while loop.committed < began + 2.5 * TOLD_EVERY:
        loop.turn("1")
    assert len(loop.told) == 3


def test_a_row_that_feeds_itself_among_others_is_told() -> None:
    """Other rows' events do not end its count."""
    loop = Loop()
    for number in range(SAME_ROW + 1):
        loop.turn("1")
        loop.feeding.delivered("t", f"other{number}", 0.0, loop.committed, loop.committed + 1, 0.0)
    assert loop.told == [SAME_ROW]


def test_inserts_that_feed_themselves_are_told() -> None:
    loop = Loop()
    for number in range(ANY_ROW + 1):
        loop.turn(str(number))
    assert loop.told == [ANY_ROW]


def test_one_event_that_lies_elsewhere_ends_the_count() -> None:
    loop = Loop()
    for number in range(5 * SAME_ROW):
        if number % (SAME_ROW - 1) == 0:
            loop.committed += 1.0
        loop.turn("1")
    assert loop.told == []


@pytest.mark.parametrize("every", [0.001, 0.015, 0.019, 0.0215, 0.03, 0.2])
@pytest.mark.parametrize("rows", [1, 7, 100_000])
@pytest.mark.parametrize("attempts", [1, 64])
def test_load_from_elsewhere_is_not_told(every: float, rows: int, attempts: int) -> None:
    """Faster and slower than 20 ms an attempt, one row or many, one attempt or many at a time."""
    feeding, chance = Feeding(), random.Random(3)
    free_at = [0.0] * attempts
    row_free: dict[str, float] = {}
    for number in range(3000):
        committed = number * every * chance.uniform(0.98, 1.02)
        row = str(number % rows)
        slot = min(range(attempts), key=free_at.__getitem__)
        begun = max(committed + 0.002, free_at[slot], row_free.get(row, 0.0))
        ended = begun + 0.02 * chance.uniform(0.9, 1.5)
        free_at[slot] = row_free[row] = ended
        assert feeding.delivered("t", row, committed, begun, ended, number * every) == 0


def test_a_burst_committed_at_once_is_not_told() -> None:
    feeding = Feeding()
    for number in range(3000):
        begun = 1.0 + number * 0.01
        assert feeding.delivered("t", "1", 0.9, begun, begun + 0.01, begun) == 0


def test_memory_is_bounded() -> None:
    feeding = Feeding()
    for number in range(3 * MOST_ROWS):
        feeding.delivered("t", str(number), float(number), float(number), number + 0.1, 0.0)
    seen = feeding._seen["t"]
    assert MOST_ROWS <= len(seen.rows) + len(seen.older) < 2 * MOST_ROWS
