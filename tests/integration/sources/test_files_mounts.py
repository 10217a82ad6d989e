"""File systems in a store that are not there: nothing in them counts as deleted, and what lies in their place is not told."""

# A local directory holds the event loop up no longer than a dictionary does.
# ruff: noqa: ASYNC240

import asyncio
import contextlib
import ctypes
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sources.ordinary import threads_of_an_ordinary_user
from tests.integration.sources.watched import watched
from tests.postgres import Database

_libc = ctypes.CDLL(None, use_errno=True)
_DETACH = 2


def mount(directory: Path) -> None:
    """An empty file system (tmpfs) over a directory."""
    if _libc.mount(b"none", os.fsencode(directory), b"tmpfs", 0, b"size=1m") != 0:
        raise OSError(ctypes.get_errno(), "mount")


def unmount(directory: Path) -> None:
    """Also one that is in use."""
    if _libc.umount2(os.fsencode(directory), _DETACH) != 0:
        raise OSError(ctypes.get_errno(), "umount")


def bind(directory: Path, over: Path) -> None:
    """The same file system at another place."""
    if _libc.mount(os.fsencode(directory), os.fsencode(over), None, 4096, None) != 0:
        raise OSError(ctypes.get_errno(), "mount --bind")


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system with ten files, to be bound wherever it is wanted."""
    place = tmp_path / "volume"
    place.mkdir()
    try:
        mount(place)
    except OSError:
        pytest.skip("nothing may be mounted here")
    (place / "d").mkdir()
    for number in range(10):
        (place / "d" / f"{number}").write_text("x")
    try:
        yield place
    finally:
        for name in ("uploads/m", "uploads", "volume"):
            with contextlib.suppress(OSError):
                unmount(tmp_path / name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "uploads"
    made.mkdir()
    return made


async def test_below_the_root(root: Path, volume: Path, database: Database) -> None:
    """While cdcd runs: unmounted, with a stray file in its place, and mounted again."""
    (root / "m").mkdir()
    bind(volume, root / "m")
    async with watched(database, root, settle=0.01, glance_every=0.02) as it:
        (root / "m" / "a").write_text("x")
        await it.told("FILE_CREATE m/a")
        unmount(root / "m")
        assert (await it.logged("files.unmounted"))["name"] == "m"
        (root / "m" / "stray").write_text("x")
        await it.nothing(root)
        (root / "m" / "stray").unlink()
        (volume / "b").write_text("x")
        (volume / "a").unlink()
        bind(volume, root / "m")
        await it.told("FILE_DELETE m/a", "FILE_CREATE m/b")
        await it.logged("files.mounted")
        (root / "m" / "c").write_text("x")
        await it.told("FILE_CREATE m/c")
        assert [line["event"] for line in it.logs].count("files.unmounted") == 1


async def test_below_the_root_while_cdcd_was_down(root: Path, volume: Path, database: Database) -> None:
    """The mount is remembered, and its files are recognised under another number of the device, and where they were moved to."""
    (root / "m").mkdir()
    bind(volume, root / "m")
    async with watched(database, root):
        pass
    unmount(root / "m")
    (root / "m" / "stray").write_text("x")
    for _ in range(2):
        async with watched(database, root) as it:
            await it.logged("files.unmounted")
            await it.nothing(root)
    bind(volume, root / "m")
    database.execute("UPDATE cdcd.stores SET mount_devices = '{1}'")
    async with watched(database, root) as it:
        await it.nothing(root)
    assert database.execute("SELECT mounts, mount_devices FROM cdcd.stores") == [([b"m"], [volume.stat().st_dev])]
    unmount(root / "m")
    shutil.rmtree(root / "m")
    shutil.copytree(volume, root / "m")
    async with watched(database, root) as it:
        await it.nothing(root)
    assert database.execute("SELECT mounts FROM cdcd.stores") == [([],)]


async def test_a_mount_whose_directory_is_removed_is_gone(root: Path, volume: Path, database: Database) -> None:
    """The kernel tells of the unmount."""
    (root / "m").mkdir()
    bind(volume, root / "m")
    unmount(volume)
    async with watched(database, root, glance_every=60) as it:
        unmount(root / "m")
        await it.logged("files.unmounted")
        (root / "m").rmdir()
        await it.told("FILE_DELETE m", "FILE_DELETE m/d", *[f"FILE_DELETE m/d/{number}" for number in range(10)])
    assert database.execute("SELECT mounts FROM cdcd.stores") == [([],)]


async def test_the_root_itself(root: Path, volume: Path, database: Database) -> None:
    """Unmounted while cdcd runs, with a stray file below it; at a start too; until somebody says that its files are gone."""
    bind(volume, root)
    async with watched(database, root, glance_every=0.02) as it:
        unmount(root)
        (root / "stray").write_text("x")
        await it.logged("files.root_missing")
        bind(volume, root)
        await it.logged("files.root_back")
        await it.nothing(root)
    unmount(root)
    async with watched(database, root, wait="files.root_missing") as it:
        assert "--accept-files uploads" in it.logs[-1]["hint"]
    database.execute("UPDATE cdcd.stores SET device = -1")
    async with watched(database, root) as it:
        await it.told("FILE_DELETE d", *[f"FILE_DELETE d/{number}" for number in range(10)], "FILE_CREATE stray")


async def test_a_followed_link_that_leads_nowhere(root: Path, volume: Path, database: Database) -> None:
    """Its file system is away, as long as the link is there."""
    (root / "m").symlink_to(volume / "d")
    async with watched(database, root, follow_symlinks=True) as it:
        (volume / "d").rename(volume / "e")
        (root / "x").write_text("look")
        await it.told("FILE_CREATE x")
    async with watched(database, root, follow_symlinks=True) as it:
        await it.logged("files.unmounted")
        await it.nothing(root)
        (root / "m").unlink()
        await it.told("FILE_DELETE m", *[f"FILE_DELETE m/{number}" for number in range(10)])


@pytest.mark.parametrize("mode", [0o311, 0o000])
async def test_a_root_that_may_not_be_read(root: Path, database: Database, mode: int) -> None:
    """Told once and waited for; it costs no time meanwhile."""
    threads_of_an_ordinary_user()
    root.chmod(mode)
    async with watched(database, root, wait="files.root_missing") as it:
        before = time.process_time()
        await asyncio.sleep(0.2)
        assert time.process_time() - before < 0.1
        assert [line["event"] for line in it.logs] == ["files.root_missing"]
        root.chmod(0o755)
        await it.logged("files.root_back")
        await it.nothing(root)
