"""What followed from a delivery is found by an index, however many deliveries there are."""

import pytest

from cdcd.store.causes import Causes
from cdcd.store.connection import connect
from cdcd.store.statements import SQL
from tests.integration.admin.test_plans import LOAD, NOW
from tests.integration.store.shop import SCHEMA, shop
from tests.postgres import Database

pytestmark = pytest.mark.matrix(ends=True)
CAUSE = "018bcfe5-6800-8000-8000-000000000001"


async def test_what_followed_is_found_by_its_index(database: Database) -> None:
    async with shop(database, start=False) as it:
        day = NOW // 86_400_000_000
        it.execute(f"SELECT make_day(DATE '1970-01-01' + {day})")
        it.execute(LOAD.replace("%%", "%"))
        for place, name in ((5, "causationid"), (3, "cdcdreplayof")):
            it.execute(
                f"UPDATE event_logs SET extensions = json_build_object('{name}', '{CAUSE}', 'chaindepth', 1) "
                f"WHERE time = to_timestamp({NOW // 1_000_000} - {place})"
            )
        it.execute("ANALYZE event_logs")
        causes = Causes(database.dsn, SCHEMA)
        long_before = NOW - 10_000_000_000
        assert [one.extensions["chaindepth"] for one in await causes.caused(CAUSE, long_before)] == [1, 1]
        assert await causes.caused("018bcfe5-6800-8000-8000-000000000002", long_before) == []
        assert await causes.caused(CAUSE, NOW) == []  # nothing follows from what is yet to come
        assert await causes.queued([f"{CAUSE}.1.1"]) == []
        await causes.close()
        connection = await connect(database.dsn, SCHEMA)
        statement = (
            SQL["caused"].replace("$1::text", f"'{CAUSE}'").replace("($2::timestamptz[])[1]", "'2023-01-01'::timestamptz")
        )
        cursor = await connection.execute(
            f"EXPLAIN (COSTS OFF) {statement.replace('$3::integer', '100')}".encode(), prepare=False
        )
        plan = "\n".join(line for (line,) in await cursor.fetchall())
        await connection.close()
        assert "Seq Scan on event_logs" not in plan, plan
        assert plan.count("Index Cond: ((extensions ->>") == plan.count("Index Scan using"), plan
