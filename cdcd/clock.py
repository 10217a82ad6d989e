"""Time, as a value that can be injected.

Two clocks, never mixed: `now()` is the wall clock (seconds since the Unix epoch), the only one that may be stored or
compared with a stored time; `monotonic()` never steps and measures waits inside this process.
"""

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Where a part gets the time from, so that a test can give it another."""

    def now(self) -> float:
        """Seconds since the Unix epoch (may step when the machine's clock is set)."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is moved. Both faces move together."""

    at: float = 1_700_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def advance(self, seconds: float) -> None:
        """Move time on by `seconds`."""
        self.at += seconds
