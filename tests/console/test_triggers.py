"""Triggers in a browser, on a real daemon: listed, searched, paused, switched, deleted, refused, tried, and really sent once.

One daemon and one browser walk through everything; each `look_at_...` begins on a page of its own, with what those before it left.
"""

import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.acceptance.setting import Setting
from tests.browser import DESK, PHONE, Visit, browser, need_browser, visiting
from tests.endpoint import Endpoint
from tests.integration.server.talking import Client, api, token, trigger
from tests.postgres import Database

SECRET_OF_THE_SHOP = "secret-of-the-shop"
NOBODY_THERE = "http://127.0.0.1:9"


@pytest.mark.timeout(300)
async def test_triggers_in_a_browser(tmp_path: Path, database: Database) -> None:
    need_browser()
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        await setting.ask("CREATE TABLE orders (id int PRIMARY KEY, total numeric, state text)")
        _write(tmp_path, setting)
        main = {
            "paid": trigger(setting, "PAID", path="/paid"),
            "down": trigger(setting, "DOWN", url=f"{NOBODY_THERE}/down"),
        }
        async with api(setting, main, include="triggers/*.yaml") as client, browser() as chromium:
            async with visiting(chromium, client.url, _token(client, "admin"), size=DESK) as visit:
                await look_at_the_list(visit, client)
                await look_at_a_trigger(visit, setting)
                await look_at_refusals(visit, tmp_path)
                await look_at_trying(visit, setting)
                await look_at_one_that_goes(visit, client, tmp_path)
            await look_as_a_viewer(chromium, client)
            await look_without_scripts(chromium, client)
            await look_around(chromium, client)


def _write(directory: Path, setting: Setting) -> None:
    (directory / "triggers").mkdir()
    orders = {
        "type": ["DB_INSERT", "DB_UPDATE"],
        "table": "orders",
        "when": 'new.total > 10 && (new.state == "new" || type == "DB_UPDATE")',
        "webhook": {"url": setting.endpoint.url("/orders"), "headers": {"X-Key": SECRET_OF_THE_SHOP}},
    }
    waiting = trigger(setting, "WAITING", path="/waiting")
    (directory / "triggers" / "way-in").write_text(f"{SECRET_OF_THE_SHOP}\n")
    off = trigger(setting, "OFF", path="/off/${file:way-in}/in", enabled=False)
    for name, definition in (("orders", orders), ("waiting", waiting), ("off", off)):
        lines = "".join(f"    {option}: {json.dumps(value)}\n" for option, value in definition.items())
        (directory / "triggers" / f"{name}.yaml").write_text(f"triggers:\n  # kept as it is\n  {name}:\n{lines}")


def _token(client: Client, role: str) -> str:
    return token(role=role, sub="alice", aud=f"cdcd/{client.project}")


def _row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


async def _button(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


async def _fine(visit: Visit) -> None:
    assert await visit.violations() == []
    assert await visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


async def look_at_the_list(visit: Visit, client: Client) -> None:
    page = visit.page
    await visit.go("/console/triggers")
    await expect(_row(page, "orders")).to_contain_text("active")
    await expect(_row(page, "orders")).to_contain_text("DB_INSERT, DB_UPDATE · orders")
    await expect(_row(page, "off")).to_contain_text("disabled")
    await expect(page.get_by_role("button", name="Add a trigger")).to_have_attribute("href", "/console/new-trigger")

    # It refreshes by itself, and nothing that somebody is at is lost
    link = page.get_by_role("link", name="orders", exact=True)
    await link.focus()
    assert (await client.post("/v1/events", {"type": "DOWN"}, role="admin")).status == 202
    await expect(_row(page, "down")).to_contain_text("circuit open", timeout=20_000)
    await expect(_row(page, "down")).to_contain_text("refused")
    await expect(link).to_be_focused()
    await expect(page.get_by_role("row").nth(1)).to_contain_text("down")  # who needs somebody stands first
    await _fine(visit)

    await page.get_by_role("searchbox").fill("orders")
    await expect(page.locator("tbody tr")).to_have_count(1)
    assert page.url.endswith("/console/triggers?q=orders")
    await page.get_by_role("searchbox").fill("")
    await page.get_by_label("disabled").check()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(_row(page, "off")).to_be_visible()
    await page.get_by_role("searchbox").fill("nothing like it")
    await page.get_by_role("button", name="Show all").click()
    await page.get_by_role("link", name="Trigger", exact=True).click()
    await expect(page.get_by_role("columnheader", name="Trigger")).to_have_attribute("aria-sort", "ascending")
    assert [await each.inner_text() for each in await page.locator("td a.whole").all()] == [
        *("down", "off", "orders", "paid", "waiting")
    ]


async def look_at_a_trigger(visit: Visit, setting: Setting) -> None:
    directory, endpoint = setting.directory, setting.endpoint
    page = visit.page
    await visit.go("/console/triggers")
    await page.get_by_role("link", name="orders", exact=True).click()
    definition = page.get_by_label("Definition as YAML")
    await expect(definition).to_contain_text("new.total > 10")
    await expect(definition).to_contain_text("***")
    assert SECRET_OF_THE_SHOP not in await page.content()
    await expect(page.get_by_text(f"{directory}/triggers/orders.yaml:4")).to_be_visible()
    await _fine(visit)

    # What comes while it is paused waits
    await _button(page, "Pause")
    await expect(page.get_by_role("heading", name="Paused")).to_be_visible()
    await expect(page.locator("#verdict")).to_contain_text("by alice (admin)")
    await setting.ask("INSERT INTO orders VALUES (1, 20, 'new')")
    await expect(page.locator("#standing")).to_contain_text("public.orders/1", timeout=20_000)
    assert endpoint.to("/orders") == []
    await _button(page, "Resume")
    await expect(page.get_by_role("heading", name="Active")).to_be_visible()
    await endpoint.wait_for(1, "/orders")
    await expect(page.locator("#standing")).to_contain_text("processed", timeout=20_000)

    # Switched off and on where it is written, everything else as it was
    file = directory / "triggers" / "orders.yaml"
    before = file.read_text()
    await _button(page, "Disable")
    await expect(page.get_by_role("dialog")).to_contain_text("is not captured")
    await _button(page, "No, leave it")
    assert file.read_text() == before
    await _button(page, "Disable")
    await _button(page, "Disable it")
    await expect(page.get_by_role("heading", name="Disabled")).to_be_visible()
    assert file.read_text() == before + "    enabled: false\n"
    await _button(page, "Enable")
    await expect(page.get_by_role("heading", name="Active")).to_be_visible()
    assert file.read_text() == before + "    enabled: true\n"


async def look_at_refusals(visit: Visit, directory: Path) -> None:
    page = visit.page
    await visit.go("/console/triggers/paid")
    await expect(page.get_by_text("which cdcd never writes")).to_be_visible()
    for name in ("Disable", "Delete"):
        await expect(page.get_by_role("button", name=name)).to_have_count(0)

    # The file has changed since the page was made
    file = directory / "triggers" / "orders.yaml"
    before = file.read_text()
    visit.allowed += ["412 (Precondition Failed)", "422 (Unprocessable"]
    await visit.go("/console/triggers/orders")
    await expect(page.get_by_role("button", name="Delete")).to_be_visible()
    file.write_text(before + "# by hand\n")
    await _button(page, "Delete")
    await _button(page, "Delete it")
    await expect(page.get_by_role("alert")).to_contain_text("has changed since it was read")
    assert file.read_text() == before + "# by hand\n"

    # The configuration would not be read any more
    await visit.go("/console/triggers/orders")
    await expect(page.get_by_role("button", name="Delete")).to_be_visible()
    other = directory / "triggers" / "wrong.yaml"
    other.write_text("triggers:\n  wrong:\n    tipe: X\n")
    await _button(page, "Disable")
    await _button(page, "Disable it")
    await expect(page.get_by_role("alert")).to_contain_text("wrong.yaml:3")
    other.unlink()
    file.write_text(before)

    visit.allowed.append("404 (Not Found)")
    await visit.go("/console/triggers/nobody")
    await expect(page.get_by_text("there is no trigger nobody", exact=False)).to_be_visible()


async def look_at_trying(visit: Visit, setting: Setting) -> None:
    endpoint = setting.endpoint
    page = visit.page
    await visit.go("/console/triggers/orders")
    await page.get_by_role("button", name="Try it").click()
    data = page.get_by_label("Data, as JSON")
    tried = page.locator("#tried")
    assert json.loads(await data.input_value()) == {"doc": {"id": 1, "total": 20, "state": "new"}}  # its last delivery's

    # Says no, and which part does
    await data.fill('{"doc": {"id": 1, "total": 3, "state": "new"}}')
    await _button(page, "Try it")
    await expect(tried.get_by_role("heading", name="It would not fire")).to_be_focused()
    part = tried.locator(".part").filter(has=page.get_by_text("new.total > 10", exact=True))
    await expect(part).to_contain_text("no")
    await expect(part).to_contain_text("new.total = 3")
    await expect(page.get_by_role("button", name="Send it once")).to_have_count(0)
    await _fine(visit)

    # The same row, updated
    await page.get_by_role("combobox", name="Type").select_option("DB_UPDATE")
    await expect(data).to_have_value(re.compile('"before"'))
    visit.allowed.append("422 (Unprocessable")
    await data.fill("{")
    await _button(page, "Try it")
    await expect(tried).to_contain_text("the data is no JSON")

    # Says yes, shows the request, and sends it once
    await data.fill('{"doc": {"id": 5, "total": 30, "state": "paid"}, "before": {"id": 5, "total": 30, "state": "new"}}')
    await _button(page, "Try it")
    await expect(tried.get_by_role("heading", name="It would fire")).to_be_visible()
    await expect(tried).to_contain_text("X-Cdcd-Test")
    assert SECRET_OF_THE_SHOP not in await page.content()
    asked = len(endpoint.to("/orders"))
    await _button(page, "Send it once")
    await expect(page.get_by_role("dialog")).to_contain_text("marked as a test")
    await _button(page, "Send it")
    await expect(tried.get_by_role("heading", name="What came back")).to_be_visible()
    await expect(tried).to_contain_text("200")
    sent = (await endpoint.wait_for(asked + 1, "/orders"))[-1]
    assert sent.headers["X-Cdcd-Test"] == "true"
    assert sent.headers["X-Key"] == SECRET_OF_THE_SHOP
    assert (sent.event["type"], sent.event["data"]["changed"]) == ("DB_UPDATE", ["state"])
    await _fine(visit)

    # On what has happened, and on rows
    await page.get_by_text("the last events").click()
    await _button(page, "Try it")
    await expect(tried.get_by_role("heading", name="It would fire")).to_be_visible()
    delivery = await tried.get_by_role("link", name="its delivery").get_attribute("href")
    assert delivery is not None
    await visit.go(f"/console/triggers/orders/try?delivery={delivery.rpartition('/')[2]}")
    await _button(page, "Try it")
    await expect(tried).to_contain_text("public.orders/1")
    await setting.ask("INSERT INTO orders VALUES (2, 1, 'new')")
    await page.get_by_text("rows as they are").click()
    await _button(page, "Try it")
    await expect(tried.get_by_role("heading", name="It would fire for 1 of 2 events")).to_be_visible()


async def look_as_a_viewer(chromium: Browser, client: Client) -> None:
    async with visiting(chromium, client.url, _token(client, "viewer"), size=DESK) as visit:
        page = visit.page
        await visit.go("/console/triggers")
        await expect(page.get_by_role("button", name="Add a trigger")).to_have_count(0)
        await visit.go("/console/triggers/orders")
        await expect(page.get_by_label("Definition as YAML")).to_be_visible()
        assert [await each.inner_text() for each in await page.locator("main form button").all()] == []
        await expect(page.get_by_role("button", name="Clone")).to_have_count(0)
        await visit.go("/console/triggers/off")
        await expect(page.get_by_label("Definition as YAML")).to_contain_text("${file:way-in}")
        await expect(page.locator("main")).to_contain_text("/off/***/in")
        assert SECRET_OF_THE_SHOP not in await page.content()
        await visit.go("/console/triggers/orders")
        await page.get_by_role("button", name="Try it").click()
        await expect(page.get_by_text("rows as they are")).to_have_count(0)
        await _button(page, "Try it")
        await expect(page.get_by_role("heading", name="It would fire")).to_be_visible()
        await expect(page.get_by_role("button", name="Send it once")).to_have_count(0)

        visit.allowed.append("403 (Forbidden)")
        post = """async ([path, body]) => (await fetch(`/console/triggers/orders/${path}`, {method: "POST", body, headers: {
            "X-CSRF-Token": JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRF-Token"],
            "Content-Type": "application/x-www-form-urlencoded"}})).status"""
        for path in ("pause", "resume", "enable", "disable", "delete"):
            assert await page.evaluate(post, [path, "etag=*"]) == 403
        for body in ("try-on=last&try-send=1", "try-on=rows"):
            assert await page.evaluate(post, ["try", body]) == 403
        assert (await client.ask("GET", "/v1/triggers/orders", role="viewer")).json["state"] == "active"


async def look_without_scripts(chromium: Browser, client: Client) -> None:
    async with visiting(chromium, client.url, _token(client, "admin"), size=DESK, scripts=False) as visit:
        page = visit.page
        await visit.go("/console/triggers?state=disabled")
        await expect(page.locator("tbody tr")).to_have_count(1)
        await visit.go("/console/triggers/orders")
        await page.get_by_role("link", name="Show it").click()
        await expect(page.get_by_role("button", name="Delete")).to_be_visible()
        await page.get_by_role("button", name="Try it").click()
        await page.get_by_label("Data, as JSON").fill('{"doc": {"total": 4}}')
        await _button(page, "Try it")
        await expect(page.get_by_role("heading", name="It would not fire")).to_be_visible()
        await expect(page.get_by_label("Data, as JSON")).to_have_value('{"doc": {"total": 4}}')


async def look_at_one_that_goes(visit: Visit, client: Client, directory: Path) -> None:
    page = visit.page
    await visit.go("/console/triggers/waiting")
    await _button(page, "Pause")
    await expect(page.get_by_role("heading", name="Paused")).to_be_visible()
    assert (await client.post("/v1/events", {"type": "WAITING"}, role="admin")).status == 202
    await expect(page.locator("#standing")).to_contain_text("WAITING", timeout=20_000)
    await page.reload()
    await _button(page, "Delete")
    await expect(page.get_by_role("dialog")).to_contain_text("The delivery that waits is kept")
    await _button(page, "Delete it")
    await expect(page.get_by_role("heading", name="Gone")).to_be_visible()
    assert not (directory / "triggers" / "waiting.yaml").exists()
    await expect(page.locator("#verdict")).to_contain_text("1 delivery of it waits")
    cancel = page.get_by_role("link", name="Cancel what waits")
    await expect(cancel).to_have_attribute("href", "/console/bulk?action=cancel&trigger=waiting&status=staged")
    await expect(page.get_by_text("No file has a trigger of this name")).to_be_visible()
    await _fine(visit)
    await visit.go("/console/triggers")
    await expect(_row(page, "waiting")).to_contain_text("gone")


async def look_around(chromium: Browser, client: Client) -> None:
    for size, dark in ((DESK, True), (PHONE, False)):
        async with visiting(chromium, client.url, _token(client, "operator"), size=size, dark=dark) as visit:
            for path in ("", "/orders", "/orders/try"):
                await visit.go(f"/console/triggers{path}")
                await expect(visit.page.get_by_text("Reading the files")).to_have_count(0)
                await _fine(visit)
