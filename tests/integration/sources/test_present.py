"""Rows as they are, as the events that a change of them would make: what the stream would tell of them, told without one."""

import time
from typing import Any

import orjson
import psycopg
import pytest

from cdcd.config.model import Capture, Database
from cdcd.errors import SourceNotReady, SourceUnavailable
from cdcd.sources.present import rows
from tests.postgres import Database as Server

NOW = int(time.time() * 1e6)
TABLE = """
CREATE SCHEMA "a b";
CREATE DOMAIN money_of_ours AS numeric(10, 2);
CREATE TABLE "a b"."Orders" (
  id int, part int, total money_of_ours, tags text[], at timestamptz, took interval, raw bytea, doc jsonb, gone int,
  twice int GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (part, id));
ALTER TABLE "a b"."Orders" DROP COLUMN gone;
INSERT INTO "a b"."Orders" VALUES
  (1, 1, 9.50, '{a,"b c"}', '2026-11-24 05:00+02', '1 day 2 hours', '\\x00ff', '{"a": 1}'), (2, 1, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE bare (name text); INSERT INTO bare VALUES ('x');
CREATE VIEW seen AS SELECT 1 AS id;
"""


def config(server: Server, url: str = "") -> Database:
    return Database("main", url or server.dsn, Capture.REPLICATION, "slot", "publication")


async def read(server: Server, table: tuple[str, str], kind: str = "DB_INSERT", limit: int = 5) -> list[tuple[Any, Any]]:
    found = await rows("shop", config(server), table, kind, limit, NOW)
    return [(each.event, orjson.loads(each.event.data)) for each in found]


async def test_rows_are_told_as_the_stream_tells_them(database: Server) -> None:
    database.execute(TABLE)
    second, first = await read(database, ("a b", "Orders"))
    event, data = first
    assert (event.type, event.source, event.subject, event.key) == ("DB_INSERT", "cdcd/shop/main", "a b.Orders/1,1", "1,1")
    assert event.time == NOW
    assert data["doc"] == {
        **{"id": 1, "part": 1, "total": 9.50, "tags": ["a", "b c"], "at": "2026-11-24T03:00:00+00:00", "raw": "AP8="},
        **({"twice": 2} if database.postgres.major >= 18 else {}),
        "took": "P1DT2H",
        "doc": {"a": 1},
    }
    assert (data["schema"], data["col"], data["find"]) == ("a b", "Orders", {"part": 1, "id": 1})
    assert second[1]["doc"]["total"] is None

    ((event, data),) = await read(database, ("public", "bare"), "DB_DELETE")
    assert (event.type, event.subject, data["before"]) == ("DB_DELETE", "public.bare", {"name": "x"})
    ((event, data),) = await read(database, ("a b", "Orders"), "DB_UPDATE", limit=1)
    assert (event.type, event.key, data["before"], data["changed"]) == ("DB_UPDATE", "2,1", None, None)

    database.execute("CREATE TABLE many (id int PRIMARY KEY); INSERT INTO many SELECT generate_series(1, 12)")
    assert [data["doc"]["id"] for _, data in await read(database, ("public", "many"), limit=3)] == [12, 11, 10]


async def test_of_large_rows_fewer_are_read(database: Server) -> None:
    database.execute("CREATE TABLE large (id int PRIMARY KEY, body text)")
    database.execute("INSERT INTO large SELECT n, repeat('x', 6 << 20) FROM generate_series(1, 12) AS n")
    assert [data["doc"]["id"] for _, data in await read(database, ("public", "large"), limit=12)] == [12, 11, 10]


async def test_why_rows_cannot_be_read(database: Server) -> None:
    database.execute(TABLE)
    for table in (("public", "nothing"), ("public", "seen")):
        with pytest.raises(SourceNotReady, match="no table"):
            await read(database, table)
    name = f"poor_{database.name}"
    database.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'p'")
    try:
        poor = psycopg.conninfo.make_conninfo(database.dsn, user=name, password="p")
        with pytest.raises(SourceNotReady, match="may not read") as caught:
            await rows("shop", config(database, poor), ("public", "bare"), "DB_INSERT", 1, NOW)
        assert 'GRANT SELECT ON "public"."bare"' in caught.value.hint
    finally:
        database.execute(f"DROP ROLE {name}")
    with pytest.raises(SourceUnavailable):
        await rows("shop", config(database, "postgresql://x@127.0.0.1:1/x"), ("public", "bare"), "DB_INSERT", 1, NOW)
