"""A start without a trigger that was in force before: what that was owed is kept.

The rules:
- the store notes which triggers count before anything is sent in their name. What decides which events they want is noted, and nothing
  of where these are sent;
- a start is like a reload that takes triggers away. What was read before, and is neither recorded nor confirmed, is read again, and what
  a trigger wanted that is gone now is staged: some of it may have been sent, and an attempt must not go unrecorded because somebody took
  its trigger out of the file while cdcd was down;
- a trigger that is still there decides by what it says now, for all that is read;
- when the sources have been read up to where they stood at the start, what was gone is forgotten, in the commit that holds what it was
  owed.

Files, schedules and channels need none of this: what happened there is in the store before anybody sends it. A database that nothing
reads any more is not opened for it.
"""

import asyncio
from collections.abc import Iterable

import structlog

from cdcd.config.model import Kind
from cdcd.errors import ConfigError, StoreUnavailable
from cdcd.lifecycle import Failed, Tasks
from cdcd.reloading.parts import Rules
from cdcd.reloading.taking import Running, forget
from cdcd.triggers.definition import defined, definitions
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()

RETRY = 1.0  # seconds until a store that is away is asked again


class Former:
    """A part; see the module. Started when the store is ours and before anything is read or sent."""

    name = "reload.former"

    def __init__(self, running: Running, failed: Failed) -> None:
        self._running = running
        self._tasks = Tasks(self.name, failed)

    async def start(self) -> None:
        """Waits for a store that is unavailable."""
        present = {trigger.name for trigger in self._running.rules.triggers}
        known = await self._noted()
        missing = sorted(known.keys() - present)
        if missing:
            gone = [trigger for name in missing if (trigger := _compiled(name, known[name])) is not None]
            self._tasks.spawn(self._forget(missing, self._keep(gone)), "forget")

    async def _noted(self) -> dict[str, str]:
        """What was in force; what is now is noted."""
        while True:
            try:
                return await self._running.in_force.note(definitions(self._running.rules.triggers))
            except StoreUnavailable as error:
                log.warning("store.unavailable", error=str(error), retry_in=RETRY, hint=error.hint)
                await asyncio.sleep(RETRY)

    async def stop(self) -> None:
        """What was not read up to there is kept in mind for the next start."""
        await self._tasks.cancel()

    def _keep(self, gone: list[Trigger]) -> list["asyncio.Future[None]"]:
        running = self._running
        read = {source.cuts.database.name for source in running.rows.parts}
        before = Rules.of(running.rules.config, (*running.rules.triggers, *gone))
        for trigger in gone:
            running.engine.keep(trigger.config)
            if trigger.kind is Kind.DATABASE and trigger.config.database not in read:
                where = f"nothing reads database {trigger.config.database!r} any more: "
                log.warning("trigger.gone", trigger=trigger.name, hint=where + "what was not delivered of it is not kept")
            else:
                log.info(
                    "trigger.gone", trigger=trigger.name, hint="what it is still owed is staged, and stays until it comes back"
                )
        reached = [source.formerly(before.wants(source.cuts.database.name)) for source in running.rows.parts]
        return [*reached, running.queue.formerly(before.index)]

    async def _forget(self, names: Iterable[str], reached: Iterable["asyncio.Future[None]"]) -> None:
        await asyncio.wait(reached)
        await forget(self._running, names)


def _compiled(name: str, definition: str) -> Trigger | None:
    """None for one that this version of cdcd cannot read any more."""
    try:
        return defined(name, definition)
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        log.warning("trigger.unreadable", trigger=name, error=str(error), hint="what it was owed when cdcd ended is not kept")
        return None
