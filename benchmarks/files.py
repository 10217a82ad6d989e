"""Files: a burst of new ones until the last webhook, and looking at a tree again against walking through it."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import ROOT, Endpoint, Figure, Server, config_for, daemon, median, until
from cdcd.clock import SystemClock
from cdcd.config.model import Storage
from cdcd.sources.files.hints import Hints
from cdcd.sources.files.looking import Looker
from cdcd.sources.files.tree import Tree
from cdcd.sources.files.watching import watcher
from cdcd.store.trees import Trees

PROCESSES = 4
MOST = 2.0  # times os.walk and stat of the same tree
TRIGGER = """
  all:
    type: [FILE_CREATE, FILE_UPDATE, FILE_DELETE]
    storage: files
    path: "**/*.txt"
    webhook: {url}
"""
STORAGE = """
storage:
  files: {{ path: "{path}" }}
"""
WRITER = """
import os, sys, time
place, count = sys.argv[1], int(sys.argv[2])
for number in range(count):
    if number % 1000 == 0:
        directory = f"{place}/{number}"
        os.makedirs(directory)
    with open(f"{directory}/{number}.txt", "wb") as file:
        file.write(b"x" * 100)
print(time.time())
"""


def run(server: Server, *, small: bool) -> list[Figure]:
    files, tree = (2_000, 5_000) if small else (30_000, 100_000)
    directory = Path(tempfile.mkdtemp(prefix="cdcd-bench-files-"))
    try:
        return [_burst(server, directory / "burst", files), *_again(server, directory / "tree", tree)]
    finally:
        shutil.rmtree(directory)


def _burst(server: Server, root: Path, count: int) -> Figure:
    """From the last close to the last webhook."""
    root.mkdir()
    endpoint = Endpoint()
    try:
        config = config_for(server.database(), TRIGGER.format(url=endpoint.url("/files")), STORAGE.format(path=root))
        with daemon(config) as running:
            until(lambda: "files.first_look" in Path(running.log.name).read_text(), 30, "the first look")
            began = time.time()
            writers = [
                subprocess.Popen(
                    [sys.executable, "-c", WRITER, f"{root}/{number}", str(count // PROCESSES)],
                    stdout=subprocess.PIPE, text=True, cwd=ROOT,
                )
                for number in range(PROCESSES)
            ]  # fmt: skip
            closed = max(float(writer.communicate()[0]) for writer in writers)
            stats = endpoint.wait("/files", count, 300)
            time.sleep(1.0)  # whatever came twice would come now
            total = endpoint.stats("/files")["count"]
    finally:
        endpoint.close()
    late = stats["last"] - closed
    return Figure(
        f"{count:,} new files by {PROCESSES} processes: all reported",
        f"{late:.2f} s after the last close",
        f"{closed - began:.2f} s to write them",
        total / count,
        "each once",
        total == count,
        f"{count / (stats['last'] - began):,.0f} files/s from the first write to the last webhook",
    )


def _again(server: Server, root: Path, count: int) -> list[Figure]:
    """What a start does with a tree that it knows, and what an overflow costs."""
    for number in range(count // 100):
        place = root / f"{number % 10}" / f"{number}"
        place.mkdir(parents=True)
        for name in range(100):
            (place / f"{name}.txt").write_bytes(b"")
    dsn = server.database()
    with daemon(config_for(dsn, TRIGGER.format(url="http://127.0.0.1:9/"), STORAGE.format(path=root))) as running:
        until(lambda: "files.first_look" in Path(running.log.name).read_text(), 120, "the first look")
    walks, starts, looks = [], [], []
    for _ in range(5):
        walks.append(_walk(root))
        start, look = asyncio.run(_look(dsn, root, count))
        starts.append(start)
        looks.append(look)
    walk = median(walks)
    return [
        Figure(
            f"{count:,} files {what}",
            f"{median(times) * 1000:.0f} ms",
            f"{walk * 1000:.0f} ms os.walk + stat",
            median(times) / walk,
            f"<= {MOST}",
            median(times) / walk <= MOST,
            note,
        )
        for what, times, note in (
            ("looked at again", looks, "every directory watched anew"),
            ("at a start", starts, "the kept tree read from the store, then looked at"),
        )
    ]


def _walk(root: Path) -> float:
    began = time.perf_counter()
    for place, directories, files in os.walk(root):
        for name in (*directories, *files):
            os.stat(f"{place}/{name}")  # noqa: PTH116 - this is what is compared with
    return time.perf_counter() - began


async def _look(dsn: str, root: Path, count: int) -> tuple[float, float]:
    tree = Tree()
    looker = Looker(Storage("files", root), tree, SystemClock())
    watching = watcher(str(root), True, False, Hints(), lambda: None)
    looker.watch = watching.add
    trees = Trees(dsn, "cdcd")
    await trees.known("files")
    began = time.perf_counter()
    async for page in trees.entries("files"):
        tree.load((os.fsdecode(path), entry) for path, entry in page)
    read = time.perf_counter()
    looked = looker.look((), {}, everything=True)
    done = time.perf_counter()
    await trees.close()
    watching.close()
    assert not looked.differences
    assert tree.count >= count
    return done - began, done - read
