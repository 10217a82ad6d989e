"""What may be queued, and by whom: the types that exist, their JSON Schemas and their `allow` conditions, compiled once.

The rules:
- a type exists when `events` names it or an enabled trigger wants it;
- schemas are of draft 2020-12; what a `$ref` names must be in the schema itself: nothing is ever fetched;
- `allow` must be true: one that raises, or gives something else, allows nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema_specifications import REGISTRY
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from cdcd.config.model import Config, CustomType, Kind
from cdcd.errors import ConfigError, EventError
from cdcd.server.problems import Reasons
from cdcd.triggers.expressions import BadExpression, Expression
from cdcd.triggers.occurrence import Occurrence
from cdcd.triggers.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("auth", "payload"), (), {})
MOST_REASONS = 20  # of one event
LONGEST_REASON = 300  # characters
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(slots=True, frozen=True)
class Rule:
    """What holds for one type; None: anything, anybody."""

    schema: Draft202012Validator | None
    allow: Expression | None


class Rules:
    """What holds for every type."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = rules

    def known(self, kind: str) -> bool:
        """Whether the type exists."""
        return kind in self._rules

    @property
    def types(self) -> tuple[str, ...]:
        """All types that may be queued."""
        return tuple(sorted(self._rules))

    def free(self, kind: str) -> bool:
        """Whether the type exists and anybody may queue anything under it."""
        rule = self._rules.get(kind)
        return rule is not None and rule.schema is None and rule.allow is None

    def check(self, kind: str, payload: object, claims: Mapping[str, object] | None, pointer: str, into: Reasons) -> None:
        """Add why this may not be queued. `pointer` is where the payload is; `claims` None: `allow` is not asked."""
        rule = self._rules[kind]
        if rule.allow is not None and claims is not None and (why := _forbidden(rule.allow, kind, payload, claims)):
            into.add(why, pointer, 403)
        if rule.schema is not None:
            for why, where in _violations(rule.schema, payload):
                into.add(why, pointer + where)


def compile_rules(config: Config) -> Rules:
    """Raises ConfigError with every mistake."""
    mistakes: list[str] = []
    rules = {
        kind: Rule(None, None)
        for trigger in config.triggers.values()
        if trigger.enabled and trigger.kind is Kind.CUSTOM
        for kind in trigger.types
    }
    for event in config.events.values():
        mine: list[tuple[str, str]] = []
        rules[event.name] = _compile(event, mine)
        mistakes += (f"{event.where}: events.{event.name}.{option}: {what}" for option, what in mine)
    if mistakes:
        raise ConfigError(mistakes)
    return Rules(rules)


def mistakes_of(event: CustomType) -> list[tuple[str, str]]:
    """Every mistake of what holds for a type: the option that it is in, and what is wrong with it."""
    mistakes: list[tuple[str, str]] = []
    _compile(event, mistakes)
    return mistakes


def _compile(event: CustomType, mistakes: list[tuple[str, str]]) -> Rule:
    return Rule(
        _schema(event, lambda what: mistakes.append(("schema", what))),
        _allow(event, lambda what: mistakes.append(("allow", what))),
    )


Mistake = Callable[[str], None]


def _allow(event: CustomType, mistake: Mistake) -> Expression | None:
    if not event.allow:
        return None
    try:
        return Expression(event.name, event.allow, VOCABULARY)
    except BadExpression as error:
        mistake(str(error) + (f" ({error.hint})" if error.hint else ""))
        return None


def _schema(event: CustomType, mistake: Mistake) -> Draft202012Validator | None:
    if event.schema is None:
        return None
    schema = event.schema if isinstance(event.schema, bool) else dict(event.schema)
    if isinstance(schema, dict) and schema.get("$schema", _DRAFT) != _DRAFT:
        mistake("is of another draft than 2020-12; take out `$schema`")
        return None
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = "".join(f"/{part}" for part in error.absolute_path)
        mistake(f"is no JSON Schema{f' at {where}' if where else ''}: {error.message[:LONGEST_REASON]}")
        return None
    except RecursionError:
        mistake("is nested too deeply")
        return None
    resolver = REGISTRY.resolver_with_root(DRAFT202012.create_resource(schema))
    for reference in sorted(set(_references(schema))):
        try:
            resolver.lookup(reference)
        except (Unresolvable, ValueError):
            mistake(f"$ref '{reference}' is not in the schema; nothing is fetched: put it under `$defs`")
            return None
    return Draft202012Validator(schema, registry=REGISTRY)


def _references(schema: object) -> Iterator[str]:
    """Every reference; a schema with an `$id` within resolves its own, which is left to the evaluation."""
    if isinstance(schema, dict):
        for name, value in schema.items():
            if name in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            elif name not in ("enum", "const", "default", "examples"):
                yield from _references(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from _references(item)


def _forbidden(allow: Expression, kind: str, payload: object, claims: Mapping[str, object]) -> str:
    try:
        value = allow.evaluate(Occurrence(kind, None, 0, {}, {"auth": claims, "payload": payload}))
    except EventError as error:
        return f"`allow` of {kind} could not be evaluated{str(error).partition('` raised')[2]}"
    return "" if value is True else f"the token and the payload do not satisfy `allow` of {kind}"


def _violations(schema: Draft202012Validator, payload: object) -> Iterator[tuple[str, str]]:
    """What is wrong and where, as a JSON Pointer within the payload."""
    try:
        errors: list[ValidationError] = []
        for error in schema.iter_errors(payload):
            errors.append(error)
            if len(errors) == MOST_REASONS:
                break
    except RecursionError:
        yield "is nested too deeply", ""
        return
    except Unresolvable:
        yield "the schema of this type refers to something that is not there", ""
        return
    for error in errors:
        yield (
            error.message[:LONGEST_REASON],
            "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in error.absolute_path),
        )
