"""A file's text with what is secret in its triggers blotted out, and put in again where an edited definition keeps it. Pure.

Secret is a header's value that is written out, and so are longer values in a URL's query, and segments of its path that look like keys.
What is put in by `${env:NAME}` and its like does not stand in the file, so a value made of these and of short words
(`Bearer ${env:TOKEN}`) is shown as it is written.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import yaml

from cdcd.config.document import CoreLoader
from cdcd.config.splicing import Unspliceable
from cdcd.config.templates import escaped, pieces

MASK = "***"
_PART = 8  # characters: a shorter word says nothing
_KEY = re.compile(
    r"(?=[A-Za-z0-9]*[0-9])(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{16,}|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
)
_ORIGIN = re.compile(r"[^/?#]*://[^/?#]*")
_QUERY = re.compile(r"(?<==)(?:[^&#$]|\$(?!\{))+")


@dataclass(slots=True, frozen=True)
class _Hidden:
    """A scalar and what is shown instead. `option` is `url`, or the header's name in lower case."""

    option: str
    node: yaml.ScalarNode
    shown: str


def masked(text: str) -> str:
    """A file's text without the secrets of its triggers. What is no YAML comes back empty."""
    root = _composed(text)
    if root is None:
        return ""
    found = {
        hidden.node.start_mark.index: hidden
        for trigger in _members(_member(root, "triggers"))
        for hidden in _hidden(trigger[1])
    }
    for _, hidden in sorted(found.items(), reverse=True):
        text = _put(text, hidden.node, json.dumps(hidden.shown, ensure_ascii=False))
    return text


def restored(definition: str, file: str, name: str) -> str:
    """A definition with the secrets that it keeps of the trigger `name` in a file's text. Raises Unspliceable for one that is not there."""
    if MASK not in definition:
        return definition
    root, old = _composed(definition), _composed(file)
    known = {hidden.option: hidden for hidden in _hidden(_member(_member(old, "triggers"), name))}
    kept: dict[int, tuple[yaml.ScalarNode, str]] = {}
    for option, node in _scalars(root):
        if MASK not in node.value:
            continue
        hidden = known.get(option)
        if hidden is None or hidden.shown != node.value:
            line, column = node.start_mark.line + 1, node.start_mark.column + 1
            raise Unspliceable(f"{option}: {MASK} stands for a value that is kept, and there is none to be kept", line, column)
        kept[node.start_mark.index] = (node, _source(file, hidden.node))
    for _, (node, source) in sorted(kept.items(), reverse=True):
        definition = _put(definition, node, source)
    return definition


def shown_url(url: str, put_in: Iterable[str] = ()) -> str:
    """A URL without the longer values of its query that are written out, and without what looks like a key in its path. Of one in which
    `${env:NAME}` and its like are put in already, `put_in` are the texts that they gave: none of them is shown, but for the origin."""
    url = _blotted(url, put_in)
    head, mark, query = url.partition("?")
    scheme, slashes, rest = head.partition("://")
    origin, slash, path = rest.partition("/")
    segments = [MASK if "${" not in segment and _KEY.search(segment) else segment for segment in path.split("/")]
    head = scheme + slashes + origin + slash + "/".join(segments)
    return head + mark + _QUERY.sub(lambda found: MASK if len(found[0]) >= _PART else found[0], query)


def _blotted(url: str, put_in: Iterable[str]) -> str:
    """The URL with `***` for every run of these texts behind its origin."""
    origin = _ORIGIN.match(url)
    path = min(origin.end() + 1, len(url)) if origin is not None else 0
    hidden = bytearray(len(url))
    for text in {escaped(each) for each in put_in} - {""}:
        at = url.find(text)
        while at >= 0:
            hidden[at : at + len(text)] = b"\1" * len(text)
            at = url.find(text, at + 1)
    runs = groupby(zip(url[path:], hidden[path:], strict=True), itemgetter(1))
    return url[:path] + "".join(MASK if mark else "".join(letter for letter, _ in run) for mark, run in runs)


def shown_header(value: str) -> str:
    """A header's value as it may be shown: as it is written when nothing secret stands in it, else `***`."""
    try:
        parts = pieces(value)
    except ValueError:
        return MASK
    literal = [word for part in parts if isinstance(part, str) for word in part.split()]
    made = any(not isinstance(part, str) for part in parts)
    return value if made and all(len(word) < _PART for word in literal) else MASK


def _hidden(trigger: yaml.Node | None) -> Iterator[_Hidden]:
    for option, node in _scalars(trigger):
        shown = shown_url(node.value) if option == "url" else shown_header(node.value)
        if shown != node.value:
            yield _Hidden(option, node, shown)


def _scalars(trigger: yaml.Node | None) -> Iterator[tuple[str, yaml.ScalarNode]]:
    """The texts of a trigger that may hold secrets."""
    webhook = _member(trigger, "webhook")
    url = webhook if isinstance(webhook, yaml.ScalarNode) else _member(webhook, "url")
    if isinstance(url, yaml.ScalarNode):
        yield "url", url
    for name, value in _members(_member(webhook, "headers")):
        if isinstance(value, yaml.ScalarNode):
            yield name.lower(), value


def _members(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Node]]:
    """Of a mapping, those of what is merged into it included."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if key.tag == "tag:yaml.org,2002:merge" and value is not node:
            for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(each, yaml.MappingNode):
                    yield from ((str(inner.value), item) for inner, item in each.value)
        else:
            yield str(key.value), value


def _member(node: yaml.Node | None, name: str) -> yaml.Node | None:
    return next((value for key, value in _members(node) if key == name), None)


def _composed(text: str) -> yaml.Node | None:
    try:
        found: yaml.Node | None = yaml.compose(text, CoreLoader)
    except (yaml.YAMLError, RecursionError):
        return None
    return found


def _source(file: str, node: yaml.ScalarNode) -> str:
    """How a value is written, on one line."""
    raw = file[node.start_mark.index : node.end_mark.index]
    return json.dumps(node.value, ensure_ascii=False) if node.style in ("|", ">") or "\n" in raw else raw


def _put(text: str, node: yaml.ScalarNode, written: str) -> str:
    end = node.end_mark.index
    behind = "\n" if text[node.start_mark.index : end].endswith("\n") else ""
    return text[: node.start_mark.index] + written + behind + text[end:]


def plain(node: yaml.Node | None) -> object:
    """The values of nodes, with texts as they are written."""
    if isinstance(node, yaml.MappingNode):
        return {key: plain(value) for key, value in _members(node)}
    if isinstance(node, yaml.SequenceNode):
        return [plain(item) for item in node.value]
    if not isinstance(node, yaml.ScalarNode):
        return None
    text, kind = str(node.value), node.tag.removeprefix("tag:yaml.org,2002:")
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    try:
        if kind == "int":
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        if kind == "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text
    return text


def values(text: str, name: str) -> Mapping[str, object]:
    """The options of a trigger in a file's text, as they are written."""
    found = plain(_member(_member(_composed(text), "triggers"), name))
    return found if isinstance(found, dict) else {}


def with_option(definition: str, option: str, value: str) -> str:
    """A definition in which a plain option of the highest level is this, in YAML. Raises Unspliceable."""
    root = _composed(definition)
    if not isinstance(root, yaml.MappingNode):
        raise Unspliceable("the definition is no mapping of its own")
    for key, node in root.value:
        if key.value == option:
            if not isinstance(node, yaml.ScalarNode):
                raise Unspliceable(f"{option} is no plain value")
            at = node.start_mark.index
            between = " " if definition[at - 1 : at] == ":" else ""
            return definition[:at] + between + value + definition[node.end_mark.index :]
    if root.flow_style:
        end = definition.rindex("}")
        comma = ", " if root.value and not definition[:end].rstrip().endswith(",") else ""
        return definition[:end].rstrip() + comma + f"{option}: {value}" + definition[end:]
    return definition.rstrip("\n") + f"\n{option}: {value}\n"
