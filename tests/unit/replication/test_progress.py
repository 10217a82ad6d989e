"""Progress against a model so simple that it is plainly right, over any order of settling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.replication.progress import Checkpoint, Progress

STEP = st.sampled_from(["open", "hold", "settle", "close", "idle", "receive"])


@given(st.lists(st.tuples(STEP, st.integers(0, 1000)), max_size=60))
def test_settled_is_the_end_of_the_last_of_the_first_that_are_done(steps: list[tuple[str, int]]) -> None:
    """After any steps: settled is what a walk over all transactions from the first gives, and never goes back."""
    progress = Progress(100)
    transactions: list[list[int]] = []  # [unsettled, end or -1]
    checkpoints: list[Checkpoint] = []
    settled = received = lsn = 100
    for step, number in steps:
        lsn += 1
        being_read = bool(transactions) and transactions[-1][1] < 0
        if step == "open" and not being_read:
            checkpoints.append(progress.open(lsn))
            transactions.append([0, -1])
        elif step == "hold" and being_read:
            checkpoints[-1].hold()
            transactions[-1][0] += 1
        elif step == "close" and being_read:
            checkpoints[-1].close(lsn)
            transactions[-1][1] = lsn
        elif step == "settle" and (waiting := [i for i, (unsettled, _) in enumerate(transactions) if unsettled]):
            index = waiting[number % len(waiting)]
            checkpoints[index].settle()
            transactions[index][0] -= 1
        elif step == "receive":
            progress.receive(number)
            received = max(received, number)
        done = 0
        while done < len(transactions) and transactions[done][0] == 0 and transactions[done][1] >= 0:
            settled = max(settled, transactions[done][1])
            done += 1
        if step == "idle":
            progress.idle(lsn)
            received = max(received, lsn)
            if done == len(transactions):
                settled = max(settled, lsn)
        received = max(received, settled)
        assert (progress.settled, progress.received) == (settled, received)
        assert progress.outstanding <= len(transactions) - done  # empty ones go with the one before them
        assert (progress.outstanding == 0) == (done == len(transactions))
        oldest = progress.oldest
        assert oldest is (checkpoints[done] if done < len(checkpoints) else None)


def test_misuse_is_refused() -> None:
    """Settling what was not held, holding or closing what is closed, opening before the last is closed."""
    progress = Progress(0)
    checkpoint = progress.open(1)
    with pytest.raises(ValueError, match="settle without hold"):
        checkpoint.settle()
    with pytest.raises(ValueError, match="still open"):
        progress.open(2)
    checkpoint.close(2)
    for misuse in (checkpoint.hold, lambda: checkpoint.close(3)):
        with pytest.raises(ValueError, match="close"):
            misuse()


def test_empty_transactions_behind_an_unsettled_one_take_no_room() -> None:
    """They go with the one before them, and all settle with it."""
    progress = Progress(0)
    waiting = progress.open(10)
    waiting.hold()
    waiting.close(11, time=1)
    for number in range(1_000):
        progress.open(20 + 2 * number).close(21 + 2 * number, time=2 + number)
    assert progress.outstanding == 1
    assert progress.settled == 0
    waiting.settle()
    assert progress.settled == 21 + 2 * 999
    assert progress.settled_time == 1_001
    assert progress.outstanding == 0
