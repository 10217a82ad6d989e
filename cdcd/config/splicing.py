"""One trigger taken out of a YAML text, or put into it: nothing else in the text changes by a single byte. Pure.

A trigger is the lines of its key and its value under `triggers`, which must be a mapping in block style. Its *definition* is the value's
lines without their indentation. The comment at the end of the key's line stays where it is; the lines of comment right above the key go
with a trigger that is removed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from cdcd.config.document import CoreLoader

DEEPER = 2  # columns by which a line that is new is indented below what holds it


class Unspliceable(ValueError):
    """The text is not written in a way in which one trigger can be told from the rest. `line` and `column` (from 1) are where, if known."""

    def __init__(self, what: str, line: int = 0, column: int = 0) -> None:
        super().__init__(what)
        self.line = line
        self.column = column


@dataclass(slots=True, frozen=True)
class Definition:
    """A trigger as it is written. `line` (from 1) and `column` (from 0) are where it stands in the text."""

    text: str
    line: int
    column: int


@dataclass(slots=True, frozen=True)
class _Entry:
    """Lines (from 0; `end` is behind the last) of one trigger. `column` is the key's, `inner` the value's."""

    start: int
    end: int
    column: int
    inner: int
    value: yaml.Node


class Spliced:
    """A text and its triggers. Raises Unspliceable when it is no YAML, or not in block style."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._lines = text.splitlines(keepends=True)
        root = _composed(text)
        self._holder: tuple[yaml.Node, yaml.Node] | None = None
        self._entries: dict[str, _Entry] = {}
        if root is None:
            return
        if not isinstance(root, yaml.MappingNode) or root.flow_style:
            raise Unspliceable("the file is no mapping in block style")
        self._holder = next(((key, value) for key, value in root.value if key.value == "triggers"), None)
        if self._holder is None:
            return
        value = self._holder[1]
        if isinstance(value, yaml.MappingNode):
            if value.flow_style and value.value:
                raise Unspliceable("`triggers` is written in one line with braces; write one trigger below the other")
            if value.start_mark.line < self._holder[0].start_mark.line:
                raise Unspliceable("`triggers` is an alias")
            for key, inner in value.value:
                self._entries[str(key.value)] = self._entry(key, inner)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the triggers in it."""
        return tuple(self._entries)

    def definition(self, name: str) -> Definition | None:
        """How a trigger is written; None when it is not there."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        if not _is_block(entry):
            mark = entry.value.start_mark
            text = self.text[mark.index : entry.value.end_mark.index]
            return Definition(text, mark.line + 1, mark.column)
        lines = [_dedented(line, entry.inner) for line in self._lines[entry.start + 1 : entry.end]]
        return Definition("".join(lines).replace("\r\n", "\n"), entry.start + 2, entry.inner)

    def with_trigger(self, name: str, definition: str) -> str:
        """The text with this trigger, instead of the one of this name or behind the last."""
        entry = self._entries.get(name)
        if entry is not None:
            self._check_own(name, entry)
            key = self._lines[entry.start]
            head = [key]
            if entry.value.start_mark.line == entry.start and not _is_empty(entry.value):  # `name: {...}`: the value goes
                head = [key[: entry.value.start_mark.column].rstrip() + self._newline]
            inner = entry.inner if _is_block(entry) else entry.column + DEEPER
            return self._checked(
                name, definition, self._replaced(entry.start, entry.end, [*head, *self._body(definition, inner)])
            )
        if self._entries:
            last = list(self._entries.values())[-1]
            column = last.column
            at, head = max(each.end for each in self._entries.values()), []
        else:
            column, at, head = DEEPER, len(self._lines), ["triggers:" + self._newline]
            if self._holder is not None:
                key_node, value = self._holder
                at = value.end_mark.line + 1
                line = self._lines[key_node.start_mark.line]
                head = [line[: key_node.end_mark.column].rstrip() + ":" + self._newline]
                if value.start_mark.line != key_node.start_mark.line and not _is_empty(value):
                    raise Unspliceable("`triggers` is empty, and not in one line")
                return self._checked(
                    name,
                    definition,
                    self._replaced(key_node.start_mark.line, at, [*head, *self._new(name, definition, column)]),
                )
        return self._checked(name, definition, self._replaced(at, at, [*head, *self._new(name, definition, column)]))

    def without_trigger(self, name: str) -> str | None:
        """The text without this trigger; None when nothing is left of it."""
        entry = self._entries[name]
        self._check_own(name, entry)
        start = entry.start
        while start and (above := self._lines[start - 1]).lstrip().startswith("#") and _indent(above) == entry.column:
            start -= 1
        if len(self._entries) > 1:
            return self._checked(name, None, self._replaced(start, entry.end, []))
        assert self._holder is not None
        line = self._holder[0].start_mark.line
        rest = [*self._lines[:line], *self._lines[line + 1 : start], *self._lines[entry.end :]]
        if not any(each.strip() not in ("", "---") for each in rest):
            return None
        head = self._lines[line]
        cut = self._holder[0].end_mark.column
        holder = head[:cut] + head[cut:].replace(":", ": {}", 1)
        return self._checked(
            name, None, "".join([*self._lines[:line], holder, *self._lines[line + 1 : start], *self._lines[entry.end :]])
        )

    def _entry(self, key: yaml.Node, value: yaml.Node) -> _Entry:
        start, column = key.start_mark.line, key.start_mark.column
        leaf = max(start + 1, max((line_behind(leaf) for leaf in leaves(value, start, set())), default=0))
        end = leaf
        if isinstance(value, yaml.CollectionNode) and not value.flow_style and value.start_mark.line >= start:
            end = max(leaf, min(value.end_mark.line, len(self._lines)))
            while end > leaf and _is_apart(self._lines[end - 1], column):
                end -= 1
        while end > start + 1 and not self._lines[end - 1].strip():
            end -= 1
        return _Entry(start, end, key.start_mark.column, value.start_mark.column, value)

    def _check_own(self, name: str, entry: _Entry) -> None:
        mark = entry.value.start_mark
        if mark.line < entry.start:
            raise Unspliceable(f"{name} is an alias")
        if not _is_empty(entry.value) and self.text[mark.index : mark.index + 1] in ("&", "!", "*"):
            raise Unspliceable(f"{name} has an anchor or a tag, on which others may depend")
        if (
            sum(each.start == entry.start for each in self._entries.values()) > 1
            or self._lines[entry.start][: entry.column].strip()
        ):
            raise Unspliceable(f"{name} shares its line with something else")

    def _new(self, name: str, definition: str, column: int) -> list[str]:
        return [" " * column + name + ":" + self._newline, *self._body(definition, column + DEEPER)]

    def _body(self, definition: str, column: int) -> list[str]:
        lines = definition.strip("\n").splitlines() or ["{}"]
        return [(" " * column + line if line.strip() else "") + self._newline for line in lines]

    def _replaced(self, start: int, end: int, lines: Sequence[str]) -> str:
        before = list(self._lines[:start])
        if before and lines and not before[-1].endswith("\n"):
            before[-1] += self._newline
        return "".join([*before, *lines, *self._lines[end:]])

    def _checked(self, name: str, definition: str | None, text: str) -> str:
        """The new text, when every other trigger is as it was and this one is what was given."""
        after = Spliced(text)
        expected = [each for each in self.names if each != name or definition is not None]
        if definition is not None and name not in self.names:
            expected.append(name)
        if list(after.names) != expected:
            raise Unspliceable("the definition is not one mapping of options")
        for each in expected:
            if each != name and _text(after.definition(each)) != _text(self.definition(each)):
                raise Unspliceable(f"the definition reaches into {each}")
        return text


def check_definition(text: str) -> None:
    """Raises Unspliceable for a definition that is no single mapping of its own, with the place when that is known."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("---", "...", "%")):
            raise Unspliceable("only the options of one trigger, without marks of documents", number, 1)
    try:
        root = yaml.compose(text, CoreLoader)
    except yaml.composer.ComposerError:
        return  # an alias of something else in the file
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "context", None) or "it cannot be read"
        raise Unspliceable(f"not YAML: {what}", *((mark.line + 1, mark.column + 1) if mark else ())) from None
    if root is None or not isinstance(root, yaml.MappingNode):
        raise Unspliceable("a definition is a mapping of options: type, webhook and so on", 1, 1)


def _composed(text: str) -> yaml.Node | None:
    try:
        found: yaml.Node | None = yaml.compose(text, CoreLoader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise Unspliceable(f"the file is not YAML{where}") from None
    return found


def leaves(node: yaml.Node, from_line: int, seen: set[int]) -> Iterator[yaml.Node]:
    """The nodes that end a value: scalars, and collections in flow style. Those that an alias brings stand elsewhere, and count not."""
    if node.start_mark.line < from_line or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        for item in node.value:
            for each in item if isinstance(item, tuple) else (item,):
                yield from leaves(each, from_line, seen)
    else:
        yield node


def line_behind(leaf: yaml.Node) -> int:
    mark = leaf.end_mark
    line: int = mark.line if mark.column == 0 else mark.line + 1
    return line


def _is_block(entry: _Entry) -> bool:
    return (
        isinstance(entry.value, yaml.MappingNode) and not entry.value.flow_style and entry.value.start_mark.line > entry.start
    )


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.start_mark.index == node.end_mark.index


def _is_apart(line: str, column: int) -> bool:
    """Whether a line behind a trigger is none of its own: blank, or a comment that is not further in than its key."""
    bare = line.strip()
    return not bare or (bare.startswith("#") and _indent(line) <= column)


def _dedented(line: str, column: int) -> str:
    bare = line.rstrip("\r\n")
    return bare[column:] + line[len(bare) :] if not bare[:column].strip() else line.lstrip()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _text(found: Definition | None) -> str:
    return "" if found is None else found.text.rstrip("\n")
