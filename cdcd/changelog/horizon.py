"""Up to where the change log can be read: nothing at or below it will ever appear that is not there. Pure.

Changes are numbered when they are made, and appear when their transactions commit, in any order. Every transaction holds a lock on
the log from before its first number until it has ended. So: take the highest number given out so far, and then who holds that
lock. When all of these have ended, everything up to that number is either there or was rolled back.

Reading in the order of the numbers keeps changes of one row in order, since the second can only be made, and numbered, when the
first one's transaction has ended. Transactions that write to other tables do not delay it.
"""

from collections.abc import Set

MOST = 64  # marks that wait; then the last one moves on


class Horizon:
    """`readable` only grows."""

    def __init__(self, readable: int = 0) -> None:
        self.readable = readable
        self._waiting: list[tuple[int, set[str]]] = []

    @property
    def waiting(self) -> bool:
        """Whether numbers were given out whose transactions had not ended at the last look."""
        return bool(self._waiting)

    def look(self, written: int, writers: Set[str]) -> int:
        """`written` is the highest number, taken before `writers`, the transactions that hold the lock. Returns `readable`."""
        for _, unended in self._waiting:
            unended.intersection_update(writers)
        last = self._waiting[-1][0] if self._waiting else self.readable
        if written > last:
            if len(self._waiting) >= MOST:
                self._waiting.pop()
            self._waiting.append((written, set(writers)))
        ended = [mark for mark, unended in self._waiting if not unended]
        if ended:
            self.readable = max(self.readable, ended[-1])
            self._waiting = [each for each in self._waiting if each[0] > self.readable]
        return self.readable
