"""Deliveries in a browser, on a real daemon: one that failed is read and retried, one that waits is cancelled, one is sent elsewhere, the
command of curl is run, hostile data does no harm.

One daemon and one browser walk through everything; each `look_at_...` begins on a page of its own.
"""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Locator, Page, expect

from tests.acceptance.setting import Setting
from tests.browser import DESK, PHONE, Visit, browser, need_browser, visiting
from tests.endpoint import Answer, Endpoint
from tests.integration.server.talking import Client, api, token, trigger
from tests.postgres import Database

SECRET_OF_THE_SHOP = "secret-of-the-shop"
HOSTILE = (
    "</pre></textarea><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>'; touch owned; $(touch owned)"
)
ONCE = {"max": 1, "first": "50ms"}
LATER = {"max": 5, "first": "1h"}


async def test_deliveries_in_a_browser(tmp_path: Path, database: Database) -> None:
    need_browser()
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        await setting.ask("CREATE TABLE orders (id int PRIMARY KEY, total numeric, note text)")
        orders = setting.trigger("/orders", table="orders", type=("DB_INSERT",), retries=ONCE, when="new.total > 10")
        orders["webhook"]["headers"] = {"X-Key": SECRET_OF_THE_SHOP}
        triggers = {
            "orders": orders,
            "stuck": trigger(setting, "STUCK", path="/stuck", retries=LATER),
            "hostile": trigger(setting, "HOSTILE", path="/hostile", retries={"max": 0}),
        }
        async with api(setting, triggers) as client, browser() as chromium:
            await look_at_one_that_failed(chromium, client, setting)
            await look_at_those_that_wait(chromium, client, endpoint)
            await look_at_hostile_data(chromium, client, setting)
            await look_as_a_viewer(chromium, client)
            await look_without_scripts(chromium, client)
            await look_around(chromium, client)


def _token(client: Client, role: str) -> str:
    return token(role=role, sub="alice", aud=f"cdcd/{client.project}")


async def _button(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


def _heading(page: Page, name: str) -> Locator:
    return page.get_by_role("heading", name=name, exact=True)


async def _fine(visit: Visit) -> None:
    assert await visit.violations() == []
    await _harmless(visit)


async def _harmless(visit: Visit) -> None:
    assert await visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert await visit.page.evaluate("window.hacked") is None


async def _deliveries(client: Client, query: str) -> list[dict[str, Any]]:
    """All of them: on a busy machine a page looks for less than its time allows, and says where to go on."""
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        page = (await client.ask("GET", f"/v1/deliveries?{query}{more}", role="viewer")).json
        found += page["deliveries"]
        cursor = page.get("next")
    return found


async def _one(client: Client, query: str) -> str:
    """The id of the one delivery that there must be."""
    (found,) = await _deliveries(client, query)
    return str(found["id"])


async def look_at_one_that_failed(chromium: Browser, client: Client, setting: Setting) -> None:
    endpoint = setting.endpoint
    endpoint.always(Answer(503, b'{"why": "busy"}', {"Content-Type": "application/json"}), "/orders")
    await setting.ask("INSERT INTO orders VALUES (1, 20, %s)", [HOSTILE])
    await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'failed'", 1)
    identity = await _one(client, "trigger=orders")
    async with visiting(chromium, client.url, _token(client, "operator"), size=DESK) as visit:
        page = visit.page
        await visit.go(f"/console/deliveries/{identity}")
        await expect(_heading(page, "Failed after 2 attempts")).to_be_visible()
        way = page.locator("#way")
        for number in (1, 2):
            await expect(way.get_by_role("heading", name=f"Attempt {number}: 503 Service Unavailable")).to_be_visible()
        await expect(way.get_by_label("Answer to attempt 2")).to_contain_text('"why": "busy"')
        await expect(page.locator("#payload")).to_contain_text("window.hacked = 1")
        await expect(page.get_by_text("20 > 10")).to_have_count(0)
        await expect(page.get_by_role("main")).to_contain_text("new.total")  # why it fired
        for words in ("public.orders/1", f"cdcd/{setting.project}/main", identity):
            await expect(page.get_by_role("main")).to_contain_text(words)
        await expect(page.locator("#request-body")).to_contain_text('"specversion": "1.0"')
        assert SECRET_OF_THE_SHOP not in await page.content()
        await _fine(visit)

        await run_the_command(await page.locator("#curl").inner_text(), identity, setting)

        # Retried until it is delivered, and the page tells it by itself
        endpoint.always(Answer(200, b'{"ok": true}'), "/orders")
        gate = endpoint.hold("/orders")
        before = len(endpoint.to("/orders"))
        await _button(page, "Retry")
        await endpoint.wait_for(before + 1, "/orders")
        await expect(page.get_by_role("status").filter(has_text="It is on its way.")).to_be_visible()
        gate.set()
        await expect(_heading(page, "Delivered")).to_be_visible()
        assert {request.id for request in endpoint.to("/orders")} == {identity}
        await expect(way.get_by_role("heading", name="Attempt 3: 200 OK")).to_be_visible()

        # Who says yes to what is not there any more is told so
        await _button(page, "Send it again…")
        await page.evaluate("document.querySelector('form[data-confirm]').remove()")
        await _button(page, "Send it again")
        await expect(page.get_by_role("status").filter(has_text="nothing was done")).to_be_visible()
        await visit.go(f"/console/deliveries/{identity}")

        await _button(page, "Send it again…")
        await expect(page.get_by_role("dialog")).to_contain_text("It was delivered.")
        before = len(endpoint.to("/orders"))
        await _button(page, "Send it again")
        await endpoint.wait_for(before + 1, "/orders")
        await expect(way.get_by_role("heading", name="Attempt 4: 200 OK")).to_be_visible()

        await send_it_elsewhere(visit, endpoint, identity)


async def run_the_command(command: str, identity: str, setting: Setting) -> None:
    """What the page shows is run by a shell, as somebody does who has copied it."""
    if not shutil.which("curl"):
        return
    folder = setting.directory / "shell"
    folder.mkdir()
    before = len(setting.endpoint.to("/orders"))
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()} | {"HOME": str(folder)}
    made = await asyncio.create_subprocess_exec(
        "sh", "-c", command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    told, _ = await made.communicate()
    assert b"503 Service Unavailable" in told
    *real, copied = setting.endpoint.to("/orders")
    assert len(real) == before
    assert copied.body == real[-1].body
    assert copied.event["data"]["doc"]["note"] == HOSTILE
    assert copied.headers["webhook-id"] == identity
    assert copied.headers["X-SC-Token"] == "Bearer <token>"
    assert copied.headers["webhook-signature"] == "<signature>"
    assert copied.headers["X-Key"] == "<value>"
    assert list(folder.iterdir()) == []


async def send_it_elsewhere(visit: Visit, endpoint: Endpoint, identity: str) -> None:
    page = visit.page
    visit.allowed.append("422")
    await page.get_by_label("URL", exact=True).fill("http://user:pw@127.0.0.1/")
    await _button(page, "Send once")
    await expect(page.locator("#send-wrong")).to_contain_text("must not hold a user and password")
    await expect(page.get_by_label("URL", exact=True)).to_have_value("http://user:pw@127.0.0.1/")
    endpoint.always(Answer(201, b"there <b>too</b>"), "/other")
    await page.get_by_label("URL", exact=True).fill(endpoint.url("/other"))
    await _button(page, "Send once")
    await expect(page.locator("#sent")).to_contain_text("there <b>too</b>")
    await expect(page.locator("#sent")).to_contain_text("201")
    (request,) = endpoint.to("/other")
    assert request.id != identity
    await expect(page.locator("#chain").get_by_role("heading", name="Replays")).to_be_visible()
    await _fine(visit)
    await page.get_by_role("link", name="a delivery of its own").click()
    await expect(page.get_by_text(f"to {endpoint.url('/other')}").first).to_be_visible()
    await expect(page.get_by_role("link", name=identity)).to_have_attribute("href", f"/console/deliveries/{identity}")
    await expect(page.get_by_role("button", name="Send it again…")).to_have_count(0)


async def look_at_those_that_wait(chromium: Browser, client: Client, endpoint: Endpoint) -> None:
    endpoint.always(Answer(500, b"not now"), "/stuck")
    for number in (1, 2):
        answer = await client.post("/v1/events", {"type": "STUCK", "data": {"number": number}, "key": "k"}, role="admin")
        assert answer.status == 202
    await endpoint.wait_for(1, "/stuck")
    async with visiting(chromium, client.url, _token(client, "operator"), size=DESK) as visit:
        page = visit.page
        await visit.go("/console/events?trigger=stuck&status=staged")
        rows = page.locator("tbody tr[id^=d-]")
        while await rows.count() < 2 or "500" not in await rows.last.inner_text():
            await visit.go("/console/events?trigger=stuck&status=staged")
        second, first = (str(each["id"]) for each in await _deliveries(client, "trigger=stuck"))
        await visit.go(f"/console/deliveries/{second}")
        await expect(_heading(page, "Waits behind 1 of its lane")).to_be_visible()
        await expect(page.get_by_role("button", name="Try it now")).to_have_count(0)
        await page.locator("#state").get_by_role("link", name=first).click()
        await expect(_heading(page, "Waits for attempt 2 of at most 6")).to_be_visible()
        await expect(page.locator("#state")).to_contain_text("It is tried next in")
        await expect(page.get_by_label("Answer to attempt 1")).to_contain_text("not now")
        async with page.expect_response(lambda answer: "/state?seen=" in answer.url) as looked:
            pass
        assert (await looked.value).status == 204  # nothing has changed, so nothing moves under whoever is at it
        await _fine(visit)

        await _button(page, "Cancel…")
        await _button(page, "No, leave it")
        assert len(await _deliveries(client, "trigger=stuck&status=staged")) == 2
        endpoint.always(Answer(204), "/stuck")
        await _button(page, "Cancel…")
        await _button(page, "Cancel it")
        await expect(_heading(page, "Cancelled after 1 attempt")).to_be_visible()
        await expect(page.locator("#state")).to_contain_text("cancelled by operator (alice (operator))")
        await visit.go(f"/console/deliveries/{second}")  # now it is its turn
        await expect(_heading(page, "Delivered")).to_be_visible()

        # What cannot be done any more is told, on the page
        visit.allowed += ["409", "404"]
        posted = "([at, csrf]) => fetch(at, {method: 'POST', headers: {'X-CSRF-Token': csrf}}).then(r => r.text())"
        told = await page.evaluate(posted, [f"/console/deliveries/{second}/cancel", await _csrf(page)])
        assert "it is processed already" in told
        for none in ("abc", "01a23151-1315-8df3-967b-52779f43a6fa"):
            await visit.go(f"/console/deliveries/{none}")
            await expect(_heading(page, "There is no such delivery")).to_be_visible()
        await page.get_by_label("Another id", exact=True).fill(f" {second} ")
        await _button(page, "Look")
        await expect(_heading(page, "Delivered")).to_be_visible()


async def _csrf(page: Page) -> str:
    found: str = json.loads(await page.locator("body").get_attribute("hx-headers") or "")["X-CSRF-Token"]
    return found


async def look_at_hostile_data(chromium: Browser, client: Client, setting: Setting) -> None:
    body = HOSTILE.encode() + b"\xff\xfe\x1b[31m" + b"x" * 60_000
    setting.endpoint.always(Answer(500, body, {"Content-Type": "text/html"}), "/hostile")
    data = {HOSTILE: HOSTILE, "long": HOSTILE * 2000, "one": "x" * 5000}
    answer = await client.post(
        "/v1/events", {"type": "HOSTILE", "data": data, "key": HOSTILE, "subject": HOSTILE}, role="admin"
    )
    assert answer.status == 202
    await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE trigger = 'hostile' AND status = 'failed'", 1)
    identity = await _one(client, "trigger=hostile")
    for size in (DESK, PHONE):
        async with visiting(chromium, client.url, _token(client, "operator"), size=size) as visit:
            page = visit.page
            await visit.go(f"/console/deliveries/{identity}")
            await expect(page.get_by_label("Answer to attempt 1")).to_contain_text("window.hacked = 1")
            await expect(page.locator("#payload")).to_contain_text(HOSTILE)
            await expect(page.locator("#curl")).to_contain_text("printf '%s'")
            await expect(page.locator("pre script, pre img, main script")).to_have_count(0)
            await expect(page.get_by_role("link", name="All that is kept of it")).to_be_visible()
            await _harmless(visit)
            if size is DESK:
                async with page.expect_download() as download:
                    await page.get_by_role("link", name="as JSON").click()
                got = await asyncio.to_thread((await (await download.value).path()).read_bytes)
                assert json.loads(got) == data


async def look_as_a_viewer(chromium: Browser, client: Client) -> None:
    one = f"/console/deliveries/{await _one(client, 'trigger=hostile')}"
    async with visiting(chromium, client.url, _token(client, "viewer"), size=DESK) as visit:
        page = visit.page
        await visit.go(one)
        await expect(_heading(page, "Failed after 1 attempt")).to_be_visible()
        await expect(page.locator("main form")).to_have_count(0)
        visit.allowed.append("403")
        asking = "([at, csrf]) => fetch(at, {method: 'POST', headers: {'X-CSRF-Token': csrf}}).then(r => r.status)"
        for path in (f"{one}/retry", f"{one}/cancel", f"{one}/send"):
            assert await page.evaluate(asking, [path, await _csrf(page)]) == 403


async def look_without_scripts(chromium: Browser, client: Client) -> None:
    identity = await _one(client, "trigger=hostile")
    async with visiting(chromium, client.url, _token(client, "operator"), size=DESK, scripts=False) as visit:
        page = visit.page
        await visit.go(f"/console/deliveries/{identity}")
        await page.get_by_role("link", name="Show the request").click()
        await expect(page.locator("#curl")).to_contain_text("curl --include")


async def look_around(chromium: Browser, client: Client) -> None:
    """In the dark, and on a phone."""
    failed, waited = (
        (await _deliveries(client, "trigger=orders"))[0]["id"],
        await _one(client, "trigger=stuck&status=cancelled"),
    )
    for size, dark, identity in ((DESK, True, failed), (PHONE, False, waited)):
        async with visiting(chromium, client.url, _token(client, "admin"), size=size, dark=dark) as visit:
            await visit.go(f"/console/deliveries/{identity}")
            await expect(visit.page.locator("#curl")).to_be_visible()
            await _fine(visit)
