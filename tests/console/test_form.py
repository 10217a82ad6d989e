"""Adding, editing and cloning triggers in a browser, on a real daemon with an include directory.

One daemon and one browser walk through everything; each `look_at_...` begins on a page of its own, with what those before it left.
"""

import json
import re
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.acceptance.setting import Setting
from tests.browser import DESK, PHONE, Visit, browser, need_browser, visiting
from tests.endpoint import Endpoint
from tests.integration.server.talking import Client, api, token, trigger
from tests.postgres import Database

SECRET_OF_THE_SHOP = "Bearer secret-of-the-shop"
SHOP = """\
# Kept as it is: é €.
common: &slow {max: 2, first: 1m}   # of both

triggers:
  # Tell the shop.
  orders:   # the first
    type: [DB_INSERT,   DB_UPDATE]   # both
    table: orders     # all of them
    webhook:
      url: URL/orders   # there
      headers: {Authorization: SECRET}
    concurrency: 4   # the shop is small

  # Tell the others.
  others:
    type: PAID   # when it was
    webhook: URL/others
    retries: *slow
# the end
"""


@pytest.mark.timeout(300)
async def test_the_form_in_a_browser(tmp_path: Path, database: Database) -> None:
    need_browser()
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        await setting.ask(
            "CREATE TABLE orders (id int PRIMARY KEY, total numeric, state text); CREATE TABLE users (id int PRIMARY KEY)"
        )
        (tmp_path / "triggers").mkdir()
        _shop(setting).write_text(_text(setting))
        main = {"in-main": trigger(setting, "PAID", path="/in-main")}
        async with api(setting, main, include="triggers/*.yaml") as client, browser() as chromium:
            async with visiting(chromium, client.url, _token(client, "admin"), size=DESK) as visit:
                visit.allowed = ["responded with a status of 4", "responded with a status of 503"]  # refusals are pages
                await look_at_a_newcomer(visit, setting)
                await look_at_editing(visit, setting)
                await look_at_yaml(visit, setting)
                await look_at_a_clone(visit, setting)
                await look_at_two_who_edit(visit, setting, client)
                await look_at_a_reload_that_refuses(visit, setting)
                await look_at_what_cannot_be_written(visit, setting)
                await look_at_parts_from_elsewhere(visit, setting)
                await look_at_other_kinds(visit, setting)
                await look_at_trying(visit, setting)
            await look_without_scripts(chromium, client, setting)
            await look_around(chromium, client)
            await look_who_may(client)


def _shop(setting: Setting) -> Path:
    return setting.directory / "triggers/shop.yaml"


def _text(setting: Setting) -> str:
    text = SHOP.replace("URL", setting.endpoint.url("")).replace("SECRET", SECRET_OF_THE_SHOP)
    return text.replace("common: &slow {max: 2, first: 1m}   # of both\n\n", "").replace("*slow", "2")


def _token(client: Client, role: str) -> str:
    return token(role=role, sub="alice", aud=f"cdcd/{client.project}")


def _field(page: Page, label: str) -> Locator:
    return page.get_by_label(label, exact=True)


def _wrong(page: Page, label: str) -> Locator:
    """What is told at a field."""
    return page.locator(".field, .entry", has=_field(page, label)).last.locator(".error")


async def _kind(page: Page, words: str) -> None:
    await page.locator("label.kind", has_text=words).click()


async def _judged(page: Page, words: str) -> None:
    await expect(page.locator("#verdict")).to_contain_text(words)


async def _save(page: Page, name: str, button: str) -> None:
    await page.get_by_role("button", name=button, exact=True).click()
    await expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    assert page.url.endswith(f"/console/triggers/{name}")


async def _fine(visit: Visit) -> None:
    assert await visit.violations() == []
    assert await visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


async def look_at_a_newcomer(visit: Visit, setting: Setting) -> None:
    page, endpoint, file = visit.page, setting.endpoint, setting.directory / "triggers/welcome.yaml"
    await visit.go("/console/new-trigger")
    await expect(_field(page, "Name")).to_be_focused()
    await expect(_field(page, "URL")).to_be_hidden()  # first what it is for
    await _judged(page, "Choose what it is for")
    await _fine(visit)
    await _kind(page, "Rows")
    await _judged(page, "Still to fill in: Name, What happens, Table, URL")
    await expect(_field(page, "Schedule")).to_be_hidden()

    # Sent with nothing in it: each field says that it is needed, and nothing is written
    await page.get_by_role("button", name="Add it", exact=True).click()
    await expect(page.locator("#wrong")).to_be_focused()
    for label in ("Name", "Table 1", "URL"):
        await expect(_wrong(page, label)).to_have_text("it is needed")
    await expect(page.locator("#f-type-e")).to_have_text("choose at least one")
    await _fine(visit)
    await page.locator("#wrong").get_by_role("link", name="URL", exact=True).click()
    await expect(_field(page, "URL")).to_be_focused()

    # Mistakes are told at their fields while one types
    await _field(page, "Name").fill("wel come")
    await _field(page, "DB_INSERT").check()
    await _field(page, "Table 1").fill("public.orders")
    await _field(page, "Condition").fill("new.total >")
    await _field(page, "URL").fill("htp://127.0.0.1/x")
    await _field(page, "Timeout").fill("5")
    await expect(_wrong(page, "Name")).to_contain_text("letters, digits")
    await expect(_wrong(page, "Condition")).to_contain_text("at character 12")
    await expect(_wrong(page, "URL")).to_contain_text("did you mean 'http'?")
    await expect(_wrong(page, "Timeout")).to_contain_text("not a duration")
    await expect(_field(page, "Condition")).to_have_attribute("aria-invalid", "true")
    await _judged(page, "4 mistakes")
    await page.get_by_role("button", name="Add it", exact=True).click()
    await expect(page.locator("#wrong")).to_contain_text("4 mistakes; nothing is written")
    await expect(_field(page, "Timeout")).to_have_value("5")  # what was typed is still there
    assert sorted(each.name for each in file.parent.iterdir()) == ["shop.yaml"]

    # Known columns are put in by a click
    await _field(page, "Condition").fill("")
    await page.get_by_role("button", name="total", exact=True).click()
    await page.keyboard.type(" > 10.0")
    await _field(page, "Name").fill("welcome")
    await _field(page, "URL").fill(endpoint.url("/welcome"))
    await _field(page, "Timeout").fill("3s")
    await _field(page, "Name of header 1").fill("X-Tenant")
    await _field(page, "Value of header 1").fill("${ new.state }")
    await _judged(page, "Nothing is wrong")
    await expect(page.locator("#judged")).to_contain_text(str(file))
    expected = (
        "triggers:\n  welcome:\n    type: DB_INSERT\n    table: public.orders\n    when: new.total > 10.0\n    webhook:\n"
        f"      url: {endpoint.url('/welcome')}\n      headers:\n        X-Tenant: ${{ new.state }}\n      timeout: 3s\n"
    )
    await expect(page.locator("#preview")).to_contain_text("X-Tenant: ${ new.state }")
    assert await page.locator("#preview").inner_text() == expected.rstrip("\n") + "\n"
    await _save(page, "welcome", "Add it")
    await expect(page.get_by_text("welcome is added, and in force.")).to_be_visible()
    assert file.read_text() == expected

    await setting.ask("INSERT INTO orders VALUES (1, 9, 'new'), (2, 20, 'paid')")
    (request,) = await endpoint.wait_for(1, "/welcome")
    assert (request.event["data"]["doc"]["id"], request.headers["X-Tenant"]) == (2, "paid")


async def look_at_editing(visit: Visit, setting: Setting) -> None:
    page, file = visit.page, _shop(setting)
    before = file.read_text()
    await visit.go("/console/triggers/orders")
    await page.get_by_role("button", name="Edit", exact=True).click()
    await expect(page.get_by_role("heading", name="Edit orders")).to_be_visible()
    await expect(_field(page, "Value of header 1")).to_have_value("***")
    assert "secret-of-the-shop" not in await page.content()
    await _judged(page, "Nothing is wrong")
    await _field(page, "Timeout").fill("7s")
    await page.get_by_role("button", name="Another table").click()
    await page.keyboard.type("users")
    await expect(page.locator("#preview ins").filter(has_text="timeout: 7s")).to_be_visible()

    # A comment that would go is told before
    await _field(page, "Concurrency").fill("")
    await expect(page.locator("#lost")).to_contain_text("# the shop is small")
    await _field(page, "Concurrency").fill("4")
    await expect(page.locator("#lost")).to_have_count(0)
    await _save(page, "orders", "Save it")
    assert file.read_text() == before.replace("table: orders ", "table: [orders, users] ").replace(
        f"headers: {{Authorization: {SECRET_OF_THE_SHOP}}}\n",
        f"headers: {{Authorization: {SECRET_OF_THE_SHOP}}}\n      timeout: 7s\n",
    )


async def look_at_yaml(visit: Visit, setting: Setting) -> None:
    page, file = visit.page, _shop(setting)
    before = file.read_text()
    await visit.go("/console/triggers/others/edit")
    await _field(page, "Condition").fill("data.total > 1")
    await page.get_by_role("button", name="YAML", exact=True).click()
    yaml = _field(page, "Options of the trigger, as YAML")
    assert await yaml.input_value() == (
        f"type: PAID   # when it was\nwhen: data.total > 1\nwebhook: {setting.endpoint.url('/others')}\nretries: 2\n"
    )
    await yaml.fill("type: PAID   # when it was\nwhen: data.total >\nwebhook: http://127.0.0.1/x\npayload: {a: 1}  # why\n")
    await _judged(page, "1 mistake")
    await _fine(visit)
    await page.locator("#wrong").get_by_role("link", name="Line 2").click()
    selected = "f => f.value.slice(f.selectionStart, f.selectionEnd)"
    assert await page.locator("#f-yaml").evaluate(selected) == "when: data.total >"
    await page.keyboard.type("when: data.total > 2  # many")
    await _judged(page, "Nothing is wrong")

    # In the form and back: nothing is lost
    await page.get_by_role("button", name="Form", exact=True).click()
    await expect(_field(page, "Payload")).to_have_value("{a: 1}")
    await _field(page, "Payload").fill("a: [")
    await page.get_by_role("button", name="YAML", exact=True).click()  # what YAML cannot hold stays in the form
    await expect(_wrong(page, "Payload")).to_contain_text("no YAML")
    await expect(_field(page, "Payload")).to_have_value("a: [")
    await _field(page, "Payload").fill("a: 2   # two")
    await page.get_by_role("button", name="YAML", exact=True).click()
    await expect(yaml).to_have_value(
        "type: PAID   # when it was\nwhen: data.total > 2  # many\nwebhook: http://127.0.0.1/x\npayload:  # why\n  a: 2   # two\n"
    )
    await _save(page, "others", "Save it")
    start = before.index("  others:\n")
    assert file.read_text() == before[:start] + (
        "  others:\n    type: PAID   # when it was\n    when: data.total > 2  # many\n    webhook: http://127.0.0.1/x\n"
        "    payload:  # why\n      a: 2   # two\n# the end\n"
    )


async def look_at_a_clone(visit: Visit, setting: Setting) -> None:
    page = visit.page
    await visit.go("/console/triggers/orders")
    await page.get_by_role("button", name="Clone", exact=True).click()
    await expect(_field(page, "Name")).to_have_value("orders-copy")
    await expect(_field(page, "Value of header 1")).to_have_value("***")
    await _field(page, "Value of header 1").fill("*** or so")
    await expect(_wrong(page, "Name of header 1")).to_contain_text("there is none to be kept")
    await _field(page, "Value of header 1").fill("***")
    await _field(page, "Enabled").select_option("off: it captures nothing")
    await _judged(page, "Nothing is wrong")
    await _save(page, "orders-copy", "Add it")
    assert "secret-of-the-shop" not in await page.content()
    text = (setting.directory / "triggers/orders-copy.yaml").read_text()
    assert f"{{Authorization: {SECRET_OF_THE_SHOP}}}" in text
    assert text.endswith("concurrency: 4   # the shop is small\n    enabled: false\n")


async def look_at_two_who_edit(visit: Visit, setting: Setting, client: Client) -> None:
    page, file = visit.page, _shop(setting)

    async def write(name: str, old: str, new: str) -> None:
        """As somebody else, by the API."""
        found = await client.ask("GET", f"/v1/triggers/{name}", role="admin")
        body = {"yaml": found.json["yaml"].replace(old, new)}
        done = await client.ask("PUT", f"/v1/triggers/{name}", body, role="admin", If_Match=found.headers["ETag"])
        assert done.status == 200, done.body

    await visit.go("/console/triggers/orders/edit")
    await _field(page, "Condition").fill("new.total > 5.0")
    await write("others", "many", "very many")  # another trigger of the file: no matter
    await _save(page, "orders", "Save it")
    assert "when: new.total > 5.0" in file.read_text()
    assert "# very many" in file.read_text()

    await visit.go("/console/triggers/orders/edit")
    await _field(page, "Condition").fill("new.total > 6.0")
    await write("orders", "timeout: 7s", "timeout: 8s")
    text = file.read_text()
    await page.get_by_role("button", name="Save it", exact=True).click()
    note = page.locator("#outdated")
    await expect(note).to_contain_text("Somebody changed orders since you opened it")
    await expect(note.get_by_label("The definition as it is now")).to_contain_text("timeout: 8s")
    await expect(_field(page, "Condition")).to_have_value("new.total > 6.0")
    await _fine(visit)
    await page.get_by_role("button", name="Save it", exact=True).click()  # not by the way
    await expect(note).to_be_visible()
    assert file.read_text() == text
    await note.get_by_role("button", name="Write mine over it").click()
    await expect(page.get_by_role("heading", name="orders", exact=True)).to_be_visible()
    assert "new.total > 6.0" in file.read_text()
    assert "timeout: 7s" in file.read_text()

    # Deleted meanwhile
    await visit.go("/console/triggers/orders-copy/edit")
    await _field(page, "Timeout").fill("9s")
    found = await client.ask("GET", "/v1/triggers/orders-copy", role="admin")
    await client.ask("DELETE", "/v1/triggers/orders-copy", role="admin", If_Match=found.headers["ETag"])
    await page.get_by_role("button", name="Save it", exact=True).click()
    await expect(note).to_contain_text("Somebody deleted orders-copy meanwhile")
    await expect(_field(page, "Timeout")).to_have_value("9s")
    await _field(page, "Value of header 1").fill("Bearer anew")
    await page.get_by_role("button", name="Write it as a new one").click()
    await expect(page.get_by_role("heading", name="orders-copy", exact=True)).to_be_visible()
    assert "timeout: 9s" in (setting.directory / "triggers/orders-copy.yaml").read_text()

    # A name that is taken
    await visit.go("/console/new-trigger?type=PAID&name=orders")
    await expect(_wrong(page, "Name")).to_contain_text("there is a trigger of this name already")


async def look_at_a_reload_that_refuses(visit: Visit, setting: Setting) -> None:
    """The files are right, and the database has not what they want: it is put back, and its reasons are told."""
    page = visit.page
    await visit.go("/console/new-trigger?type=DB_INSERT&table=public.nothing&name=nothing")
    await _field(page, "URL").fill(setting.endpoint.url("/nothing"))
    await expect(page.locator("#known")).to_contain_text("No table of main that its role can see is named public.nothing")
    await _judged(page, "Nothing is wrong")
    await page.get_by_role("button", name="Add it", exact=True).click()
    await expect(page.locator("#wrong")).to_contain_text("the file is as it was")
    await expect(_wrong(page, "Table 1")).to_have_text("database 'main': no table is named public.nothing")
    await expect(_field(page, "Table 1")).to_have_value("public.nothing")
    assert not (setting.directory / "triggers/nothing.yaml").exists()


async def look_at_what_cannot_be_written(visit: Visit, setting: Setting) -> None:
    page, directory = visit.page, setting.directory / "triggers"
    await visit.go("/console/triggers/in-main/edit")
    await expect(page.locator("#unwritable")).to_contain_text("cdcd never writes")
    await expect(page.get_by_role("button", name="Save it", exact=True)).to_have_count(0)
    await _field(page, "Condition").fill("data.x")
    await expect(page.locator("#preview")).to_contain_text("when: data.x")

    directory.rename(setting.directory / "away")
    directory.write_text("no directory")
    try:
        await visit.go("/console/new-trigger?type=PAID&name=new-one")
        await _field(page, "URL").fill("http://127.0.0.1/x")
        await expect(page.locator("#unwritable")).to_contain_text(f"the directory {directory} is not there")
        await expect(page.locator("#unwritable")).to_contain_text("To mend it")
        await expect(page.get_by_role("button", name="Add it", exact=True)).to_have_count(0)
        await expect(page.locator("#preview")).to_contain_text(
            "triggers:\n  new-one:\n    type: PAID\n    webhook: http://127.0.0.1/x"
        )
        await _fine(visit)
    finally:
        directory.unlink()
        (setting.directory / "away").rename(directory)


async def look_at_parts_from_elsewhere(visit: Visit, setting: Setting) -> None:
    """An alias of something else in the file: YAML keeps it, the form says that it writes it out."""
    page, file = visit.page, setting.directory / "triggers/aliased.yaml"
    text = (
        "triggers:\n  one:\n    type: PAID\n    webhook: http://127.0.0.1/x\n    retries: &slow {max: 2, first: 1m}\n"
        "  two:\n    type: PAID   # it was\n    webhook: http://127.0.0.1/x\n    retries: *slow\n"
    )
    file.write_text(text)
    await visit.go("/console/triggers/two/edit")
    await expect(page.get_by_text("The form cannot show this")).to_be_visible()
    yaml = _field(page, "Options of the trigger, as YAML")
    await yaml.fill((await yaml.input_value()).replace("# it was", "# it is"))
    await _judged(page, "Nothing is wrong")
    await _save(page, "two", "Save it")
    assert file.read_text() == text.replace("# it was", "# it is")
    await visit.go("/console/triggers/two/edit")
    await page.get_by_role("button", name="Form", exact=True).click()
    await expect(page.get_by_text("are written out here")).to_be_visible()
    await expect(_field(page, "First wait")).to_have_value("1m")


async def look_at_other_kinds(visit: Visit, setting: Setting) -> None:
    page, file = visit.page, setting.directory / "triggers/daily.yaml"
    await visit.go("/console/new-trigger")
    await _kind(page, "A schedule")
    await _field(page, "Name").fill("daily")
    await _field(page, "Schedule").fill("0 9 * *")
    await expect(_wrong(page, "Schedule")).to_contain_text("4 fields instead of five")
    await page.get_by_role("button", name="weekdays at 9").click()
    await _field(page, "Time zone").fill("Europe/Berln")
    await expect(_wrong(page, "Time zone")).to_contain_text("did you mean 'Europe/Berlin'?")
    await _field(page, "Time zone").fill("Europe/Berlin")
    await expect(page.locator("#ticks li")).to_have_count(5)
    await expect(page.locator("#ticks li").first).to_contain_text(re.compile(r"\d{4}-\d\d-\d\d 09:00:00\+0[12]:00"))
    await _field(page, "URL").fill(setting.endpoint.url("/daily"))
    await _kind(page, "Files")  # what was typed for another kind comes back with it
    await expect(_field(page, "Schedule")).to_be_hidden()
    await _judged(page, "What happens")
    await _kind(page, "A schedule")
    await _judged(page, "Nothing is wrong")
    await _fine(visit)
    await _save(page, "daily", "Add it")
    assert file.read_text() == (
        "triggers:\n  daily:\n    type: SCHEDULE\n    schedule: 0 9 * * 1-5\n    timezone: Europe/Berlin\n"
        f"    webhook: {setting.endpoint.url('/daily')}\n"
    )


async def look_at_trying(visit: Visit, setting: Setting) -> None:
    page = visit.page
    await visit.go("/console/new-trigger?type=DB_INSERT&table=orders")
    await page.get_by_role("button", name="Choose what to try it on").click()
    await expect(page.locator("#try-fields")).to_contain_text("when nothing is wrong with it")
    await _field(page, "URL").fill(setting.endpoint.url("/tried"))
    await _field(page, "Condition").fill("new.total > 100.0")
    await page.get_by_role("button", name="Choose what to try it on").click()
    data = page.get_by_label("Data, as JSON")
    await data.fill(json.dumps({"doc": {"id": 1, "total": 99}}))
    await page.get_by_role("button", name="Try it", exact=True).click()
    await expect(page.get_by_role("heading", name="It would not fire")).to_be_visible()
    await data.fill(json.dumps({"doc": {"id": 1, "total": 101}}))
    await page.get_by_role("button", name="Try it", exact=True).click()
    await expect(page.get_by_role("heading", name="It would fire")).to_be_visible()
    await _fine(visit)
    await page.get_by_role("button", name="Send it once").click()
    await page.get_by_role("button", name="Send it", exact=True).click()
    await expect(page.get_by_role("heading", name="It was sent").first).to_be_visible()
    (request,) = await setting.endpoint.wait_for(1, "/tried")
    assert request.headers["X-Cdcd-Test"] == "true"


async def look_without_scripts(chromium: Browser, client: Client, setting: Setting) -> None:
    async with visiting(chromium, client.url, _token(client, "admin"), size=DESK, scripts=False) as visit:
        visit.allowed = ["responded with a status of 422"]
        page = visit.page
        await visit.go("/console/new-trigger")
        await expect(_field(page, "URL")).to_be_hidden()
        await _kind(page, "A custom event")
        await _field(page, "Type").fill("PLAIN")
        await _field(page, "URL").fill("htp://x")
        await page.get_by_role("button", name="Add it", exact=True).click()
        await expect(_wrong(page, "Name")).to_have_text("it is needed")
        await expect(_wrong(page, "URL")).to_contain_text("did you mean 'http'?")
        await _field(page, "Name").fill("plain")
        await _field(page, "URL").fill(setting.endpoint.url("/plain"))
        await _field(page, "Name of header 1").fill("X-A")
        await _field(page, "Value of header 1").fill("1")
        await page.get_by_role("button", name="YAML", exact=True).click()
        await expect(_field(page, "Options of the trigger, as YAML")).to_have_value(re.compile("type: PLAIN\nwebhook:\n"))
        await page.get_by_role("button", name="Form", exact=True).click()
        await expect(_field(page, "Name of header 2")).to_be_visible()  # always an empty row more
        await _save(page, "plain", "Add it")
        assert "X-A: '1'" in (setting.directory / "triggers/plain.yaml").read_text()


async def look_around(chromium: Browser, client: Client) -> None:
    for size, dark, paths in (
        (DESK, True, ("triggers/orders/edit",)),
        (PHONE, False, ("new-trigger?type=DB_INSERT&when=new.x+>",)),
    ):
        async with visiting(chromium, client.url, _token(client, "admin"), size=size, dark=dark) as visit:
            for path in paths:
                await visit.go(f"/console/{path}")
                for each in await visit.page.locator("#fields summary:visible").all():
                    await each.click()
                await _fine(visit)


async def look_who_may(client: Client) -> None:
    """Viewers and operators are told, and change nothing."""
    here = {"Sec-Fetch-Site": "same-origin"}
    for role in ("viewer", "operator"):
        async with aiohttp.ClientSession(client.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            async with session.post("/console/sign-in", data={"token": _token(client, role)}, headers=here) as answer:
                found = re.search('name="csrf" value="([^"]+)"', await answer.text())
            assert found is not None
            for path in ("new-trigger", "triggers/orders/edit", "new-trigger?clone=orders", "new-trigger/tables"):
                async with session.get(f"/console/{path}") as answer:
                    assert answer.status == 403, path
                    assert "role does not allow it" in await answer.text()
            for path in (
                "new-trigger",
                "triggers/orders/edit",
                "new-trigger/judge",
                "new-trigger/try-fields",
                "new-trigger/try",
            ):
                async with session.post(f"/console/{path}", data={"csrf": found[1], "name": "x"}, headers=here) as answer:
                    assert answer.status == 403, path
                    assert "role does not allow it" in await answer.text()
