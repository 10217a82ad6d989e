"""Files: whatever is done to a directory, and whenever, is told exactly once; what only looks like a change is not told."""

# A local directory holds the event loop up no longer than a dictionary does.
# ruff: noqa: ASYNC240

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from watchdog.observers.polling import PollingObserver

from cdcd.config.model import Existing
from cdcd.sources.files.hints import Hints
from cdcd.sources.files.watching import Inotify, Observed, Watcher
from tests.integration.sources.watched import NO_LIMIT, watched
from tests.postgres import Database

QUEUED = Path("/proc/sys/fs/inotify/max_queued_events")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "uploads"
    made.mkdir()
    return made


@contextlib.contextmanager
def short_queue(length: int) -> Iterator[None]:
    """Inotify instances that are made meanwhile overflow after so many events."""
    if not os.access(QUEUED, os.W_OK):
        pytest.skip("fs.inotify.max_queued_events cannot be set here")
    before = QUEUED.read_text()
    QUEUED.write_text(str(length))
    try:
        yield
    finally:
        QUEUED.write_text(before)


# What counts


async def test_what_is_read_is_no_change(root: Path, database: Database) -> None:
    (root / "a").mkdir()
    (root / "a" / "there").write_text("x")
    async with watched(database, root) as it:
        assert (root / "a" / "there").read_text() == "x"
        assert len(list(root.rglob("*"))) == 2
        (root / "a" / "there").chmod(0o600)
        with (root / "a" / "there").open("ab"):
            pass
        await it.nothing(root)


async def test_a_file_is_told_when_it_is_closed(root: Path, database: Database) -> None:
    """Not before, however long its writer pauses."""
    async with watched(database, root, settle=0.05) as it:
        with (root / "slow").open("w") as file:
            file.write("x")
            file.flush()
            await it.nothing(root)
            await it.nothing(root)
        await it.told("FILE_CREATE slow")


async def test_a_file_found_by_looking_must_stand_still(root: Path, database: Database) -> None:
    async with watched(database, root):
        pass
    (root / "fresh").write_text("x")
    written = (root / "fresh").stat().st_mtime
    async with watched(database, root, settle=0.5) as it:
        await it.told("FILE_CREATE fresh")
        assert time.time() - written >= 0.5


async def test_an_atomic_replace_is_one_update(root: Path, database: Database) -> None:
    """Also one of the same size and time."""
    (root / "config").write_text("one")
    os.utime(root / "config", (1, 1))
    async with watched(database, root) as it:
        temporary = root / ".config.tmp"
        temporary.write_text("two")
        os.utime(temporary, (1, 1))
        temporary.replace(root / "config")
        await it.told("FILE_UPDATE config")


async def test_links(root: Path, database: Database) -> None:
    """A hard link is a file; a symbolic one is nothing unless it is followed, and then what it points to."""
    (root / "a").mkdir()
    (root / "a" / "one").write_text("x")
    os.utime(root / "a" / "one", (1, 1))
    async with watched(database, root) as it:
        (root / "two").hardlink_to(root / "a" / "one")
        await it.told("FILE_CREATE two")
        (root / "link").symlink_to(root / "a" / "one")
        (root / "loop").symlink_to(root)
        await it.nothing(root)
    async with watched(database, root, follow_symlinks=True) as it:
        await it.told("FILE_CREATE link", "FILE_CREATE loop")
        (root / "a" / "loop").symlink_to(root / "a")
        await it.told("FILE_CREATE a/loop")
        (root / "a" / "new").write_text("x")
        await it.told("FILE_CREATE a/new")


async def test_what_is_left_out(root: Path, database: Database) -> None:
    (root / "cache" / "deep").mkdir(parents=True)
    async with watched(database, root, ignore=("**/*.tmp", "cache/**")) as it:
        (root / "cache" / "deep" / "x").write_text("x")
        (root / "x.tmp").write_text("x")
        (root / "y").write_text("y")
        await it.told("FILE_CREATE y")
    async with watched(database, root, recursive=False) as it:  # what is not looked into any more stays as it was
        (root / "cache" / "z").write_text("x")
        await it.told("FILE_CREATE x.tmp")


async def test_hashes(root: Path, database: Database) -> None:
    """Of what is there and of what was; what was there before the first start has none."""
    (root / "old").write_text("old")
    async with watched(database, root, hash=True) as it:
        (root / "a").write_text("one")
        await it.told("FILE_CREATE a")
    async with watched(database, root, hash=True) as it:
        (root / "a").write_text("two")
        (root / "old").unlink()
        await it.all(2)
        changed = it.data("FILE_UPDATE a")
        assert (changed["sha256"], changed["before"]["sha256"]) == (sha256(b"two").hexdigest(), sha256(b"one").hexdigest())
        assert "sha256" not in it.data("FILE_DELETE old")


async def test_a_name_that_is_no_text(root: Path, database: Database) -> None:
    (root / "d").mkdir()
    async with watched(database, root) as it:
        (root / "d" / "caf\udce9").write_text("x")
        await it.told("FILE_CREATE d/caf\ufffd")
    async with watched(database, root) as it:
        (root / "d" / "caf\udce9").unlink()
        await it.told("FILE_DELETE d/caf\ufffd")


async def test_only_what_a_trigger_wants_is_told_and_all_is_kept(root: Path, database: Database) -> None:
    asked: dict[str, Any] = {"types": frozenset({"FILE_DELETE"}), "when": "file.size > 2 && old.size > 2"}
    async with watched(database, root, **asked) as it:
        for name in ("s", "long", "wide"):
            (root / name).write_text(name)
        await it.kept(3)
        (root / "s").unlink()
        (root / "long").unlink()
        await it.told("FILE_DELETE long")
        await it.kept(1)
    async with watched(database, root, **asked) as it:
        (root / "wide").unlink()
        await it.told("FILE_DELETE wide")


# Renames


async def test_a_rename_is_told_as_one(root: Path, database: Database) -> None:
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "f").write_text("x")
    async with watched(database, root) as it:
        (root / "a").rename(root / "z")
        deliveries = it.stage.deliveries
        await it.all(6)
        moved = {
            path: (it.data(f"FILE_DELETE a{path}")["movedTo"], it.data(f"FILE_CREATE z{path}")["movedFrom"])
            for path in ("", "/b", "/b/f")
        }
        assert moved == {path: (f"z{path}", f"a{path}") for path in ("", "/b", "/b/f")}
        assert [d.event.subject for d in deliveries][:3] == ["a/b/f", "a/b", "a"]
        it.stage.deliveries.clear()
        (root / "z" / "b" / "g").write_text("watched under its new name")
        await it.told("FILE_CREATE z/b/g")


async def test_moved_in_and_out(root: Path, tmp_path: Path, database: Database) -> None:
    """A directory that was moved away is not watched any more, and what takes its place is."""
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    (outside / "b" / "f").write_text("x")
    os.utime(outside / "b" / "f", (1, 1))
    async with watched(database, root) as it:
        outside.rename(root / "in")
        await it.told("FILE_CREATE in", "FILE_CREATE in/b", "FILE_CREATE in/b/f")
        (root / "in").rename(outside)
        await it.told("FILE_DELETE in", "FILE_DELETE in/b", "FILE_DELETE in/b/f")
        (root / "in").mkdir()
        await it.told("FILE_CREATE in")
        (outside / "b" / "g").write_text("elsewhere")
        (outside / "h").write_text("elsewhere")
        await it.nothing(root)
        (root / "in" / "g").write_text("here")
        await it.told("FILE_CREATE in/g")


# What nobody told of


async def test_new_directories_are_looked_into(root: Path, database: Database) -> None:
    async with watched(database, root, settle=0.05) as it:
        (root / "a" / "b" / "c").mkdir(parents=True)
        (root / "a" / "b" / "c" / "f").write_text("x")
        await it.told("FILE_CREATE a", "FILE_CREATE a/b", "FILE_CREATE a/b/c", "FILE_CREATE a/b/c/f")
        shutil.copytree(root / "a", root / "z")
        await it.told("FILE_CREATE z", "FILE_CREATE z/b", "FILE_CREATE z/b/c", "FILE_CREATE z/b/c/f")


async def test_while_cdcd_was_down(root: Path, database: Database) -> None:
    """Each once; and at the next start nothing."""
    for name in ("same", "changed", "deleted", "renamed"):
        (root / name).write_text(name)
    (root / "old" / "deep").mkdir(parents=True)
    (root / "old" / "deep" / "f").write_text("x")
    async with watched(database, root) as it:
        assert it.source.tree.count == 7
    (root / "changed").write_text("longer than before")
    (root / "deleted").unlink()
    (root / "renamed").rename(root / "other")
    (root / "old").rename(root / "new")
    async with watched(database, root) as it:
        await it.all(10)
        assert it.data("FILE_CREATE other")["movedFrom"] == "renamed"
        assert it.data("FILE_CREATE new/deep/f")["movedFrom"] == "old/deep/f"
        assert it.data("FILE_UPDATE changed")["before"]["size"] == 7
        await it.told(
            "FILE_UPDATE changed", "FILE_DELETE deleted", "FILE_DELETE renamed", "FILE_CREATE other",
            *[f"FILE_DELETE old{path}" for path in ("", "/deep", "/deep/f")],
            *[f"FILE_CREATE new{path}" for path in ("", "/deep", "/deep/f")],
        )  # fmt: skip
    async with watched(database, root) as it:
        await it.nothing(root)


async def test_the_first_start_may_tell_what_is_there(root: Path, database: Database) -> None:
    (root / "d").mkdir()
    (root / "d" / "f").write_text("x")
    async with watched(database, root, existing=Existing.REPORT) as it:
        await it.told("FILE_CREATE d", "FILE_CREATE d/f")
    async with watched(database, root, existing=Existing.REPORT) as it:
        await it.nothing(root)


async def test_a_first_look_that_was_broken_off_leaves_nothing(root: Path, database: Database) -> None:
    (root / "a").write_text("x")
    async with watched(database, root):
        pass
    database.execute("UPDATE cdcd.trees SET path = 'not there any more'")
    database.execute("DELETE FROM cdcd.stores")
    async with watched(database, root) as it:
        await it.nothing(root)
    async with watched(database, root) as it:
        await it.nothing(root)


async def test_an_overflow_loses_nothing(root: Path, database: Database) -> None:
    """Nor are the directories forgotten that were made meanwhile."""
    with short_queue(16):
        async with watched(database, root, settle=0.05) as it:
            for number in range(20):
                (root / f"d{number}").mkdir()
                for name in range(10):
                    (root / f"d{number}" / f"{name}").write_text("x")
            directories = [f"FILE_CREATE d{number}" for number in range(20)]
            await it.told(*directories, *[f"{directory}/{name}" for directory in directories for name in range(10)])
            await it.logged("files.overflow")
            (root / "d19" / "late").write_text("x")
            await it.told("FILE_CREATE d19/late")


async def test_where_watches_run_out(root: Path, database: Database) -> None:
    """It is said, and looking takes the place of listening."""

    class Limited(Inotify):
        """As if the kernel refused all but the root."""

        def add(self, directory: str) -> None:
            if directory:
                self.unwatched[directory] = "ENOSPC"
            else:
                super().add(directory)

    def limited(path: str, recursive: bool, follow: bool, hints: Hints, wake: Callable[[], None]) -> Watcher:
        return Limited(path, follow, hints, wake)

    (root / "a" / "b").mkdir(parents=True)
    async with watched(database, root, settle=0.01, watch=limited, list_every=0.1) as it:
        assert (await it.logged("files.unwatched"))["log_level"] == "error"
        (root / "a" / "b" / "f").write_text("x")
        await it.told("FILE_CREATE a/b/f")
        (root / "a" / "b" / "c").mkdir()
        (root / "a" / "b" / "c" / "g").write_text("x")
        await it.told("FILE_CREATE a/b/c", "FILE_CREATE a/b/c/g")


async def test_where_there_is_no_inotify(root: Path, database: Database) -> None:
    """Any of watchdog's observers gives hints."""

    def polling(path: str, recursive: bool, follow: bool, hints: Hints, wake: Callable[[], None]) -> Watcher:
        return Observed(PollingObserver(timeout=0.05), path, recursive, hints, wake)

    async with watched(database, root, settle=0.05, watch=polling) as it:
        (root / "d").mkdir()
        (root / "d" / "f").write_text("x")
        await it.told("FILE_CREATE d", "FILE_CREATE d/f")
        (root / "d" / "f").unlink()
        await it.told("FILE_DELETE d/f")


# The store's own directory


async def test_a_root_that_is_not_there_at_the_start(root: Path, database: Database) -> None:
    root.rmdir()
    async with watched(database, root, wait="files.root_missing") as it:
        root.mkdir()
        await it.logged("files.first_look")
        await it.nothing(root)


async def test_a_root_that_goes_and_comes_back(root: Path, tmp_path: Path, database: Database) -> None:
    """Nothing counts as deleted while it is away."""
    (root / "a").write_text("x")
    (root / "b").write_text("x")
    async with watched(database, root) as it:
        root.rename(tmp_path / "away")
        await it.logged("files.root_missing")
        (tmp_path / "away" / "a").unlink()
        (tmp_path / "away").rename(root)
        await it.told("FILE_DELETE a")
        shutil.rmtree(root)
        root.mkdir()
        (root / "c").write_text("x")
        await it.told("FILE_DELETE b", "FILE_CREATE c")
        await it.nothing(root)


async def test_another_mount_of_the_same_files(root: Path, database: Database) -> None:
    """On another device the numbers of inodes say nothing, and an empty one is taken for a mount that is missing."""
    (root / "d").mkdir()
    (root / "d" / "f").write_text("x")
    async with watched(database, root):
        pass
    database.execute("UPDATE cdcd.trees SET inode = inode + 1000000")
    database.execute("UPDATE cdcd.stores SET device = device + 1")
    async with watched(database, root) as it:
        await it.nothing(root)
    assert database.execute("SELECT inode FROM cdcd.trees WHERE path = 'd/f'") == [((root / "d" / "f").stat().st_ino,)]
    database.execute("UPDATE cdcd.stores SET device = device + 1")
    (root / "d").rename(root.with_name("kept"))
    async with watched(database, root, wait="files.root_missing") as it:
        root.with_name("kept").rename(root / "d")
        await it.logged("files.root_back")
        await it.nothing(root)


# A crash between two commits


class Interrupted:
    """A change of many paths: told up to some commit by a process that dies there, and the rest by the next."""

    def __init__(self, database: Database, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cdcd.sources.files.source.BATCH", 100)
        self.database, self.root = database, root
        for number in range(20):
            (root / "d" / f"{number}").mkdir(parents=True)
            for name in range(10):
                (root / "d" / f"{number}" / f"{name}").write_text("x")
        self.paths = [str(path.relative_to(root)) for path in root.rglob("*")]

    async def data(self, change: Callable[[], object]) -> list[tuple[str, str, dict[str, Any]]]:
        """Of each event its type, path and data; each told once, over two crashes."""
        async with watched(self.database, self.root):
            pass
        change()
        told = []
        for commits in (1, 1, NO_LIMIT):
            async with watched(self.database, self.root, commits=commits, settle=0.0) as it:
                if commits < NO_LIMIT:
                    await it.stage.full.wait()
                told += it.stage.deliveries
        return [(d.event.type, d.event.subject, orjson.loads(d.event.data)) for d in told]


async def test_a_crash_within_a_rename(root: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both halves of every rename, and what else happened at the same time."""
    it = Interrupted(database, root, monkeypatch)

    def change() -> None:
        (root / "d" / "7" / "7").rename(root / "file")
        (root / "d" / "8" / "8").unlink()
        (root / "p").mkdir()
        (root / "d").rename(root / "p" / "e")
        (root / "p" / "e" / "new").write_text("x")

    told = await it.data(change)
    renamed = {path: f"p/e{path[1:]}" for path in it.paths} | {"d/7/7": "file"}
    del renamed["d/8/8"]
    assert Counter((kind, path) for kind, path, _ in told) == Counter(
        [("FILE_DELETE", path) for path in it.paths] + [("FILE_CREATE", path) for path in (*renamed.values(), "p", "p/e/new")]
    )
    assert {path: data["movedTo"] for _, path, data in told if "movedTo" in data} == renamed
    assert {data["movedFrom"]: path for _, path, data in told if "movedFrom" in data} == renamed
    assert database.execute("SELECT moving FROM cdcd.stores") == [([],)]


async def test_a_crash_within_a_deletion(root: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the inside out, so that what is left is found."""
    it = Interrupted(database, root, monkeypatch)
    told = await it.data(lambda: shutil.rmtree(root / "d"))
    assert Counter((kind, path) for kind, path, _ in told) == Counter(("FILE_DELETE", path) for path in it.paths)
    assert database.execute("SELECT count(*) FROM cdcd.trees") == [(0,)]


# Programs


@pytest.mark.parametrize(
    "command", ["cp -r {src} {root}/copy", "tar c -C {src} . | tar x -C {root}", "rsync -a {src}/ {root}/"]
)
async def test_programs(root: Path, tmp_path: Path, database: Database, command: str) -> None:
    """Each file once, whatever temporary names were used."""
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"no {command.split()[0]} here")
    source = tmp_path / "src"
    for number in range(3):
        (source / f"d{number}").mkdir(parents=True)
        for name in range(5):
            (source / f"d{number}" / f"f{name}").write_text("x" * name)
    async with watched(database, root, settle=0.05) as it:
        await asyncio.to_thread(subprocess.run, command.format(src=source, root=root), shell=True, check=True)
        made = [str(path.relative_to(root)) for path in root.rglob("*")]
        await it.told(*[f"FILE_CREATE {path}" for path in made])
        await it.nothing(root)
