"""Where to look next: what a watcher says, and what still has to stand still. Pure.

The rule: hints are never the truth, only places; the newest about a path counts, and too many of them become "look at everything".
"""

from dataclasses import dataclass, field
from enum import IntEnum

MOST = 100_000  # paths; beyond it a look at everything costs less


class Hint(IntEnum):
    """How a path is to be looked at."""

    NOW = 1  # its writer has closed it, it was moved here, or it is gone
    FOUND = 2  # it may have changed; whether its writer is done is not known, so it has to stand still for `settle`
    CREATED = 3  # it has appeared, and its writer will close it
    WHOLE = 4  # a directory with everything below it
    LIST = 5  # what lies directly in a directory


@dataclass(slots=True)
class Hints:
    """What has gathered since somebody last took it. `everything` says why all must be looked at; `root` that the store's own
    directory may have gone, `unmounted` that some file system was unmounted."""

    paths: dict[str, Hint] = field(default_factory=dict)
    everything: str = ""
    root: bool = False
    unmounted: bool = False

    def __bool__(self) -> bool:
        return bool(self.paths or self.everything or self.root)

    def note(self, path: str, hint: Hint) -> None:
        """Look at `path`."""
        if self.everything:
            return
        known = self.paths.get(path)
        if hint is Hint.FOUND and known is not None:
            return
        if known is Hint.WHOLE and hint in (Hint.LIST, Hint.NOW):
            return
        self.paths[path] = hint
        if len(self.paths) > MOST:
            self.all("many")

    def all(self, why: str) -> None:
        """Look at everything."""
        self.everything = self.everything or why
        self.paths.clear()

    def take(self) -> "Hints":
        """What has gathered; nothing is left."""
        taken = Hints(self.paths, self.everything, self.root, self.unmounted)
        self.paths, self.everything, self.root, self.unmounted = {}, "", False, False
        return taken


@dataclass(slots=True, frozen=True)
class Wait:
    """A file that has to stand still: as it was seen, since when it is like that and when to look again (monotonic seconds)."""

    hint: Hint
    entry: bytes
    since: float
    due: float
