"""What a check finds: how grave it is, what it means, and the exact SQL or setting that mends it.

The rule: `mistake` is what will keep something from working until somebody acts, `warning` what works but may hurt, `unknown` what
could not be looked at. The exit code follows from the gravest: 1 for a mistake, 2 for an unknown, else 0.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Level(StrEnum):
    """How grave a finding is."""

    OK = "ok"
    WARNING = "warning"
    MISTAKE = "mistake"
    UNKNOWN = "unknown"


@dataclass(slots=True, frozen=True)
class Finding:
    """One thing that was looked at. `code` is a stable name of what it is about, for programs; `fix` may have several lines."""

    level: Level
    code: str
    what: str
    fix: str = ""


@dataclass(slots=True)
class Section:
    """The findings about one thing: the configuration, a database, the event store, the endpoints."""

    title: str
    findings: list[Finding] = field(default_factory=list)

    def ok(self, code: str, what: str) -> None:
        self.findings.append(Finding(Level.OK, code, what))

    def warning(self, code: str, what: str, fix: str = "") -> None:
        self.findings.append(Finding(Level.WARNING, code, what, fix))

    def mistake(self, code: str, what: str, fix: str = "") -> None:
        self.findings.append(Finding(Level.MISTAKE, code, what, fix))

    def unknown(self, code: str, what: str, fix: str = "") -> None:
        self.findings.append(Finding(Level.UNKNOWN, code, what, fix))

    def has(self, level: Level, code: str = "") -> bool:
        """Whether there is a finding of this level (about `code`)."""
        return any(finding.level is level and code in ("", finding.code) for finding in self.findings)


def count(sections: Iterable[Section], level: Level) -> int:
    """How many findings of this level there are."""
    return sum(finding.level is level for section in sections for finding in section.findings)


def exit_code(sections: Iterable[Section]) -> int:
    """0: nothing in the way; 1: a mistake; 2: no mistake found, but something could not be checked."""
    every = list(sections)
    if count(every, Level.MISTAKE):
        return 1
    return 2 if count(every, Level.UNKNOWN) else 0
