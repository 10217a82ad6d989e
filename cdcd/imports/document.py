"""YAML and JSON with the place of every value: `file:line` in YAML, `file: $.a[0].b` in JSON, whose lines nobody looks at.

Only what the two have in common is read: mappings, lists, text, numbers, true and false, null. Other tags (`!include`) are text with
the tag in front of it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from cdcd.errors import ConfigError

DEEPEST = 200  # levels of nesting; no configuration has more, and Python has an end


@dataclass(slots=True, frozen=True)
class Node:
    """A value and where it stands. `value` is text, a number, a truth value, None, or a dict or list of nodes.

    `quoted` says of a YAML text that it stood in quotes or in a block.
    """

    value: Any
    place: str
    quoted: bool = False

    def get(self, name: str) -> "Node":
        """The member of a mapping; a node of None, in the place of the mapping, when it is not there."""
        found = self.value.get(name) if isinstance(self.value, dict) else None
        return found if found is not None else Node(None, self.place)

    def at(self, *names: str) -> "Node":
        """The member of a member."""
        found = self
        for name in names:
            found = found.get(name)
        return found

    @property
    def text(self) -> str:
        """The text; empty when it is none. Numbers are written as text."""
        if isinstance(self.value, str):
            return self.value
        return str(self.value) if isinstance(self.value, int | float) and not isinstance(self.value, bool) else ""

    @property
    def number(self) -> float | None:
        """The number, also of a text that is one."""
        if isinstance(self.value, bool):
            return None
        if isinstance(self.value, int | float):
            return self.value
        try:
            return float(self.value) if isinstance(self.value, str) else None
        except ValueError:
            return None

    @property
    def items(self) -> list["Node"]:
        """The items of a list; none when it is no list."""
        return self.value if isinstance(self.value, list) else []

    @property
    def members(self) -> dict[str, "Node"]:
        """The members of a mapping; none when it is no mapping."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def there(self) -> bool:
        """Whether it says anything: None, and what is empty, does not."""
        return self.value not in (None, "", {}, [])

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {name: item.plain() for name, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value


NOTHING = Node(None, "")


def read(file: str, text: str) -> list[Node]:
    """The documents of a file (YAML may hold several, with `---` between). Raises ConfigError."""
    text = text.removeprefix("\ufeff")
    if text.lstrip()[:1] in ("{", "["):
        try:
            return [_json(json.loads(text), f"{file}: ", "$", 0)]
        except ValueError:
            pass  # YAML's flow style, perhaps
    try:
        return [_yaml(file, node, ()) for node in yaml.compose_all(text, Loader=yaml.CSafeLoader)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}" if mark else file
        raise ConfigError([f"{place}: not YAML: {error.problem or error.context}"]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"{file}: not YAML: it has characters that YAML does not allow"]) from error
    except RecursionError as error:
        raise ConfigError([f"{file}: it is nested too deeply"]) from error


def _json(value: Any, prefix: str, path: str, depth: int) -> Node:
    if depth > DEEPEST:
        raise ConfigError([f"{prefix.rstrip(': ')}: it is nested too deeply"])
    if isinstance(value, dict):
        value = {
            name: _json(item, prefix, f"{path}.{name}" if name.isidentifier() else f"{path}[{json.dumps(name)}]", depth + 1)
            for name, item in value.items()
        }
    elif isinstance(value, list):
        value = [_json(item, prefix, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    return Node(value, prefix + path, quoted=isinstance(value, str))


def _yaml(file: str, node: yaml.Node, within: tuple[yaml.Node, ...]) -> Node:
    place = f"{file}:{node.start_mark.line + 1}"
    if node in within or len(within) > DEEPEST:
        raise ConfigError([f"{place}: it holds itself, or is nested too deeply"])
    within = (*within, node)
    if isinstance(node, yaml.MappingNode):
        return Node(dict(_members(file, node, within)), place)
    if isinstance(node, yaml.SequenceNode):
        return Node([_yaml(file, item, within) for item in node.value], place)
    return Node(_scalar(node), place, quoted=getattr(node, "style", None) is not None)


def _members(file: str, node: yaml.MappingNode, within: tuple[yaml.Node, ...]) -> Iterator[tuple[str, Node]]:
    for key, item in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            for merged in item.value if isinstance(item, yaml.SequenceNode) else [item]:
                if isinstance(merged, yaml.MappingNode) and merged not in within:
                    yield from _members(file, merged, (*within, merged))
    for key, item in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            yield str(key.value), _yaml(file, item, within)


def _scalar(node: yaml.Node) -> Any:
    text, kind = str(node.value), node.tag.removeprefix("tag:yaml.org,2002:")
    if kind == "null":
        return None
    if kind == "bool":  # YAML 1.1 takes yes, no, on, off for truth values, and nobody means it
        return text.lower() == "true" if text.lower() in ("true", "false") else text
    if kind in ("int", "float"):
        try:
            return int(text) if kind == "int" else float(text)
        except ValueError:
            return text
    return text if kind in ("str", "timestamp", "merge", "value") else f"{node.tag} {text}"
