"""Signing in and out of the console, what protects a session, and that all that matters works without scripts.

On a real daemon: what a browser does with it is shown in one, the rest by plain requests.
"""

import re
import time
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from playwright.async_api import Browser, Request, expect

from cdcd.server.brake import BURST
from tests.acceptance.setting import Setting
from tests.browser import DESK, PHONE, browser, need_browser, visiting
from tests.console.failed import failed
from tests.endpoint import Endpoint
from tests.integration.server.talking import Client, api, token
from tests.postgres import Database

HERE = {"Sec-Fetch-Site": "same-origin"}
CSRF = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


def made(client: Client, role: Any = "operator", **claims: Any) -> str:
    return token(role=role, sub="alice", aud=f"cdcd/{client.project}", **claims)


class Visitor:
    """Somebody with a cookie and without a browser."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.cookie = ""

    async def ask(self, method: str, path: str, form: Any = None, **headers: str) -> tuple[int, Any, str]:
        """Status, headers and text; no redirect is followed."""
        sent = {**HERE, "Cookie": self.cookie, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.client.session.request(
            method, self.client.url + path, data=form, headers=sent, allow_redirects=False
        ) as answer:
            return answer.status, answer.headers.copy(), await answer.text()

    async def sign_in(self, signed: str, **more: str) -> tuple[int, Any, str]:
        status, headers, text = await self.ask("POST", "/console/sign-in", {"token": signed, **more})
        if status == 303:
            self.cookie = headers["Set-Cookie"].partition(";")[0]
        return status, headers, text

    async def csrf(self) -> str:
        _, _, text = await self.ask("GET", "/console/events")
        found = CSRF.search(text)
        assert found is not None, text[:500]
        return found[1]


async def test_signing_in_by_plain_requests(tmp_path: Path, database: Database) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with api(setting, {"t": setting.trigger("/t", table="t")}) as client:
            await nobody_sees_anything(client)
            await a_cookie_and_its_flags(client)
            await what_is_sent_from_elsewhere_is_refused(client)
            await nothing_ends_a_header(client)
            await another_role(client)
            await who_guesses_is_slowed(client)  # at the end: nobody at this address comes in afterwards


async def nobody_sees_anything(client: Client) -> None:
    """Who has not signed in is led to where they can, and from there back; nobody is led elsewhere."""
    visitor = Visitor(client)
    for path in ("/console/", "/console/events?status=failed&trigger=t", "/console/bulk?action=retry", "/console/operations"):
        status, headers, _ = await visitor.ask("GET", path)
        back = "" if path == "/console/" else f"?next={quote(path, safe='')}"
        assert (status, headers["Location"]) == (303, f"/console/sign-in{back}")
    # A part of a page, and a form: back to the page where they were asked from.
    page = {"HX_Request": "true", "HX_Current_URL": f"{client.url}/console/events?status=failed"}
    status, headers, text = await visitor.ask("GET", "/console/events/count", **page)
    assert (status, headers["HX-Redirect"]) == (401, "/console/sign-in?next=%2Fconsole%2Fevents%3Fstatus%3Dfailed")
    assert "<" not in text
    sent = {"Referer": f"{client.url}/console/bulk?action=retry"}
    status, headers, _ = await visitor.ask("POST", "/console/bulk", {"action": "retry"}, **sent)
    assert (status, headers["Location"]) == (303, "/console/sign-in?next=%2Fconsole%2Fbulk%3Faction%3Dretry")
    for path in ("/console/events", "/console/events/tail", "/v1/deliveries"):  # a token in the address or the header is none
        status, _, _ = await visitor.ask("GET", f"{path}?token={made(client)}")
        assert status in (303, 401)
        status, _, _ = await visitor.ask("GET", path, Cookie=f"token={made(client)}")
        assert status in (303, 401)
    status, _, _ = await visitor.ask("GET", "/console/events", Authorization=f"Bearer {made(client)}")
    assert status == 303

    good = made(client)
    for where in (
        "https://evil.example/",
        "//evil.example/",
        "/console/\\evil",
        "/v1/",
        "javascript:alert(1)",
        "/console/sign-in",
    ):
        status, headers, _ = await visitor.sign_in(good, next=where)
        assert (status, headers["Location"]) == (303, "/console/"), where
    status, headers, _ = await visitor.sign_in(good, next="/console/events?status=failed")
    assert (status, headers["Location"]) == (303, "/console/events?status=failed")


async def a_cookie_and_its_flags(client: Client) -> None:
    visitor = Visitor(client)
    assert (await visitor.sign_in(""))[0] == 422
    status, headers, _ = await visitor.sign_in(f"  Bearer {made(client)}\n")
    assert status == 303
    (cookie,) = SimpleCookie(headers["Set-Cookie"]).values()
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["path"], cookie["max-age"], cookie["domain"]) == ("Strict", "/", "", "")
    status, headers, text = await visitor.ask("GET", "/console/events")
    assert status == 200
    assert "alice, operator" in text
    assert headers["Cache-Control"] == "no-store"
    assert cookie.value not in text

    status, headers, _ = await visitor.ask(
        "POST", "/console/theme", {"theme": "dark"}, Referer=f"{client.url}/console/events?key=7"
    )
    assert (status, headers["Location"]) == (303, "/console/events?key=7")
    assert headers["Set-Cookie"].startswith("cdcd_theme=dark; Path=/console; Max-Age=31536000")
    _, _, text = await visitor.ask("GET", "/console/events", Cookie=f"{visitor.cookie}; cdcd_theme=dark")
    assert '<html lang="en" data-theme="dark">' in text
    _, _, text = await visitor.ask("GET", "/console/events", Cookie=f'{visitor.cookie}; cdcd_theme="><script>')
    assert '<html lang="en">' in text

    status, headers, _ = await visitor.ask("POST", "/console/sign-out", {"csrf": await visitor.csrf()})
    assert (status, headers["Location"]) == (303, "/console/sign-in")
    assert "Max-Age=0" in headers["Set-Cookie"]


async def what_is_sent_from_elsewhere_is_refused(client: Client) -> None:
    """A form without the session's token, or from a page that is not ours, does nothing, for each form that there is."""
    visitor, other = Visitor(client), Visitor(client)
    await visitor.sign_in(made(client, "admin"))
    await other.sign_in(made(client, "viewer"))
    csrf, theirs = await visitor.csrf(), await other.csrf()
    assert csrf != theirs
    order = {"action": "replay"}
    for form, headers in (
        (order, {}),
        ({**order, "csrf": ""}, {}),
        ({**order, "csrf": theirs}, {}),
        ({**order, "csrf": csrf}, {"Sec_Fetch_Site": "cross-site"}),
        ({**order, "csrf": csrf}, {"Sec_Fetch_Site": "same-site"}),
        ({**order, "csrf": csrf}, {"Sec_Fetch_Site": "none"}),
    ):
        for path in ("/console/bulk", f"/console/operations/{'0' * 36}/stop"):
            status, _, _ = await visitor.ask("POST", path, form, **headers)
            assert status == 403, (path, form, headers)
    assert (await client.ask("GET", "/v1/operations", role="viewer")).json["operations"] == []
    status, _, _ = await other.ask("POST", "/console/bulk", {**order, "csrf": theirs})  # their own, and not their role
    assert status == 403
    status, headers, _ = await visitor.ask("POST", "/console/bulk", {**order, "csrf": csrf})
    assert status == 303
    assert headers["Location"].startswith("/console/operations/")
    assert (await visitor.ask("POST", "/console/sign-in", {"token": "x"}, Sec_Fetch_Site="cross-site"))[0] == 403


async def nothing_ends_a_header(client: Client) -> None:
    """What a link says goes into an address, and is a part of that alone, whatever it is."""
    visitor = Visitor(client)
    await visitor.sign_in(made(client))
    breaking = "x\r\nSet-Cookie: a=b\r\n\r\n<script>\0€"
    encoded = "x%0D%0ASet-Cookie%3A+a%3Db%0D%0A%0D%0A%3Cscript%3E%00%E2%82%AC"
    status, headers, text = await visitor.ask("GET", f"/console/events?status=&cursor={quote(breaking, safe='')}")
    assert (status, headers["Location"], text) == (303, f"/console/events?cursor={encoded}", "")
    assert "Set-Cookie" not in headers
    status, headers, _ = await visitor.ask("GET", f"/console/events?cursor={quote(breaking, safe='')}", HX_Request="true")
    assert (status, headers["HX-Push-Url"]) == (422, f"/console/events?cursor={encoded}")
    status, headers, _ = await visitor.ask("POST", "/console/theme", {"theme": "dark"}, Referer=f"{client.url}/console/€")
    assert (status, headers["Location"]) == (303, "/console/%E2%82%AC")


async def another_role(client: Client) -> None:
    """A token that may only queue comes in nowhere; one that says nothing of whom it is for neither."""
    visitor = Visitor(client)
    for signed in (made(client, "queue"), made(client, "app"), token(role="admin", sub="alice"), token(role="viewer")):
        status, headers, text = await visitor.sign_in(signed)
        assert status == 403
        assert "role must be" in text
        assert "Set-Cookie" not in headers
    await visitor.sign_in(made(client, "viewer"))
    cookie = visitor.cookie.partition("=")[0]
    status, _, text = await visitor.ask("GET", "/console/events", Cookie=f"{cookie}={made(client, 'queue')}")
    assert (status, "Sign in" in text) == (403, True)


async def who_guesses_is_slowed(client: Client) -> None:
    visitor, known = Visitor(client), made(client)
    await visitor.sign_in(known)
    guess = made(client)[:-4] + "AAAA"
    met = [await visitor.sign_in(guess) for _ in range(BURST + 4)]
    assert {status for status, _, _ in met[: BURST - 5]} == {401}
    status, headers, text = met[-1]
    assert status == 429
    assert f"Try again in {headers['Retry-After']} s." in text
    assert guess not in text
    assert guess not in met[0][2]
    assert (await visitor.ask("GET", "/console/events"))[0] == 200  # who was in stays in
    assert (await Visitor(client).sign_in(made(client, exp=time.time() + 1234)))[0] == 429  # nobody new comes in for now


async def test_signing_in_with_a_browser(tmp_path: Path, database: Database) -> None:
    need_browser()
    database.execute("CREATE TABLE t (id int PRIMARY KEY, note text)")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with api(setting, {"t": setting.trigger("/t", table="t")}) as client, browser() as chromium:
            await by_the_form_and_by_a_link(chromium, client)
            await when_the_session_is_over(chromium, client)
            await no_script_but_ours(chromium, client)
            await without_scripts(chromium, client, setting)


async def by_the_form_and_by_a_link(chromium: Browser, client: Client) -> None:
    async with visiting(chromium, client.url, size=DESK) as visit:
        page = visit.page
        await visit.go("/console/events?status=failed")
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert await visit.violations() == []
        visit.allowed.append("401")
        await page.get_by_label("Token").fill("nonsense")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await expect(page.get_by_label("Token")).to_be_focused()
        assert await visit.violations() == []
        await page.get_by_label("Token").fill(made(client))
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"{client.url}/console/events?status=failed")
        await page.get_by_role("button", name="Dark").click()
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        await page.go_back()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

    # The token of a link is in its fragment: no request has it but the one that signs in, and it leaves the address.
    signed = made(client, "viewer")
    async with visiting(chromium, client.url, size=PHONE) as visit:
        asked: list[Request] = []
        visit.page.on("request", lambda request: asked.append(request))
        await visit.go(f"/console/events?status=failed#token={signed}")
        await visit.page.wait_for_url(f"{client.url}/console/events?status=failed")
        await expect(visit.page.get_by_role("heading", name="Events")).to_be_visible()
        assert "token" not in visit.page.url
        having = []
        for request in asked:
            headers = await request.all_headers()
            assert signed not in request.url
            assert signed not in headers.get("referer", "")
            if signed in (request.post_data or ""):
                having.append((request.method, request.url))
        assert having == [("POST", f"{client.url}/console/sign-in")]
        assert await visit.page.evaluate("document.cookie") == ""  # no script sees it


async def when_the_session_is_over(chromium: Browser, client: Client) -> None:
    """Whatever is asked for next, a part of a page too, leads to where one signs in, and from there back."""
    async with visiting(chromium, client.url, made(client), size=DESK) as visit:
        page = visit.page
        visit.allowed.append("401")
        await visit.go("/console/events?key=7")
        await page.wait_for_load_state("networkidle")  # what the page itself still asks for would lead away before the click
        (cookie,) = await page.context.cookies()
        over = made(client, exp=time.time() - 60)
        await page.context.add_cookies([{"name": cookie.get("name", ""), "value": over, "url": client.url, "httpOnly": True}])
        await page.get_by_label("failed").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await page.get_by_label("Token").fill(made(client))
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"{client.url}/console/events?key=7")


async def no_script_but_ours(chromium: Browser, client: Client) -> None:
    """What somebody got into a page would not run, nor be styled, nor be framed."""
    async with visiting(chromium, client.url, made(client), size=DESK) as visit:
        page = visit.page
        visit.allowed += ["Content Security Policy", "content security policy", "frame", "chrome-error"]
        await visit.go("/console/events")
        await page.evaluate(
            """() => {
                const script = document.createElement("script");
                script.textContent = "window.ran = 'inline'";
                document.body.append(script);
                const button = document.createElement("button");
                button.setAttribute("onclick", "window.ran = 'handler'");
                document.body.append(button);
                button.click();
                const styled = document.createElement("p");
                styled.id = "styled";
                styled.setAttribute("style", "color: rgb(1, 2, 3)");
                document.body.append(styled);
                const link = document.createElement("a");
                link.href = "javascript:window.ran='link'";
                document.body.append(link);
                link.click();
            }"""
        )
        assert await page.evaluate("window.ran") is None
        assert await page.evaluate("getComputedStyle(document.getElementById('styled')).color") != "rgb(1, 2, 3)"
        paths = ("/console/events", "/console/sign-in", "/console/nothing", "/console/static/console.css", "/console/sign-out")
        for path in paths:  # also where there is nothing, and where GET is no method
            async with aiohttp.ClientSession() as session, session.get(client.url + path, allow_redirects=False) as answer:
                policy = answer.headers.get("Content-Security-Policy", "")
                assert "default-src 'none'" in policy, path
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
        html = await page.content()
        assert "<style" not in html.replace("<style></style>", "")


async def without_scripts(chromium: Browser, client: Client, setting: Setting) -> None:
    """Sign in, filter, the next page, a colour, retry many, see what became of it."""
    await failed(setting, 60, trigger="t", table="public.t")
    async with visiting(chromium, client.url, made(client), size=DESK, scripts=False) as visit:
        page = visit.page
        rows = page.locator("#log-rows tr[id^=d-]")
        await visit.go("/console/events")
        await expect(page.get_by_role("button", name="Live tail")).to_be_hidden()
        await expect(page.get_by_text("counting…")).to_be_hidden()
        await page.get_by_label("failed").check()
        await page.get_by_label("Trigger").fill("t")
        await page.get_by_role("button", name="Filter").click()
        await page.wait_for_url(f"{client.url}/console/events?status=failed&trigger=t")
        met = set(await rows.evaluate_all("rows => rows.map(row => row.id)"))
        assert len(met) <= 50
        while len(met) < 60:  # page by page; a slow machine has shorter ones
            await page.locator("a[rel=next]").click()
            met |= set(await rows.evaluate_all("rows => rows.map(row => row.id)"))
        where = page.url
        await page.get_by_role("button", name="Dark").click()
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        assert page.url == where
        await visit.go("/console/events?status=failed&trigger=t")
        await page.get_by_role("button", name="Retry these…").click()
        await page.get_by_role("button", name="Retry 60 deliveries").click()
        await expect(page.get_by_role("heading", name="Retry of 60 deliveries")).to_be_visible()
        await setting.endpoint.wait_for(60, "/t")
        await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", 60)
        await page.get_by_role("link", name="Count them").click()
        await expect(page.get_by_role("main")).to_contain_text(re.compile(r"processed\s+60"))
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
