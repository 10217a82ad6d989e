"""Sending a delivery to another URL than its trigger's, once.

The rule: what goes there is what the trigger would send, signed for that endpoint. The trigger's own headers, client certificate and claims
go along only when the origin is the same: they are for its endpoint. The egress policy is the trigger's.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import TracebackType
from typing import Self

from cdcd.config.checks import endpoint
from cdcd.config.model import TriggerConfig
from cdcd.delivery.sender import Sender
from cdcd.event import Attempt, Delivery, Record, Status
from cdcd.triggers.trigger import Trigger, compile_trigger

Senders = Callable[[Iterable[Trigger]], Sender]


class Elsewhere:
    """A context in which deliveries are sent to `url`. Raises ConfigError for a certificate file that cannot be used."""

    def __init__(self, url: str, senders: Senders) -> None:
        self._url = url
        self._senders = senders
        self._made: dict[str, tuple[Trigger, Sender]] = {}
        self._making = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        made, self._made = self._made, {}
        for _, sender in made.values():
            await sender.stop()

    async def send(self, delivery: Delivery, trigger: Trigger) -> tuple[Attempt, Record]:
        """One attempt, and what is to be recorded of it. What the answer asks to be queued is not."""
        async with self._making:
            made = self._made.get(trigger.name)
            if made is None:
                there = compile_trigger(redirected(trigger, self._url))
                sender = self._senders([there])
                await sender.start()
                made = self._made[trigger.name] = (there, sender)
        there, sender = made
        attempt = await sender.send(delivery, there)
        attempt.answer = None
        taken = 200 <= attempt.status < 300
        return attempt, Record(delivery, Status.PROCESSED if taken else Status.FAILED, False, attempt, reason=attempt.error)


def redirected(trigger: Trigger, url: str) -> TriggerConfig:
    """The trigger's configuration with another URL."""
    config, origin = trigger.config, endpoint(url)
    webhook = replace(config.webhook, url=url, endpoint=origin)
    if origin == config.webhook.endpoint:
        return replace(config, webhook=webhook)
    return replace(config, webhook=replace(webhook, headers=(), ca=None, client_cert=None, client_key=None), claims={})
