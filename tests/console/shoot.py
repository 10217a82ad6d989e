"""Screenshots of a running console: its pages in both themes and at a phone's width.

    python -m tests.console.shoot 'http://127.0.0.1:4122/console/#token=...' --into DIR [--looks light,dark] [PATH ...]

The address is what `cdcd demo` prints. PATH is `/console/...`; without any, all pages. DIR/NAME-LOOK.png. Prints what was wrong on a page:
errors in its console, requests elsewhere, what axe finds, what is wider than the screen.
"""

import argparse
import asyncio
import itertools
from pathlib import Path
from urllib.parse import urlsplit

from tests.browser import DESK, PHONE, Visit, browser, visiting

PAGES = ("", "triggers", "events", "queue", "databases", "schedules", "operations")
LOOKS = (("light", DESK, False), ("dark", DESK, True), ("phone", PHONE, False), ("phone-dark", PHONE, True))


async def shoot(address: str, into: Path, paths: list[str], looks: set[str], settle: float, *, full: bool) -> None:
    """All of them."""
    parts = urlsplit(address)
    url, token = f"{parts.scheme}://{parts.netloc}", parts.fragment.removeprefix("token=")
    async with browser() as chromium:
        for name, size, dark in LOOKS:
            if name not in looks:
                continue
            async with visiting(chromium, url, token, size=size, dark=dark) as visit:
                for path in paths:
                    await visit.go(path)
                    await visit.page.wait_for_timeout(settle * 1000)
                    file = into / f"{_named(path)}-{name}.png"
                    await visit.page.screenshot(path=file, full_page=full)
                    await _tell(visit, path, name)


async def _tell(visit: Visit, path: str, look: str) -> None:
    wide = await visit.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    wrong = [*visit.errors, *await visit.violations(), *([f"{wide} px wider than the screen"] if wide > 0 else [])]
    visit.errors.clear()
    for words in wrong:
        print(f"{path} {look}: {words}")


def _named(path: str) -> str:
    return (
        "-".join(part for part in path.replace("?", "/").replace("=", "-").split("/") if part and part != "console")[:80]
        or "overview"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.console.shoot", description=__doc__)
    parser.add_argument("address")
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--into", type=Path, default=Path("screenshots"))
    parser.add_argument("--looks", default="light,dark,phone", help="light, dark, phone, phone-dark")
    parser.add_argument("--settle", type=float, default=1.5, help="seconds before each")
    parser.add_argument("--fold", action="store_true", help="only what fits the window")
    asked = parser.parse_intermixed_args()
    paths = asked.paths or list(itertools.chain(f"/console/{page}" for page in PAGES))
    asked.into.mkdir(parents=True, exist_ok=True)
    asyncio.run(shoot(asked.address, asked.into, paths, set(asked.looks.split(",")), asked.settle, full=not asked.fold))


if __name__ == "__main__":
    main()
