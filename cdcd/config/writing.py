"""A definition as YAML, as people write it: in the given order, block style, and quoted where either YAML 1.1 or 1.2 would take a text for
something else. Pure."""

import re
from typing import Any

import yaml

from cdcd.config.document import CORE

_BREAKS = frozenset("\x85\u2028\u2029")  # line breaks of YAML 1.1, which libyaml would fold


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Nothing is written once and pointed at."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Lists are further in than their keys."""
        super().increase_indent(flow, False)


for _tag, _pattern, _first in CORE:
    if _tag != "merge":
        _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value and not any(line.endswith(" ") for line in value.split("\n")) else None
    if not _BREAKS.isdisjoint(value):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _list(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.SequenceNode:
    short = len(value) <= 8 and all(isinstance(each, str | int | float | None) and len(str(each)) <= 40 for each in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=short)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)


def written(value: Any) -> str:
    """JSON values as YAML. Reading it gives them again."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=False)
    return text.removesuffix("...\n")
