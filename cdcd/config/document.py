"""YAML with places: every key and value knows the file, line and column where it stands.

YAML 1.2's core schema: `yes`, `on` and dates are text. A key that stands twice is a mistake. `${env:NAME}`, `${file:PATH}` and
`${credential:NAME}` in text are put in here, once; what they gave is never shown (messages quote a value as it is written in the file).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import yaml

from cdcd.config.templates import escaped, pieces

Route = tuple[str | int, ...]
"""The way to a value: keys of mappings and indexes of lists from the top."""

DEEPEST = 100
"""Levels of mappings and lists that are read."""
DEEP = "not for cdcd: it is nested too deeply"

KINDS = ("env", "file", "credential")
"""What `${KIND:NAME}` may put in: an environment variable, a file, a credential that systemd gives (systemd.exec, LoadCredential=)."""

_SUBSTITUTION = re.compile(r"\$\$\{|\$\{([^}]*)\}?")


@dataclass(slots=True, frozen=True)
class Place:
    """`line` and `column` count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


Mistake = Callable[[Place, str], None]


@dataclass(slots=True)
class Document:
    """What one file says. `broken` are the routes at which a mistake was told already.

    `written` has the text of scalars as it stands in the file, `base` is the directory that paths in it are relative to. `put_in`
    has the texts that `${env:...}` and `${file:...}` gave where expressions may stand too, by trigger.
    """

    file: str
    base: Path
    data: object = None
    keys: dict[Route, Place] = field(default_factory=dict)
    values: dict[Route, Place] = field(default_factory=dict)
    written: dict[Route, str] = field(default_factory=dict)
    broken: set[Route] = field(default_factory=set)
    put_in: dict[str | int, set[str]] = field(default_factory=dict, repr=False)

    def place(self, route: Route, *, of_key: bool = False) -> Place:
        """Where the value (or its key) stands; where what holds it stands, if it is not there itself."""
        if of_key and route in self.keys:
            return self.keys[route]
        while route not in self.values and route:
            route = route[:-1]
        return self.values.get(route, Place(self.file, 1, 1))

    def path(self, text: str) -> Path:
        """A path as written in this file."""
        return self.base / Path(text).expanduser()


class CoreLoader(yaml.CSafeLoader):
    """Composes nodes; scalars are resolved by YAML 1.2's core schema (10.3.2)."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # PyYAML's way to give a loader its own


CORE: tuple[tuple[str, str, str | list[str]], ...] = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
)
"""Kinds of scalars: the tag, its pattern, what it begins with."""

for _tag, _pattern, _first in CORE:
    CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def read_document(file: str, text: str, base: Path, environ: Mapping[str, str], mistake: Mistake) -> Document:
    """Read one YAML text. Mistakes go to `mistake`; what can be read is in the document all the same."""
    document = Document(file, base)
    loader = CoreLoader(text)
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
        what = error.problem or error.context or ""
        mistake(place, DEEP if "nesting depth" in what else f"not YAML: {what}")  # libyaml has a limit of its own
        document.broken.add(())
        return document
    except yaml.YAMLError:
        mistake(Place(file, 1, 1), "not YAML: it has characters that YAML does not allow")
        document.broken.add(())
        return document
    except RecursionError:
        mistake(Place(file, 1, 1), DEEP)
        document.broken.add(())
        return document
    finally:
        loader.dispose()
    if node is not None:
        document.data = _Reader(document, environ, mistake).read(node, (), ())
    return document


def _is_template(route: Route) -> bool:
    """Whether expressions may stand in the text at `route`."""
    if len(route) < 3 or route[0] != "triggers":
        return False
    return route[2] in ("payload", "claims") or (route[2] == "webhook" and (len(route) == 3 or route[3] in ("url", "headers")))


class _Reader:
    """Turns nodes into plain values, noting places on the way."""

    def __init__(self, document: Document, environ: Mapping[str, str], mistake: Mistake) -> None:
        self._document = document
        self._environ = environ
        self._mistake = mistake

    def read(self, node: yaml.Node, route: Route, within: tuple[yaml.Node, ...]) -> object:
        """`within` are the nodes around this one, to find an alias to itself."""
        place = self._place(node)
        self._document.values[route] = place
        if node in within:
            self._wrong(route, place, "an alias that holds itself")
            return None
        if len(within) >= DEEPEST:
            self._wrong(route, place, f"is nested more than {DEEPEST} levels deep")
            return None
        within = (*within, node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, route, within)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*route, index), within) for index, item in enumerate(node.value)]
        return self._scalar(node, route, place)

    def _mapping(self, node: yaml.MappingNode, route: Route, within: tuple[yaml.Node, ...]) -> dict[str, object]:
        result: dict[str, object] = {}
        own: dict[str, Place] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            place = self._place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._mistake(place, "a key must be text")
                continue
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            key = str(key_node.value)
            if key in own:
                self._mistake(place, f"'{key}' stands here twice; the first is in line {own[key].line}")
                continue
            own[key] = place
            self._document.keys[*route, key] = place
            result[key] = self.read(value_node, (*route, key), within)
        for value_node in merged:
            if not isinstance(value_node, yaml.MappingNode):
                self._mistake(self._place(value_node), "`<<` takes a mapping or a list of mappings")
                continue
            if value_node in within:
                self._mistake(self._place(value_node), "an alias that holds itself")
                continue
            for key_node, inner in value_node.value:
                key = str(key_node.value)
                if key not in result and isinstance(key_node, yaml.ScalarNode):
                    self._document.keys[*route, key] = self._place(key_node)
                    result[key] = self.read(inner, (*route, key), (*within, value_node))
        return result

    def _scalar(self, node: yaml.Node, route: Route, place: Place) -> object:
        text = str(node.value)
        self._document.written[route] = text
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            if len(text) > 40:
                self._wrong(route, place, "a number with more digits than cdcd reads; put it in quotes if it is text")
                return None
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        if kind == "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if kind not in ("str", "merge"):
            self._wrong(route, place, "a tag, which means nothing here")
            return None
        return self._substituted(text, route, place) if "${" in text else text

    def _substituted(self, text: str, route: Route, place: Place) -> str:
        if len(route) == 3 and ((route[0], route[2]) in (("triggers", "when"), ("triggers", "key"), ("events", "allow"))):
            self._wrong(route, place, "an expression is taken as it is written; nothing is put into it for ${...}")
            return text

        if _is_template(route):
            return self._substituted_in_template(text, route, place)

        def put(found: re.Match[str]) -> str:
            if found.group() == "$${":
                return "${"
            kind, colon, name = (found[1] or "").partition(":")
            if not colon or kind not in KINDS or not name or not found.group().endswith("}"):
                self._wrong(route, place, "write ${env:NAME}, ${file:PATH} or ${credential:NAME}; a plain ${ is written $${")
                return ""
            return self._value_of(kind, name, route, place)

        return _SUBSTITUTION.sub(put, text)

    def _substituted_in_template(self, text: str, route: Route, place: Place) -> str:
        """What is put in is literal text; expressions stay as they are."""
        try:
            found = pieces(text)
        except ValueError as error:
            self._wrong(route, place, str(error))
            return ""
        result = []
        for piece in found:
            if isinstance(piece, str):
                result.append(escaped(piece))
                continue
            kind, colon, name = piece.text.partition(":")
            if colon and kind in KINDS and name:
                value = self._value_of(kind, name, route, place)
                self._document.put_in.setdefault(route[1], set()).add(value)
                result.append(escaped(value))
            else:
                result.append(f"${{{piece.text}}}")
        return "".join(result)

    def _value_of(self, kind: str, name: str, route: Route, place: Place) -> str:
        if kind == "file":
            return self._from_file(name, route, place)
        if kind == "credential":
            directory = self._environ.get("CREDENTIALS_DIRECTORY", "")
            if directory and "/" not in name:
                return self._from_file(f"{directory}/{name}", route, place)
            why = "a credential's name has no / in it" if directory else "systemd gave none: see LoadCredential= in the unit"
            self._wrong(route, place, f"there is no credential {name}: {why}")
            return ""
        if name in self._environ:
            return self._environ[name]
        close = get_close_matches(name, list(self._environ), n=1, cutoff=0.8)
        self._wrong(
            route, place, f"the environment variable {name} is not set" + (f"; did you mean {close[0]}?" if close else "")
        )
        return ""

    def _from_file(self, name: str, route: Route, place: Place) -> str:
        try:
            return self._document.path(name).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except OSError as error:
            self._wrong(route, place, f"the file {name} cannot be read: {error.strerror or 'it is not there'}")
        except ValueError:
            self._wrong(route, place, f"the file {name} is not UTF-8 text")
        return ""

    def _wrong(self, route: Route, place: Place, what: str) -> None:
        self._document.broken.add(route)
        self._mistake(place, what)

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._document.file, node.start_mark.line + 1, node.start_mark.column + 1)
