"""Queueing by hand in a browser, on a real daemon: an event is refused, mended and answered, its chain followed; one for later is moved and
taken back; and why a row made no delivery.

One daemon and one browser walk through everything; each `look_...` begins on a page of its own.
"""

import json
from pathlib import Path

from playwright.async_api import Browser, Locator, Page, expect

from tests.acceptance.setting import Setting
from tests.browser import DESK, PHONE, Visit, browser, need_browser, visiting
from tests.endpoint import Answer, Endpoint
from tests.integration.server.talking import Client, api, token, trigger
from tests.postgres import Database

ONCE = {"max": 1, "first": "50ms"}
SCHEMA = {
    "type": "object",
    "required": ["order", "total"],
    "properties": {
        "order": {"type": "integer", "minimum": 1},
        "total": {"type": "number"},
        "currency": {"enum": ["EUR", "USD"]},
    },
}


async def test_queueing_in_a_browser(tmp_path: Path, database: Database) -> None:
    need_browser()
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        await setting.ask("CREATE TABLE orders (id int PRIMARY KEY, total numeric, note text)")
        triggers = {
            "orders": setting.trigger("/orders", table="orders", type=("DB_INSERT",), when="new.total > 10"),
            "paid": trigger(setting, "PAID", path="/paid", retries=ONCE),
            "shipped": trigger(setting, "SHIPPED", path="/shipped"),
        }
        events = {"PAID": {"schema": SCHEMA, "allow": 'auth.role != "nobody"'}, "LONELY": None}
        async with api(setting, triggers, events=events) as client, browser() as chromium:
            await look_at_queueing(chromium, client, endpoint)
            await look_at_later(chromium, client)
            await look_why_nothing_happened(chromium, client, setting)
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
    assert await visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


async def look_at_queueing(chromium: Browser, client: Client, endpoint: Endpoint) -> None:
    told = {"event": {"type": "SHIPPED", "payload": {"order": 7}}, "response": {"paid": True}}
    endpoint.always(Answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"}), "/paid")
    async with visiting(chromium, client.url, _token(client, "operator"), size=DESK) as visit:
        page = visit.page
        await visit.go("/console/queue")
        await page.get_by_label("Type", exact=True).fill("PAID")
        payload = page.get_by_label("Payload, as JSON", exact=True)
        await expect(payload).to_have_value('{\n  "order": 1,\n  "total": 1,\n  "currency": "EUR"\n}')
        await expect(page.get_by_label("JSON Schema of PAID")).to_contain_text('"minimum": 1')
        await expect(page.locator("#checked")).to_contain_text("It fits the schema of PAID.")
        await _fine(visit)

        # While it is written, and when it is sent
        visit.allowed.append("422")
        await payload.fill('{"order": 0,\n "total": }')
        await expect(page.locator("#checked")).to_contain_text("line 2, column 11")
        await payload.fill('{"order": 0}')
        await expect(page.locator("#checked")).to_contain_text('"total" is a required property')
        await page.get_by_label("Key", exact=True).fill("customer-7")
        await page.get_by_label("Wait for the answer", exact=True).check()
        await _button(page, "Queue it")
        await expect(page.get_by_role("alert")).to_contain_text("Nothing was queued")
        await expect(page.locator("#wrong-data")).to_contain_text("/order: it is less than the minimum of 1")
        await expect(payload).to_have_value('{"order": 0}')
        await expect(page.get_by_label("Key", exact=True)).to_have_value("customer-7")
        await _fine(visit)
        assert endpoint.to("/paid") == []

        await payload.fill('{"order": 7, "total": 123456789012345678901.5}')
        await _button(page, "Queue it")
        await expect(_heading(page, "It was answered")).to_be_visible()
        await expect(page.locator("#result")).to_contain_text('"paid": true')
        (request,) = endpoint.to("/paid")
        assert b'"data":{"order":7,"total":123456789012345678901.5}' in request.body
        await expect(page.get_by_label("Wait for the answer", exact=True)).to_be_checked()

        # From its delivery to what followed, and back to the cause
        became = page.get_by_role("region", name="Its deliveries")
        await expect(became).to_contain_text("processed")
        await became.get_by_role("link", name="paid").click()
        await expect(_heading(page, "Delivered")).to_be_visible()
        await endpoint.wait_for(1, "/shipped")
        await expect(page.get_by_role("main")).to_contain_text("customer-7")
        while not await page.locator("#chain").get_by_role("link", name="shipped").count():
            await page.reload()
        await page.locator("#chain").get_by_role("link", name="shipped").click()
        chain = page.locator("#chain li")
        await expect(chain.first).to_contain_text("paid")
        await expect(chain.nth(1)).to_contain_text("this one")
        await expect(page.get_by_role("main")).to_contain_text("correlationid")

        # What goes wrong afterwards is told too
        endpoint.always(Answer(500), "/paid")
        await visit.go("/console/queue?type=PAID")
        await page.get_by_label("Wait for the answer", exact=True).check()
        await _button(page, "Queue it")
        await expect(_heading(page, "The delivery failed for good")).to_be_visible()
        await expect(page.locator("#queueing .verdict")).to_contain_text("paid, attempt 2: answered 500")
        await page.get_by_label("Type", exact=True).fill("LONELY")
        await expect(page.locator("#about")).to_contain_text("No enabled trigger wants it")
        await _button(page, "Queue it")
        await expect(page.get_by_role("heading", name="no trigger wants it")).to_be_visible()
        await page.get_by_label("Type", exact=True).fill("LOST")
        await _button(page, "Queue it")
        await expect(page.locator("#wrong-type")).to_contain_text("there is no type LOST")
        await page.get_by_label("Type", exact=True).fill("LONELY")
        await page.get_by_text("Id and subject").click()
        await page.get_by_label("Id", exact=True).fill("mine")
        await page.get_by_label("Wait for the answer", exact=True).uncheck()
        await _button(page, "Queue it")
        await expect(_heading(page, "It is queued")).to_be_visible()
        await _button(page, "Queue it")
        await expect(_heading(page, "It was queued before")).to_be_visible()


async def look_at_later(chromium: Browser, client: Client) -> None:
    async with visiting(chromium, client.url, _token(client, "operator"), size=DESK) as visit:
        page = visit.page
        visit.allowed.append("422")
        await visit.go("/console/queue?type=SHIPPED")
        await page.get_by_label("Delay", exact=True).fill("soon")
        await _button(page, "Queue it")
        await expect(page.locator("#wrong-delay")).to_be_visible()
        await page.get_by_label("Delay", exact=True).fill("1h")
        await page.get_by_label("Wait for the answer", exact=True).check()
        await _button(page, "Queue it")
        await expect(page.locator("#wrong-wait")).to_contain_text("an event for later cannot be waited for")
        await page.get_by_label("Wait for the answer", exact=True).uncheck()
        await _button(page, "Queue it")
        await expect(_heading(page, "It is queued for later")).to_be_visible()
        await visit.go("/console/queue")
        await page.get_by_label("Type", exact=True).fill("SHIPPED")
        await page.get_by_label("Or at a time, in UTC", exact=True).fill("2090-01-31T12:30")
        await _button(page, "Queue it")
        await expect(page.locator("#queueing .verdict")).to_contain_text("2090-01-31 12:30:00.000 UTC")

        await visit.go("/console/queue")
        rows = page.get_by_role("region", name="For later").locator("tbody tr")
        await expect(rows).to_have_count(2)
        await expect(rows.first).to_contain_text("in 59 min")
        await rows.first.get_by_text("Move", exact=True).click()
        await rows.first.get_by_label("To, in UTC", exact=True).fill("2095-06-01T08:00:00")
        await rows.first.get_by_role("button", name="Move it").click()
        rows = page.locator("tbody tr")
        await expect(rows.last).to_contain_text("2095-06-01 08:00:00.000 UTC")
        await expect(page.get_by_role("status").filter(has_text="2095-06-01")).to_be_visible()
        for left in (1, 0):
            await rows.first.get_by_role("button", name="Cancel…").click()
            await _button(page, "Take it back")
            await expect(rows).to_have_count(left)
        await expect(page.get_by_text("No event waits for its time.")).to_be_visible()
        assert (await client.ask("GET", "/v1/events/scheduled", role="viewer")).json == {"events": []}


async def look_why_nothing_happened(chromium: Browser, client: Client, setting: Setting) -> None:
    await setting.ask("INSERT INTO orders VALUES (1, 20, 'dear'), (2, 5, 'cheap')")
    await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE trigger = 'orders' AND status = 'processed'", 1)
    async with visiting(chromium, client.url, _token(client, "admin"), size=DESK) as visit:
        page = visit.page
        visit.allowed.append("422")
        await visit.go("/console/explain?table=orders")
        await page.get_by_label("Key", exact=True).fill("2")
        await _button(page, "Explain")
        await expect(_heading(page, "No trigger fires for it")).to_be_visible()
        verdict = page.get_by_role("article", name="orders").first
        await expect(verdict).to_contain_text("does not fire")
        await expect(verdict).to_contain_text("new.total > 10")
        await expect(verdict).to_contain_text("5")
        await _fine(visit)
        await page.get_by_label("Key", exact=True).fill("1")
        await _button(page, "Explain")
        await expect(_heading(page, "1 trigger fires for it, as things are now")).to_be_visible()
        await expect(page.get_by_role("region", name="Its last deliveries")).to_contain_text("processed")
        await page.get_by_label("Key", exact=True).fill("99")
        await _button(page, "Explain")
        await expect(page.get_by_text("there is no row 99 in public.orders now")).to_be_visible()
        await page.get_by_label("Key", exact=True).fill("")
        await page.get_by_text("Give the row as JSON instead").click()
        await page.get_by_label("The row", exact=True).fill('{"id": 3, "total": 50')
        await _button(page, "Explain")
        await expect(page.locator("#wrong-row")).to_contain_text("line 1")
        await page.get_by_label("The row", exact=True).fill('{"id": 3, "total": 50}')
        await page.get_by_label("As", exact=True).select_option("DB_INSERT")
        await _button(page, "Explain")
        await expect(_heading(page, "1 trigger fires for it, as things are now")).to_be_visible()
        await page.get_by_label("Table", exact=True).fill("a b; --")
        await _button(page, "Explain")
        await expect(page.get_by_role("alert")).to_contain_text("the table:")


async def look_as_a_viewer(chromium: Browser, client: Client) -> None:
    async with visiting(chromium, client.url, _token(client, "viewer"), size=DESK) as visit:
        page = visit.page
        for path in ("/console/queue", "/console/explain", "/console/queue/later"):
            await visit.go(path)
            await expect(page.get_by_role("main").get_by_role("heading").first).to_be_visible()
            await expect(page.locator("main form")).to_have_count(0)
        visit.allowed.append("403")
        csrf = json.loads(await page.locator("body").get_attribute("hx-headers") or "")["X-CSRF-Token"]
        asking = "([at, csrf]) => fetch(at, {method: 'POST', headers: {'X-CSRF-Token': csrf}}).then(r => r.status)"
        for path in (
            "/console/queue",
            "/console/queue/check",
            "/console/queue/cancel",
            "/console/queue/move",
            "/console/explain",
        ):
            assert await page.evaluate(asking, [path, csrf]) == 403


async def look_without_scripts(chromium: Browser, client: Client) -> None:
    async with visiting(chromium, client.url, _token(client, "operator"), size=DESK, scripts=False) as visit:
        page = visit.page
        visit.allowed.append("422")
        await visit.go("/console/queue?type=PAID")
        await page.get_by_label("Payload, as JSON", exact=True).fill('{"order": 0, "total": 1}')
        await _button(page, "Queue it")
        await expect(page.locator("#wrong-data")).to_contain_text("less than the minimum")
        await page.get_by_label("Payload, as JSON", exact=True).fill('{"order": 8, "total": 1}')
        await page.get_by_label("Delay", exact=True).fill("2h")
        await _button(page, "Queue it")
        await expect(_heading(page, "It is queued for later")).to_be_visible()
        await page.get_by_role("link", name="Events that wait for their time").click()
        await _button(page, "Cancel…")
        await expect(page.get_by_text("No event waits for its time.")).to_be_visible()


async def look_around(chromium: Browser, client: Client) -> None:
    """In the dark, and on a phone; one event waits."""
    assert (await client.post("/v1/events", {"type": "SHIPPED", "delay": "1h"}, role="admin")).status == 202
    for size, dark in ((DESK, True), (PHONE, False)):
        async with visiting(chromium, client.url, _token(client, "admin"), size=size, dark=dark) as visit:
            for path in ("/console/queue?type=PAID", "/console/explain"):
                await visit.go(path)
                if "queue" in path:
                    await expect(visit.page.get_by_role("region", name="For later").locator("tbody tr")).to_have_count(1)
                await _fine(visit)
