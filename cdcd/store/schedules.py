"""How far each schedule has ticked, as the store keeps it.

The rule: a tick is noted in the commit that stages its delivery (`ticked` is an Effect), so it is dealt with once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cdcd.store.arrays import texts, timestamps
from cdcd.store.connection import Session
from cdcd.store.writer import Effect


@dataclass(slots=True, frozen=True)
class Ticked:
    """A trigger's schedule and the newest tick that was dealt with (seconds since the Unix epoch)."""

    trigger: str
    cron: str
    timezone: str
    last: int


class Schedules:
    """Reads of `schedules` on a connection of their own. Raises StoreUnavailable, StoreRefused."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._session = Session(dsn, schema)

    async def read(self) -> dict[str, Ticked]:
        """All of them, by trigger."""
        rows = await self._session.fetch("schedules")
        return {trigger: Ticked(trigger, cron, timezone, int(last)) for trigger, cron, timezone, last in rows}

    async def close(self) -> None:
        """Close the connection; the next call makes another."""
        await self._session.close()


def ticked(schedules: Sequence[Ticked]) -> Effect:
    """The statement that notes these, for a commit of the recorder."""
    return Effect(
        "ticked",
        (
            texts([each.trigger for each in schedules]),
            texts([each.cron for each in schedules]),
            texts([each.timezone for each in schedules]),
            timestamps([each.last * 1_000_000 for each in schedules]),
        ),
    )


def forget_all_but(triggers: Sequence[str]) -> Effect:
    """The statement that forgets every schedule but these."""
    return Effect("forget_schedules", (texts(list(triggers)),))
