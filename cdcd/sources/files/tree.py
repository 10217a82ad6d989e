"""A tree of files and what differs between two looks at it. Pure.

An entry is packed, so that a tree of a million files fits in memory and comparing two is comparing bytes:

    kind (0 file, 1 directory), size, mtime in ns, inode, each a signed big-endian 64-bit number; then 32 bytes of SHA-256, if computed

The size of a directory is 0, and its time, which changes with every entry, is no difference. Paths are relative to the store, `/`
between their names, in the form of `os.fsdecode`. The root is `""` and is no entry.
"""

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from os import stat_result
from struct import Struct, error

_ENTRY = Struct(">Bqqq")
_pack = _ENTRY.pack
_FORM, _FILE, _DIRECTORY = stat.S_IFMT(0xFFFF), stat.S_IFREG, stat.S_IFDIR
PLAIN = _ENTRY.size
_STILL = 17  # bytes of kind, size and mtime
_WRAP = 1 << 64
_MOST = (1 << 63) - 1
_NOTHING: dict[str, bytes] = {}

_TYPES = ("file", "dir")


def pack(found: stat_result) -> bytes | None:
    """The entry for what `stat` found; None for what is neither file nor directory."""
    form = found.st_mode & _FORM
    if form == _FILE:
        kind, size = 0, found.st_size
    elif form == _DIRECTORY:
        kind, size = 1, 0
    else:
        return None
    try:
        return _pack(kind, size, found.st_mtime_ns, found.st_ino)
    except error:  # a time beyond the year 2262, an inode's number beyond 63 bits
        inode = found.st_ino
        return _pack(kind, size, max(-_MOST, min(found.st_mtime_ns, _MOST)), inode - _WRAP if inode > _MOST else inode)


def is_dir(entry: bytes) -> bool:
    return entry[0] == 1


@dataclass(slots=True, frozen=True)
class Entry:
    """An entry unpacked. `mtime` is nanoseconds since the Unix epoch."""

    type: str
    size: int
    mtime: int
    inode: int
    sha256: str


def unpack(entry: bytes) -> Entry:
    """What an entry says."""
    kind, size, mtime, inode = _ENTRY.unpack_from(entry)
    return Entry(_TYPES[kind], size, mtime, inode, entry[PLAIN:].hex())


def still(one: bytes, other: bytes) -> bool:
    """Whether size and time are the same."""
    return one[:_STILL] == other[:_STILL]


def same(old: bytes, new: bytes) -> bool:
    """Whether nothing happened between them."""
    if old[0] == 1 == new[0]:
        return old[_STILL:PLAIN] == new[_STILL:PLAIN]
    return old[:PLAIN] == new[:PLAIN]


def same_elsewhere(old: bytes, new: bytes) -> bool:
    """The same, where numbers of inodes say nothing."""
    return old[0] == 1 == new[0] or still(old, new)


def same_inode(one: bytes, other: bytes) -> bool:
    return one[_STILL:PLAIN] == other[_STILL:PLAIN]


@dataclass(slots=True, frozen=True)
class Difference:
    """A path whose entry differs from the kept one. `quiet`: only its inode's number does, and that says nothing."""

    path: str
    old: bytes | None
    new: bytes | None
    quiet: bool = False


class Tree:
    """What a store held when it was last settled: a mapping of names for each directory that is looked into."""

    def __init__(self) -> None:
        self._directories: dict[str, dict[str, bytes]] = {"": {}}
        self.count = 0

    def get(self, path: str) -> bytes | None:
        """The entry of a path, if it has one."""
        parent, _, name = path.rpartition("/")
        return self._directories.get(parent, _NOTHING).get(name)

    def names(self, directory: str) -> dict[str, bytes]:
        """What lies directly in a directory. Not to be changed."""
        return self._directories.get(directory, _NOTHING)

    def holds(self, directory: str) -> bool:
        """Whether it is a directory of this tree; the root always is."""
        return directory in self._directories

    def put(self, path: str, entry: bytes | None) -> None:
        """Keep an entry; None takes it out, and with a directory what is known below it."""
        parent, _, name = path.rpartition("/")
        names = self._directories.get(parent)
        if names is None:
            if entry is None:
                return
            names = self._directories[parent] = {}
        old = names.get(name)
        self.count += (entry is not None) - (old is not None)
        if entry is None:
            names.pop(name, None)
        else:
            names[name] = entry
        if entry is not None and entry[0] == 1:
            self._directories.setdefault(path, {})
        elif old is not None and old[0] == 1:
            for below, inner in self.below(path):
                self.count -= 1
                if inner[0] == 1:
                    self._directories.pop(below, None)
            self._directories.pop(path, None)

    def below(self, directory: str) -> list[tuple[str, bytes]]:
        """Everything below a directory, what a directory holds before itself."""
        found: list[tuple[str, bytes]] = []
        stack = [directory]
        while stack:
            place = stack.pop()
            head = place + "/" if place else ""
            for name, entry in self._directories.get(place, _NOTHING).items():
                found.append((head + name, entry))
                if entry[0] == 1:
                    stack.append(head + name)
        found.reverse()
        return found

    def load(self, entries: Iterable[tuple[str, bytes]]) -> None:
        """Keep many entries of an empty tree, in any order."""
        directories = self._directories
        for path, entry in entries:
            parent, _, name = path.rpartition("/")
            try:
                directories[parent][name] = entry
            except KeyError:
                directories[parent] = {name: entry}
            if entry[0] == 1 and path not in directories:
                directories[path] = {}
            self.count += 1


@dataclass(slots=True)
class Moves:
    """Which of the differences are two halves of one rename: where to, by the old path; where from, by the new one."""

    to: dict[str, str]
    come: dict[str, str]


def moves(differences: Iterable[Difference]) -> Moves:
    """Pair what is gone with what has come. An inode's number is used again soon after a file is deleted, so size and time of a
    file must be the same too, and an entry that a directory holds."""
    gone: dict[bytes, Difference] = {}
    come: dict[bytes, list[Difference]] = {}
    held: set[str] = set()  # directories of which something is gone
    for difference in differences:
        old, new = difference.old, difference.new
        if difference.quiet:
            continue
        if old is not None and (new is None or old[0] != new[0]):
            gone[old[_STILL:PLAIN]] = difference
            held.add(_parent(difference.path))
        if new is not None and (old is None or old[0] != new[0] or old[_STILL:PLAIN] != new[_STILL:PLAIN]):
            come.setdefault(new[_STILL:PLAIN], []).append(difference)
    pairs = {
        before.path: after
        for inode, before in gone.items()
        for after in come.get(inode, ())
        if after.path != before.path and _alike(before.old, after.new)
    }
    followed = {
        _parent(path)
        for path, after in pairs.items()
        if (parent := pairs.get(_parent(path))) is not None and after.path == parent.path + path[len(_parent(path)) :]
    }
    found = Moves({}, {})
    for before in gone.values():
        after = pairs.get(before.path)
        if after is None or before.old is None or after.new is None or after.path in found.come:
            continue
        if is_dir(before.old) and before.path not in followed and (before.path in held or not still(before.old, after.new)):
            continue
        found.to[before.path] = after.path
        found.come[after.path] = before.path
    return found


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _alike(old: bytes | None, new: bytes | None) -> bool:
    return old is not None and new is not None and old[0] == new[0] and (old[0] == 1 or still(old, new))
