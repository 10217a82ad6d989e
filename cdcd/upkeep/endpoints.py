"""Checks of the endpoints: do their names resolve, and would the outbound guard let cdcd dial what they resolve to. Sends nothing."""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from cdcd.config.model import TriggerConfig
from cdcd.delivery.guard import Guard
from cdcd.upkeep.finding import Section

RESOLVE = 5.0  # seconds
AT_ONCE = 16


async def check_endpoints(section: Section, triggers: Iterable[TriggerConfig]) -> None:
    """Each endpoint once, with every trigger's own egress rule."""
    by_endpoint: dict[str, list[TriggerConfig]] = {}
    for trigger in triggers:
        if trigger.enabled:
            by_endpoint.setdefault(trigger.webhook.endpoint, []).append(trigger)
    turn = asyncio.Semaphore(AT_ONCE)
    answers = await asyncio.gather(*(_resolve(endpoint, turn) for endpoint in by_endpoint))
    for (endpoint, mine), answer in zip(by_endpoint.items(), answers, strict=True):
        _judge(section, endpoint, mine, answer)


async def _resolve(endpoint: str, turn: asyncio.Semaphore) -> list[str] | Exception:
    parts = urlsplit(endpoint)
    async with turn:
        try:
            async with asyncio.timeout(RESOLVE):
                found = await asyncio.get_running_loop().getaddrinfo(parts.hostname or "", parts.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError, TimeoutError) as error:
            return error
    return sorted({str(address[0]).partition("%")[0] for *_, address in found})


def _judge(section: Section, endpoint: str, triggers: Sequence[TriggerConfig], answer: list[str] | Exception) -> None:
    names = ", ".join(trigger.name for trigger in triggers[:4]) + (
        f" and {len(triggers) - 4} more" if len(triggers) > 4 else ""
    )
    if isinstance(answer, Exception):
        host = urlsplit(endpoint).hostname
        if isinstance(answer, socket.gaierror) and answer.errno == socket.EAI_NONAME:
            section.mistake("dns", f"{endpoint} ({names}): there is no host {host}", "correct the webhook's url, or the DNS")
        else:
            why = "no answer in time" if isinstance(answer, TimeoutError) else getattr(answer, "strerror", None) or answer
            section.unknown("dns", f"{endpoint} ({names}): {host} could not be resolved: {why}", "look at this machine's DNS")
        return
    bad = False
    for trigger in triggers:
        guard = Guard(trigger.webhook.egress, trigger.webhook.allow)
        refused = [reason for address in answer if (reason := guard.refusal(address))]
        if not refused:
            continue
        bad = True
        place = trigger.places.get("webhook", trigger.where)
        words = f"{f'{place}: ' if place else ''}trigger {trigger.name}: {endpoint}: {refused[0]}"
        if len(refused) == len(answer):
            always = "never dialled" in refused[0]
            section.mistake("guard", words, "name another host" + ("" if always else ", or list its network in `egress.allow`"))
        else:
            section.warning("guard", f"{words}; {len(answer) - len(refused)} of its {len(answer)} addresses may be dialled")
    shown = ", ".join(answer[:3]) + (f" and {len(answer) - 3} more" if len(answer) > 3 else "")
    if endpoint.startswith("http://") and any(ipaddress.ip_address(address).is_global for address in answer):
        bad = True
        section.warning(
            "clear", f"{endpoint} ({names}) is public and not encrypted: rows and tokens can be read on the way", "use https"
        )
    if not bad:
        section.ok("endpoint", f"{endpoint} ({names}): {shown}")
