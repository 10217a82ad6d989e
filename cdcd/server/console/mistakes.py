"""What is wrong with a form, told where it is wrong: the reasons of a problem by the fields that they are about. Pure."""

from collections.abc import Collection
from dataclasses import dataclass, field

import orjson

from cdcd.server.problems import Problem, Reasons


@dataclass(slots=True, frozen=True)
class Mistakes:
    """`fields`: reasons by the field's name; those within one (`/data/total`) say where first. `rest`: what no field has. `what` was not
    done, "" when nothing is wrong."""

    what: str = ""
    fields: dict[str, list[str]] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)

    def of(self, name: str) -> list[str]:
        """What is wrong with a field."""
        return self.fields.get(name, [])

    @property
    def any(self) -> bool:
        """Whether something is."""
        return bool(self.what)


NONE = Mistakes()


def mistakes(problem: Problem, names: Collection[str]) -> Mistakes:
    """The reasons of a problem, whose pointers begin with the names of fields."""
    found = Mistakes(f"{problem.detail[:1].upper()}{problem.detail[1:]}")
    for reason in problem.reasons:
        name, _, within = reason.pointer.removeprefix("/").partition("/")
        if name in names:
            found.fields.setdefault(name, []).append(f"/{within}: {reason.detail}" if within else reason.detail)
        else:
            found.rest.append(f"{reason.pointer} {reason.detail}".strip())
    return found


def read_json(text: str, name: str, reasons: Reasons) -> object:
    """What a field says as JSON; None and a reason with line and column for what is none."""
    if not text.strip():
        reasons.add("it is empty; write JSON: {}, null, a text in quotes", f"/{name}")
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        reasons.add(f"it is no JSON: {error.msg} (line {error.lineno}, column {error.colno})", f"/{name}")
    return None
