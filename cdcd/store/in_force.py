"""Which triggers count, as the store keeps it: so that a start without one of them knows what it is owed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cdcd.store.arrays import words
from cdcd.store.connection import Session
from cdcd.store.writer import Effect

QUEUE = ""
"""The queue of custom events, where others have the name of a database."""


@dataclass(slots=True, frozen=True)
class InForce:
    """A trigger that has events from a source (a database's name, or QUEUE), and what decides which (JSON)."""

    name: str
    source: str
    definition: str


@dataclass(slots=True, frozen=True)
class Noted:
    """A configuration that was noted: its number, which trigger had events from which source before and has not now, and the highest number
    of a custom event at that moment."""

    number: int
    gone: Sequence[InForce]
    queued: int


class Configurations:
    """Counts them; a connection for each, since these are rare. Raises StoreUnavailable, StoreRefused."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn = dsn
        self._schema = schema
        self._number = 0

    async def note(self, triggers: Iterable[InForce]) -> Noted:
        """These are the triggers of the next one."""
        session, those = Session(self._dsn, self._schema), list(triggers)
        try:
            known = await session.fetch("in_force")
            self._number = max([self._number, *(number for *_, number in known)]) + 1
            columns = ([each.name for each in those], [each.source for each in those], [each.definition for each in those])
            await session.execute("in_force_note", *map(words, columns), self._number)
            ((queued,),) = await session.fetch("queue_written")
        finally:
            await session.close()
        present = {(each.name, each.source) for each in those}
        gone = [InForce(name, source, definition) for name, source, definition, _ in known if (name, source) not in present]
        return Noted(self._number, gone, queued)


def forgotten(sources: Iterable[str], number: int) -> Effect:
    """The statement that says that nothing of these sources is owed any more to triggers that the configuration of this number, and those
    after it, do not have."""
    return Effect("in_force_forget", (words(list(sources)), number))
