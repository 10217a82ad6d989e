"""Every filter that has an index uses it, and what has none reads no more rows than it was told to."""

import json
from typing import Any

import pytest

from cdcd.admin.deliveries import Filter, Status
from cdcd.store.arrays import texts, timestamps, uuids
from cdcd.store.connection import connect, run
from cdcd.store.statements import SQL
from cdcd.store.walks import DAY, first_id, to_text
from tests.integration.store.shop import SCHEMA, shop
from tests.postgres import Database

pytestmark = pytest.mark.matrix(ends=True)
NOW = 1_700_000_000_000_000  # microseconds
LOAD = """
INSERT INTO event_logs (id, time, type, source, subject, trigger, key, payload, status, remark, settled_at)
SELECT (lpad(to_hex(1700000000000 - n * 1000), 12, '0') || '8' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
       to_timestamp(1700000000 - n), CASE WHEN n %% 2 = 0 THEN 'DB_INSERT' ELSE 'DB_UPDATE' END, 'cdcd/shop/main', 's',
       't' || n %% 40, (n %% 1000)::text, '{"a": 1}', CASE WHEN n %% 50 = 0 THEN 'failed' ELSE 'processed' END, 'answered 500', now()
FROM generate_series(0, 19999) AS n
"""
CASES = [
    (Filter(), "pkey"),
    (Filter(status=(Status.FAILED,)), "status_id_idx"),
    (Filter(status=(Status.FAILED, Status.STAGED), trigger=("t0", "t10")), "status_trigger_id_idx"),
    (Filter(trigger=("t7",)), "trigger_id_idx"),
    (Filter(trigger=("t7", "t8"), type=("DB_INSERT",)), "trigger_id_idx"),
    (Filter(key="7"), "left_id_idx"),
    (Filter(key="7", status=(Status.FAILED,)), "left_id_idx"),
    (Filter(error="500"), "status_id_idx"),
    (Filter(type=("DB_UPDATE",)), "pkey"),
    (Filter(text="nothing"), "pkey"),
    (Filter(source="main"), "pkey"),
    (Filter(status=(Status.PROCESSED,)), "pkey"),
]


def scans(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Every scan of event_logs in it."""
    found = [plan] if str(plan.get("Relation Name", "")).startswith("event_logs") else []
    for inner in plan.get("Plans", []):
        found += scans(inner)
    return found


async def test_every_filter_uses_its_index(database: Database) -> None:
    async with shop(database, start=False) as it:
        day = NOW // DAY
        it.execute(f"SELECT make_day(DATE '1970-01-01' + {day}); SELECT make_day(DATE '1970-01-01' + {day - 1})")
        it.execute(LOAD.replace("%%", "%"))
        it.execute("ANALYZE event_logs")
        connection = await connect(database.dsn, SCHEMA)
        await run(connection, "walking")
        begin, end = day * DAY, (day + 1) * DAY
        span = (uuids([to_text(first_id(begin)), to_text(first_id(end))]), timestamps([begin, end]))
        for wanted, index in CASES:
            parameters = [texts(value) if isinstance(value, list) else value for value in wanted.parameters()]
            for form in ("newest", "oldest", "newest.count", "newest.edge"):
                statement = f"EXPLAIN (ANALYZE, FORMAT JSON) {SQL[f'{wanted.walk}.{form}']}".encode()
                cursor = await connection.execute(statement, (*span, 51, *parameters), binary=False, prepare=False)
                ((told,),) = await cursor.fetchall()
                plan = (json.loads(told) if isinstance(told, str | bytes) else told)[0]["Plan"]
                found = scans(plan)
                assert found, (wanted, plan)
                for scan in found:  # one partition, by the right index, in order
                    assert scan["Relation Name"] == "event_logs_20231114", (wanted, form, scan)
                    assert scan["Node Type"] in ("Index Scan", "Index Only Scan"), (wanted, form, scan)
                    assert index in scan["Index Name"], (wanted, form, scan["Index Name"])
                    assert scan["Scan Direction"] == ("Forward" if form == "oldest" else "Backward")
                    if wanted.indexed or form == "newest.edge":
                        assert scan["Actual Rows"] <= 51
                        assert scan.get("Rows Removed by Filter", 0) == 0, (wanted, form, scan)
        await connection.close()


def test_the_filters_are_those_of_the_walks() -> None:
    assert {wanted.walk for wanted, _ in CASES} == {name.partition(".")[0] for name in SQL if name.endswith(".newest")}
