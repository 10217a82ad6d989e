"""The order in which differences are kept, and what is in one commit."""

from cdcd.sources.files.settling import commits, renamed, resume
from cdcd.sources.files.tree import Difference, Tree, moves
from tests.unit.sources.test_files import come, entry, gone


def rename() -> list[Difference]:
    """`d` with five files became `n/d`, where `n` is new."""
    inside = [gone(f"d/{number}", entry(inode=number)) for number in range(1, 6)]
    there = [come(f"n/d/{number}", entry(inode=number)) for number in range(1, 6)]
    return [
        *inside,
        gone("d", entry("dir", inode=50)),
        come("n", entry("dir", inode=51)),
        come("n/d", entry("dir", inode=50)),
        *there,
    ]


def test_what_fits_is_one_commit() -> None:
    differences = rename()
    (part,) = commits(differences, moves(differences), 100)
    assert [difference.new is None for difference in part] == [True] * 6 + [False] * 7
    assert commits([], moves([]), 100) == []


def test_what_does_not_fit_is_never_torn_apart() -> None:
    differences = rename()
    moved = moves(differences)
    parts = commits(differences, moved, 3)
    assert [[difference.path for difference in part] for part in parts] == [
        ["n", "n/d"], ["d/5", "n/d/5"], ["d/4", "n/d/4"], ["d/3", "n/d/3"], ["d/2", "n/d/2"], ["d/1", "n/d/1", "d"],
    ]  # fmt: skip
    assert renamed(differences, moved) == {"d": "n/d"}


def test_a_rename_that_was_half_kept_is_recognised() -> None:
    tree = Tree()
    tree.load([("n", entry("dir", inode=51)), ("n/d", entry("dir", inode=50)), ("d", entry("dir", inode=50))])
    for old, to in ((entry("dir", inode=50), {"d": "n/d"}), (entry("dir", inode=49), {})):
        rest = [gone("d", old)]
        moved = moves(rest)
        resume(rest, moved, {"d": "n/d"}, tree)
        assert moved.to == to


def test_a_file_takes_a_directory_s_place_when_that_is_empty() -> None:
    differences = [
        gone("d/1", entry(inode=1)), gone("d/2", entry(inode=2)), gone("f", entry(inode=3)),
        Difference("d", entry("dir", inode=50), entry(inode=3)),
    ]  # fmt: skip
    moved = moves(differences)
    assert moved.to == {"f": "d"}
    assert [d.path for part in commits(differences, moved, 2) for d in part] == ["f", "d/2", "d/1", "d"]


def test_what_is_in_a_directory_is_gone_before_it_whatever_was_found_first() -> None:
    differences = [gone("d", entry("dir", inode=50)), gone("d/e/1", entry()), gone("d/e", entry("dir", inode=51))]
    assert [d.path for d in commits(differences, moves([]), 100)[0]] == ["d/e/1", "d/e", "d"]
