"""What the store notes of the triggers that count, and how what those are owed that are gone is found.

Files and schedules need none of it: their deliveries are staged before they are sent.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping

import structlog

from cdcd.config.model import Kind
from cdcd.config.types import CANARY
from cdcd.errors import ConfigError
from cdcd.reloading.parts import Rows, Rules
from cdcd.store.in_force import QUEUE, InForce
from cdcd.triggers.definition import defined, definition
from cdcd.triggers.trigger import Trigger

log = structlog.get_logger()


def in_force(triggers: Iterable[Trigger], reading: Iterable[str]) -> list[InForce]:
    """What is noted of these; `reading` are the databases that are read, whose messages may be custom events."""
    noted, sources = [], (QUEUE, *reading)
    for trigger in triggers:
        if trigger.kind is Kind.DATABASE:
            noted.append(InForce(trigger.name, trigger.config.database, definition(trigger.config)))
        elif trigger.kind is Kind.CUSTOM and trigger.name != CANARY:
            noted += [InForce(trigger.name, source, definition(trigger.config)) for source in sources]
    return noted


def gone(noted: Iterable[InForce], rules: Rules) -> Mapping[str, list[Trigger]]:
    """Those that no trigger of now replaces, compiled, by source. What this version of cdcd cannot read any more is told."""
    present = {trigger.name for trigger in rules.triggers}
    found: dict[str, list[Trigger]] = {}
    for each in noted:
        if each.name in present:
            continue
        try:
            trigger = defined(each.name, each.definition)
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            hint = "what it was owed when cdcd ended is not kept"
            log.warning("trigger.unreadable", trigger=each.name, error=str(error), hint=hint)
        else:
            found.setdefault(each.source, []).append(trigger)
    return found


def distinct(triggers: Mapping[str, Iterable[Trigger]]) -> Iterable[Trigger]:
    """Each once, however many sources owe it something."""
    return {trigger.name: trigger for those in triggers.values() for trigger in those}.values()


def owing(source: Rows, rules: Rules, triggers: Collection[Trigger]) -> "asyncio.Future[None]":
    """Let a source that has not begun match what stands there with these too. Ends when it has read that."""
    before = Rules.of(rules.config, (*rules.triggers, *triggers))
    return source.owing(before.wants(source.cuts.database.name))
