"""A trigger ready to be matched: its configuration with the expressions compiled."""

import re
from collections.abc import Callable

from cdcd.config.globs import parse_glob
from cdcd.config.model import Config, Kind, Order, TriggerConfig
from cdcd.config.tables import TablePattern, parse_table
from cdcd.errors import ConfigError
from cdcd.triggers.expressions import BadExpression, Expression
from cdcd.triggers.vocabulary import VOCABULARIES


class Trigger:
    """One YAML rule, compiled. Never changed after it is made."""

    __slots__ = ("columns", "config", "key", "kind", "name", "order", "paths", "tables", "types", "when")

    def __init__(self, config: TriggerConfig, when: Expression | None, key: Expression | None) -> None:
        self.name = config.name
        self.config = config
        self.types = config.types
        self.kind = config.kind
        self.paths: tuple[re.Pattern[str], ...] = tuple(parse_glob(text) for text in config.paths)
        self.tables: tuple[TablePattern, ...] = tuple(parse_table(text) for text in config.tables)
        self.columns = config.columns
        self.when = when
        self.key = key
        self.order = config.order

    def __repr__(self) -> str:
        return f"Trigger({self.name!r})"

    @property
    def columns_used(self) -> frozenset[tuple[str, str]]:
        """The columns that its expressions name, as ("new" | "old", column)."""
        return frozenset().union(*(e.columns_used for e in (self.when, self.key) if e is not None))

    def covers_path(self, path: str) -> bool:
        """Whether it wants what happens to this path within its store: one of its globs matches, or it names none."""
        return not self.paths or any(pattern.fullmatch(path) is not None for pattern in self.paths)

    def covers(self, schema: str, table: str) -> bool:
        """Whether one of its table patterns matches."""
        return any(pattern.matches(schema, table) for pattern in self.tables)


def compile_trigger(config: TriggerConfig) -> Trigger:
    """Raises ConfigError with every mistake of its expressions."""
    mistakes: list[str] = []
    trigger = _compile(config, mistakes.append)
    if mistakes:
        raise ConfigError(mistakes)
    return trigger


def compile_all(config: Config) -> tuple[Trigger, ...]:
    """All triggers, disabled ones too. Raises ConfigError with every mistake of every expression."""
    mistakes: list[str] = []
    triggers = tuple(_compile(trigger, mistakes.append) for trigger in config.triggers.values())
    if mistakes:
        raise ConfigError(mistakes)
    return triggers


def _compile(config: TriggerConfig, mistake: Callable[[str], None]) -> Trigger:
    def place(option: str) -> str:
        return f"{config.places.get(option, config.where)}: triggers.{config.name}.{option}: "

    def compiled(option: str, source: str) -> Expression | None:
        if not source:
            return None
        try:
            return Expression(config.name, source, VOCABULARIES[config.kind])
        except BadExpression as error:
            mistake(place(option) + str(error) + (f" ({error.hint})" if error.hint else ""))
            return None

    when, key = compiled("when", config.when), compiled("key", config.key)
    if key is not None and config.kind is Kind.DATABASE and config.order is Order.KEY and not (key.uses_type or key.whole):
        roots = {root for root, _ in key.columns_used}
        if roots == {"new"} and "DB_DELETE" in config.types:
            mistake(
                place("key") + "there is no new row in a DB_DELETE; write "
                '`type == "DB_DELETE" ? old.x : new.x` (old has only the key columns unless REPLICA IDENTITY is FULL)'
            )
        if roots == {"old"} and "DB_INSERT" in config.types:
            mistake(place("key") + 'there is no old row in a DB_INSERT; write `type == "DB_INSERT" ? new.x : old.x`')
    return Trigger(config, when, key)
