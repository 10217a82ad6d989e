"""How far a change log can be read, against transactions that take numbers and end in any order."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from cdcd.changelog.horizon import MOST, Horizon, Writer


@dataclass
class World:
    """Transactions that hold the lock from their first number until they end."""

    written: int = 0
    open: dict[str, list[int]] = field(default_factory=dict)
    visible: set[int] = field(default_factory=set)
    begun: int = 0
    named: set[str] = field(default_factory=set)
    prepared: set[str] = field(default_factory=set)

    def writer(self, name: str) -> Writer:
        """As the server tells it: it may have its first number before it has an id, and keeps only that when it is prepared."""
        return Writer(None if name in self.prepared else f"3/{name}", name if name in self.named else None)

    def write(self, which: int) -> None:
        self.written += 1
        list(self.open.values())[which % len(self.open)].append(self.written)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "write", "commit", "rollback", "undo", "look", "half", "name", "prepare"]), st.integers(0, 3)
    ),
    max_size=120,
)


@settings(max_examples=300)
@given(STEPS)
def test_nothing_appears_below_what_was_readable(steps: list[tuple[str, int]]) -> None:
    """And when all transactions have ended, everything can be read with the next look."""
    world, horizon = World(), Horizon()
    read: set[int] = set()
    upto = 0
    written: int | None = None
    for what, which in steps:
        if what == "begin":
            world.begun += 1
            world.open[str(world.begun)] = []
        elif not world.open and what in ("write", "commit", "rollback", "undo", "name", "prepare"):
            continue
        elif what in ("write", "name", "prepare"):
            name = list(world.open)[which % len(world.open)]
            if what == "write" and name not in world.prepared:
                world.write(which)
            elif what == "name":
                world.named.add(name)
            elif what == "prepare" and world.open[name]:
                world.named.add(name)
                world.prepared.add(name)
        elif what in ("commit", "rollback"):
            numbers = world.open.pop(list(world.open)[which % len(world.open)])
            if what == "commit":
                world.visible.update(numbers)
        elif what == "undo":  # a savepoint is rolled back to: the numbers are gone, and the lock with them
            name = list(world.open)[which % len(world.open)]
            if name not in world.prepared:
                world.open[name].clear()
        elif what == "half":  # a look begins: the highest number is taken before the writers are
            written = world.written
        else:
            writers = [world.writer(name) for name, numbers in world.open.items() if numbers]
            now = horizon.look(world.written if written is None else written, writers)
            written = None
            assert now >= upto
            assert not {number for number in world.visible if number <= upto} - read
            upto = now
            read |= {number for number in world.visible if number <= upto}
            assert not any(number <= upto for numbers in world.open.values() for number in numbers)
    for numbers in world.open.values():
        world.visible.update(numbers)
    assert not {number for number in world.visible if number <= upto} - read
    assert horizon.look(world.written, []) == max(upto, world.written)
    assert not horizon.waiting


LONG = Writer("2/7", "5", 4711)


def test_whose_end_is_awaited() -> None:
    """Those of the first mark; not who began to write later."""
    horizon = Horizon()
    horizon.look(1, [LONG])
    horizon.look(2, [LONG, Writer("3/1", "6")])
    assert horizon.awaited == [LONG]
    horizon.look(2, [])
    assert horizon.awaited == []


def test_a_transaction_that_stays_open_costs_no_memory() -> None:
    """And what waits behind it can be read when it ends."""
    horizon = Horizon()
    for number in range(1, 10_000):
        assert horizon.look(number, [LONG, Writer("3/1", str(number))]) == 0
    assert len(horizon._waiting) <= MOST
    assert horizon.look(10_000, [Writer("3/1", "10000")]) >= MOST - 1
    assert horizon.look(10_000, []) == 10_000
