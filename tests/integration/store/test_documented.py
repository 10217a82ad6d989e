"""docs/event-store.md is true: it has every table and column with its type, and its statements run and do what they say."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from cdcd.event import Status
from tests.integration.store.shop import SCHEMA, Shop, delivery, final, shop, staged
from tests.postgres import Database

PAGE = (Path(__file__).parents[3] / "docs" / "event-store.md").read_text("utf-8")
STATEMENTS = [text.strip() for text in re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]
AT = time.time()


def statement(beginning: str) -> str:
    (found,) = [text for text in STATEMENTS if text.startswith(beginning)]
    return str(found)


async def filled(it: Shop) -> dict[str, str]:
    """One delivery of each kind; their ids."""
    good, waits, behind, *bad = (
        delivery("public.products/42", "search-index", AT),
        delivery("public.products/43", "ledger", AT),
        delivery("public.products/43", "ledger", AT),
        delivery("public.products/1", "ledger", AT),
        delivery("public.products/1", "ledger", AT + 0.5),
        delivery("public.products/2", "ledger", AT),
    )
    for each in (good, waits, behind, *bad):
        each.event.subject = each.lane or ""
        each.event.key = each.event.subject.partition("/")[2]
        each.event.position = int(each.event.time)
    await it.write(final(good))
    await it.write(staged(waits, time.time() + 3600, number=1, reason="connection refused"), staged(behind))
    await it.write(*(final(each, Status.FAILED, reason="connection refused (attempt 1 of 1)") for each in bad))
    return {
        "good": good.id,
        "waits": waits.id,
        "behind": behind.id,
        "first": bad[0].id,
        "second": bad[1].id,
        "other": bad[2].id,
    }


async def test_every_table_and_column_is_described_with_its_type(database: Database) -> None:
    async with shop(database, start=False) as it:
        columns = it.rows(
            """
            SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
            WHERE c.relnamespace = to_regnamespace('"cdcd Shop"') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
              AND a.attnum > 0 AND NOT a.attisdropped
            ORDER BY c.relname, a.attnum
            """
        )
    described = [
        (table, column, kind)
        for table, rows in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
        for column, kind in re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", rows, re.MULTILINE)
    ]
    assert sorted(described) == sorted(columns)


async def test_every_state_is_drawn() -> None:
    drawn = PAGE.partition("## The states")[2].partition("## Partitions")[0]
    assert all(status in drawn for status in Status)


@pytest.mark.parametrize("text", [text for text in STATEMENTS if text.startswith("SELECT")], ids=lambda text: text[:60])
async def test_the_queries_find_something(database: Database, text: str) -> None:
    async with shop(database) as it:
        ids = await filled(it)
        await it.write()
        it.execute("INSERT INTO positions (source, settled, recorded, identity) VALUES ('main', 42, 42, '{\"slot\": \"s\"}')")
        text = re.sub(r"'[0-9a-f]{8}-[0-9a-f-]{27}'", f"'{ids['good']}'", text)
        assert it.rows(text)


async def test_a_viewer_may_read_and_nothing_else(database: Database) -> None:
    role = f"viewer_{database.name}"
    database.execute(f"CREATE ROLE {role}")
    try:
        async with shop(database) as it:
            ids = await filled(it)
            it.execute(statement("GRANT USAGE").replace("viewer", role).replace("SCHEMA cdcd", f'SCHEMA "{SCHEMA}"'))

            def seen(query: str) -> list[tuple[Any, ...]]:
                with database.connect() as connection:
                    connection.execute(f'SET search_path = "{SCHEMA}"')
                    connection.execute(f"SET ROLE {role}")
                    return connection.execute(query).fetchall()

            assert len(seen("SELECT * FROM event_logs")) == len(ids)
            assert seen("SELECT * FROM invocation_logs")
            for table in ("pending", "positions", "meta", "migrations"):
                seen(f"SELECT * FROM {table}")
            with pytest.raises(Exception, match="permission denied"):
                seen("DELETE FROM pending RETURNING id")
    finally:
        database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
