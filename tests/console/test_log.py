"""The event log, retrying, cancelling and replaying many, and the operations that do it, in a browser, on a real daemon.

Each of the two walks has one daemon and one browser; each part begins on a page of its own.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

from playwright.async_api import Browser, Route, expect

from tests.acceptance.setting import Setting
from tests.browser import DESK, PHONE, Visit, browser, need_browser, visiting
from tests.console.failed import failed
from tests.endpoint import Answer, Endpoint
from tests.integration.server.talking import Client, api, token
from tests.postgres import Database

MANY = 1000
LATER = {"max": 5, "backoff": "fixed", "first": "1h", "jitter": 0}
SPACE = "\u202f"


@contextlib.asynccontextmanager
async def setting_out(directory: Path, database: Database) -> AsyncIterator[tuple[Browser, Client, Setting]]:
    """A browser, and a daemon with three triggers: of one whose deliveries wait long after they have failed, and two others."""
    need_browser()
    async with Endpoint() as endpoint:
        setting = Setting(directory, database, endpoint)
        for table in ("items", "others", "slow"):
            await setting.ask(f"CREATE TABLE {table} (id int PRIMARY KEY, note text)")
        triggers = {
            "items": setting.trigger("/items", table="items"),
            "dead": setting.trigger("/dead", table="others"),
            "slow": setting.trigger("/slow", table="slow", retries=LATER),
        }
        async with api(setting, triggers) as client, browser() as chromium:
            yield chromium, client, setting


async def test_finding_deliveries_in_a_browser(tmp_path: Path, database: Database) -> None:
    async with setting_out(tmp_path, database) as (chromium, client, setting):
        await look_at_nothing(chromium, client)
        await failed(setting, MANY, trigger="dead", table="public.others")
        await filter_and_page(chromium, client)
        await look_as_a_viewer(chromium, client)
        await look_around(chromium, client)
        await watch_live(chromium, client, setting)


async def test_doing_something_to_many_in_a_browser(tmp_path: Path, database: Database) -> None:
    async with setting_out(tmp_path, database) as (chromium, client, setting), Endpoint() as elsewhere:
        await failed(setting, MANY, trigger="dead", table="public.others")
        await retry_all(chromium, client, setting)
        await cancel_what_waits(chromium, client, setting)
        await replay_elsewhere(chromium, client, elsewhere)
        await look_at_operations(chromium, client)
        await count_patiently(chromium, client, setting)


def _token(client: Client, role: str = "operator") -> str:
    return token(role=role, sub="alice", aud=f"cdcd/{client.project}")


async def _fine(visit: Visit) -> None:
    assert await visit.violations() == []
    assert await visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


async def look_at_nothing(chromium: Browser, client: Client) -> None:
    """Before anything has happened the page says what to do, and the tail shows the first delivery of all."""
    async with visiting(chromium, client.url, _token(client), size=DESK) as visit:
        await visit.go("/console/events")
        await expect(visit.page.get_by_text("No delivery yet").filter(visible=True)).to_have_count(1)
        why = visit.page.get_by_role("link", name="why did nothing happen").filter(visible=True)
        await expect(why).to_have_attribute("href", "/console/explain")
        await visit.go("/console/operations")
        await expect(visit.page.get_by_role("heading", name="Nobody has done anything yet")).to_be_visible()


async def filter_and_page(chromium: Browser, client: Client) -> None:
    async with visiting(chromium, client.url, _token(client), size=DESK) as visit:
        page = visit.page
        rows = page.locator("#log-rows tr[id^=d-]")
        visit.allowed.append("htmx:")  # what is left before it has come: it says so in the browser's console
        await visit.go("/console/events")
        await expect(page.get_by_text(f"1{SPACE}000 deliveries")).to_be_visible()
        await expect(rows).to_have_count(50)
        await expect(rows.first).to_contain_text("public.others/1000")
        await expect(rows.first).to_contain_text("answered 503 Service Unavailable")

        # A status, then a trigger: the address is the filter, and nothing else.
        await page.get_by_label("failed").check()
        await page.wait_for_url(f"{client.url}/console/events?status=failed")
        await page.get_by_label("Trigger").fill("dead, items")
        await page.get_by_label("Trigger").press("Enter")
        await page.wait_for_url(f"{client.url}/console/events?status=failed&trigger=dead&trigger=items")
        await expect(page.get_by_text(f"1{SPACE}000 deliveries")).to_be_visible()
        await page.get_by_role("link", name="last 24 h").click()
        await page.wait_for_url(re.compile(r"&since=24h$"))
        await expect(page.get_by_role("link", name="last 24 h")).to_have_attribute("aria-current", "true")

        # One goes, the others stay, in the form too.
        await page.get_by_role("link", name="Without trigger items").click()
        await page.wait_for_url(f"{client.url}/console/events?status=failed&trigger=dead&since=24h")
        await expect(page.get_by_label("Trigger")).to_have_value("dead")
        await page.get_by_role("link", name="last 15 min").click()
        await expect(page.get_by_text("Nothing matches").filter(visible=True)).to_have_count(1)
        await page.go_back()
        await expect(rows).to_have_count(50)

        # The next page, and the one after it; the link to it can be copied, and stays.
        await page.get_by_role("button", name="Older").click()
        await expect(rows.first).to_contain_text("public.others/950")
        await page.get_by_role("button", name="Older").click()
        await expect(rows.first).to_contain_text("public.others/900")
        where = await page.get_by_role("button", name="Copy link").get_attribute("data-copy-address")
        assert where is not None
        assert "since=24h" not in where
        await visit.go(where)
        await expect(rows.first).to_contain_text("public.others/900")
        await page.get_by_role("link", name="Newest").click()
        await expect(rows.first).to_contain_text("public.others/1000")

        # What no index finds, and what is nowhere.
        await visit.go("/console/events")
        await page.get_by_label("Text in the payload").fill("NOTE 77")
        await page.get_by_label("Text in the payload").press("Enter")
        await page.wait_for_url(re.compile(r"\?text=NOTE\+77$"))
        await expect(rows).to_have_count(11)
        await expect(page.locator(".listed")).to_contain_text(
            re.compile("11 deliveries|At least|Not counted")
        )  # as far as time allowed
        await page.get_by_label("Error").fill("timeout")
        await page.get_by_label("Error").press("Enter")
        await expect(page.get_by_text("Nothing matches").filter(visible=True)).to_have_count(1)

        # What cannot be read is told, and stays in the form.
        visit.allowed.append("422")
        await page.get_by_label("Since").fill("yesterday")
        await page.get_by_label("Since").press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("since must be how long ago")
        await expect(page.get_by_label("Since")).to_have_value("yesterday")
        await page.get_by_role("link", name="Without since yesterday").click()
        await expect(page.get_by_label("Since")).to_have_value("")


async def look_as_a_viewer(chromium: Browser, client: Client) -> None:
    """Sees all of it and no button; what is asked for without one is refused."""
    async with visiting(chromium, client.url, _token(client, "viewer"), size=DESK) as visit:
        page = visit.page
        await visit.go("/console/events?status=failed")
        await expect(page.locator("#log-rows tr[id^=d-]")).to_have_count(50)
        await expect(page.get_by_role("button", name=re.compile("^(Retry|Cancel|Replay)"))).to_have_count(0)
        await visit.go("/console/bulk?action=retry&status=failed")
        await expect(page.get_by_text("it needs the role operator")).to_be_visible()
        await expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)
        visit.allowed.append("403")
        status = await page.evaluate(
            """async () => (await fetch("/console/bulk", {method: "POST", body: new URLSearchParams(
                [["csrf", document.querySelector("[name=csrf]").value], ["action", "retry"], ["status", "failed"]])})).status"""
        )
        assert status == 403
        await visit.go("/console/operations")
        await expect(page.get_by_role("heading", name="Nobody has done anything yet")).to_be_visible()


async def look_around(chromium: Browser, client: Client) -> None:
    """What axe finds, in light, in dark and on a phone; there the list is near the top."""
    events, bulk = "/console/events?status=failed&since=2h", "/console/bulk?action=replay&status=failed"
    looks = ((DESK, False, [events, bulk]), (DESK, True, [events]), (PHONE, False, [events]), (PHONE, True, [bulk]))
    for size, dark, pages in looks:
        async with visiting(chromium, client.url, _token(client), size=size, dark=dark) as visit:
            visit.allowed.append("htmx:")
            for path in pages:
                await visit.go(path)
                await visit.page.wait_for_load_state("networkidle")
                await _fine(visit)
            if size is PHONE and not dark:
                first = await visit.page.locator("#log-rows tr").first.bounding_box()
                assert first is not None
                assert first["y"] < PHONE["height"] / 2
                await visit.page.locator("summary").click()
                await visit.page.get_by_label("staged").check()
                await visit.page.wait_for_url(re.compile("status=staged"))


async def retry_all(chromium: Browser, client: Client, setting: Setting) -> None:
    """A thousand are tried again by one button, which names the number; the operation's page moves until all are delivered."""
    async with visiting(chromium, client.url, _token(client), size=DESK) as visit:
        page = visit.page
        await visit.go("/console/events?status=failed&trigger=dead")
        await page.get_by_role("button", name="Retry these…").click()
        await expect(page.get_by_text("Failed deliveries of trigger dead")).to_be_visible()
        await expect(page.get_by_role("row").filter(has_text="is tried again")).to_have_count(5)

        # What cannot be begun is told, and what was typed is kept.
        visit.allowed.append("422")
        await page.get_by_label("Rate").fill("20000")
        await page.get_by_role("button", name="Retry 1 000 deliveries").click()
        await expect(page.get_by_role("alert")).to_contain_text("rate must be above 0 and at most 10000 a second")
        await expect(page.get_by_label("Rate")).to_have_value("20000")
        assert setting.endpoint.requests == []

        await page.get_by_label("Rate").fill("500")
        await page.get_by_role("button", name="Retry 1 000 deliveries").click()
        await expect(page.get_by_role("heading", name="Retry of 1 000 deliveries")).to_be_visible()
        bar = page.get_by_role("progressbar", name="How far it has come")
        await expect(bar).to_have_attribute("max", str(MANY))
        moved = {await bar.get_attribute("value")}
        await expect(page.get_by_role("button", name="Stop…")).to_be_visible()
        await _fine(visit)
        moved.add(await bar.get_attribute("value"))
        await expect(bar).to_have_attribute("value", str(MANY), timeout=30_000)
        assert len({*moved, str(MANY)}) > 1
        await expect(page.locator("#operation").get_by_text("done", exact=True)).to_be_visible()
        await expect(page.get_by_role("button", name="Stop…")).to_have_count(0)
        await setting.endpoint.wait_for(MANY, "/dead", timeout=60)
        await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", MANY)
        standing = page.locator("#operation-standing")
        await expect(standing).to_contain_text(re.compile(r"processed\s+(at least )?[1-9]"))
        await expect(standing).to_contain_text(re.compile(r"staged\s+0\s.*failed\s+0\s", re.DOTALL))
        assert len(set(setting.endpoint.ids("/dead"))) == MANY


async def cancel_what_waits(chromium: Browser, client: Client, setting: Setting) -> None:
    setting.endpoint.always(Answer(503), path="/slow")
    await setting.ask("INSERT INTO slow SELECT generate_series(1, 20)")
    await setting.until("SELECT count(*) FROM cdcd.pending WHERE attempts = 1", 20)
    async with visiting(chromium, client.url, _token(client), size=DESK) as visit:
        page = visit.page
        await visit.go("/console/events")
        await page.get_by_role("button", name="Cancel waiting…").click()
        await expect(page.get_by_text("Staged deliveries")).to_be_visible()
        await page.get_by_role("button", name="Cancel 20 deliveries").click()
        await expect(page.locator("#operation").get_by_text("done", exact=True)).to_be_visible()
        await page.get_by_role("link", name=re.compile("cancelled.*20")).click()
        await expect(page.locator("#log-rows tr[id^=d-]")).to_have_count(20)
        await expect(page.locator("#log-rows tr").first).to_contain_text("cancelled by operator (alice (operator))")
    assert await setting.ask("SELECT id FROM cdcd.pending") == []


async def count_patiently(chromium: Browser, client: Client, setting: Setting) -> None:
    """What no index finds takes a while to count: the page is there before, and what was typed into it stays."""
    await setting.ask(
        "UPDATE cdcd.event_logs SET payload = json_build_object('text', repeat('x', 10000)) WHERE trigger = 'dead'"
    )
    await setting.ask("UPDATE cdcd.event_logs SET payload = '{\"a\": \"needle\"}' WHERE trigger = 'dead' AND key = '500'")
    async with visiting(chromium, client.url, _token(client), size=DESK) as visit:
        page = visit.page
        held = asyncio.Event()

        async def hold(route: Route) -> None:
            await held.wait()
            await route.continue_()

        await page.route(re.compile("patiently"), hold)
        await visit.go("/console/bulk?action=replay&text=needle")
        await expect(page.get_by_text("Counting on…")).to_be_visible()
        await expect(page.get_by_role("button", name="Replay all that match")).to_be_visible()
        await expect(page.get_by_role("heading", name="None of them was found at once")).to_be_visible()
        await page.get_by_label("Rate").fill("7")
        await _fine(visit)
        held.set()
        await expect(page.get_by_role("button", name="Replay 1 delivery")).to_be_visible()
        await expect(page.locator("#bulk-first")).to_contain_text("public.others/500")
        await expect(page.locator("#bulk-count")).to_have_text("1 delivery")
        await expect(page.get_by_text("Counting on…")).to_have_count(0)
        await expect(page.get_by_label("Rate")).to_have_value("7")
        await _fine(visit)

        # When there are none after all, there is no button.
        await visit.go("/console/bulk?action=replay&text=nowhere")
        await expect(page.get_by_text("No delivery is like this now.")).to_be_visible()
        await expect(page.get_by_role("button", name=re.compile("^Replay"))).to_have_count(0)
        await expect(page.locator("#bulk-first")).to_be_hidden()


async def replay_elsewhere(chromium: Browser, client: Client, elsewhere: Endpoint) -> None:
    async with visiting(chromium, client.url, _token(client), size=DESK) as visit:
        page = visit.page
        await visit.go("/console/bulk?action=replay&trigger=dead&key=7")
        await page.get_by_label("Through today's definition").check()
        visit.allowed.append("422")
        await page.get_by_label("To another URL").fill(elsewhere.url("/there").replace("http://", "http://me:secret@"))
        await page.get_by_role("button", name="Replay 1 delivery").click()
        await expect(page.get_by_role("alert")).to_contain_text("must not hold a user and password")
        await expect(page.get_by_label("Through today's definition")).to_be_checked()
        await page.get_by_label("To another URL").fill(elsewhere.url("/there?key=secret"))
        await page.get_by_role("button", name="Replay 1 delivery").click()
        await expect(page.get_by_role("heading", name="Replay of 1 delivery")).to_be_visible()
        await expect(page.locator("#operation").get_by_text("done", exact=True)).to_be_visible()
        await expect(page.get_by_text(elsewhere.url("/there?…"))).to_be_visible()
        assert "secret" not in await page.content()
        (request,) = elsewhere.requests
        assert request.event["data"]["doc"]["id"] == 7
        await page.get_by_role("link", name=re.compile("processed.*2")).click()
        await expect(page.locator("#log-rows tr[id^=d-]")).to_have_count(2)
        await expect(page.get_by_text("replay", exact=False).first).to_be_visible()


async def watch_live(chromium: Browser, client: Client, setting: Setting) -> None:
    async with visiting(chromium, client.url, _token(client), size=DESK) as visit:
        page = visit.page
        rows = page.locator("#log-rows tr[id^=d-]")
        state = page.locator("#tail-state")
        button = page.get_by_role("button", name="Live tail")
        await visit.go("/console/events?trigger=items")
        await expect(page.get_by_text("Nothing matches").filter(visible=True)).to_have_count(1)
        await button.click()
        await expect(state).to_contain_text(re.compile("Live since .*: 0 new"))
        await expect(button).to_have_attribute("aria-pressed", "true")
        await setting.ask("INSERT INTO items VALUES (1, 'one'); INSERT INTO others VALUES (5000, 'not asked for')")
        await expect(rows).to_have_count(1)
        await expect(rows.first).to_contain_text("public.items/1")
        await expect(page.get_by_text("Nothing matches").filter(visible=True)).to_have_count(0)
        await expect(state).to_contain_text("1 new")

        # More than can be shown: a hundred are, in order, and it says so.
        await setting.ask("INSERT INTO items SELECT n, 'flood' FROM generate_series(2, 400) AS n")
        await expect(rows).to_have_count(100)
        await expect(state).to_contain_text("only the newest are here")
        ids = await rows.evaluate_all("rows => rows.map(row => row.id)")
        assert ids == sorted(ids, reverse=True)
        await expect(page.get_by_role("button", name="Older")).to_be_visible()

        # It follows the filter.
        setting.endpoint.always(Answer(410), path="/items")
        await page.get_by_label("failed").check()
        await page.wait_for_url(re.compile("status=failed"))
        await setting.ask("INSERT INTO items VALUES (1000, 'gone')")
        await expect(rows).to_have_count(1)
        await expect(rows.first).to_contain_text("answered 410")
        setting.endpoint.always(Answer(), path="/items")
        await client.ask("POST", "/v1/operations", {"action": "retry", "filter": {"trigger": "items"}}, role="operator")
        await expect(rows).to_have_count(0)  # it is not failed any more

        # While the pointer is on the list, it stands still.
        await visit.go("/console/events?trigger=items#live")
        await expect(state).to_contain_text("Live since")
        await rows.nth(3).hover()
        await setting.ask("INSERT INTO items VALUES (1001, 'held')")
        await expect(state).to_contain_text("held while you point at the list")
        await expect(rows.first).not_to_contain_text("public.items/1001")
        await page.mouse.move(1, 1)
        await expect(rows.first).to_contain_text("public.items/1001")

        # A tail that has stopped says so: by the button, and when its token is not good any more.
        await button.click()
        await expect(state).to_contain_text("The live tail was stopped")
        await expect(button).to_have_attribute("aria-pressed", "false")
        visit.allowed += ["401", "MIME type"]
        await page.context.clear_cookies()
        await button.click()
        await expect(state).to_contain_text("sign in again")


async def look_at_operations(chromium: Browser, client: Client) -> None:
    """What was done stands there, newest first, with who did it; one that runs can be stopped."""
    async with visiting(chromium, client.url, _token(client), size=DESK) as visit:
        page = visit.page
        await visit.go("/console/bulk?action=replay&trigger=dead&status=processed")
        await page.get_by_label("Rate").fill("1")
        await page.get_by_role("button", name=re.compile("^Replay")).click()
        await page.wait_for_url(re.compile("/operations/"))
        await page.get_by_role("button", name="Stop…").click()
        await page.get_by_role("button", name="Stop it", exact=True).click()
        await expect(page.locator("#operation").get_by_text("stopped", exact=True)).to_be_visible()
        await visit.go("/console/events")
        await page.get_by_role("button", name="Operations").click()
        rows = page.get_by_role("table").locator("tbody tr")
        await expect(rows.first).to_contain_text("Replay of")
        await expect(rows.first).to_contain_text("alice (operator)")
        await expect(rows.last).to_contain_text("Retry of 1 000 deliveries".replace(" 000", f"{SPACE}000"))
        await _fine(visit)
    async with visiting(chromium, client.url, _token(client, "viewer"), size=PHONE, dark=True) as visit:
        await visit.go("/console/operations")
        await _fine(visit)
        await visit.page.get_by_role("link", name=re.compile("Retry of 1.000")).click()
        await expect(visit.page.get_by_role("progressbar")).to_be_visible()
        await expect(visit.page.get_by_role("main").get_by_role("button")).to_have_count(0)
        await _fine(visit)
    found = json.loads((await client.ask("GET", "/v1/operations", role="viewer")).body)
    assert found["operations"][0]["state"] == "stopped"
