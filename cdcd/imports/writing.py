"""The YAML that an import writes: triggers with their remarks as comments, and as comments too what belongs into the main file."""

import re
from collections.abc import Iterable
from typing import Any

import yaml

from cdcd.imports.found import Draft, Found, Remark, one_line

_NOT_TEXT = re.compile(
    r"[-+]?(\d[\d_.:]*(e[-+]?\d+)?|\.\d+|\.inf)$|0[ox][\da-f]+$|\.nan$|~$|(true|false|null|yes|no|on|off|y|n)$",
    re.IGNORECASE,
)


class _Dumper(yaml.SafeDumper):
    """Writes text in such a way that every YAML, 1.1 and 1.2, reads text again, and in block style where it has several lines."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text and not re.search(r"[ \t]\n|[^\n\t -\ud7ff\ue000-\ufffd]", text) else None
    if style is None and _NOT_TEXT.match(text):
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def written(found: Found, origin: str) -> str:
    """The whole file. `origin` says where it comes from, in words."""
    lines = [f"# Triggers that came from {one_line(origin)}, written by `cdcd import`."]
    if found.variables:
        lines += ["# They read these environment variables: " + ", ".join(sorted(found.variables)) + "."]
    if any(not draft.options.get("enabled", True) for draft in found.triggers.values()):
        lines += ["# Those with `enabled: false` would not do what they did; what to do about it stands above them."]
    remarks: dict[str, list[Remark]] = {}
    for remark in found.remarks:
        remarks.setdefault(remark.trigger, []).append(remark)
    lines += ["", "triggers:" if found.triggers else "triggers: {}"]
    for draft in found.triggers.values():
        lines += [*_trigger(draft, remarks.get(draft.name, ())), ""]
    for part in main_parts(found).splitlines():
        lines.append(f"# {part}".rstrip())
    return "\n".join(lines).rstrip() + "\n"


def main_parts(found: Found) -> str:
    """What belongs into `cdcd.yaml`, which alone may hold it; empty when nothing does."""
    parts: dict[str, Any] = {}
    if found.databases:
        parts["databases"] = found.databases
    if found.storage:
        parts["storage"] = found.storage
    if found.events:
        parts["events"] = found.events
    if not parts:
        return ""
    return "The main file, cdcd.yaml, needs this (where it is not there already):\n\n" + dump(parts)


def dump(value: Any) -> str:
    """A value as YAML, in the order in which it is."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120))


def _trigger(draft: Draft, remarks: Iterable[Remark]) -> list[str]:
    lines = [f"  # {one_line(draft.place)}"]
    lines += [f"  # {one_line(line)}".rstrip() for line in draft.comment.splitlines()]
    for remark in remarks:
        mark = "OFF: " if remark.off else "- "
        lines.append(f"  # {mark}{f'{remark.what}; {remark.instead}'.rstrip('; ')}")
    text = dump({draft.name: draft.options})
    return [*lines, *("  " + line if line else line for line in text.rstrip("\n").split("\n"))]
