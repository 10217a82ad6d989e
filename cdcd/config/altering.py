"""Options of one definition set, or taken out, in its text: comments, the order and the way of writing of everything else stay. Pure.

The rule: what comes out always means what was asked for. Where the text cannot be changed so (anchors, merges, what is written in an
unusual way), the definition is written anew from its values; its comments are lost then, and `lost` tells which.
"""

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import yaml

from cdcd.config.document import DEEPEST, CoreLoader
from cdcd.config.masking import plain
from cdcd.config.splicing import DEEPER, Unspliceable, leaves, line_behind
from cdcd.config.writing import written

Route = tuple[str, ...]
LARGEST = 100_000
"""Values of a definition, aliases counted each time."""
MOST_COMPARED = 100_000
"""Pairs of items of two lists that are compared: it takes a tenth of a second. A longer list is written anew."""
_COMMENT = re.compile(r"(?m)(?:^|(?<=[ \t]))#.*")


@dataclass(slots=True, frozen=True)
class Source:
    """A value as YAML: its comments go with it."""

    text: str

    @property
    def node(self) -> Any:
        """Raises Unshowable."""
        return _composed(self.text.strip("\n") + "\n")

    @property
    def value(self) -> Any:
        """Raises Unshowable."""
        return plain(self.node)


class _Gone:
    def __repr__(self) -> str:
        return "GONE"


GONE: Any = _Gone()
"""The value of an option that is to be taken out."""


@dataclass(slots=True, frozen=True)
class Ways:
    """What is known of options: `main` are those that may be written as one value, with the option that it means; `order` is the order in
    which the options of a mapping are written when they are new."""

    main: Mapping[Route, str]
    order: Mapping[Route, Sequence[str]]


class Unshowable(ValueError):
    """A text of which no values can be shown: no YAML of its own, or one that says a thing twice. `line` (from 1), 0 when not known."""

    def __init__(self, what: str, line: int = 0) -> None:
        super().__init__(what)
        self.line = line


def read(definition: str) -> dict[str, Any]:
    """The values of a definition, texts as they are written. Raises Unshowable."""
    try:
        root = yaml.compose(definition, CoreLoader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        what = str(getattr(error, "problem", None) or getattr(error, "context", None) or "it cannot be read")
        elsewhere = "undefined alias" in what
        raise Unshowable(
            "it takes a part from elsewhere in its file (`*name`)" if elsewhere else f"it is no YAML: {what}",
            mark.line + 1 if mark else 0,
        ) from None
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise Unshowable("it is no mapping of options", 1)
    if _size(root, {}, 0) > LARGEST:
        raise Unshowable("it holds itself, or one part far too often (`*name`)")
    for key, line in _twice(root, set()):
        raise Unshowable(f"'{key}' stands in it twice", line)
    values = plain(root)
    assert isinstance(values, dict)
    return values


def altered(definition: str, changes: Sequence[tuple[Route, Any]], ways: Ways) -> str:
    """The definition with these changes: route and JSON value, Source or GONE. A mapping that gets empty goes too. Raises Unshowable."""
    values = read(definition)
    for route, value in changes:
        for at, given in _steps(values, route, value, ways):
            wanted = given.value if isinstance(given, Source) else given
            values = _assigned(values, at, wanted)
            definition = _edited(definition, at, given, values, ways)
    return definition


def source(definition: str, route: Route) -> str:
    """How the value at `route` is written, with the comments in it; "" when it is not there. Raises Unshowable."""
    read(definition)
    text = _Text(definition)
    found = text.find(route)
    if found is None:
        return ""
    key, value = found
    raw = definition[value.start_mark.index : value.end_mark.index]
    if value.start_mark.line > key.start_mark.line and isinstance(value, yaml.CollectionNode) and not value.flow_style:
        lines = text.lines[key.start_mark.line + 1 : text.end(key, value)]
        depth = value.start_mark.column
        return "".join(line[depth:] if not line[:depth].strip() else line.lstrip() for line in lines).rstrip("\n")
    return raw if "\n" not in raw.strip() else written(plain(value)).rstrip("\n")


def position(definition: str, line: int, column: int) -> Route:
    """The innermost option that stands at this place (both from 1); () for none. Raises Unshowable."""
    read(definition)
    found: Route = ()
    node = _composed(definition)
    while isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            begins = (key.start_mark.line + 1, key.start_mark.column + 1)
            ends = (value.end_mark.line + 1, value.end_mark.column + 1)
            if begins <= (line, column) < max(ends, (begins[0], begins[1] + 1)):
                found, node = (*found, str(key.value)), value
                break
        else:
            break
    return found


def lost(before: str, after: str) -> list[str]:
    """The comments of a text that another has not."""
    return [*(Counter(_comments(before)) - Counter(_comments(after))).elements()]


# Values


def _steps(values: dict[str, Any], route: Route, value: Any, ways: Ways) -> Iterator[tuple[Route, Any]]:
    """The change as changes of what is there: a single value that stands for a mapping becomes one when more is to be said."""
    at: Any = values
    for depth, part in enumerate(route):
        here, rest = route[:depth], route[depth:]
        main = ways.main.get(here)
        if not isinstance(at, dict):
            if rest == (main,) and not isinstance(value, dict | Source):
                yield (_emptied(values, here) if value is GONE else here), value
            elif value is GONE:
                return
            elif at is None or main is None:
                yield here, _nested(rest, value)
            else:
                yield here, {main: at}
                yield from _steps(_assigned(values, here, {main: at}), route, value, ways)
            return
        if part not in at:
            if value is not GONE:
                single = len(rest) == 2 and ways.main.get((*here, part)) == rest[1] and not isinstance(value, dict | Source)
                yield (*here, part), value if single else _nested(rest[1:], value)
            return
        at = at[part]
    yield (_emptied(values, route) if value is GONE else route), value


def _emptied(values: Any, route: Route) -> Route:
    """What goes when the value at `route` goes: it, or the outermost mapping that has nothing else."""
    while len(route) > 1 and len(_at(values, route[:-1])) == 1:
        route = route[:-1]
    return route


def _nested(route: Route, value: Any) -> Any:
    if route and isinstance(value, Source):
        value = value.value
    for part in reversed(route):
        value = {part: value}
    return value


def _at(values: Any, route: Route) -> Any:
    for part in route:
        values = values[part]
    return values


def _assigned(values: dict[str, Any], route: Route, value: Any) -> dict[str, Any]:
    first, rest = route[0], route[1:]
    if rest:
        value = _assigned(values[first], rest, value)
    elif value is GONE:
        return {name: each for name, each in values.items() if name != first}
    return {**values, first: value}


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same: `1` is neither `true` nor `1.0`; the order of a mapping says nothing."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and (one == other or one != one)


# Text


class _Text:
    """A definition, its lines and nodes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.splitlines(keepends=True)
        self.root = _composed(text)

    def find(self, route: Route) -> tuple[yaml.Node, yaml.Node] | None:
        """Key and value."""
        found: tuple[yaml.Node, yaml.Node] | None = None
        node = self.root
        for part in route:
            members = node.value if isinstance(node, yaml.MappingNode) else ()
            found = next(((key, value) for key, value in members if key.value == part), None)
            if found is None:
                return None
            node = found[1]
        return found

    def end(self, key: yaml.Node, value: yaml.Node) -> int:
        """The line behind an option in block style; comments further in than its key are its own."""
        start, column = key.start_mark.line, key.start_mark.column
        last = max(start + 1, max((line_behind(leaf) for leaf in leaves(value, start, set())), default=0))
        end = last
        if isinstance(value, yaml.CollectionNode) and not value.flow_style:
            end = max(last, min(value.end_mark.line, len(self.lines)))
            while end > last and _is_apart(self.lines[end - 1], column):
                end -= 1
        while end > start + 1 and not self.lines[end - 1].strip():
            end -= 1
        return end

    def replaced(self, start: int, end: int, lines: Sequence[str]) -> str:
        """Other lines instead of these."""
        before = self.lines[:start]
        if before and lines and not before[-1].endswith("\n"):
            before[-1] += "\n"
        return "".join([*before, *(f"{line}\n" for line in lines), *self.lines[end:]])


def _edited(definition: str, route: Route, value: Any, values: dict[str, Any], ways: Ways) -> str:
    """One change in the text; written anew when that does not give `values`."""
    try:
        made = _attempt(definition, route, value, ways)
        if _same(read(made), values):
            return made
    except (ValueError, IndexError):
        pass
    return written(values) if values else ""


def _attempt(definition: str, route: Route, value: Any, ways: Ways) -> str:
    text = _Text(definition)
    holder = text.root if len(route) == 1 else (text.find(route[:-1]) or (None, None))[1]
    found = text.find(route)
    if holder is None:
        return text.replaced(len(text.lines), len(text.lines), _entry(route[-1], value, 0))
    if not isinstance(holder, yaml.MappingNode):
        raise Unspliceable("it is no mapping")
    if value is GONE:
        if found is None:
            raise Unspliceable("it stands elsewhere")
        return _without(text, holder, found)
    if found is None:
        return _added(text, holder, route, value, ways)
    return _replaced(text, holder, found, value)


def _replaced(text: _Text, holder: yaml.MappingNode, found: tuple[yaml.Node, yaml.Node], value: Any) -> str:
    key, old = found
    start, end = old.start_mark.index, old.end_mark.index
    if holder.flow_style:
        between = "" if text.text[start - 1 : start].isspace() else " "
        return text.text[:start] + between + _flow(value) + text.text[end:]
    column, first, behind = key.start_mark.column, key.start_mark.line, text.end(key, old)
    if isinstance(value, list) and isinstance(old, yaml.SequenceNode) and not old.flow_style and value:
        lines = _items(text, first + 1, old, value, behind)
        if lines is not None:
            return text.replaced(first + 1, behind, lines)
    line = text.lines[first].rstrip("\r\n")
    on_line = old.start_mark.line == first and old.end_mark.line == first
    tail = line[old.end_mark.column if on_line else key.end_mark.column + 1 :]
    comment = tail if "#" in tail and (on_line or old.start_mark.line > first) else ""
    entry = _entry(str(key.value), value, column)
    head = line[: key.end_mark.column] + ":"
    cut = column + len(_key(str(key.value))) + 1
    return text.replaced(first, behind, [head + entry[0][cut:] + comment.rstrip(), *entry[1:]])


def _items(text: _Text, at: int, old: yaml.SequenceNode, value: list[Any], behind: int) -> list[str] | None:
    """The lines of a list from `at` on; items that stay keep theirs, with the comments above and beside them."""
    if len(old.value) * len(value) > MOST_COMPARED:
        return None
    before: list[list[str]] = []
    for item in old.value:
        line = item.start_mark.line
        if not isinstance(item, yaml.ScalarNode) or item.end_mark.line != line:
            return None
        before.append([each.rstrip("\r\n") for each in text.lines[at : line + 1]])
        at = line + 1
    names = [repr(plain(item)) for item in old.value]
    made: list[str] = []
    for kind, a, b, c, d in SequenceMatcher(None, names, [repr(each) for each in value], autojunk=False).get_opcodes():
        if kind == "equal":
            made += [line for lines in before[a:b] for line in lines]
        else:
            made += [" " * old.start_mark.column + "- " + _flow(each) for each in value[c:d]]
    return [*made, *(each.rstrip("\r\n") for each in text.lines[at:behind])]


def _added(text: _Text, holder: yaml.MappingNode, route: Route, value: Any, ways: Ways) -> str:
    name = route[-1]
    if holder.flow_style:
        end = holder.end_mark.index - 1
        body = text.text[:end].rstrip()
        comma = ", " if holder.value and not body.endswith(",") else ""
        return f"{body}{comma}{_flow(name)}: {_flow(value)}{text.text[len(body) :]}"
    order = [*ways.order.get(route[:-1], ())]
    place = order.index(name) if name in order else len(order)
    column = holder.value[0][0].start_mark.column
    entry = _entry(name, value, column)
    after = [(key, old) for key, old in holder.value if (order.index(key.value) if key.value in order else len(order)) <= place]
    if after:
        at = max(text.end(key, old) for key, old in after)
    else:
        at = holder.value[0][0].start_mark.line
        while at and text.lines[at - 1].lstrip().startswith("#") and len(route) > 1:
            at -= 1
    return text.replaced(at, at, entry)


def _without(text: _Text, holder: yaml.MappingNode, found: tuple[yaml.Node, yaml.Node]) -> str:
    key, old = found
    if not holder.flow_style:
        return text.replaced(key.start_mark.line, text.end(key, old), ())
    index = [each[0] for each in holder.value].index(key)
    start, end = key.start_mark.index, old.end_mark.index
    if index + 1 < len(holder.value):
        end = holder.value[index + 1][0].start_mark.index
    elif index:
        start = holder.value[index - 1][1].end_mark.index
    return text.text[:start] + text.text[end:]


def _entry(name: str, value: Any, column: int) -> list[str]:
    """An option in block style."""
    pad = " " * column
    if not isinstance(value, Source):
        return [pad + line if line else line for line in written({name: value}).splitlines()]
    key = _key(name)
    node = value.node
    lines = value.text.strip("\n").splitlines()
    if len(lines) == 1 and (isinstance(node, yaml.ScalarNode) or (isinstance(node, yaml.CollectionNode) and node.flow_style)):
        return [f"{pad}{key}: {lines[0].strip()}"]
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">") and lines[0][:1] in "|>":
        return [f"{pad}{key}: {lines[0]}", *(pad + " " * DEEPER + line if line.strip() else "" for line in lines[1:])]
    return [f"{pad}{key}:", *(pad + " " * DEEPER + line if line.strip() else "" for line in lines)]


def _key(name: str) -> str:
    return written({name: 0}).rpartition(":")[0]


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Source):
        value = value.value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(name)}: {_flow(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        short = written(value).rstrip("\n")
        plainly = "\n" not in short and (short[:1] in "'\"" or not set(short) & set(",[]{}#&*"))
        return short if plainly else json.dumps(value, ensure_ascii=False)
    return written(value).rstrip("\n")


def _composed(text: str) -> Any:
    try:
        return yaml.compose(text, CoreLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise Unshowable(f"it is no YAML: {getattr(error, 'problem', None) or 'it cannot be read'}") from None


def _size(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """How many values there are, aliases counted each time."""
    if depth > DEEPEST:
        raise Unshowable("it is nested too deeply", node.start_mark.line + 1)
    if id(node) not in known:
        known[id(node)] = LARGEST + 1  # until it is known: for one that holds itself
        items = node.value if isinstance(node, yaml.CollectionNode) else ()
        inner = (each for item in items for each in (item if isinstance(item, tuple) else (item,)))
        known[id(node)] = min(1 + sum(_size(each, known, depth + 1) for each in inner), LARGEST + 1)
    return known[id(node)]


def _twice(node: yaml.Node, seen: set[int]) -> Iterator[tuple[str, int]]:
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    names: set[str] = set()
    for item in node.value:
        if isinstance(item, tuple):
            key = str(item[0].value)
            if key in names and item[0].tag != "tag:yaml.org,2002:merge":
                yield key, item[0].start_mark.line + 1
            names.add(key)
        for each in item if isinstance(item, tuple) else (item,):
            yield from _twice(each, seen)


def _comments(text: str) -> list[str]:
    try:
        root = _composed(text)
    except Unshowable:
        return []
    spans = sorted(_spans(root, set())) if root is not None else []  # no two of them overlap
    begins = [start for start, _ in spans]

    def within(place: int) -> bool:
        before = bisect_right(begins, place)
        return before > 0 and place < spans[before - 1][1]

    return [found[0].strip() for found in _COMMENT.finditer(text) if not within(found.start())]


def _spans(node: yaml.Node, seen: set[int]) -> Iterator[tuple[int, int]]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        yield node.start_mark.index, node.end_mark.index
    else:
        for item in node.value:
            for each in item if isinstance(item, tuple) else (item,):
                yield from _spans(each, seen)


def _is_apart(line: str, column: int) -> bool:
    bare = line.strip()
    return not bare or (bare.startswith("#") and len(line) - len(line.lstrip(" ")) <= column)
