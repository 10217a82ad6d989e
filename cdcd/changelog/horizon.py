"""Up to where the change log can be read: nothing at or below it will ever appear that is not there. Pure.

Changes are numbered when they are made, and appear when their transactions commit, in any order. Every transaction holds a lock on
the log from before its first number until it has ended. So: take the highest number given out so far, and then who holds that
lock. When all of these have ended, everything up to that number is either there or was rolled back.

Reading in the order of the numbers keeps changes of one row in order, since the second can only be made, and numbered, when the
first one's transaction has ended. (Within one transaction the triggers see to it.) Transactions that write to other tables do not
delay it.
"""

from collections.abc import Collection
from typing import NamedTuple

MOST = 64  # marks that wait; then the last one moves on


class Writer(NamedTuple):
    """A transaction that holds the lock. `session` names it while it runs (its virtual id), None once it is prepared for a commit
    in two phases. `xid`: its id, which it keeps to its end; None where it has none yet. `pid`: of its server process."""

    session: str | None
    xid: str | None
    pid: int | None = None


class _Mark:
    """A number, and the transactions that may have numbers up to it and have not ended."""

    __slots__ = ("_nameless", "_xids", "number")

    def __init__(self, number: int, writers: Collection[Writer]) -> None:
        self.number = number
        self._xids = {each.xid for each in writers if each.xid is not None}
        self._nameless = {each.session for each in writers if each.xid is None}

    def look(self, sessions: dict[str, Writer], xids: set[str], prepared: set[str]) -> None:
        for session in [each for each in self._nameless if each is not None]:
            writer = sessions.get(session)
            if writer is None:
                self._nameless.discard(session)
                self._xids |= prepared  # one of them may be it
            elif writer.xid is not None:
                self._nameless.discard(session)
                self._xids.add(writer.xid)
        self._xids.intersection_update(xids)

    def has(self, writer: Writer) -> bool:
        return writer.xid in self._xids or writer.session in self._nameless

    @property
    def ended(self) -> bool:
        return not self._xids and not self._nameless


class Horizon:
    """`readable` only grows."""

    def __init__(self, readable: int = 0) -> None:
        self.readable = readable
        self._waiting: list[_Mark] = []
        self._writers: Collection[Writer] = ()

    @property
    def waiting(self) -> bool:
        """Whether numbers were given out whose transactions had not ended at the last look."""
        return bool(self._waiting)

    @property
    def awaited(self) -> list[Writer]:
        """The transactions whose end is awaited before anything more can be read, as they were at the last look."""
        return [each for each in self._writers if self._waiting[0].has(each)] if self._waiting else []

    def look(self, written: int, writers: Collection[Writer]) -> int:
        """`written` is the highest number, taken before `writers`, the transactions that hold the lock. Returns `readable`."""
        self._writers = writers
        sessions = {each.session: each for each in writers if each.session is not None}
        xids = {each.xid for each in writers if each.xid is not None}
        prepared = {each.xid for each in writers if each.xid is not None and each.session is None}
        for mark in self._waiting:
            mark.look(sessions, xids, prepared)
        last = self._waiting[-1].number if self._waiting else self.readable
        if written > last:
            if len(self._waiting) >= MOST:
                self._waiting.pop()
            self._waiting.append(_Mark(written, writers))
        ended = [mark.number for mark in self._waiting if mark.ended]
        if ended:
            self.readable = max(self.readable, ended[-1])
            self._waiting = [each for each in self._waiting if each.number > self.readable]
        return self.readable
