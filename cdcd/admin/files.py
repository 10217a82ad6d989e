"""The files that triggers stand in, and writing one so that a crash leaves either the old or the new: a temporary file beside it is made
durable and put in its place, with the mode and owner of the one that was there."""

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import glob
from hashlib import sha256
from pathlib import Path

MODE = 0o640  # of a file that is new
_MAGIC = frozenset("*?[")


@dataclass(slots=True, frozen=True)
class File:
    """A file as it was read. `text` is None for one that is not there. `bom`: it begins with a mark, which is kept."""

    path: Path
    text: str | None
    bom: bool = False

    @property
    def etag(self) -> str:
        """What changes with every change of it."""
        return "none" if self.text is None else sha256(self.text.encode()).hexdigest()[:32]


def read(path: Path) -> File:
    """A file. Raises OSError but for one that is not there, ValueError for what is no UTF-8."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return File(path, None)
    bom = content.startswith(b"\xef\xbb\xbf")
    return File(path, content.decode("utf-8-sig"), bom)


def included(main: Path, patterns: Iterable[str]) -> list[Path]:
    """The files beside `main` that hold triggers: those that the patterns (whole paths) find."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        for name in sorted(glob(pattern, recursive=True)):  # noqa: PTH207  # patterns are absolute
            path = Path(name)
            if path.is_file() and not path.samefile(main):
                found.setdefault(path)
    return list(found)


def place_for(name: str, patterns: Iterable[str]) -> Path | None:
    """Where a new trigger goes: into a file of its own where a pattern takes any name, else into a file that is named. The first that can
    be written; None when there is none."""
    for pattern in patterns:
        directory, last = os.path.split(pattern.replace("/**/", "/"))
        if not _MAGIC.isdisjoint(directory):
            continue
        names = [last] if _MAGIC.isdisjoint(last) else [f"{name}.yaml", f"{name}.yml"]
        for each in names:
            if fnmatch(each, last) and not why_not_writable(path := Path(directory) / each):
                return path
    return None


def why_not_writable(path: Path) -> str:
    """Why a file cannot be put in the place of this one; empty when it can."""
    real = path.resolve()
    directory = real.parent
    if not directory.is_dir():
        above = directory.parent
        if above.is_dir() and os.access(above, os.W_OK | os.X_OK) and not directory.exists():
            return ""
        return f"the directory {directory} is not there"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"the directory {directory} is not writable for cdcd"
    if real.exists() and not real.is_file():
        return f"{real} is no file"
    return ""


def put(file: File, text: str | None) -> None:
    """Make the file say this, or remove it. Raises OSError, and then it is as it was."""
    path = file.path.resolve()
    if text is None:
        path.unlink()
        _settle(path.parent)
        return
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        before = path.stat()
    except FileNotFoundError:
        before = None
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write((b"\xef\xbb\xbf" if file.bom else b"") + text.encode())
            stream.flush()
            os.fchmod(stream.fileno(), MODE if before is None else before.st_mode & 0o7777)
            if before is not None and (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(PermissionError):  # whoever may write the directory need not be allowed to give files away
                    os.fchown(stream.fileno(), before.st_uid, before.st_gid)
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _settle(path.parent)


def _settle(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
