"""What an import found: triggers as they will be written, remarks on what has no equal, and the variables that secrets became.

The rule of every translator: a trigger means what it meant, or it is written with `enabled: false` and the remark says what to do.
No secret is kept anywhere but in `variables`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from cdcd.imports.document import Node

NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")
HIDDEN = "(hidden)"
_QUOTED = re.compile(r"(?<=['\"])[^'\"]{12,}(?=['\"])")
_MADE = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])\S+$").match


@dataclass(slots=True, frozen=True)
class Remark:
    """One thing that has no equal. `place` is where it stands, `trigger` whose it is ("" : nobody's), `instead` what to do.

    `off` says that the trigger would not mean what it meant, so that it is written switched off.
    """

    place: str
    trigger: str
    what: str
    instead: str = ""
    off: bool = False

    def __str__(self) -> str:
        whose = f"{self.trigger}: " if self.trigger else ""
        return f"{self.place}: {whose}{self.what}" + (f"; {self.instead}" if self.instead else "")


@dataclass(slots=True)
class Draft:
    """A trigger as it will be written. `options` are those of the configuration, in the order in which they are written."""

    name: str
    place: str
    options: dict[str, Any]
    comment: str = ""


@dataclass(slots=True)
class Found:
    """`databases`, `storage` and `events` belong into the main file, which alone may hold them; `variables` are the values of the
    environment variables that the triggers name, empty where the value is not known here."""

    triggers: dict[str, Draft] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)
    databases: dict[str, dict[str, Any]] = field(default_factory=dict)
    storage: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict, repr=False)
    variable_places: dict[str, str] = field(default_factory=dict)

    def add(self, draft: Draft) -> None:
        """Take a trigger whose name is free; otherwise it is told and left out."""
        if draft.name in self.triggers:
            first = self.triggers[draft.name].place
            self.remark(
                draft.place, draft.name, f"there is another trigger of this name at {first}", "rename it and import again"
            )
            return
        self.triggers[draft.name] = draft

    def remark(self, place: str, trigger: str, what: str, instead: str = "", *, off: bool = False) -> None:
        """Tell what has no equal."""
        self.remarks.append(Remark(one_line(place), trigger, one_line(what), one_line(instead), off))

    def leftovers(self, node: Node, known: Iterable[str], trigger: str, about: str = "") -> None:
        """Tell every member of a mapping that the translator has not looked at."""
        for name in node.members.keys() - set(known):
            if node.get(name).there:
                where = node.get(name).place
                self.remark(where, trigger, f"{about}{name} is not known to this import", "it was left out")

    def close(self) -> None:
        """Switch off every trigger with a remark that says so, sort the remarks by place, and hide what looks like a secret in them: a
        template or a condition that they quote may hold one."""
        for remark in self.remarks:
            if remark.off and remark.trigger in self.triggers:
                self.triggers[remark.trigger].options["enabled"] = False
        hidden = (replace(each, what=self._hidden(each.what), instead=self._hidden(each.instead)) for each in self.remarks)
        self.remarks = list(dict.fromkeys(sorted(hidden, key=lambda each: _order(each.place))))

    def _hidden(self, text: str) -> str:
        for value in self.variables.values():
            text = text.replace(value, HIDDEN) if len(value) > 3 else text
        return _QUOTED.sub(lambda match: HIDDEN if _MADE(match[0]) else match[0], text)

    def variable(self, wanted: str, value: str, place: str) -> str:
        """`${env:NAME}` for a secret: the variable that has this value already, else one of the wanted name."""
        for name, known in self.variables.items():
            if known and known == value:
                return f"${{env:{name}}}"
        name, count = environment_name(wanted), 1
        while name in self.variables and self.variables[name] != value:
            count += 1
            name = f"{environment_name(wanted)}_{count}"
        self.variables[name] = value
        self.variable_places.setdefault(name, place)
        return f"${{env:{name}}}"

    def from_environment(self, name: str, place: str) -> str:
        """`${env:NAME}` for a variable that the old system read as well."""
        self.variables.setdefault(name, "")
        self.variable_places.setdefault(name, place)
        return f"${{env:{name}}}"


def one_line(text: str) -> str:
    """Text of a foreign file as it may stand in a line of a terminal or in a comment: printable, without line breaks."""
    return "".join(mark if mark.isprintable() else "\ufffd" for mark in " ".join(text.split()))


def environment_name(text: str) -> str:
    """A name for an environment variable: capitals, digits and _."""
    name = re.sub(r"[^A-Z0-9]+", "_", text.upper()).strip("_")
    return f"_{name}" if name[:1].isdigit() else name or "SECRET"


def trigger_name(text: str) -> str:
    """The nearest name that a trigger may have."""
    return text if NAME.fullmatch(text) else re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:200] or "trigger"


def source_name(text: str) -> str:
    """The nearest name that a database or a store may have."""
    name = re.sub(r"[^a-z0-9_]+", "_", text.lower()).strip("_")[:24]
    return name if name[:1].isalpha() else f"db_{name}"[:24].rstrip("_")


def quoted(name: str) -> str:
    """A part of a table's name as a pattern that means nothing but it."""
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_$]*", name) else '"' + name.replace('"', '""') + '"'


def table(schema: str, name: str) -> str:
    """A table as a pattern."""
    return f"{quoted(schema)}.{quoted(name)}"


def duration(seconds: float) -> str:
    """As the configuration writes it: `5s`, `1500ms`."""
    thousandths = round(seconds * 1000)
    return f"{thousandths // 1000}s" if thousandths % 1000 == 0 else f"{thousandths}ms"


def _order(place: str) -> list[tuple[int, int | str]]:
    """Files by name, lines by number."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", place) if part]
