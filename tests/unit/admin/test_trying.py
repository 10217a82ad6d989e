"""A trigger is tried on made-up events of every kind: whether it fires, why not, and the request without what is secret."""

import json
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from cdcd.admin.editing import Draft, Editing, Invalid, NoSuchTrigger
from cdcd.admin.samples import NothingToTry, Sample
from cdcd.admin.trying import LARGEST, Trial, Trying
from cdcd.config import load
from cdcd.config.load import Texts
from cdcd.config.model import Config, Secret
from cdcd.delivery.signing import Signer
from cdcd.triggers.trigger import mistakes_of

MAIN = """\
project: shop
secret: kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
databases: {main: {url: "postgresql://x@localhost/x"}}
storage: {uploads: {path: /tmp}}
triggers:
  rows:
    type: [DB_INSERT, DB_UPDATE, DB_DELETE]
    table: [public.orders, sales.*]
    columns: [total, state]
    when: type == "DB_DELETE" || new.total > 10.0 && new.state != "draft"
    webhook:
      url: "http://127.0.0.1/orders?key=secret-in-the-url"
      headers: {Authorization: "Bearer secret-of-the-shop", X-Id: "${ string(type == 'DB_DELETE' ? old.id : new.id) }"}
  files: {type: FILE_CREATE, path: "**/*.jpg", webhook: http://127.0.0.1/f}
  daily: {type: SCHEDULE, schedule: "0 9 * * *", timezone: Europe/Berlin, webhook: http://127.0.0.1/d}
  paid:
    type: PAID
    key: string(data.id)
    payload: {id: "${ data.id }", token: "${env:TOKEN}"}
    webhook: {url: http://127.0.0.1/p, method: PUT}
  "off": {type: PAID, enabled: false, webhook: http://127.0.0.1/o}
"""
SIGNER = Signer((Secret(b"k" * 32, "k"),), "shop", "test")
NOTHING = cast(Any, None)


def read(path: Path, texts: Texts) -> Config:
    return load(path, {"TOKEN": "from-the-environment"}, mistakes_of, texts=texts)


@pytest.fixture
def trying(tmp_path: Path) -> Trying:
    path = tmp_path / "cdcd.yaml"
    path.write_text(MAIN)
    config = read(path, {})
    return Trying(lambda: config, Editing(lambda: config, partial(read, path)), NOTHING, lambda: SIGNER, NOTHING)


async def attempt(trying: Trying, wanted: str | Draft, type_: str, data: object, **more: Any) -> Trial:
    return await trying.on_sample(await trying.trigger(wanted), Sample(type_, data, **more))


def no(trial: Trial) -> list[str]:
    """The checks that said no; then there is no request."""
    assert not trial.judgement.fires
    assert trial.request is None
    return [check.name for check in trial.judgement.checks if check.holds is False]


def body(trial: Trial) -> Any:
    assert trial.judgement.fires, trial.judgement.why
    assert trial.request is not None, trial.problem
    assert trial.request.body is not None
    return json.loads(trial.request.body)


async def test_a_row_of_which_little_is_told(trying: Trying) -> None:
    trial = await attempt(trying, "rows", "DB_INSERT", {"doc": {"id": 7, "total": 11, "state": "new"}})
    event = body(trial)
    assert (event["subject"], event["source"], event["type"]) == ("public.orders/7", "cdcd/shop/main", "DB_INSERT")
    assert (event["data"]["schema"], event["data"]["col"], event["data"]["find"]) == ("public", "orders", {"id": 7})
    assert trial.judgement.lane == "public.orders/7"
    assert trial.request is not None
    headers = {name.lower(): value for name, value in trial.request.headers}
    assert headers["x-cdcd-test"] == "true"
    assert headers["content-type"] == "application/json"
    assert {headers[name] for name in ("authorization", "x-id", "x-sc-token", "webhook-signature")} == {"***"}
    assert "secret" not in repr(trial)


async def test_what_says_no(trying: Trying) -> None:
    good = {"id": 7, "total": 11, "state": "new"}
    assert no(await attempt(trying, "rows", "DB_INSERT", {"doc": {**good, "total": 9}})) == ["when"]
    assert no(await attempt(trying, "rows", "DB_INSERT", {"doc": good, "col": "users"})) == ["table"]
    assert no(await attempt(trying, "rows", "DB_INSERT", {"doc": good, "db": "other"})) == ["source"]
    assert no(await attempt(trying, "rows", "DB_TRUNCATE", {})) == ["type"]
    same = {"doc": {**good, "note": "b"}, "before": {**good, "note": "a"}}
    assert no(await attempt(trying, "rows", "DB_UPDATE", same)) == ["columns"]
    assert no(await attempt(trying, "files", "FILE_CREATE", {"path": "a/b.png"})) == ["path"]
    assert no(await attempt(trying, "off", "PAID", {})) == ["enabled"]
    when = await attempt(trying, "rows", "DB_INSERT", {"doc": {**good, "state": "draft"}})
    assert 'new.state = "draft"' in when.judgement.why
    assert "new.total" not in when.judgement.why  # that part said yes


async def test_what_raises_is_told(trying: Trying) -> None:
    trial = await attempt(trying, "rows", "DB_INSERT", {"doc": {"id": 7, "total": None, "state": "new"}})
    assert "new.total is null" in trial.problem
    assert trial.request is None
    trial = await attempt(trying, "rows", "DB_DELETE", {"before": {"total": 7}})  # the header names old.id
    assert trial.judgement.fires
    assert "old.id" in trial.problem


async def test_other_kinds_of_events(trying: Trying) -> None:
    file = body(await attempt(trying, "files", "FILE_CREATE", {"path": "a/b.jpg", "size": 3}))
    assert (file["subject"], file["data"]["store"]) == ("a/b.jpg", "uploads")
    tick = body(await attempt(trying, "daily", "SCHEDULE", None))
    assert (tick["data"]["schedule"], tick["data"]["timezone"], tick["subject"]) == ("0 9 * * *", "Europe/Berlin", "daily")
    paid = await attempt(trying, "paid", "PAID", {"id": 5})
    assert body(paid) == {"id": 5, "token": "[redacted]"}
    assert (paid.judgement.lane, paid.request and paid.request.method) == ("5", "PUT")


async def test_a_long_body_is_cut(trying: Trying) -> None:
    draft = Draft("new", "type: PAID\nwebhook: http://127.0.0.1/x\n")
    trial = await attempt(trying, draft, "PAID", {"text": "x" * LARGEST})
    assert trial.request is not None
    assert (trial.request.cut, len(trial.request.body or "")) == (True, LARGEST)


async def test_what_cannot_be_tried(trying: Trying) -> None:
    for wanted, kind, data in (("rows", "PAID", {}), ("rows", "DB_INSERT", [1]), ("paid", "DB_INSERT", {})):
        with pytest.raises(NothingToTry):
            await attempt(trying, wanted, kind, data)
    with pytest.raises(NoSuchTrigger):
        await trying.trigger("nobody")
    with pytest.raises(Invalid):
        await trying.trigger(Draft("new", "type: PAID\n"))
    rows = await trying.trigger("rows")
    for table in ("public.users", "a\0b"):
        with pytest.raises(NothingToTry):
            await trying.on_rows(rows, table, "", 1)
    with pytest.raises(NothingToTry):
        await trying.on_rows(await trying.trigger("paid"), "orders", "", 1)
