"""A real browser for pages: Debian's Chromium, driven by Playwright, and axe for what a screen reader would meet.

    async with browser() as chromium:
        async with visiting(chromium, url, token) as visit:      # signed in
            await visit.page.get_by_role("link", name="Events").click()
            assert await visit.violations() == []
        # leaving it fails when the page logged an error, or asked another origin for anything

`make browser` installs both (Debian's package `chromium-headless-shell`, npm's `axe-core`). Without them the tests that want them are
skipped with that sentence; with CDCD_TEST_BROWSER=1 they fail. With CDCD_TEST_SHOTS=DIR the page where a test failed is photographed.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, ViewportSize, async_playwright, expect

# The first is the same engine without the windows around it, which nobody sees here and which are half of what a test costs.
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser")
CHROMIUM = os.environ.get("CDCD_CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), "")
AXE = Path(__file__).resolve().parent.parent / ".cache" / "browser" / "node_modules" / "axe-core" / "axe.min.js"
SHOTS = os.environ.get("CDCD_TEST_SHOTS", "")
MISSING = "the browser tests need Chromium and axe: `make browser` installs them"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    # One process draws and one shows: what more of them cost is what most of a test costs.
    *("--in-process-gpu", "--disable-software-rasterizer", "--renderer-process-limit=1", "--process-per-site"),
    *("--disable-component-update", "--disable-sync", "--font-render-hinting=none"),
]
PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1360, "height": 900}
SERIOUS = frozenset({"serious", "critical"})
STILL = """async () => {
  const ending = document.getAnimations().filter(one => Number.isFinite(one.effect.getComputedTiming().endTime));
  await Promise.allSettled(ending.map(one => one.finished));
}"""
expect.set_options(timeout=15_000)  # a machine that is busy is slow, and what is there is seen at once


def need_browser() -> None:
    """Skip the test, or fail it where a browser must be there."""
    if CHROMIUM and AXE.exists():
        return
    if os.environ.get("CDCD_TEST_BROWSER"):
        pytest.fail(MISSING)
    pytest.skip(MISSING)


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Chromium without a window."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield chromium
        finally:
            await chromium.close()


@dataclass
class Visit:
    """One page and all that was wrong with it. `allowed`: parts of console messages that a test expects."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note what a visitor must not meet."""
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(f"script: {error}"))
        self.page.on("request", self._request)
        self.page.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(part in message.text for part in self.allowed):
            self.errors.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        ours, theirs = urlsplit(self.url), urlsplit(request.url)
        if theirs.scheme != "data" and (theirs.scheme, theirs.netloc) != (ours.scheme, ours.netloc):
            self.errors.append(f"another origin: {request.url[:200]}")

    def _response(self, response: Response) -> None:
        if response.status >= 500:
            self.errors.append(f"{response.status}: {response.url}")

    async def go(self, path: str) -> None:
        """Open a page of the console."""
        await self.page.goto(self.url + path)

    async def violations(self) -> list[str]:
        """What axe finds on the page as it is: serious and critical ones, each with its places."""
        # By the debugger and not as a script of the page: that its Content-Security-Policy refuses.
        await self.page.evaluate(AXE.read_text() + "; undefined")
        await self.page.evaluate(STILL)  # what fades has the colours of neither end
        found: dict[str, Any] = await self.page.evaluate("async () => await axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {one['help']}: "
            + "; ".join(f"{json.dumps(node['target'])} {node['html'][:120]}" for node in one["nodes"][:5])
            for one in found["violations"]
            if one["impact"] in SERIOUS
        ]


@contextlib.asynccontextmanager
async def visiting(
    chromium: Browser,
    url: str,
    token: str = "",
    *,
    size: Any = None,
    dark: bool = False,
    scale: float = 1,
    scripts: bool = True,
) -> AsyncIterator[Visit]:
    """A fresh profile, signed in when there is a token. `url` is the server's, without a path. Fails at the end when anything was wrong."""
    context = await chromium.new_context(
        viewport=size,
        color_scheme="dark" if dark else "light",
        device_scale_factor=scale,
        reduced_motion="reduce",  # what breathes is drawn sixty times a second, by the processor
        java_script_enabled=scripts,
        locale="en-GB",
        timezone_id="UTC",
    )
    try:
        context.set_default_timeout(15_000)
        visit = Visit(await context.new_page(), url)
        visit.watch()
        if token:
            await visit.go("/console/sign-in")
            await visit.page.get_by_label("Token").fill(token)
            await visit.page.get_by_role("button", name="Sign in").click()
            await visit.page.wait_for_url(lambda at: "/sign-in" not in at)
        try:
            yield visit
        except Exception as error:
            error.add_note(f"at {visit.page.url}; wrong so far: {visit.errors}")
            if SHOTS:
                await visit.page.screenshot(path=Path(SHOTS) / f"{time.time():.0f}.png", full_page=True)
            raise
        assert visit.errors == [], visit.errors
    finally:
        await context.close()
