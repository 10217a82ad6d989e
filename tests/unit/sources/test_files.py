"""The pure parts of the files source: entries, trees, renames, hints, and what an event says."""

import os
import stat
from pathlib import Path

import orjson
import pytest

from cdcd.sources.files.describing import Change, changes, content_type, describe, encode, moment
from cdcd.sources.files.hints import MOST, Hint, Hints
from cdcd.sources.files.tree import Difference, Tree, moves, pack, same, same_elsewhere, unpack


def entry(kind: str = "file", size: int = 1, mtime: int = 1, inode: int = 1) -> bytes:
    """As `stat` would show it."""
    mode = stat.S_IFDIR if kind == "dir" else stat.S_IFREG
    fields = [mode, inode, 1, 1, 0, 0, size, 0, mtime // 10**9, 0]
    found = os.stat_result([*fields, 0.0, mtime / 1e9, 0.0, 0, mtime, 0])
    packed = pack(found)
    assert packed is not None
    return packed


def test_an_entry_says_what_stat_found(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("four")
    found = path.stat()
    packed = pack(found)
    assert packed is not None
    assert unpack(packed) == unpack(packed + b"")
    read = unpack(packed + b"\1" * 32)
    assert (read.type, read.size, read.mtime, read.inode) == ("file", 4, found.st_mtime_ns, found.st_ino)
    assert read.sha256 == "01" * 32
    os.mkfifo(tmp_path / "fifo")
    assert pack((tmp_path / "fifo").lstat()) is None


def test_numbers_beyond_63_bits() -> None:
    """An inode's number wraps; a time is the last that there is."""
    read = unpack(entry(mtime=2**70, inode=2**64 - 1))
    assert (read.mtime, read.inode) == (2**63 - 1, -1)


def test_what_is_the_same() -> None:
    assert same(entry() + b"x" * 32, entry())
    assert not same(entry(inode=1), entry(inode=2))
    assert same_elsewhere(entry(inode=1), entry(inode=2))
    assert not same_elsewhere(entry(size=1), entry(size=2))
    assert same(entry("dir", mtime=1), entry("dir", mtime=2))
    assert not same(entry("dir"), entry())


def test_a_tree_forgets_what_was_below_a_directory() -> None:
    tree = Tree()
    tree.load([("a/b/f", entry()), ("a", entry("dir")), ("a/b", entry("dir")), ("g", entry())])
    assert tree.count == 4
    assert [path for path, _ in tree.below("a")] == ["a/b/f", "a/b"]
    assert tree.holds("a/b")
    tree.put("a", entry())
    assert (tree.count, tree.holds("a"), tree.holds("a/b"), tree.get("a/b/f")) == (2, False, False, None)
    tree.put("a", None)
    tree.put("nowhere/at/all", None)
    assert tree.count == 1


def test_a_deep_tree() -> None:
    tree = Tree()
    path = "d"
    for _ in range(3000):
        tree.put(path, entry("dir"))
        path += "/d"
    assert len(tree.below("d")) == 2999
    tree.put("d", None)
    assert tree.count == 0


def gone(path: str, old: bytes) -> Difference:
    return Difference(path, old, None)


def come(path: str, new: bytes, old: bytes | None = None) -> Difference:
    return Difference(path, old, new)


@pytest.mark.parametrize(
    ("differences", "to"),
    [
        ([gone("a", entry()), come("b", entry())], {"a": "b"}),
        ([gone("a", entry()), come("b", entry(size=2))], {}),  # the number was used again
        ([gone("a", entry()), come("b", entry("dir"))], {}),
        ([gone("a", entry()), come("b", entry(), entry(inode=9))], {"a": "b"}),  # renamed over another
        (
            [gone("a", entry()), come("b", entry(size=2), entry(size=3))],
            {},
        ),  # b was changed in place: the same inode all the time
        ([gone("a", entry("dir")), come("b", entry("dir"))], {"a": "b"}),
        ([gone("a", entry("dir")), come("b", entry("dir", mtime=2))], {}),
        (
            [
                gone("a/f", entry(inode=2)),
                gone("a", entry("dir")),
                come("b", entry("dir", mtime=2)),
                come("b/f", entry(inode=2)),
            ],
            {"a": "b", "a/f": "b/f"},
        ),
        (
            [gone("a/f", entry(inode=2)), gone("a", entry("dir")), come("b", entry("dir")), come("b/f", entry(inode=3))],
            {},
        ),
        ([Difference("a", entry(), None, True), come("b", entry())], {}),
        ([gone("a", entry()), gone("c", entry()), come("b", entry())], {"c": "b"}),  # two links to one file
    ],
)
def test_renames(differences: list[Difference], to: dict[str, str]) -> None:
    found = moves(differences)
    assert found.to == to
    assert found.come == {new: old for old, new in to.items()}


def test_what_a_difference_tells() -> None:
    assert [c.type for c in changes(come("a", entry()))] == ["FILE_CREATE"]
    assert [c.type for c in changes(gone("a", entry()))] == ["FILE_DELETE"]
    assert [c.type for c in changes(come("a", entry(), entry(size=2)))] == ["FILE_UPDATE"]
    assert [c.type for c in changes(come("a", entry("dir"), entry()))] == ["FILE_DELETE", "FILE_CREATE"]
    assert changes(Difference("a", entry(), entry(inode=2), True)) == ()


def test_an_event_s_data() -> None:
    new, old = entry(size=5, mtime=1_700_000_000_123_456_789), entry(size=2) + b"\2" * 32
    data = describe(Change("FILE_UPDATE", "a/b.JPG", old, new), "uploads", None, "a/c.jpg")
    assert orjson.loads(encode(data)) == {
        "store": "uploads", "path": "a/b.JPG", "name": "b.JPG", "type": "file", "size": 5,
        "mtime": "2023-11-14T22:13:20.123456Z", "contentType": "image/jpeg", "meta": {}, "movedFrom": "a/c.jpg",
        "before": {"path": "a/b.JPG", "type": "file", "size": 2, "mtime": "1970-01-01T00:00:00.000000Z", "sha256": "02" * 32},
    }  # fmt: skip
    data = describe(Change("FILE_DELETE", "d\udcff", entry("dir"), None), "uploads", "e", None)
    assert (data["path"], data["pathBytes"], data["type"], data["contentType"]) == ("d\ufffd", "ZP8=", "dir", None)
    assert data["movedTo"] == "e"
    encode(data)


def test_content_types_are_the_same_everywhere() -> None:
    assert [content_type(name) for name in ("a.png", "a.webp", "a.tar.gz", "a", ".hidden", "a.b/c")] == [
        "image/png", "image/webp", "application/octet-stream", "application/octet-stream", "application/octet-stream",
        "application/octet-stream",
    ]  # fmt: skip


def test_moments() -> None:
    assert moment(-1) == "1969-12-31T23:59:59.999999Z"


def test_the_newest_hint_counts() -> None:
    hints = Hints()
    for hint in (Hint.CREATED, Hint.NOW, Hint.FOUND):
        hints.note("f", hint)
    hints.note("d", Hint.WHOLE)
    hints.note("d", Hint.NOW)
    hints.note("again", Hint.NOW)
    hints.note("again", Hint.CREATED)
    taken = hints.take()
    assert taken.paths == {"f": Hint.NOW, "d": Hint.WHOLE, "again": Hint.CREATED}
    assert not hints


def test_too_many_hints_are_everything() -> None:
    hints = Hints()
    for number in range(MOST + 1):
        hints.note(str(number), Hint.NOW)
    assert (hints.everything, hints.paths) == ("many", {})
