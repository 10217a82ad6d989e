"""File systems that are mounted in a store, and whether what lies there now is what was there. Not for the event loop.

The rules:
- a directory on another device than the one it lies in is a mount; its path and device are kept, as those of the store's own
  directory are, and before anything below it is;
- where a mount, or the store's own directory, is on another device than kept, its files tell whether it is the same tree: one that is known
  is there with its inode, or at least half of them are there at all (numbers of devices change when a machine starts, a volume
  is restored, files are moved off it). Of many, a thousand are looked for;
- if it is not, its file system is not mounted: nothing in it is told or forgotten, whatever lies in its place, until it is there
  again, or somebody says that it is gone: by removing the directory, or by `cdcd setup --accept-files`;
- a directory that is not there is deleted, a mount or not; but a followed link that leads nowhere stands for one that is away;
- on the same device a directory that was replaced was replaced: nothing tells a mount of a directory of the same file system from it.
"""

# Paths are text here, as in `looking`.
# ruff: noqa: PTH114

import os
import stat
from collections.abc import Sequence

from cdcd.config.model import Storage
from cdcd.sources.files.tree import Tree, is_dir, pack, same

MOST = 1000  # files of a tree that are looked for
GONE = -1  # in place of a device: no directory is there
UNKNOWN = -2  # what is there cannot be told


class Mounts:
    """The mounts of one store. `kept`: their devices by path. `away`: what was last seen in the place of those that are not there."""

    def __init__(self, store: Storage, tree: Tree) -> None:
        self._root = str(store.path)
        self._stat = os.stat if store.follow_symlinks else os.lstat
        self._tree = tree
        self.kept: dict[str, int] = {}
        self.away: dict[str, int] = {}

    def known(self, top: str) -> list[tuple[str, bytes]]:
        """Files by which a tree is recognised: of those below `top`, and not of another mount; directories where there are none."""
        others = tuple(f"{mount}/" for mount in self.kept if mount != top)
        below = [each for each in self._tree.below(top) if not each[0].startswith(others)]
        known = [each for each in below if not is_dir(each[1])] or below
        return known[:: len(known) // MOST + 1]

    def recognises(self, known: Sequence[tuple[str, bytes]]) -> bool:
        """Whether it is the tree that holds these."""
        found = 0
        for path, old in known:
            try:
                entry = pack(self._stat(f"{self._root}/{path}"))
            except OSError:
                continue
            if entry is not None and entry[0] == old[0]:
                found += 1
                if 2 * found >= len(known) or (not is_dir(old) and same(old, entry)):
                    return True
        return not known

    def seen(self, path: str) -> int:
        """The device of the directory at a path; GONE, UNKNOWN."""
        full = f"{self._root}/{path}"
        try:
            found = self._stat(full)
            return found.st_dev if stat.S_ISDIR(found.st_mode) else GONE
        except (FileNotFoundError, NotADirectoryError):
            return UNKNOWN if os.path.islink(full) else GONE
        except OSError:
            return UNKNOWN

    def changed(self) -> list[str]:
        """The mounts that are not what they last were."""
        return [path for path, device in self.kept.items() if self.seen(path) != self.away.get(path, device)]
