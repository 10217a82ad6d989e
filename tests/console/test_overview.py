"""The overview, databases and storage, and schedules in a browser, on a real daemon: what is wrong is told and is gone when it is mended,
numbers move by themselves, a schedule fires by hand, what mends a database can be copied; a viewer sees no buttons.

One daemon and one browser walk through everything; each `look_at_...` begins on a page of its own.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, Page, expect

from tests.acceptance.setting import SOON, Setting
from tests.browser import DESK, PHONE, Visit, browser, need_browser, visiting
from tests.endpoint import Answer, Endpoint
from tests.integration.server.talking import Client, api, token
from tests.postgres import Database

PAGES = ("/console/", "/console/databases", "/console/schedules", "/console/endpoints")
ALWAYS: dict[str, Any] = {"timezone": "Europe/Berlin", "schedule": "0 7 1 1 *"}


@pytest.mark.timeout(300)
async def test_the_overview_databases_and_schedules_in_a_browser(tmp_path: Path, database: Database) -> None:
    need_browser()
    (tmp_path / "uploads").mkdir()
    async with Endpoint() as endpoint, Endpoint() as mail:
        setting = Setting(tmp_path, database, endpoint)
        await setting.ask("CREATE TABLE orders (id int PRIMARY KEY, state text); CREATE TABLE users (id int PRIMARY KEY)")
        triggers = {
            "orders": setting.trigger("/orders", table="orders", type=("DB_INSERT", "DB_UPDATE"), columns=["state"]),
            "mail": setting.trigger("/mail", table="users", url=mail.url("/mail"), retries={**SOON, "max_interval": "10s"}),
            "thumbs": {"type": "FILE_CREATE", "storage": "uploads", "path": "*.jpg", "webhook": endpoint.url("/thumbs")},
            "yearly": {"type": "SCHEDULE", **ALWAYS, "webhook": endpoint.url("/yearly")},
            "off": {"type": "SCHEDULE", **ALWAYS, "webhook": endpoint.url("/off"), "enabled": False},
            "never": {"type": "SCHEDULE", **ALWAYS, "webhook": endpoint.url("/never"), "when": "!data.manual"},
        }
        more = {
            "databases": {"main": {"url": setting.url, "wal_budget": "1GiB"}},
            "storage": {"uploads": {"path": str(tmp_path / "uploads")}},
            "canary": {"database": "main", "every": "1s"},
        }
        async with api(setting, triggers, **more) as client, browser() as chromium:
            await look_at_the_first_delivery(chromium, client, setting)
            await look_at_trouble(chromium, client, setting, mail)
            await look_at_databases(chromium, client, setting)
            await look_at_schedules(chromium, client)
            await look_as_a_viewer(chromium, client)
            await look_without_scripts(chromium, client)
            await look_around(chromium, client)
            await listen_together(client, setting)


def _token(client: Client, role: str) -> str:
    return token(role=role, sub="alice", aud=f"cdcd/{client.project}")


async def _fine(visit: Visit) -> None:
    assert await visit.violations() == []
    assert await visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def _tile(page: Page, name: str) -> Any:
    return page.locator(".tiles > div").filter(has_text=re.compile(f"^{name}")).locator("dd").first


async def look_at_the_first_delivery(chromium: Browser, client: Client, setting: Setting) -> None:
    """Who has no delivery yet is told what to do; when it comes the page shows it by itself."""
    async with visiting(chromium, client.url, _token(client, "admin"), size=DESK) as visit:
        page = visit.page
        await expect(page.get_by_role("heading", name="All is well")).to_be_visible()
        await expect(page.get_by_role("heading", name="The first delivery")).to_be_visible()
        await expect(page.get_by_text("Change a row of orders, which orders waits for")).to_be_visible()
        await expect(page.locator("[data-stream]")).to_have_text("live")
        await _fine(visit)
        link = page.locator("#triggers").get_by_role("link", name="yearly")
        await link.focus()
        await setting.ask("INSERT INTO orders SELECT g, 'new' FROM generate_series(1, 20) g")
        await expect(page.get_by_role("heading", name="The first delivery")).to_be_hidden()
        await expect(_tile(page, "Delivered")).not_to_have_text("0/s")
        await expect(_tile(page, "Commit to webhook")).to_contain_text("ms")
        await expect(page.locator("#rate-legend b").first).not_to_have_text(re.compile("^(–|0/s)$"))
        await expect(page.locator("#rate canvas")).to_be_visible()
        await expect(page.locator("#wal-legend")).to_contain_text(re.compile(r"main\s*[\d.]+ .?B"))
        await expect(link).to_be_focused()  # whatever came in anew around it
        # Who comes later sees the last minutes at once.
        await page.reload()
        await expect(page.locator("#latency-legend b").first).not_to_have_text("–")


async def look_at_trouble(chromium: Browser, client: Client, setting: Setting, mail: Endpoint) -> None:
    """An endpoint dies: what, where, since when, what to do and a way there; it answers again: all is well."""
    async with visiting(chromium, client.url, _token(client, "admin"), size=DESK) as visit:
        page = visit.page
        mail.always(Answer(503))
        await setting.ask("INSERT INTO users SELECT g FROM generate_series(1, 30) g")
        trouble = page.locator(".troubles > li")
        await expect(page.get_by_role("heading", name="One thing is not well")).to_be_visible()
        await expect(trouble).to_contain_text(f"Endpoint {mail.url('')}")
        await expect(trouble).to_contain_text("503")
        await expect(trouble).to_contain_text("What to do: mend the endpoint")
        await expect(page.locator("#endpoints tbody tr").first).to_contain_text(re.compile("open|probing"))
        await expect(page.locator("#endpoints tbody tr").first).to_contain_text(re.compile(r"5xx\s*\d+"))
        await expect(page.locator("#triggers tbody tr").first).to_contain_text("mail")
        await expect(_tile(page, "Backlog")).to_have_text("30")
        there = await trouble.get_by_role("link", name="What waits for it").get_attribute("href")
        assert there == "/console/events?status=staged&trigger=mail"
        mail.always(Answer(200))
        await _fine(visit)
        await expect(page.get_by_role("heading", name="All is well")).to_be_visible(timeout=60_000)
        await expect(_tile(page, "Backlog")).to_have_text("0")


async def look_at_databases(chromium: Browser, client: Client, setting: Setting) -> None:
    """How far it is read, what it holds of its budget, its tables; what mends a warning, to copy, and looking again."""
    async with visiting(chromium, client.url, _token(client, "admin"), size=DESK) as visit:
        page = visit.page
        await visit.go("/console/databases")
        card = page.locator("#database-main")
        await expect(card).to_contain_text("is read")
        await expect(card).to_contain_text(re.compile(r"Settled\s*[0-9A-F]+/[0-9A-F]+"))
        await expect(card).to_contain_text("of 1.0 GB")
        await expect(card).to_contain_text(setting.slot)
        await expect(page.get_by_role("img", name="of the budget")).to_be_visible()
        await expect(page.locator("#storage-uploads")).to_contain_text(str(setting.directory / "uploads"))
        await expect(page.locator("#store")).to_contain_text("available")
        await expect(page.locator("#canary")).to_contain_text("comes")
        await expect(page.get_by_role("row").filter(has_text="public.orders")).to_contain_text("orders")
        settled = await card.locator("dd .id").nth(1).inner_text()
        await setting.ask("UPDATE orders SET state = 'paid'")
        await expect(card.locator("dd .id").nth(1)).not_to_have_text(settled)
        # What cdcd check says comes afterwards.
        checked = page.locator("#checked")
        statement = checked.locator("pre").filter(has_text="REPLICA IDENTITY FULL")
        await expect(statement).to_contain_text("ALTER TABLE")
        await expect(checked).to_contain_text("every update fires")
        assert await checked.get_by_text("mistake").count() == 0  # the slot moves on while it is looked at
        await expect(statement.locator("..").get_by_role("button", name="Copy")).to_be_visible()
        await _fine(visit)
        await setting.ask(await statement.inner_text())
        await expect(page.get_by_role("button", name="Look again")).to_be_enabled()

        async def looks_again() -> None:
            while await checked.get_by_text("every update fires").count():
                async with page.expect_response(re.compile("/databases/check")):
                    await page.get_by_role("button", name="Look again").click()

        await asyncio.wait_for(looks_again(), 30.0)  # an answer is good for ten seconds
        await expect(checked).to_contain_text("nothing")


async def look_at_schedules(chromium: Browser, client: Client) -> None:
    """When next, and by hand: the delivery is named; a condition that says no is told."""
    async with visiting(chromium, client.url, _token(client, "operator"), size=DESK) as visit:
        page = visit.page
        await visit.go("/console/schedules")
        yearly = page.locator("#schedule-yearly")
        await expect(yearly).to_contain_text("Europe/Berlin")
        await expect(yearly).to_contain_text(re.compile(r"in \d+ d\s*\w{3} \d{4}-01-01 07:00"))
        await expect(yearly).to_contain_text("none yet")
        await expect(page.locator("#schedule-off")).to_contain_text("disabled")
        await expect(page.locator("#schedule-off").get_by_role("button")).to_have_count(0)
        await yearly.get_by_text("and then").click()
        await expect(yearly.locator(".later li")).to_have_count(4)
        await _fine(visit)
        await yearly.get_by_role("button").click()
        link = page.locator(".note.ok").get_by_role("link")
        await expect(link).to_contain_text(re.compile("delivery [0-9a-f-]{36}"))
        await expect(yearly.locator(".ends")).to_contain_text(re.compile("processed|staged"))
        identity = str(await link.get_attribute("href")).rpartition("/")[2]
        found = await client.ask("GET", f"/v1/deliveries/{identity}", role="viewer")
        assert json.loads(found.json["data"])["manual"] if isinstance(found.json["data"], str) else found.json["data"]["manual"]
        visit.allowed.append("409")
        await page.locator("#schedule-never").get_by_role("button").click()
        await expect(page.get_by_role("alert")).to_contain_text("the condition of never says no")


async def look_as_a_viewer(chromium: Browser, client: Client) -> None:
    async with visiting(chromium, client.url, _token(client, "viewer"), size=DESK) as visit:
        for path in PAGES:
            await visit.go(path)
            await expect(visit.page.get_by_role("heading", level=1)).to_be_visible()
            assert await visit.page.locator("main form").count() == 0, path
        await visit.go("/console/schedules")
        assert await visit.page.get_by_role("button", name="Run now").count() == 0


async def look_without_scripts(chromium: Browser, client: Client) -> None:
    async with visiting(chromium, client.url, _token(client, "operator"), size=DESK, scripts=False) as visit:
        page = visit.page
        await visit.go("/console/")
        await expect(_tile(page, "Delivered")).to_contain_text("/s")
        await expect(page.locator("[data-stream]")).to_be_hidden()
        await visit.go("/console/databases")
        await page.get_by_role("link", name="Ask the databases").click()
        await expect(page.get_by_role("heading", name="Tables of main that are captured")).to_be_visible()
        await visit.go("/console/databases/check")
        await expect(page.get_by_role("heading", level=1)).to_have_text("What is in the way")
        await visit.go("/console/schedules")
        await page.locator("#schedule-yearly").get_by_role("button").click()
        await expect(page.locator(".note.ok")).to_contain_text("fires now")


async def look_around(chromium: Browser, client: Client) -> None:
    """In the dark and on a phone at once: in the light and on a desk everything was looked at before."""
    async with visiting(chromium, client.url, _token(client, "admin"), size=PHONE, dark=True) as visit:
        for path in PAGES:
            await visit.go(path)
            await _settled(visit.page)
            await _fine(visit)


async def _settled(page: Page) -> None:
    """What is loaded afterwards is there."""
    await expect(page.locator("[data-stream=''], #checked > p.soft")).to_have_count(0)


async def listen_together(client: Client, setting: Setting) -> None:
    """All who listen get the same samples; what is asked wrongly is refused."""
    cookie = {"Cookie": f"cdcd-{setting.project}={_token(client, 'viewer')}", "Sec-Fetch-Site": "same-origin"}

    async with aiohttp.ClientSession(client.url, headers=cookie) as session:
        async with _stream(session, "overview") as one, _stream(session, "databases") as other:
            assert (await anext(one))[0] == (await anext(other))[0] == "history"
            first = [await _sample(one) for _ in range(3)]
            second = [await _sample(other) for _ in range(3)]
            assert len({each["t"] for each in first} & {each["t"] for each in second}) >= 2
            assert {*first[0]} >= {"t", "delivered", "failed", "retried", "p50", "p99", "backlog", "held"}
        async with session.get("/console/samples?part=nothing") as answer:
            assert answer.status == 422


@asynccontextmanager
async def _stream(session: aiohttp.ClientSession, part: str) -> AsyncIterator[AsyncIterator[tuple[str, str]]]:
    async with session.get("/console/samples", params={"part": part}) as answer:
        assert answer.status == 200

        async def events() -> AsyncIterator[tuple[str, str]]:
            name, data = "", []
            async for raw in answer.content:
                line = raw.decode().rstrip("\n")
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    data.append(line[6:])
                elif not line and data:
                    yield name, "\n".join(data)
                    name, data = "", []

        yield events()


async def _sample(events: AsyncIterator[tuple[str, str]]) -> dict[str, Any]:
    async for name, data in events:
        if name == "sample":
            found: dict[str, Any] = json.loads(data)
            return found
    raise AssertionError("the stream ended")
