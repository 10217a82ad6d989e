"""A reload as an operator sees it: the configuration is read again, and taken over whole or refused with every reason."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True, frozen=True)
class Reloaded:
    """A configuration was taken over. Names are those of triggers; a disabled one counts as not there.

    `options` are the other options that changed, dotted (`limits.in_flight`). `positions` say for each database that was concerned
    behind which place the new triggers hold: an LSN, or a number of its change log; `behind` are those of them that have not been read
    up to there yet, where the new triggers count as active when they are. `kept` are staged deliveries of triggers that are gone. `at`
    is wall-clock seconds, `who` asked for it.
    """

    who: str
    at: float
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    positions: Mapping[str, str] = field(default_factory=dict)
    behind: tuple[str, ...] = ()
    kept: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether the configuration says what it said before."""
        return not (self.added or self.changed or self.removed or self.options)

    @property
    def words(self) -> str:
        """In a line."""
        parts = ((self.added, "added"), (self.changed, "changed"), (self.removed, "removed"))
        counted = [f"{len(names)} trigger{'s' * (len(names) != 1)} {what}" for names, what in parts if names]
        if self.options:
            counted.append(f"{len(self.options)} option{'s' * (len(self.options) != 1)} changed")
        return "reloaded: " + (", ".join(counted) or "nothing has changed")

    def plain(self) -> dict[str, object]:
        """As it is answered."""
        return {
            "who": self.who,
            "added": list(self.added),
            "changed": list(self.changed),
            "removed": list(self.removed),
            "options": list(self.options),
            "positions": dict(self.positions),
            "behind": list(self.behind),
            "kept": dict(self.kept),
            "warnings": list(self.warnings),
        }


@dataclass(slots=True, frozen=True)
class Refused:
    """A configuration was refused, and the one in force goes on. `mistakes` are all that was found."""

    who: str
    at: float
    mistakes: tuple[str, ...]
    hint: str = ""

    @property
    def words(self) -> str:
        """In a line."""
        more = f" (and {len(self.mistakes) - 1} more)" if len(self.mistakes) > 1 else ""
        return (
            f"the last reload was refused, the former configuration goes on: {self.mistakes[0] if self.mistakes else ''}{more}"
        )


class Reload(Protocol):
    """Who reloads (`cdcd.reloading`)."""

    last: Reloaded | Refused | None
    """What came of the last one; None: there was none since the start."""

    async def reload(self, who: str) -> Reloaded:
        """Read the configuration again and take it over; one at a time. Raises ConfigError with every mistake, and SourceUnavailable,
        StoreUnavailable for what cannot be reached at the moment: then nothing has changed."""
        ...
