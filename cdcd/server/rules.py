"""What may be queued, and by whom: the types that exist, their JSON Schemas and their `allow` conditions, compiled once.

The rules:
- a type exists when `events` names it or an enabled trigger wants it; a last resort (`dlq_NAME`) only when `events` does, since it
  says that a delivery has failed, and that says cdcd;
- schemas are of draft 2020-12; what a `$ref` names must be in the schema itself: nothing is ever fetched;
- whatever comes in, checking it takes time in proportion to its size: patterns are matched by an engine that never goes back (so it
  has no look-around and no back-references);
- a reason never repeats anything of a payload;
- `allow` must be true: one that raises, or gives something else, allows nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from cdcd.config.model import Config, CustomType, Kind
from cdcd.config.types import LAST_RESORT
from cdcd.errors import ConfigError, EventError
from cdcd.server.problems import Reasons
from cdcd.triggers.expressions import BadExpression, Expression
from cdcd.triggers.occurrence import Occurrence
from cdcd.triggers.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("auth", "payload"), (), {})
MOST_REASONS = 20  # of one event
LARGE = (
    4 * 1024
)  # bytes of a payload, of which one reason is told at most: to find them costs far more than to find that there is one
LONGEST_REASON = 300  # characters
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(slots=True, frozen=True)
class Rule:
    """What holds for one type; None: anything, anybody."""

    schema: Draft202012Validator | None
    allow: Expression | None
    branches: bool = False  # whether the schema has alternatives: then each reason holds those of each alternative, and so on


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

    def check(
        self,
        kind: str,
        payload: object,
        claims: Mapping[str, object] | None,
        pointer: str,
        into: Reasons,
        *,
        large: bool = False,
    ) -> None:
        """Add why this may not be queued. `pointer` is where the payload is; `claims` None: `allow` is not asked. `large`: the
        payload has more than `LARGE` bytes."""
        rule = self._rules[kind]
        if rule.allow is not None and claims is not None and (why := _forbidden(rule.allow, kind, payload, claims)):
            into.add(why, pointer, 403)
        if rule.schema is not None:
            for why, where in _violations(rule, payload, large=large):
                into.add(why, pointer + where)


def compile_rules(config: Config) -> Rules:
    """Raises ConfigError with every mistake."""
    mistakes: list[str] = []
    rules = {
        kind: Rule(None, None)
        for trigger in config.triggers.values()
        if trigger.enabled and trigger.kind is Kind.CUSTOM
        for kind in trigger.types
        if not kind.startswith(LAST_RESORT)
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
        _has_branches(event.schema),
    )


def _has_branches(schema: object) -> bool:
    if isinstance(schema, Mapping):
        return not _BRANCHES.isdisjoint(schema) or any(map(_has_branches, schema.values()))
    return isinstance(schema, list) and any(map(_has_branches, schema))


_BRANCHES = frozenset(("anyOf", "oneOf"))


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
        return Draft202012Validator(schema, pattern_options=_PATTERNS, offline=True, mask="it")
    except ValidationError as error:
        mistake(_no_schema(error))
    except (ValueError, RecursionError) as error:
        mistake(f"is no JSON Schema: {error!s:.{LONGEST_REASON}}")
    return None


_PATTERNS = RegexOptions()


def _no_schema(error: ValidationError) -> str:
    if error.kind.name == "$ref":
        return f"{error.message[:LONGEST_REASON]}; nothing is fetched: put what `$ref` names under `$defs`"
    where = "".join(f"/{part}" for part in error.instance_path)
    if error.kind.name == "format":
        return (
            f"has no regular expression at {where}, or one that is not matched in linear time: "
            "leave out look-around and back-references, and escape { that begins no count"
        )
    return f"is no JSON Schema{f' at {where}' if where else ''}: {error.message[:LONGEST_REASON]}"


def _forbidden(allow: Expression, kind: str, payload: object, claims: Mapping[str, object]) -> str:
    try:
        value = allow.evaluate(Occurrence(kind, None, 0, {}, {"auth": claims, "payload": payload}))
    except EventError as error:
        return f"`allow` of {kind} could not be evaluated{str(error).partition('` raised')[2]}"
    return "" if value is True else f"the token and the payload do not satisfy `allow` of {kind}"


def _violations(rule: Rule, payload: object, *, large: bool) -> Iterator[tuple[str, str]]:
    """What is wrong and where, as a JSON Pointer within the payload."""
    schema = rule.schema
    if schema is None or schema.is_valid(payload):
        return
    errors: list[ValidationError] = []
    if not large:
        errors += islice(schema.iter_errors(payload), MOST_REASONS)
    elif rule.branches:
        yield "it does not satisfy the schema of its type, and is too large to be told where", ""
    else:
        try:
            schema.validate(payload)
        except ValidationError as first:
            errors.append(first)
    for error in errors:
        yield (
            _WORDS.get(error.kind.name) or error.message[:LONGEST_REASON],
            "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in error.instance_path)[:LONGEST_REASON],
        )


_WORDS = {  # where the message would name members of the payload
    "additionalProperties": "it has members that the schema does not allow",
    "unevaluatedProperties": "it has members that the schema does not allow",
    "unevaluatedItems": "it has items that the schema does not allow",
    "propertyNames": "it has members whose names the schema does not allow",
}
