"""The pictures of the README: a demo is started, and its console is photographed while it lives.

    python -m tests.console.screenshots [--into docs/screenshots]

Takes four minutes, of which most is waiting until there is something to see on the charts.
"""

import argparse
import asyncio
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import ViewportSize

from tests.browser import PHONE, Visit, browser, visiting

LIVES = 200.0  # seconds before the first picture: the charts show five minutes
RATE = 60
WINDOW: ViewportSize = {"width": 1280, "height": 980}


async def take(address: str, into: Path) -> None:
    """All of them."""
    parts = urlsplit(address)
    url, token = f"{parts.scheme}://{parts.netloc}", parts.fragment.removeprefix("token=")
    async with browser() as chromium:
        async with visiting(chromium, url, token, scale=1.5, size=WINDOW) as visit:
            await visit.go("/console/")
            await visit.page.wait_for_timeout(LIVES * 1000)
            await _shot(visit, into / "overview.png")
            await visit.go("/console/events?status=failed&status=processed")
            await _shot(visit, into / "events.png")
            await visit.page.goto(f"{url}/console/events?status=failed")
            await visit.page.locator("#log tbody a").first.click()
            await visit.page.wait_for_url("**/deliveries/*")
            await _shot(visit, into / "delivery.png")
            await visit.go("/console/triggers")
            await _shot(visit, into / "triggers.png")
            await visit.go("/console/triggers/search-index/try")
            await visit.page.get_by_role("button", name="Try it", exact=True).click()
            await visit.page.get_by_text("It would fire").first.wait_for()
            await _shot(visit, into / "try.png")
        async with visiting(chromium, url, token, scale=1.5, size=WINDOW, dark=True) as visit:
            await visit.go("/console/")
            await visit.page.wait_for_timeout(5000)
            await _shot(visit, into / "overview-dark.png")
        async with visiting(chromium, url, token, scale=2, size=PHONE) as visit:
            await visit.go("/console/")
            await visit.page.wait_for_timeout(5000)
            await _shot(visit, into / "overview-phone.png")


async def _shot(visit: Visit, path: Path) -> None:
    await visit.page.wait_for_timeout(1500)
    await visit.page.screenshot(path=path)
    print(path)


@asynccontextmanager
async def demo(folder: Path) -> AsyncIterator[str]:
    """The address of a demo's console."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cdcd", "demo", "--folder", str(folder), "--rate", str(RATE)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    address, ready = "", 0
    try:
        async for line in process.stdout:
            if found := re.search(rb"^the console: +(\S+)", line):
                address = found[1].decode()
            ready += b"cdcd is ready" in line
            if ready == 2:  # it kills its daemon once, at the beginning
                break
        reading = asyncio.create_task(process.stdout.read())
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()
        await reading


async def main(into: Path) -> None:
    """Start, take, stop."""
    with tempfile.TemporaryDirectory(prefix="cdcd-screenshots-") as folder:
        async with demo(Path(folder)) as address:
            await take(address, into)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.console.screenshots", description=__doc__)
    parser.add_argument("--into", type=Path, default=Path("docs/screenshots"))
    asked = parser.parse_args()
    asked.into.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(asked.into))
