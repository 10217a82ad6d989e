"""A trigger that feeds itself is told, load from elsewhere is not."""

import random

import pytest

from cdcd.delivery.feeding import IN_A_ROW, MOST_ROWS, TOLD_EVERY, Feeding


class Loop:
    """A webhook that takes `takes` seconds and writes after `writes` of them; its event is sent about `latency` after the commit."""

    def __init__(self, writes: float = 0.01, takes: float = 0.02, latency: float = 0.025) -> None:
        self.feeding = Feeding()
        self.writes, self.takes, self.latency = writes, takes, latency
        self.committed = 1000.0
        self.told: list[int] = []
        self.chance = random.Random(1)

    def turn(self, row: str) -> None:
        begun = self.committed + self.latency * self.chance.uniform(1.0, 1.5)
        if told := self.feeding.delivered("t", row, self.committed, begun, begun + self.takes, begun):
            self.told.append(told)
        self.committed = begun + self.writes * self.chance.uniform(0.7, 1.3)


def test_a_row_that_feeds_itself_is_told_once_a_minute() -> None:
    loop = Loop()
    for _ in range(IN_A_ROW):
        loop.turn("1")
    assert loop.told == []
    loop.turn("1")
    assert loop.told == [IN_A_ROW]
    began = loop.committed
    while loop.committed < began + 2.5 * TOLD_EVERY:
        loop.turn("1")
    assert len(loop.told) == 3


def test_a_row_that_feeds_itself_among_others_is_told() -> None:
    """Other rows' events do not end its count."""
    loop = Loop()
    for number in range(IN_A_ROW + 1):
        loop.turn("1")
        loop.feeding.delivered("t", f"other{number}", 0.0, loop.committed, loop.committed + 1, 0.0)
    assert loop.told == [IN_A_ROW]


def test_inserts_that_feed_themselves_are_told() -> None:
    loop = Loop()
    for number in range(IN_A_ROW + 1):
        loop.turn(str(number))
    assert loop.told == [IN_A_ROW]


def test_one_event_that_lies_elsewhere_ends_the_count() -> None:
    loop = Loop()
    for number in range(5 * IN_A_ROW):
        if number % (IN_A_ROW - 1) == 0:
            loop.committed += 1.0
        loop.turn("1")
    assert loop.told == []


@pytest.mark.parametrize("every", [0.001, 0.004, 0.005, 0.015, 0.019, 0.0215, 0.03, 0.2])
@pytest.mark.parametrize("evenness", [0.0, 0.02, 0.3])
@pytest.mark.parametrize(("rows", "attempts"), [(1, 1), (1, 64), (7, 64), (100_000, 64), (100_000, 1)])
@pytest.mark.parametrize("takes", [0.002, 0.02])
def test_load_from_elsewhere_is_not_told(every: float, evenness: float, rows: int, attempts: int, takes: float) -> None:
    """Faster, slower and just as fast as it is delivered; one row or many, one attempt or many at a time."""
    feeding, chance = Feeding(), random.Random(3)
    free_at = [0.0] * attempts
    row_free: dict[str, float] = {}
    committed = 0.0
    for number in range(400):
        committed += every * chance.uniform(1 - evenness, 1 + evenness)
        row = str(number % rows)
        slot = min(range(attempts), key=free_at.__getitem__)
        begun = max(committed + 0.003 + chance.expovariate(2000), free_at[slot], row_free.get(row, 0.0))
        ended = begun + takes * chance.uniform(0.9, 1.5)
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
