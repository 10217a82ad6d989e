"""Why a row makes no delivery: what stands in the way, and which check says no, on real tables."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdcd.admin.deliveries import Deliveries, Unfit
from cdcd.admin.unfired import Asked, Unfired, look
from cdcd.config import load
from cdcd.config.model import Config
from cdcd.store.migrate import migrate
from cdcd.triggers.trigger import compile_all
from cdcd.upkeep.setup import setup
from tests.integration.cli.commands import write_config
from tests.postgres import Database

HOOK = {"webhook": "http://127.0.0.1:1/hook"}
WHEN = 'new.total > 10.5 && timestamp(new.at) > timestamp("2026-01-01T00:00:00Z")'
TRIGGERS: dict[str, Any] = {
    "large": {
        **HOOK,
        "type": ["DB_INSERT", "DB_UPDATE"],
        "table": "orders",
        "when": 'new.total > 10.5 && timestamp(new.at) > timestamp("2026-01-01T00:00:00Z")',
    },
    "moved": {**HOOK, "type": "DB_UPDATE", "table": "orders", "columns": ["place"]},
    "other": {**HOOK, "type": "DB_INSERT", "table": "users"},
}


class Shop:
    def __init__(self, database: Database, config: Config) -> None:
        self.database = database
        self.config = config
        self._log = Deliveries(database.dsn, "cdcd")

    async def look(self, table: str, key: str | None = None, paused: tuple[str, ...] = (), **more: Any) -> Unfired:
        return await look(self.config, compile_all(self.config), self._log, Asked(table, key, **more), paused)

    async def close(self) -> None:
        await self._log.close()


def fires(found: Unfired, kind: str) -> dict[str, bool]:
    return {each.trigger: each.fires for each in found.judgements[kind] if each.near}


@pytest.mark.parametrize("capture", ["replication", "triggers"])
async def test_a_row_is_judged_as_the_stream_would_give_it(tmp_path: Path, database: Database, capture: str) -> None:
    database.execute(
        "CREATE TABLE orders (id int, shop text, total numeric, place point, at timestamptz, PRIMARY KEY (shop, id));"
        "CREATE TABLE users (id int PRIMARY KEY);"
        "CREATE TABLE nobody (id int PRIMARY KEY);"
        "INSERT INTO orders VALUES (1, 'x,y', 10.50, '(1,2)', '2026-05-05'), (2, 'b', 11, NULL, '2025-05-05'),"
        " (3, 'b', 11, NULL, '2026-05-05')"
    )
    path = write_config(tmp_path, database.dsn, TRIGGERS, databases={"main": {"url": database.dsn, "capture": capture}})
    config = load(path, {})
    await migrate(database.dsn, "cdcd", "shop")
    shop = Shop(database, config)
    before = await shop.look("orders", "b,3")
    assert any("orders" in each.what and each.fix for each in before.obstacles)  # nothing is set up yet
    await setup(config, accept_gap=False, tell=lambda _: None)

    found = await shop.look("orders", "b,3")
    assert (found.there, found.obstacles, found.recent) == (True, [], ())
    assert fires(found, "DB_INSERT") == {"large": True, "moved": False}
    assert fires(found, "DB_UPDATE") == {"large": True, "moved": True}  # what cannot be told counts as changed
    assert any("before an update" in each for each in found.unknown)
    (large, *_) = (await shop.look("orders", '{"shop": "b", "id": 2}')).judgements["DB_INSERT"]
    assert (large.fires, "new.at" in large.why, "new.total" in large.why) == (False, True, False)
    (large, *_) = (await shop.look("orders", '["x,y", 1]')).judgements["DB_INSERT"]
    assert "`new.total > 10.5` (new.total = 10.5)" in large.why

    same = {"shop": "b", "id": 3, "total": 11, "place": None, "at": "2026-05-05T00:00:00+00:00"}
    for old, moved in ((same, False), ({**same, "place": [1, 2]}, True)):
        given = await shop.look("orders", type="DB_UPDATE", row=same, old=old)
        assert fires(given, "DB_UPDATE")["moved"] is moved
    paused = await shop.look("public.orders", "b,3", paused=("large",))
    assert ["paused" in each.what for each in paused.obstacles] == [True]
    missing = await shop.look("orders", "b,4")
    assert (missing.there, missing.judgements, "no row" in missing.obstacles[0].what) == (False, {}, True)

    nobody = await shop.look("nobody", "1")
    assert (nobody.there, nobody.obstacles[0].what) == (None, "no trigger names public.nobody")  # so it is not read
    own = await shop.look("cdcd.event_logs", "1")
    assert "cdcd's own" in own.obstacles[0].what
    await shop.close()


async def test_what_cannot_be_meant_is_refused(tmp_path: Path, database: Database) -> None:
    database.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, total numeric, at timestamptz, place point); CREATE TABLE users (id int)"
    )
    config = load(write_config(tmp_path, database.dsn, TRIGGERS), {})
    await migrate(database.dsn, "cdcd", "shop")
    shop = Shop(database, config)
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    for asked, why in (
        (Asked("orders", row={"id": 1, "place": deep}), "nested too deeply"),
        (Asked("orders", row={"id": 1, "place": [0] * 20_000}), "too many to be looked at"),
        (Asked("orders"), "say which row"),
        (Asked("or*", "1"), "without wildcards"),
        (Asked("orders", "seven"), "is id, and that is none"),
        (Asked("orders", "[1, 2]"), "1 columns"),
        (Asked("orders", "1", database="none"), "there is no database"),
        (Asked("orders", "1", type="FILE_CREATE"), "must be one of"),
        (Asked("users", "1"), "no primary key"),
        (Asked("orders", '{"no": 1}'), "has the columns id"),
    ):
        with pytest.raises(Unfit, match=why):
            await look(config, compile_all(config), shop._log, replace(asked))
    await shop.close()
