"""Install what the tests of the console's pages need: Chromium by Debian's package manager, axe-core by npm into `.cache/browser`.

    python -m tests.fetch_browser

What is there already is left alone. Exit 1, with a sentence, for what cannot be had here.
"""

import os
import shutil
import subprocess
import sys

from tests.browser import AXE, CHROMIUM, PROGRAMS

VERSION = "axe-core@4"
FONTS = "fonts-liberation"  # as an ordinary Chromium brings: the pages' text is as wide as it is there


def chromium() -> str:
    """Why there is none, "" when there is. The one without windows where that can be had, else an ordinary one."""
    if os.environ.get("CDCD_CHROMIUM") or shutil.which(PROGRAMS[0]):
        return ""
    if shutil.which("apt-get") is None:
        return (
            "" if CHROMIUM else "there is no Chromium: install it, and put `chromium` on the PATH or name it in CDCD_CHROMIUM"
        )
    if os.geteuid() != 0:
        wanted = f"there is no Chromium: as root, `apt-get install {PROGRAMS[0]}`; or name one in CDCD_CHROMIUM"
        return "" if CHROMIUM else wanted
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}

    def apt(*arguments: str) -> bool:
        done = subprocess.run(["apt-get", "-qq", *arguments], check=False, env=environment, stdout=subprocess.DEVNULL)
        return done.returncode == 0

    if apt("update") and apt("-y", "install", PROGRAMS[0], FONTS):
        return ""
    if CHROMIUM or apt("-y", "install", "chromium"):
        return ""
    return f"neither of Debian's packages {PROGRAMS[0]} and chromium can be installed"


def axe() -> str:
    """Why there is none, "" when there is."""
    if AXE.exists():
        return ""
    if shutil.which("npm") is None:
        return "there is no npm: install Node.js, of which it is a part"
    folder = AXE.parents[2]
    folder.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), VERSION]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return "" if AXE.exists() else f"{VERSION} has no {AXE.name}"


def main() -> int:
    """Both."""
    missing = [why for why in (chromium(), axe()) if why]
    for why in missing:
        print(why, file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
