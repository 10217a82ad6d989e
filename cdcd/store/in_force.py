"""Which triggers count, as the store keeps it: so that a start without one of them knows what it was owed."""

from collections.abc import Iterable, Mapping

from cdcd.store.arrays import words
from cdcd.store.connection import Session
from cdcd.store.writer import Effect


class InForce:
    """A connection for each call, since these are rare. Raises StoreUnavailable, StoreRefused."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn = dsn
        self._schema = schema

    async def note(self, definitions: Mapping[str, str]) -> dict[str, str]:
        """These count from now on and are defined like this (JSON), by name. All that was noted before."""
        session = Session(self._dsn, self._schema)
        try:
            known: dict[str, str] = dict(await session.fetch("in_force"))
            if definitions != {name: known.get(name) for name in definitions}:
                await session.execute("in_force_note", words(list(definitions)), words(list(definitions.values())))
        finally:
            await session.close()
        return known


def forgotten(names: Iterable[str]) -> Effect:
    """The statement that says that nothing is owed to these any more but what is in the backlog."""
    return Effect("in_force_forget", (words(list(names)),))
