"""A newcomer's path through the running daemon, in one go.

Sign in by the address that `cdcd token --console` prints, see live events, add a trigger in the form, find it as YAML, fire it, find its
delivery, read a failed attempt, retry it to success, retry a thousand, queue an event.

No error in the browser's console, no request to another origin (`visiting` fails for these), nothing serious that axe finds on any page.
"""

import asyncio
import sys
from pathlib import Path

from playwright.async_api import Page, Route, expect

from tests.acceptance.setting import Setting
from tests.browser import Visit, browser, need_browser, visiting
from tests.console.failed import failed
from tests.daemon import ROOT
from tests.endpoint import Answer, Endpoint
from tests.integration.server.talking import api, trigger
from tests.postgres import Database

MANY = 1000


async def test_a_newcomer(tmp_path: Path, database: Database) -> None:
    need_browser()
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        await setting.ask("CREATE TABLE users (id int PRIMARY KEY, email text); CREATE TABLE orders (id int PRIMARY KEY)")
        (tmp_path / "triggers").mkdir()
        triggers = {"orders": setting.trigger("/orders", table="orders"), "paid": trigger(setting, "ORDER_PAID", path="/paid")}
        async with (
            api(setting, triggers, include="triggers/*.yaml") as client,
            browser() as chromium,
            visiting(chromium, client.url) as visit,
        ):
            await sign_in(visit, setting)
            await see_live_events(visit, setting)
            await add_a_trigger(visit, setting)
            await read_and_retry_what_failed(visit, setting)
            await retry_a_thousand(visit, setting)
            await queue_an_event(visit, endpoint)


async def sign_in(visit: Visit, setting: Setting) -> None:
    """By the address that the command prints; the token is gone from the address bar at once."""
    made = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "cdcd",
            "token",
            "-c",
            str(setting.directory / "cdcd.yaml"),
            "--role",
            "admin",
            "--subject",
            "alice",
        ),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    token = (await made.communicate())[0].decode().strip()
    page = visit.page
    await page.goto(f"{visit.url}/console/#token={token}")
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert token not in page.url
    await expect(page.get_by_text("alice, admin")).to_be_visible()
    await _fine(visit)


async def see_live_events(visit: Visit, setting: Setting) -> None:
    page = visit.page
    await _go(page, "Events")
    await expect(page.get_by_role("heading", name="No delivery yet")).to_be_visible()
    await page.get_by_role("button", name="Live tail").click()
    await setting.ask("INSERT INTO orders VALUES (1), (2), (3)")
    for number in (1, 2, 3):
        await expect(page.get_by_text(f"public.orders/{number}", exact=True)).to_be_visible()
    await _fine(visit)
    await _go(page, "Overview")
    await expect(page.get_by_text("All is well")).to_be_visible()


async def add_a_trigger(visit: Visit, setting: Setting) -> None:
    """With a mistake first, that is told at its field."""
    page = visit.page
    await _go(page, "Triggers")
    await page.get_by_role("button", name="Add a trigger").first.click()
    await page.get_by_label("Name", exact=True).fill("welcome-mail")
    await page.get_by_text("inserted, updated or deleted").click()
    await page.get_by_text("DB_INSERT", exact=True).click()
    await page.get_by_label("Table 1").fill("public.users")
    await page.get_by_label("URL", exact=True).fill(setting.endpoint.url("/welcome"))
    await page.get_by_label("Condition", exact=True).fill("new.email !=")
    file = setting.directory / "triggers/welcome-mail.yaml"
    when = page.locator(".field", has=page.get_by_label("Condition", exact=True))
    await expect(when.locator(".error")).to_contain_text("mismatched input")
    assert not file.exists()
    await _fine(visit)
    await page.get_by_label("Condition", exact=True).fill("new.email != ''")
    await page.get_by_role("button", name="Add it").click()
    await expect(page.get_by_role("heading", name="welcome-mail")).to_be_visible()
    assert file.read_text() == (
        "triggers:\n"
        "  welcome-mail:\n"
        "    type: DB_INSERT\n"
        "    table: public.users\n"
        "    when: new.email != ''\n"
        f"    webhook: {setting.endpoint.url('/welcome')}\n"
    )
    await expect(page.get_by_text("triggers/welcome-mail.yaml")).to_be_visible()
    await _fine(visit)


async def read_and_retry_what_failed(visit: Visit, setting: Setting) -> None:
    """The trigger fires, its endpoint gives up on it (410), the delivery is found, understood, and tried again with success."""
    page, endpoint = visit.page, setting.endpoint
    endpoint.script(Answer(410, b"the mail server is gone"), path="/welcome")
    await setting.ask("INSERT INTO users VALUES (7, 'ada@example.com')")
    await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'failed'", 1)
    await _go(page, "Events")
    await page.get_by_text("failed", exact=True).first.click()
    await page.get_by_label("Trigger", exact=True).fill("welcome-mail")
    await page.get_by_role("button", name="Filter", exact=True).click()
    await page.wait_for_url(lambda at: "trigger=welcome-mail" in at and "status=failed" in at)
    await page.get_by_role("link", name="welcome-mail", exact=True).click()
    await expect(page.get_by_role("heading", name="DB_INSERT public.users/7", exact=True)).to_be_visible()
    await expect(page.get_by_text("410 Gone").first).to_be_visible()
    await expect(page.get_by_text("the mail server is gone").first).to_be_visible()
    await expect(page.locator("#payload")).to_contain_text("ada@example.com")
    await _fine(visit)
    await page.get_by_role("button", name="Retry", exact=True).click()
    await expect(page.locator("#state")).to_contain_text("Delivered")
    first, second = await endpoint.wait_for(2, "/welcome")
    assert first.id == second.id
    await _fine(visit)


async def retry_a_thousand(visit: Visit, setting: Setting) -> None:
    page = visit.page
    await failed(setting, MANY, trigger="orders", table="public.orders")
    await _go(page, "Events")
    await page.get_by_text("failed", exact=True).first.click()
    await page.get_by_role("button", name="Retry").first.click()
    await _fine(visit)
    await page.get_by_role("button", name="Retry 1\u202f000 deliveries").click()
    await expect(page.locator("#far-h")).to_contain_text("done", timeout=60_000)
    await _fine(visit)
    await setting.until(
        "SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed' AND trigger = 'orders'", MANY + 3, 60.0
    )
    assert await setting.ask("SELECT id FROM cdcd.event_logs WHERE status <> 'processed'") == []


async def queue_an_event(visit: Visit, endpoint: Endpoint) -> None:
    """And see what the endpoint answered."""
    page = visit.page
    endpoint.script(Answer(200, b'{"thanks": true}', {"Content-Type": "application/json"}), path="/paid")
    await _go(page, "Queue an event")
    asked, answered = asyncio.Event(), asyncio.Event()

    async def held(route: Route) -> None:
        asked.set()
        await answered.wait()
        await route.continue_()

    # The sample of a type does not replace what is typed before it comes.
    await page.route("**/console/queue/check", held, times=1)
    await page.get_by_role("combobox", name="Type").fill("ORDER_PAID")
    await asked.wait()
    await page.get_by_label("Payload, as JSON").fill('{"order": 42}')
    async with page.expect_response("**/console/queue/check"):
        answered.set()
    await expect(page.get_by_text("It can be queued.")).to_be_visible()
    await expect(page.get_by_label("Payload, as JSON")).to_have_value('{"order": 42}')
    await page.get_by_label("Wait for the answer").check()
    await page.get_by_role("button", name="Queue it").click()
    await expect(page.get_by_text("thanks").first).to_be_visible()
    await _fine(visit)
    (request,) = await endpoint.wait_for(1, "/paid")
    assert request.event["data"] == {"order": 42}


async def _go(page: Page, name: str) -> None:
    await page.get_by_label("Console").get_by_role("link", name=name).click()
    await page.wait_for_load_state()


async def _fine(visit: Visit) -> None:
    assert await visit.violations() == []
