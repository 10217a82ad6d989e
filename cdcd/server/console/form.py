"""A trigger's definition as the fields of a form, and back. Pure.

The rules:
- a field that says what the definition says already changes nothing in it; so what the form has no field for, the comments and the way in
  which everything is written stay;
- an empty field is an option that is left out;
- fields of another kind of source than the one that is chosen are kept in the form, and are no part of the definition.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cdcd.admin.editing import Mistake
from cdcd.config.altering import GONE, Route, Source, Unshowable, Ways, altered, position, read, source
from cdcd.config.model import Backoff, Egress, Format, Kind, Missed, Order
from cdcd.config.shape import EgressShape, RetriesShape, TriggerShape, WebhookShape
from cdcd.config.splicing import Spliced, Unspliceable
from cdcd.config.types import BUILT_IN, SCHEDULE_TYPE, kind_of
from cdcd.config.writing import written


class Control(StrEnum):
    """How a value is given."""

    LINE = "line"  # a text on one line
    TEXT = "text"  # a text
    NUMBER = "number"
    CHOICE = "choice"  # one of some words
    SWITCH = "switch"  # true or false
    ROWS = "rows"  # a list, a line each
    WORDS = "words"  # a list with commas
    PAIRS = "pairs"  # names with values
    VALUE = "value"  # anything, as YAML


ALL = frozenset(Kind)
ROWS, FILES, CLOCK = frozenset({Kind.DATABASE}), frozenset({Kind.STORAGE}), frozenset({Kind.SCHEDULE})


@dataclass(slots=True, frozen=True)
class Option:
    """An option that has a field. `default` is what holds when it is left out."""

    name: str
    label: str
    control: Control
    kinds: frozenset[Kind] = ALL
    choices: tuple[str, ...] = ()
    default: str = ""

    @property
    def route(self) -> Route:
        return tuple(self.name.split("."))

    @property
    def id(self) -> str:
        """Of its field on the page; of rows, that of the first is `ID-1`."""
        return "f-" + self.name.replace(".", "-").replace("_", "-")


_SHAPES: Mapping[str, Any] = {
    "": TriggerShape,
    "webhook": WebhookShape,
    "retries": RetriesShape,
    "webhook.egress": EgressShape,
}
_MAIN = {"webhook": "url", "retries": "max", "webhook.egress": "mode"}
WAYS = Ways(
    {tuple(name.split(".")): main for name, main in _MAIN.items()},
    {tuple(name.split(".")) if name else (): tuple(shape.model_fields) for name, shape in _SHAPES.items()},
)


def _default(name: str) -> str:
    holder, _, last = name.rpartition(".")
    found = _SHAPES[holder].model_fields[last]
    extra = found.json_schema_extra if isinstance(found.json_schema_extra, dict) else {}
    value = extra.get("default", found.default)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, str | int) else ""


def _option(name: str, label: str, control: Control, kinds: frozenset[Kind] = ALL, choices: Iterable[str] = ()) -> Option:
    return Option(name, label, control, kinds, tuple(map(str, choices)), _default(name))


OPTIONS: Mapping[str, Option] = {
    each.name: each
    for each in (
        _option("database", "Database", Control.LINE, ROWS),
        _option("table", "Table", Control.ROWS, ROWS),
        _option("storage", "Store", Control.LINE, FILES),
        _option("path", "Path", Control.ROWS, FILES),
        _option("schedule", "Schedule", Control.LINE, CLOCK),
        _option("timezone", "Time zone", Control.LINE, CLOCK),
        _option("missed", "Missed times", Control.CHOICE, CLOCK, Missed),
        _option("columns", "Columns", Control.WORDS, ROWS),
        _option("when", "Condition", Control.TEXT),
        _option("webhook.url", "URL", Control.LINE),
        _option("webhook.method", "Method", Control.CHOICE, ALL, ("POST", "PUT", "PATCH", "DELETE", "GET")),
        _option("webhook.headers", "Headers", Control.PAIRS),
        _option("webhook.timeout", "Timeout", Control.LINE),
        _option("webhook.ca", "Trusted certificates", Control.LINE),
        _option("webhook.client_cert", "Client certificate", Control.LINE),
        _option("webhook.client_key", "Client key", Control.LINE),
        _option("webhook.egress.mode", "Addresses", Control.CHOICE, ALL, Egress),
        _option("webhook.egress.allow", "Networks allowed all the same", Control.WORDS),
        _option("retries.max", "Retries", Control.NUMBER),
        _option("retries.backoff", "Wait grows", Control.CHOICE, ALL, Backoff),
        _option("retries.first", "First wait", Control.LINE),
        _option("retries.factor", "Factor", Control.NUMBER),
        _option("retries.max_interval", "Longest wait", Control.LINE),
        _option("retries.jitter", "Jitter", Control.NUMBER),
        _option("retries.max_age", "Give up after", Control.LINE),
        _option("retries.no_retry", "Give up at once on", Control.WORDS),
        _option("order", "Order", Control.CHOICE, ALL, Order),
        _option("key", "Key", Control.TEXT),
        _option("format", "Format", Control.CHOICE, ALL, Format),
        _option("payload", "Payload", Control.VALUE),
        _option("claims", "Claims", Control.VALUE),
        _option("concurrency", "Concurrency", Control.NUMBER),
        _option("enabled", "Enabled", Control.SWITCH, ALL, ("true", "false")),
    )
}
"""All options but `type`, whose fields are `kind`, `type` (of rows and files) and `custom`."""

NEEDED, CHOOSE = "it is needed", "choose at least one"
NUMBERS = frozenset({"retries.no_retry"})  # lists of numbers
_INT, _FLOAT = re.compile(r"[-+]?[0-9]{1,40}"), re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)")
_WORD = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^,]*))\s*(?:,|$)')
_FIRST_KINDS = {"table": Kind.DATABASE, "path": Kind.STORAGE, "schedule": Kind.SCHEDULE}


@dataclass(slots=True, frozen=True)
class Fields:
    """What the fields say. `kind` None: not chosen yet. `types` are of any kind but custom, `values` by option (of `Control.ROWS` a text
    each), `headers` names and values in their order."""

    kind: Kind | None = None
    types: tuple[str, ...] = ()
    custom: str = ""
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()

    def one(self, name: str) -> str:
        """A field's text."""
        return next(iter(self.values.get(name, ())), "")

    def many(self, name: str) -> tuple[str, ...]:
        """The texts of rows."""
        return self.values.get(name, ())

    def chosen(self, kind: Kind) -> list[str]:
        """The types of a kind."""
        if kind is Kind.CUSTOM:
            return re.split(r"[\s,]+", self.custom.strip()) if self.custom.strip() else []
        return [SCHEDULE_TYPE] if kind is Kind.SCHEDULE else [each for each in self.types if kind_of(each) is kind]


@dataclass(slots=True, frozen=True)
class Made:
    """A definition that fields make, and what is wrong with them that cannot stand in it."""

    text: str
    mistakes: Sequence[Mistake] = ()


@dataclass(slots=True, frozen=True)
class Told:
    """A mistake on the page: `id` is the field's, "" when there is none for it. `missing`: the field must be filled in, and is empty."""

    what: str
    option: str = ""
    id: str = ""
    line: int = 0
    column: int = 0
    missing: bool = False

    @property
    def label(self) -> str:
        """The field's name."""
        known = {"name": "Name", "type": "What happens", "custom": "Type"}
        return known.get(self.option) or (OPTIONS[self.option].label if self.option in OPTIONS else "")


# From a definition


def shown(text: str) -> Fields:
    """A definition as fields. Raises Unshowable."""
    values = read(text)
    given = values.get("type")
    types = [_text(each) for each in (given if isinstance(given, list) else [given]) if each is not None]
    kind = kind_of(types[0]) if types else next((_FIRST_KINDS[each] for each in values if each in _FIRST_KINDS), None)
    found: dict[str, tuple[str, ...]] = {}
    headers: tuple[tuple[str, str], ...] = ()
    for option in OPTIONS.values():
        value = _value(values, option.route)
        if value is None:
            continue
        if option.control is Control.PAIRS:
            headers = tuple((name, _text(each)) for name, each in value.items()) if isinstance(value, dict) else ()
        elif option.control is Control.VALUE:
            found[option.name] = (source(text, option.route),)
        else:
            found[option.name] = _shown(option, value)
    custom = ", ".join(each for each in types if kind_of(each) is Kind.CUSTOM)
    return Fields(kind, tuple(each for each in types if kind_of(each) is not Kind.CUSTOM), custom, found, headers)


def _shown(option: Option, value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    if option.control is Control.ROWS:
        return tuple(map(_text, items))
    if option.control is Control.WORDS:
        return (", ".join(_quoted(_text(each)) for each in items),)
    return (_text(value),)


def _value(values: Any, route: Route) -> Any:
    """None for what is not there."""
    for depth, part in enumerate(route):
        if isinstance(values, dict):
            values = values.get(part)
        elif WAYS.main.get(route[:depth]) != part:
            return None
    return values


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else written(value).strip()


def _quoted(word: str) -> str:
    plainly = word == word.strip() and word and not set(word) & set(',"\n\\')
    return word if plainly else '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def words(text: str) -> list[str]:
    """The words of a list with commas; one in double quotes may hold commas."""
    found: list[str] = []
    at, text = 0, text.strip()
    while at < len(text):
        match = _WORD.match(text, at)
        if match is None:  # something behind a closing quote
            return [each.strip() for each in text.split(",") if each.strip()]
        if match[1] is not None:
            found.append(re.sub(r"\\(.)", r"\1", match[1]))
        elif match[2].strip():
            found.append(match[2].strip())
        at = max(match.end(), at + 1)
    return found


# From a request


def posted(pairs: Iterable[tuple[str, str]]) -> Fields:
    """What was sent of the form."""
    got: dict[str, list[str]] = {}
    for name, value in pairs:
        got.setdefault(name, []).append(value.replace("\r\n", "\n").replace("\r", "\n"))
    kind = next((each for each in Kind if each.value in got.get("kind", [])), None)
    values: dict[str, tuple[str, ...]] = {}
    for option in OPTIONS.values():
        texts = [each for each in got.get(option.name, []) if each.strip()]
        if texts and option.control is not Control.PAIRS:
            values[option.name] = tuple(texts) if option.control is Control.ROWS else (texts[-1],)
    headers = tuple(
        (name.strip(), value.strip())
        for name, value in zip(got.get("header", []), got.get("value", []), strict=False)
        if name.strip() or value.strip()
    )
    types = tuple(dict.fromkeys(each for each in got.get("type", []) if each))
    return Fields(kind, types, next(iter(got.get("custom", [])), "").strip(), values, headers)


def prefilled(pairs: Iterable[tuple[str, str]]) -> Fields:
    """What a link asks for: `type` (of any kind, several with commas) and options."""
    pairs = list(pairs)
    types = [each.strip() for name, value in pairs if name == "type" for each in value.split(",") if each.strip()]
    kind = kind_of(types[0]).value if types else next((_FIRST_KINDS[name] for name, _ in pairs if name in _FIRST_KINDS), "")
    custom = ", ".join(each for each in types if kind_of(each) is Kind.CUSTOM)
    plain = [("type", each) for each in types if each in BUILT_IN]
    return posted([("kind", kind), ("custom", custom), *plain, *(pair for pair in pairs if pair[0] != "type")])


# Into a definition


def made(base: str, fields: Fields) -> Made:
    """The definition `base` where the fields say otherwise than it, changed. Raises Unshowable for a base that has no fields."""
    before, values = shown(base), read(base)
    changes: list[tuple[Route, Any]] = [*_types(before, values, fields)]
    mistakes: list[Mistake] = []
    for option in OPTIONS.values():
        if fields.kind is not None and fields.kind not in option.kinds:
            changes.append((option.route, GONE))
        elif option.control is Control.PAIRS:
            changes += _headers(option, before, fields, mistakes)
        elif not _alike(option, before.many(option.name), fields.many(option.name)):
            try:
                changes.append((option.route, _given(option, fields.many(option.name), _value(values, option.route))))
            except Unshowable as error:
                line = min(error.line - 1, fields.one(option.name).count("\n") + 1)
                where = f" (line {line})" if line > 1 else ""
                mistakes.append(Mistake(f"{error}{where}", field=option.name))
    return Made(altered(base, changes, WAYS), mistakes)


def _types(before: Fields, values: Mapping[str, Any], fields: Fields) -> Iterator[tuple[Route, Any]]:
    if fields.kind is None:
        return
    given = values.get("type")
    old = [_text(each) for each in (given if isinstance(given, list) else [given]) if each is not None]
    new = fields.chosen(fields.kind)
    if sorted(set(old)) == sorted(set(new)):
        return
    known = [*old, *BUILT_IN]
    new = sorted(dict.fromkeys(new), key=lambda each: known.index(each) if each in known else len(known))
    yield ("type",), (new[0] if len(new) == 1 else new) if new else GONE


def _headers(option: Option, before: Fields, fields: Fields, mistakes: list[Mistake]) -> Iterator[tuple[Route, Any]]:
    old, new = dict(before.headers), dict(fields.headers)
    names = [name for name, _ in fields.headers]
    for name in dict.fromkeys(names):
        if not name:
            mistakes.append(Mistake("a header has no name", field=option.name))
        elif names.count(name) > 1:
            mistakes.append(Mistake(f"{name} stands here twice", field=f"{option.name}.{name}"))
    for name in old:
        if name not in new:
            yield (*option.route, name), GONE
    for name, value in new.items():
        if name and old.get(name) != value:
            yield (*option.route, name), value


def _alike(option: Option, old: tuple[str, ...], new: tuple[str, ...]) -> bool:
    """Whether a field says what the definition says, for all that a browser makes of it."""
    if option.control is Control.WORDS:
        return words(",".join(old)) == words(",".join(new))
    line = option.control in (Control.LINE, Control.ROWS, Control.NUMBER)
    ours, theirs = ([each.replace("\n", "").strip() if line else each.strip() for each in side] for side in (old, new))
    return [each for each in ours if each] == [each for each in theirs if each]


def _given(option: Option, texts: tuple[str, ...], old: Any) -> Any:
    """The value for what a field says. Raises Unshowable."""
    if option.control is Control.ROWS:
        return _listed([each.strip() for each in texts], old)
    if not texts:
        return GONE
    text = texts[0].strip()
    if option.control is Control.WORDS:
        found = words(text)
        return _listed([_number(each) for each in found] if option.name in NUMBERS else found, old)
    if option.control is Control.NUMBER:
        return _number(text)
    if option.control is Control.SWITCH:
        return {"true": True, "false": False}.get(text, text)
    if option.control is Control.VALUE:
        given = Source(text)
        read(f"value:\n{_indented(text)}")
        return GONE if given.node is None else given
    return text


def _listed(items: list[Any], old: Any) -> Any:
    if not items:
        return GONE
    return items[0] if len(items) == 1 and not isinstance(old, list) else items


def _indented(text: str) -> str:
    return "".join(f" {line}\n" for line in text.split("\n"))


def _number(text: str) -> Any:
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


# Mistakes


def told(mistakes: Iterable[Mistake], name: str, fields: Fields | None, text: str) -> list[Told]:
    """Mistakes of the trigger that was judged under this name, with their places on the page; `fields` None: there are no fields."""
    found: list[Told] = []
    for mistake in mistakes:
        what = re.sub(rf"^triggers\.{re.escape(name)}(?:\.[^\s:]+)?: ", "", mistake.what)
        option, identity = place(mistake.field, fields) if fields is not None else ("", "")
        if not option and mistake.line and fields is not None:
            try:
                option, identity = place(".".join(position(text, mistake.line, mistake.column)), fields)
            except Unshowable:
                pass
        if not option and fields is not None and fields.kind is Kind.DATABASE:  # what the database said of one
            for number, table in enumerate(fields.many("table"), 1):
                if re.search(rf"(?<![\w.]){re.escape(table.strip())}(?![\w.])", what):
                    option, identity = "table", f"{OPTIONS['table'].id}-{number}"
                    what = re.sub(r"^\S+: (?=database )| \(trigger [\w-]+\)$", "", what)
        missing = " is missing" in what and fields is not None and option in ("type", "custom", *OPTIONS)
        missing = missing and not _filled(option, fields)
        if missing:
            what = CHOOSE if option == "type" else NEEDED
        one = Told(what, option, identity, *((0, 0) if missing else (mistake.line, mistake.column)), missing)
        if one not in found:
            found.append(one)
    return found


def _filled(option: str, fields: Fields | None) -> bool:
    if fields is None:
        return False
    return bool(fields.chosen(fields.kind or Kind.DATABASE)) if option in ("type", "custom") else bool(fields.many(option))


def place(name: str, fields: Fields | None) -> tuple[str, str]:
    """The option and the id of the field that an option as messages name it (`webhook.headers.X-Id`, `table[2]`) has on the page."""
    if name in ("type", "custom") or name.startswith("type["):
        custom = fields is not None and fields.kind is Kind.CUSTOM
        return ("custom", "f-custom") if custom else ("type", "f-type")
    known = name
    while known and known not in OPTIONS and known not in _MAIN:
        known = known[: max(known.rfind("."), known.rfind("["), 0)]
    while known in _MAIN:
        known = f"{known}.{_MAIN[known]}"
    if not known:
        return "", ""
    option = OPTIONS[known]
    row = 1
    if option.control is Control.PAIRS and fields is not None:
        header = name[len(known) + 1 :].lower()
        row = next((index for index, pair in enumerate(fields.headers, 1) if pair[0].lower() == header), 1)
    elif option.control is Control.ROWS and (found := re.search(r"\[(\d+)\]", name)):
        row = int(found[1])
    return known, f"{option.id}-{row}" if option.control in (Control.ROWS, Control.PAIRS) else option.id


def unwrapped(text: str) -> tuple[str, str] | None:
    """Name and definition of a text that is a whole file with one trigger, as it is copied from one."""
    if not re.search(r"(?m)^triggers:", text):
        return None
    try:
        spliced = Spliced(text)
        (name,) = spliced.names
        found = spliced.definition(name)
    except (Unspliceable, ValueError):
        return None
    return None if found is None else (name, found.text)
