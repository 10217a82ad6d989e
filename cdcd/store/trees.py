"""The trees of files as the store keeps them: read at the start, written by the commits that stage what changed in them.

An entry is packed bytes (`cdcd.sources.files.tree`): kind, size, time, inode, and the content's hash where it was computed.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct

from cdcd.store.arrays import bigints, byteas, words
from cdcd.store.connection import Session
from cdcd.store.writer import Effect

PAGE = 50_000
LONGEST = 1000  # bytes of a path that the index holds as it is
_ENTRY = Struct(">Bqqq")


@dataclass(slots=True, frozen=True)
class Known:
    """A store that has been looked at whole: where it was and on which device, the devices of its mounts, and renames of
    directories, old path to new, of which only the first half is kept."""

    root: bytes
    device: int
    mounts: Mapping[bytes, int]
    moving: Mapping[bytes, bytes]


ACCEPTED = -1  # the device of a store whose directory, whatever is in it, somebody has said to be the one


class Trees:
    """Reads on a connection of their own. Not for use by two tasks at a time. Raises StoreUnavailable, StoreRefused."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._session = Session(dsn, schema)

    async def known(self, store: str) -> Known | None:
        """None for a store that is new."""
        rows = await self._session.fetch("store_known", store)
        if not rows:
            return None
        root, device, mounts, devices, names = rows[0]
        moving = dict(zip(names[::2], names[1::2], strict=True))
        return Known(root, device, dict(zip(mounts, devices, strict=True)), moving)

    async def entries(self, store: str) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        """All of them, in pages: path and packed entry."""
        after = b""
        while True:
            rows = await self._session.fetch("tree", store, after, PAGE)
            yield rows
            if len(rows) < PAGE:
                return
            last = rows[-1][0]
            after = last if len(last) <= LONGEST else b"\0" + sha256(last).digest()

    async def close(self) -> None:
        """Close the connection; the next call makes another."""
        await self._session.close()


def kept(store: str, entries: Mapping[bytes, bytes | None]) -> list[Effect]:
    """The statements that bring these paths of a store up to date; None for what is gone."""
    effects = []
    gone = [path for path, entry in entries.items() if entry is None]
    if gone:
        effects.append(Effect("tree_forget", (store, byteas(gone))))
    paths, kinds, sizes, times, inodes, hashes = [], [], [], [], [], []
    for path, entry in entries.items():
        if entry is not None:
            kind, size, mtime, inode = _ENTRY.unpack_from(entry)
            paths.append(path)
            kinds.append("dir" if kind else "file")
            sizes.append(size)
            times.append(mtime)
            inodes.append(inode)
            hashes.append(entry[_ENTRY.size :] or None)
    if paths:
        columns = (byteas(paths), words(kinds), bigints(sizes), bigints(times), bigints(inodes), byteas(hashes))
        effects.append(Effect("tree_keep", (store, *columns)))
    return effects


def emptied(store: str) -> Effect:
    """The statement that forgets a store's entries."""
    return Effect("tree_empty", (store,))


def seen(store: str, root: bytes, device: int) -> Effect:
    """The statement that says that a store has been looked at whole."""
    return Effect("store_seen", (store, root, device))


def mounted(store: str, mounts: Mapping[bytes, int]) -> Effect:
    """The statement that keeps the devices of a store's mounts."""
    return Effect("store_mounts", (store, byteas(list(mounts)), bigints(list(mounts.values()))))


def moving(store: str, renames: Mapping[bytes, bytes]) -> Effect:
    """The statement that keeps which renames are not kept whole."""
    return Effect("store_moving", (store, byteas([path for rename in renames.items() for path in rename])))


def accepted(store: str) -> Effect:
    """The statement that says that a store's directory is the one, whatever is in it."""
    return Effect("store_accept", (store,))
