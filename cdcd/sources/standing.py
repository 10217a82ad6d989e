"""How the source of a database stands, in memory: is it being read, how far, and what keeps it from going on."""

import time
from dataclasses import dataclass

from cdcd.errors import CdcdError


@dataclass(slots=True)
class Standing:
    """Kept by the source, read by whoever asks. Positions are LSNs, or numbers of changes where a change log is read.

    `reading`: there is a connection. `received`: how far it was read; `settled` and `recorded`: up to where all is settled, and the store
    knows it; `written`: how far the server had written at the last look; `unsettled`: transactions that are. `settled_time`: commit time
    of the last settled one (microseconds since the Unix epoch, 0: none). `heard_at`: when the server last gave a sign of life (monotonic
    seconds).
    `waits_for_room`: memory is full. `trouble`, `hint`: why there is no connection; `since`: when that began (wall-clock seconds).
    `permanent`: somebody must mend it.
    """

    reading: bool = False
    received: int = 0
    settled: int = 0
    recorded: int = 0
    written: int = 0
    unsettled: int = 0
    settled_time: int = 0
    heard_at: float = 0.0
    waits_for_room: bool = False
    trouble: str = ""
    hint: str = ""
    since: float = 0.0
    permanent: bool = False

    def opened(self) -> None:
        """It is being read."""
        self.reading = True
        self.heard_at = time.monotonic()
        self.trouble = self.hint = ""
        self.permanent = self.waits_for_room = False

    def stopped(self, error: CdcdError, *, permanent: bool = False) -> None:
        """It is not, because of this."""
        if not self.trouble:
            self.since = time.time()
        self.reading = False
        self.trouble, self.hint, self.permanent = str(error), error.hint or "", permanent
