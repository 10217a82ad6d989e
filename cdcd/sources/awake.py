"""When a source looks by itself, so that nobody need notify it. Pure.

The rule: asleep, a source is woken by a notification, which is the quickest where little happens. But commits that notify wait for
each other, all over the database. So where changes come in quick succession it is awake: it looks every few milliseconds, and tells
so by an advisory lock that those who change look at. It goes to sleep when nothing has come for a while.
"""

from collections import deque

CROWD, WITHIN = 5, 0.1  # so many looks that found something, within so many seconds: awake
QUIET = 0.25  # seconds without a change until it sleeps


class Awake:
    """Times are monotonic seconds. `held`: whether it is awake, kept by whoever takes and lets go of the lock."""

    def __init__(self) -> None:
        self.held = False
        self._found: deque[float] = deque(maxlen=CROWD)

    def found(self, now: float) -> None:
        """A look found something new."""
        self._found.append(now)

    def crowded(self, now: float) -> bool:
        """Whether it is time to be awake."""
        return not self.held and len(self._found) == CROWD and now - self._found[0] <= WITHIN

    def quiet(self, now: float) -> bool:
        """Whether it is time to sleep."""
        return self.held and (not self._found or now - self._found[-1] >= QUIET)
