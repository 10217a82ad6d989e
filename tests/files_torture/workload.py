"""What people and programs do to a directory: `python -m tests.files_torture.workload ROOT OUTSIDE SEED`, until it is ended.

What several of them do to the same names at once fails now and then; that is part of it.
"""

import contextlib
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

MOST = 1500  # entries; beyond it more is deleted than made
NAMES = ["a", "b", "c", "d.txt", "e.jpg", "f g", "ü", "h\udcff.bin"]


class Worker:
    """One process's hands."""

    def __init__(self, root: Path, outside: Path, seed: str) -> None:
        self.root, self.outside = root, outside
        self.chosen = random.Random(seed)
        self.count = 0
        self.think = self.chosen.choice((0.0005, 0.002, 0.01))
        self.small: list[Callable[[], None]] = [
            *[self.create] * 6, *[self.change] * 4, *[self.replace] * 6, *[self.move_file] * 4, *[self.delete] * 4,
            self.slow, self.link, self.symlink, self.touch, self.kind,
        ]  # fmt: skip
        self.large: list[Callable[[], None]] = [
            self.deep, self.copy_tree, self.move_tree, self.move_tree, self.out, self.back, self.remove_tree,
        ]  # fmt: skip

    def run(self) -> None:
        while True:
            if self.count % 100 == 0:
                entries = sum(len(names) + len(files) for _, names, files in os.walk(self.root))
                if entries > MOST:
                    with contextlib.suppress(OSError):
                        self.remove_tree()
            self.count += 1
            work = self.chosen.choice(self.large if self.chosen.random() < 0.08 else self.small)
            with contextlib.suppress(OSError, shutil.Error):
                work()
            time.sleep(self.chosen.random() * self.think)

    # Where

    def directory(self) -> Path:
        """Some directory of the store."""
        place = self.root
        while self.chosen.random() < 0.6:
            inner = [entry for entry in os.scandir(place) if entry.is_dir(follow_symlinks=False)]
            if not inner:
                break
            place = Path(self.chosen.choice(inner).path)
        return place

    def file(self) -> Path:
        """Some file of the store."""
        files = [entry for entry in os.scandir(self.directory()) if entry.is_file(follow_symlinks=False)]
        if not files:
            raise FileNotFoundError
        return Path(self.chosen.choice(files).path)

    def name(self) -> str:
        return self.chosen.choice(NAMES) if self.chosen.random() < 0.5 else f"{self.chosen.randrange(60)}"

    def content(self) -> bytes:
        return self.chosen.randbytes(self.chosen.choice((0, 1, 8, 8, 8, 100, 5000)))

    # What

    def create(self) -> None:
        (self.directory() / self.name()).write_bytes(self.content())

    def change(self) -> None:
        with self.file().open(self.chosen.choice(("r+b", "ab"))) as file:
            file.write(self.content())

    def replace(self) -> None:
        target = self.file()
        temporary = target.with_name(f".{self.name()}.{self.count}")
        temporary.write_bytes(self.content())
        temporary.replace(target)

    def move_file(self) -> None:
        self.file().replace(self.directory() / self.name())

    def delete(self) -> None:
        self.file().unlink()

    def slow(self) -> None:
        with (self.directory() / self.name()).open("wb") as file:
            for _ in range(3):
                file.write(self.content())
                file.flush()
                time.sleep(self.chosen.random() * 0.05)

    def link(self) -> None:
        os.link(self.file(), self.directory() / self.name())

    def symlink(self) -> None:
        (self.directory() / self.name()).symlink_to(self.directory())

    def touch(self) -> None:
        os.utime(self.file(), (self.chosen.randrange(2**31), self.chosen.randrange(2**31)))

    def kind(self) -> None:
        path = self.file()
        path.unlink()
        path.mkdir()

    def deep(self) -> None:
        place = self.directory()
        if len(place.parts) - len(self.root.parts) > 8:
            return
        place = place / self.name() / self.name() / self.name()
        place.mkdir(parents=True, exist_ok=True)
        for _ in range(self.chosen.randrange(8)):
            (place / self.name()).write_bytes(self.content())

    def tree(self) -> Path:
        """Some directory below the root."""
        place = self.directory()
        if place == self.root:
            raise FileNotFoundError
        return place

    def copy_tree(self) -> None:
        source, target = self.tree(), self.directory() / self.name()
        if source != target and source not in target.parents and len(target.parts) - len(self.root.parts) < 8:
            shutil.copytree(source, target, symlinks=True)

    def move_tree(self) -> None:
        self.tree().rename(self.directory() / self.name())

    def out(self) -> None:
        self.tree().rename(self.outside / f"{os.getpid()}.{self.count}")

    def back(self) -> None:
        trees = sorted(self.outside.iterdir())
        if trees:
            self.chosen.choice(trees).rename(self.directory() / self.name())

    def remove_tree(self) -> None:
        shutil.rmtree(self.tree())


if __name__ == "__main__":
    Worker(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]).run()
