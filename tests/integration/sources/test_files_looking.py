"""Looks at a directory that changes while it is looked at."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd.clock import SystemClock
from cdcd.config.model import Storage
from cdcd.sources.files.hints import Hint
from cdcd.sources.files.looking import Looker
from cdcd.sources.files.tree import Tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`a/b/f` is known."""
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    (tmp_path / "root" / "a" / "b" / "f").write_text("x")
    return tmp_path / "root"


def looker(root: Path) -> Looker:
    tree = Tree()
    made = Looker(Storage("uploads", root, settle=0.0), tree, SystemClock())
    tree.load(made.take()[0])
    return made


def test_a_directory_that_goes_takes_along_what_was_just_found_in_it(root: Path) -> None:
    eyes = looker(root)

    def hints() -> Iterator[tuple[str, Hint]]:
        (root / "a" / "b" / "new" / "deep").mkdir(parents=True)
        yield "a/b/new", Hint.WHOLE
        shutil.rmtree(root / "a" / "b" / "new" / "deep")
        yield "a/b/new/deep", Hint.NOW
        shutil.rmtree(root / "a")
        yield "a", Hint.NOW

    looked = eyes.look(hints(), {})
    assert {path: difference.new for path, difference in looked.differences.items()} == dict.fromkeys(("a", "a/b", "a/b/f"))
    assert set(looked.again) == {"a"}


def test_a_directory_that_comes_back_is_there_or_not_as_a_whole(root: Path, tmp_path: Path) -> None:
    eyes = looker(root)

    def hints() -> Iterator[tuple[str, Hint]]:
        (root / "a").rename(tmp_path / "away")
        yield "a", Hint.NOW
        (tmp_path / "away").rename(root / "a")
        yield "a/b/f", Hint.NOW

    looked = eyes.look(hints(), {})
    assert {path: difference.new for path, difference in looked.differences.items()} == dict.fromkeys(("a", "a/b", "a/b/f"))
    assert looked.again == ["a"]
