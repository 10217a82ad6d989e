"""The account of a file torture: the tree as the events tell it, against the tree as it is."""

import base64
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from cdcd.sources.files.describing import moment


@dataclass(slots=True, frozen=True)
class Entry:
    """What both sides know of a path. A directory's size and time are not compared."""

    type: str
    size: int = 0
    mtime: str = ""
    sha256: str = ""


def real(root: Path, hashed: bool) -> dict[str, Entry]:
    """The tree as it is: files and directories, no links."""
    found: dict[str, Entry] = {}
    for place, names, files in os.walk(root):
        head = os.path.relpath(place, root) + "/"
        head = "" if head == "./" else head
        for name in names:
            if not Path(place, name).is_symlink():
                found[head + name] = Entry("dir")
        for name in files:
            path = Path(place, name)
            if not path.is_symlink():
                status = path.lstat()
                digest = sha256(path.read_bytes()).hexdigest() if hashed else ""
                found[head + name] = Entry("file", status.st_size, moment(status.st_mtime_ns), digest)
    return found


@dataclass(slots=True)
class Copy:
    """The tree as the events tell it. `faults` are events that do not fit what was told before."""

    hashed: bool
    entries: dict[str, Entry] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    moved: int = 0

    def apply(self, events: Iterable[dict[str, Any]]) -> None:
        for event in events:
            data = event["data"]
            path = os.fsdecode(base64.b64decode(data["pathBytes"])) if "pathBytes" in data else data["path"]
            known = self.entries.get(path)
            kind = event["type"]
            if (kind == "FILE_CREATE") is not (known is None):
                self.faults.append(f"{kind} of {path!r}, which is {known}: {event['id']}")
            if known is not None and kind != "FILE_CREATE" and known.type == "file":
                before = data["before"]
                if (before["type"], before["size"], before["mtime"]) != (known.type, known.size, known.mtime):
                    self.faults.append(f"{kind} of {path!r}: it was {before}, told was {known}: {event['id']}")
            self.moved += "movedFrom" in data
            if kind == "FILE_DELETE":
                self.entries.pop(path, None)
            elif data["type"] == "dir":
                self.entries[path] = Entry("dir")
            else:
                self.entries[path] = Entry("file", data["size"], data["mtime"], data.get("sha256", "") if self.hashed else "")

    def differences(self, tree: dict[str, Entry]) -> list[str]:
        paths = sorted(tree.keys() | self.entries.keys())
        return [
            f"{path!r}: told {self.entries.get(path)}, is {tree.get(path)}"
            for path in paths
            if self.entries.get(path) != tree.get(path)
        ]
