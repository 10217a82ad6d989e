"""What decides which events a trigger wants, as the event store keeps it: JSON text, and a trigger again. Pure."""

from collections.abc import Iterable, Mapping

import orjson

from cdcd.config.model import Kind, Order, TriggerConfig, Webhook
from cdcd.config.types import CANARY
from cdcd.triggers.trigger import Trigger, compile_trigger


def definitions(triggers: Iterable[Trigger]) -> dict[str, str]:
    """What is noted of these (JSON), by name. Not of those whose events are staged before they are sent, nor of cdcd's own canary; nor of
    one whose expressions hold what the configuration took from the environment or a file, which may be a secret."""
    return {
        trigger.name: _written(trigger.config)
        for trigger in triggers
        if trigger.kind in (Kind.DATABASE, Kind.CUSTOM) and trigger.name != CANARY and not _puts_in(trigger.config)
    }


def _puts_in(config: TriggerConfig) -> bool:
    return any(text and text in expression for text in config.put_in for expression in (config.when, config.key))


def _written(config: TriggerConfig) -> str:
    return orjson.dumps(
        {
            "kind": config.kind,
            "types": sorted(config.types),
            "database": config.database,
            "tables": config.tables,
            "columns": sorted(config.columns),
            "when": config.when,
            "order": config.order,
            "key": config.key,
        }
    ).decode()


def defined(name: str, definition: str) -> Trigger:
    """The trigger, with nowhere to send to. Raises ConfigError, KeyError, TypeError and ValueError for what is no definition of this
    version of cdcd."""
    return compile_trigger(_read(name, orjson.loads(definition)))


def _read(name: str, definition: Mapping[str, object]) -> TriggerConfig:
    def texts(option: str) -> list[str]:
        values = definition[option]
        if not isinstance(values, list):
            raise TypeError(f"{option} is no list")
        return [str(value) for value in values]

    return TriggerConfig(
        name,
        frozenset(texts("types")),
        str(definition["database"]),
        tuple(texts("tables")),
        Webhook("", ""),  # nothing is sent
        kind=Kind(str(definition["kind"])),
        columns=frozenset(texts("columns")),
        when=str(definition["when"]),
        order=Order(str(definition["order"])),
        key=str(definition["key"]),
    )
