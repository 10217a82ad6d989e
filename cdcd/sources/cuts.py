"""Where a source that is being read goes over from some triggers to others: at a position, and never within a transaction.

What was committed before the position is matched by the former triggers, what is committed behind it by the new ones. Several may lie
ahead of a source that is behind; each is reached in its turn. Until then the tables of all of them are captured.

A start is a cut as well where triggers are gone since the last one: what was committed before the first connection is matched by these too,
since a former life may have sent it. Their tables are not captured any more: what is written from then on they are not owed.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from cdcd.config.model import Database
from cdcd.errors import SourceUnavailable, TransientError
from cdcd.triggers.matcher import Index
from cdcd.triggers.trigger import Trigger

REOPEN = 15.0  # seconds that a reload waits for a stream that is opened anew


class Moved(TransientError):
    """The source is to be opened anew: at another URL, or with more than it was asked for."""


@dataclass(slots=True, frozen=True)
class Wants:
    """What is wanted of one database: `triggers` are its own, `index` has all, `largest` bytes of an event's data are delivered."""

    triggers: tuple[Trigger, ...]
    index: Index
    largest: int

    @property
    def messages(self) -> bool:
        """Whether a message of `pg_logical_emit_message` can concern any trigger."""
        return bool(self.index.custom.by_type)


@dataclass(slots=True, eq=False)
class Cut:
    """One of them. `done` ends when it is reached."""

    position: int
    wants: Wants
    done: "asyncio.Future[None]"


class Cuts:
    """Those of one source, and what it is asked for at the moment.

    The source calls `opening`, `opened` and `reached`, and takes note of `moved`: it is to be opened anew, or waits for something
    that may have been mended. A reload calls the rest. `ahead` are those not reached yet, `now` is wanted of what is being read.
    """

    def __init__(self, database: Database, wants: Wants, wake: Callable[[], None] | None = None) -> None:
        """`wake` makes the source look at what lies ahead, where it would not by itself."""
        self.database = database
        self.history = ""  # of which cluster, or which change log, the positions are
        self._wake = wake
        self.now = wants
        self.ahead: deque[Cut] = deque()
        self.moved = asyncio.Event()
        self._prepared: Wants | None = None
        self._owing: tuple[Wants, asyncio.Future[None]] | None = None
        self._open = asyncio.Event()
        self._asking = False  # whether the stream brings messages

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """Those whose tables are captured. Of one name there may be several."""
        return tuple(dict.fromkeys(trigger for wants in self._all() for trigger in wants.triggers))

    @property
    def messages(self) -> bool:
        """Whether messages are wanted."""
        return any(wants.messages for wants in self._all()) or (self._owing is not None and self._owing[0].messages)

    def _all(self) -> Iterable[Wants]:
        yield self.now
        yield from (cut.wants for cut in self.ahead)
        if self._prepared is not None:
            yield self._prepared

    # A start

    def owing(self, wants: Wants) -> "asyncio.Future[None]":
        """`wants` holds up to where the database stands when it is opened first. What is given ends when that is reached."""
        done = asyncio.get_running_loop().create_future()
        self._owing = (wants, done)
        return done

    # A reload

    def prepare(self, wants: Wants | None) -> None:
        """`wants` may come next. None: it does not."""
        self._prepared = wants

    async def reopened(self) -> None:
        """Return when the stream brings all that is wanted. Raises SourceUnavailable."""
        try:
            async with asyncio.timeout(REOPEN):
                while self.messages and not (self._asking and self._open.is_set()):
                    self._open.clear()
                    self.moved.set()
                    await self._open.wait()
        except TimeoutError:
            raise SourceUnavailable(
                f"database {self.database.name!r} cannot be read at the moment", hint="the log says why; reload when it is"
            ) from None

    def add(self, position: int, wants: Wants) -> "asyncio.Future[None]":
        """`wants` holds behind `position`. What is given ends when that is reached."""
        cut = Cut(position, wants, asyncio.get_running_loop().create_future())
        self.ahead.append(cut)
        self._prepared = None
        if not self._open.is_set():
            self.moved.set()
        if self._wake is not None:
            self._wake()
        return cut.done

    def reroute(self, database: Database) -> None:
        """The same database at another URL."""
        self.database = database
        self.moved.set()

    def leave(self) -> None:
        """It is not read any more, and what lies ahead is not reached: whoever waits for it is told so (cancelled)."""
        for done in (*(cut.done for cut in self.ahead), *(() if self._owing is None else (self._owing[1],))):
            done.cancel()

    # The source

    def opening(self) -> bool:
        """It is being opened; whether messages are to be asked for."""
        self.moved.clear()
        self._open.clear()
        return self.messages

    def opened(self, history: str, written: int, *, asking: bool = False) -> None:
        """It is open. `written`: up to where there is something to be read."""
        self.history = history
        if self._owing is not None and all(cut.done is not self._owing[1] for cut in self.ahead):
            position = min(written, self.ahead[0].position) if self.ahead else written
            self.ahead.appendleft(Cut(position, self.now, self._owing[1]))
        self._asking = asking
        self._open.set()

    def ended(self) -> Wants | None:
        """Its history has: positions mean nothing in the next one. What triggers that are gone are owed is looked for up to where that
        stands; what is wanted until then, if anything is."""
        if self._owing is None:
            return None
        wants, done = self._owing
        if self.ahead and self.ahead[0].done is done:
            self.ahead.popleft()
        return wants

    def closed(self) -> None:
        """It is not."""
        self._open.clear()

    def reached(self, cut: Cut) -> None:
        """It has gone over."""
        self.ahead.popleft()
        self.now = cut.wants
        if self._owing is not None and cut.done is self._owing[1]:
            self._owing = None
        if not cut.done.done():
            cut.done.set_result(None)

    async def moving(self) -> None:
        """Raise Moved when it is to be opened anew."""
        await self.moved.wait()
        raise Moved(f"database {self.database.name!r} is opened anew")

    async def pause(self, seconds: float) -> None:
        """So long, or until something may have been mended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.moved.wait()
