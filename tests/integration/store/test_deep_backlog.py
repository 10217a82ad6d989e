"""A deep backlog costs a claim no more than a shallow one."""

import time

import pytest

from cdcd.store.pending import Backlog
from tests.integration.store.shop import SCHEMA, Shop, shop
from tests.postgres import Database

MEGABYTE = 1 << 20

FILL = """
INSERT INTO event_logs (id, time, type, source, subject, trigger, key, payload, status)
SELECT gen_random_uuid(), now(), 'DB_INSERT', 's', 's', 'welcome', 'k', '{{}}', 'staged' FROM generate_series(1, {0});
INSERT INTO pending (id, time, trigger, lane, due_at, size)
SELECT id, time, trigger, lane, CASE WHEN lane IS NULL OR row_number() OVER (PARTITION BY lane ORDER BY n) = 1 THEN {1} END, 500
FROM (SELECT *, row_number() OVER () AS n, {2} AS lane FROM event_logs) AS e ORDER BY n
"""


async def claim_time(it: Shop, backlog: Backlog, exclude: list[str]) -> tuple[float, int]:
    """Best of several: seconds for a claim of 100, and how many it gave."""
    best, count = 9.0, 0
    for _ in range(9):
        began = time.perf_counter()
        count = len((await backlog.claim("welcome", exclude, 100, MEGABYTE, time.time())).deliveries)
        best = min(best, time.perf_counter() - began)
    return best, count


@pytest.mark.parametrize(
    ("due", "lane", "given"),
    [
        ("now()", "NULL::text", 100),
        ("now()", "(row_number() OVER () % 50000)::text", 100),
        ("now()", "'one'", 65),
        ("now() + interval '1 hour'", "'dead'", 0),
        ("now() + interval '1 hour'", "(row_number() OVER () % 50000)::text", 0),
    ],
    ids=["unordered", "many lanes", "one lane", "one stuck lane", "many stuck lanes"],
)
async def test_a_claim_from_a_deep_backlog_costs_what_one_from_a_shallow_one_does(
    database: Database, due: str, lane: str, given: int
) -> None:
    async with shop(database) as it:
        backlog = Backlog(database.dsn, SCHEMA)
        it.execute(FILL.format(100_000, due, lane))
        exclude = [row[0] for row in it.rows("SELECT id::text FROM pending WHERE due_at > now() + interval '1 day'")]
        seconds, count = await claim_time(it, backlog, exclude)
        print(f"claim of {count} from 100,000: {seconds * 1000:.2f} ms")
        assert count == given
        assert seconds < 0.05  # a walk over all of it takes several times as long
        await backlog.close()
