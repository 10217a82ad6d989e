"""Every trigger with how it stands: those that are on, those that are off, and those that are gone while deliveries of theirs wait."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cdcd.admin.overview import Overview
from cdcd.admin.snapshot import Durations, Rates, TriggerState
from cdcd.config.masking import shown_url
from cdcd.config.model import Config, TriggerConfig
from cdcd.store.operations import Paused
from cdcd.store.pending import Backlog

COUNTED_FOR = 5.0  # seconds for which the count of what waits is good: counting a long backlog takes time
IDLE = TriggerState("", "", 0, 0, 0, Rates(), 0, 0, 0, None, "", Durations(), 0, 0.0, 0)


class State(StrEnum):
    """How a trigger stands; the first that holds."""

    GONE = "gone"  # no trigger has this name any more, and deliveries of it wait
    DISABLED = "disabled"  # `enabled: false`
    PAUSED = "paused"  # captures and sends nothing
    CIRCUIT_OPEN = "circuit_open"  # its endpoint fails, and is left alone for a while
    ACTIVE = "active"


@dataclass(slots=True, frozen=True)
class Listed:
    """A trigger. `config` is None when it is gone. `numbers` are all 0 while it is disabled, but for `backlog`. `success` is the share of
    deliveries that ended well in the last minute, else since the start; None when none has ended. `paused_since`: wall-clock seconds."""

    name: str
    state: State
    config: TriggerConfig | None
    numbers: TriggerState
    backlog: int
    paused_since: float | None = None

    @property
    def url(self) -> str:
        """Its webhook's URL as it may be shown; "" when it is gone."""
        return "" if self.config is None else shown_url(self.config.webhook.url, self.config.put_in)

    @property
    def success(self) -> float | None:
        rates = self.numbers.rates
        for good, bad in ((rates.delivered, rates.failed), (self.numbers.delivered, self.numbers.failed)):
            if good + bad > 0:
                return good / (good + bad)
        return None


class Triggers:
    """A part. `config` gives the configuration in force, `paused` the triggers that are paused."""

    name = "triggers"

    def __init__(
        self,
        config: Callable[[], Config],
        overview: Overview,
        backlog: Backlog,
        paused: Callable[[], Awaitable[Sequence[Paused]]],
    ) -> None:
        self._config = config
        self._overview = overview
        self._backlog = backlog
        self._paused = paused
        self._counts: Mapping[str, int] = {}
        self._counted_at = float("-inf")
        self._one = asyncio.Lock()

    async def list(self) -> Sequence[Listed]:
        """All of them, by name. Raises StoreUnavailable."""
        snapshot = await self._overview.now()
        paused = {each.trigger: each.since for each in await self._paused()}
        counts = await self._waiting()
        config = self._config()
        running = {trigger.name: trigger for trigger in snapshot.triggers}
        open_ = {endpoint.origin for endpoint in snapshot.endpoints if endpoint.circuit != "closed"}
        found = []
        for name in sorted(config.triggers.keys() | counts.keys()):
            trigger, numbers = config.triggers.get(name), running.get(name, IDLE)
            on = trigger is not None and trigger.enabled
            backlog = numbers.backlog if name in running else counts.get(name, 0)
            if trigger is None and not backlog:
                continue
            if trigger is None:
                state = State.GONE
            elif not on:
                state = State.DISABLED
            elif name in paused:
                state = State.PAUSED
            else:
                state = State.CIRCUIT_OPEN if numbers.endpoint in open_ else State.ACTIVE
            found.append(Listed(name, state, trigger, numbers, backlog, paused.get(name)))
        return found

    async def show(self, name: str) -> Listed | None:
        """One of them."""
        return next((each for each in await self.list() if each.name == name), None)

    async def start(self) -> None:
        """Nothing: it connects when it is asked."""

    async def stop(self) -> None:
        """Close the connection."""
        await self._backlog.close()

    async def _waiting(self) -> Mapping[str, int]:
        async with self._one:
            if time.monotonic() - self._counted_at > COUNTED_FOR:
                self._counts = await self._backlog.counts()
                self._counted_at = time.monotonic()
            return self._counts
