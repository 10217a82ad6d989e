"""What triggers that are gone are owed: a start without them is like a reload that takes them away.

The rules:
- the store notes which triggers count before anything is sent in their name (`in_force`), by where their events come from. What decides
  which events they want is noted, and nothing of where these are sent;
- at a start, what was read before and is neither recorded nor confirmed is read again. What a trigger wanted that is gone is staged:
  some of it may have been sent, and an attempt must not go unrecorded because somebody took its trigger out of the file while cdcd was
  down;
- a trigger that is still there decides by what it says now, for all that is read;
- when a source has been read up to where it stood at the start, it owes nothing more to those that are gone: they are forgotten, in the
  commit that holds what they were owed. What a source still owes that cannot be read, or that nothing reads any more, is kept in mind.
"""

import asyncio

import structlog

from cdcd.errors import StoreUnavailable
from cdcd.lifecycle import Failed, Tasks
from cdcd.reloading.noting import distinct, gone, in_force, owing
from cdcd.reloading.taking import Running
from cdcd.store.in_force import QUEUE, Noted, forgotten

log = structlog.get_logger()

RETRY = 1.0  # seconds until a store that is away is asked again


class Owed:
    """A part; see the module. Started when the store is ours and before anything is read or sent."""

    name = "reload.owed"

    def __init__(self, running: Running, failed: Failed) -> None:
        self._running = running
        self._tasks = Tasks(self.name, failed)

    async def start(self) -> None:
        """Waits for a store that is unavailable."""
        running = self._running
        noted = await self._noted()
        left = gone(noted.gone, running.rules)
        for trigger in distinct(left):
            running.engine.keep(trigger.config, {})
            owe = sorted(
                source or "the queue" for source, those in left.items() if any(each.name == trigger.name for each in those)
            )
            log.info(
                "trigger.gone", trigger=trigger.name, sources=owe, hint="what they owe it is staged, and stays until it is back"
            )
        concerned = {each.source for each in noted.gone}
        if QUEUE in concerned:
            self._forget(QUEUE, running.queue.owing(left.get(QUEUE, ()), noted.queued), noted)
        for source in running.rows.parts:
            name = source.cuts.database.name
            if name in concerned:
                self._forget(name, owing(source, running.rules, left.get(name, ())), noted)

    async def stop(self) -> None:
        """What was not read up to there is kept in mind for the next start."""
        await self._tasks.cancel()

    async def _noted(self) -> Noted:
        running = self._running
        while True:
            try:
                reading = [source.cuts.database.name for source in running.rows.parts]
                return await running.configurations.note(in_force(running.rules.triggers, reading))
            except StoreUnavailable as error:
                log.warning("store.unavailable", error=str(error), retry_in=RETRY, hint=error.hint)
                await asyncio.sleep(RETRY)

    def _forget(self, source: str, reached: "asyncio.Future[None]", noted: Noted) -> None:
        async def forget() -> None:
            await reached
            await self._running.recorder.submit((), (forgotten((source,), noted.number),))

        self._tasks.spawn(forget(), f"forget.{source}")
