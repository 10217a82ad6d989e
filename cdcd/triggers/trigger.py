"""A trigger ready to be matched: its configuration with the expressions compiled."""

import re
from collections.abc import Iterable

from cdcd.config.globs import parse_glob
from cdcd.config.model import Config, Kind, Order, TriggerConfig
from cdcd.config.tables import TablePattern, parse_table
from cdcd.errors import ConfigError
from cdcd.triggers.expressions import BadExpression, Expression
from cdcd.triggers.template import Mistake
from cdcd.triggers.templated import Templates, compile_templates
from cdcd.triggers.vocabulary import VOCABULARIES


class Trigger:
    """One YAML rule, compiled. Never changed after it is made."""

    __slots__ = ("columns", "config", "key", "kind", "name", "order", "paths", "tables", "templates", "types", "when")

    def __init__(
        self, config: TriggerConfig, when: Expression | None, key: Expression | None, templates: Templates | None = None
    ) -> None:
        self.name = config.name
        self.config = config
        self.types = config.types
        self.kind = config.kind
        self.paths: tuple[re.Pattern[str], ...] = tuple(parse_glob(text) for text in config.paths)
        self.tables: tuple[TablePattern, ...] = tuple(parse_table(text) for text in config.tables)
        self.columns = config.columns
        self.when = when
        self.key = key
        self.templates = templates
        self.order = config.order

    def __repr__(self) -> str:
        return f"Trigger({self.name!r})"

    @property
    def expressions(self) -> tuple[tuple[str, Expression], ...]:
        """All its expressions with the options that they stand in: `when`, `payload.items[1]`."""
        own = tuple((option, each) for option, each in (("when", self.when), ("key", self.key)) if each is not None)
        return own if self.templates is None else (*own, *self.templates.expressions)

    @property
    def columns_used(self) -> frozenset[tuple[str, str]]:
        """The columns that its expressions name, as ("new" | "old", column)."""
        return frozenset().union(*(expression.columns_used for _, expression in self.expressions))

    def covers_path(self, path: str) -> bool:
        """Whether it wants what happens to this path within its store: one of its globs matches, or it names none."""
        return not self.paths or any(pattern.fullmatch(path) is not None for pattern in self.paths)

    def covers(self, schema: str, table: str) -> bool:
        """Whether one of its table patterns matches."""
        return any(pattern.matches(schema, table) for pattern in self.tables)


def compile_trigger(config: TriggerConfig) -> Trigger:
    """Raises ConfigError with every mistake of its expressions."""
    return _all((config,))[0]


def compile_all(config: Config) -> tuple[Trigger, ...]:
    """All triggers, disabled ones too. Raises ConfigError with every mistake of every expression."""
    return _all(config.triggers.values())


def mistakes_of(config: TriggerConfig) -> list[tuple[str, str]]:
    """Every mistake of a trigger's expressions: the option that it is in, and the words with the trigger's name."""
    mistakes: list[tuple[str, str]] = []
    _compile(config, lambda option, what: mistakes.append((option, f"triggers.{config.name}.{option}: {what}")))
    return mistakes


def _all(configs: Iterable[TriggerConfig]) -> tuple[Trigger, ...]:
    mistakes: list[str] = []

    def compiled(config: TriggerConfig) -> Trigger:
        def mistake(option: str, what: str) -> None:
            mistakes.append(f"{config.place(option)}: triggers.{config.name}.{option}: {what}")

        return _compile(config, mistake)

    triggers = tuple(compiled(config) for config in configs)
    if mistakes:
        raise ConfigError(mistakes)
    return triggers


def _compile(config: TriggerConfig, mistake: Mistake) -> Trigger:
    def compiled(option: str, source: str) -> Expression | None:
        if not source:
            return None
        try:
            return Expression(config.name, source, VOCABULARIES[config.kind])
        except BadExpression as error:
            mistake(option, str(error) + (f" ({error.hint})" if error.hint else ""))
            return None

    when, key = compiled("when", config.when), compiled("key", config.key)
    if key is not None and config.kind is Kind.DATABASE and config.order is Order.KEY and not (key.uses_type or key.whole):
        roots = {root for root, _ in key.columns_used}
        if roots == {"new"} and "DB_DELETE" in config.types:
            mistake(
                "key",
                "there is no new row in a DB_DELETE; write "
                '`type == "DB_DELETE" ? old.x : new.x` (old has only the key columns unless REPLICA IDENTITY is FULL)',
            )
        if roots == {"old"} and "DB_INSERT" in config.types:
            mistake("key", 'there is no old row in a DB_INSERT; write `type == "DB_INSERT" ? new.x : old.x`')
    if when is not None and config.types == {"DB_TRUNCATE"} and when.columns_used:
        mistake("when", "there is no row in a DB_TRUNCATE: it has only `type` and `event`")
    return Trigger(config, when, key, compile_templates(config, mistake))
