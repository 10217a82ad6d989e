"""Checks of the stores of files: is each directory there, can it be read, and may all that is in it be watched."""

import asyncio
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from cdcd.config.globs import parse_glob
from cdcd.config.model import Config, Storage
from cdcd.triggers.trigger import Trigger
from cdcd.upkeep.finding import Section

WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")
NEAR = 0.8  # share of the limit from which on it is told


async def check_directories(config: Config, triggers: Iterable[Trigger]) -> Section | None:
    """The stores that enabled triggers name; None when there are none."""
    wanted = {trigger.config.storage for trigger in triggers if trigger.config.storage}
    stores = [store for name, store in config.storage.items() if name in wanted]
    if not stores:
        return None
    section = Section("files")
    total = 0
    for store in stores:
        total += await asyncio.to_thread(_look, section, store)
    limit = _limit()
    if limit is not None and total > limit:
        section.warning(
            "watches",
            f"{total:,} directories are to be watched, and the kernel allows {limit:,} to a user; "
            "what is beyond is looked at every ten seconds",
            f"sysctl fs.inotify.max_user_watches={2 * total}",
        )
    elif limit is not None and total > limit * NEAR:
        section.warning(
            "watches",
            f"{total:,} directories are to be watched, and the kernel allows {limit:,} to a user, for all programs together",
            f"sysctl fs.inotify.max_user_watches={2 * total}",
        )
    elif limit is not None:
        section.ok(
            "watches", f"{total:,} director{'y' if total == 1 else 'ies'} to watch; the kernel allows {limit:,} to a user"
        )
    return section


def _look(section: Section, store: Storage) -> int:
    """How many directories of a store are to be watched. Tells what is wrong with it."""
    where = f"the store {store.name} ({store.path})"
    if not store.path.is_dir():
        what = "is no directory" if store.path.exists() else "is not there"
        section.mistake("storage", f"{where} {what}; `cdcd run` waits for it", f"mkdir -p {shlex.quote(str(store.path))}")
        return 0
    ignore = [parse_glob(text) for text in store.ignore]
    unreadable: list[str] = []
    count = 0
    for place, directories, _ in os.walk(store.path, onerror=lambda error: unreadable.append(str(error.filename))):
        count += 1
        if not store.recursive:
            directories.clear()
        head = os.path.relpath(place, store.path) + "/"
        head = "" if head == "./" else head
        directories[:] = [
            name
            for name in directories
            if not any(pattern.fullmatch(head + name) or pattern.fullmatch(f"{head}{name}/") for pattern in ignore)
        ]
    if str(store.path) in unreadable:
        section.mistake("storage", f"{where} cannot be read", "give the user that cdcd runs as the permission to read it")
    elif unreadable:
        first = os.path.relpath(os.fsencode(unreadable[0]), os.fsencode(store.path)).decode(errors="replace")
        section.warning(
            "storage",
            f"{where}: {len(unreadable)} directories cannot be read, {first} for one; what is in them makes no events",
            "give the user that cdcd runs as the permission to read them, or put them under `ignore`",
        )
    else:
        section.ok("storage", f"{where} can be read; {count:,} director{'y' if count == 1 else 'ies'}")
    return count


def _limit() -> int | None:
    """How many watches the kernel allows to a user; None where there is no inotify."""
    if sys.platform != "linux":
        return None
    try:
        return int(WATCHES.read_text())
    except (OSError, ValueError):
        return None
