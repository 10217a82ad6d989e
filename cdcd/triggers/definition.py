"""What decides which rows or custom events a trigger wants, as the event store keeps it: JSON text, and a trigger again. Pure."""

from collections.abc import Mapping

import orjson

from cdcd.config.model import Kind, Order, TriggerConfig, Webhook
from cdcd.triggers.trigger import Trigger, compile_trigger


def definition(config: TriggerConfig) -> str:
    """JSON, always the same for the same. Only names and expressions, into which the configuration puts nothing from elsewhere."""
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


def defined(name: str, text: str) -> Trigger:
    """The trigger, with nowhere to send to. Raises ConfigError, KeyError, TypeError and ValueError for what is no definition of this
    version of cdcd."""
    return compile_trigger(_read(name, orjson.loads(text)))


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
