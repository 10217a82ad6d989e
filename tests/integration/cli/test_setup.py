"""`cdcd setup` and `cdcd teardown` on real servers: idempotent, openly about gaps, with no more rights than needed, leaving nothing."""

import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.daemon import Daemon
from tests.integration.cli.commands import TRIGGER, Result, as_role, catalog, cdcd, drop_role, write_config
from tests.postgres import Database, OwnServer

TABLES = "CREATE TABLE users (id int PRIMARY KEY, name text); CREATE TABLE visits (at int)"
TRIGGERS = {"users": TRIGGER, "visits": {**TRIGGER, "type": "DB_INSERT", "table": "visits"}}


def setup(config: Path, *options: str) -> Result:
    return cdcd("setup", "-c", config, *options)


def newest_position(database: Database) -> tuple[int, dict[str, Any]]:
    (row,) = database.execute("SELECT settled, identity FROM cdcd.positions ORDER BY seq DESC LIMIT 1")
    return int(row[0]), row[1]


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def confirmed(database: Database) -> int:
    ((lsn,),) = database.execute(
        "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = 'cdcd_shop_main'"
    )
    return int(lsn)


@pytest.mark.matrix
def test_setup_makes_all_of_it_once_and_teardown_leaves_nothing(database: Database, tmp_path: Path) -> None:
    database.execute(TABLES)
    before = catalog(database)
    config = write_config(tmp_path, database.dsn, TRIGGERS)
    first = setup(config)
    assert first.code == 0, first.err
    made = catalog(database)
    assert {row[1] for row in made} - {row[1] for row in before} >= {"cdcd", "cdcd_shop_main", "cdcd_shop_main_insert"}
    assert newest_position(database)[0] == confirmed(database)
    second = setup(config)
    assert (second.code, second.out) == (0, "Everything is there already.\n")
    assert catalog(database) == made
    assert setup(config, "--print").out == "-- Nothing is missing.\n"
    assert cdcd("check", "-c", config).code == 0

    asked = cdcd("teardown", "-c", config)
    assert asked.code == 1
    assert "cdcd_shop_main_insert" in asked.out
    assert catalog(database) == made
    assert cdcd("teardown", "--yes", "-c", config).code == 0
    assert catalog(database) == before
    again = cdcd("teardown", "--yes", "-c", config)
    assert (again.code, again.out) == (0, "Nothing is there.\n")


async def test_the_printed_sql_is_all_that_a_role_with_replication_alone_needs(database: Database, tmp_path: Path) -> None:
    database.execute(TABLES)
    before = catalog(database)
    url = as_role(database, "least", "LOGIN REPLICATION")
    try:
        config = write_config(tmp_path, url, TRIGGERS)
        refused = setup(config)
        assert refused.code == 1
        assert "run `cdcd setup --print`" in refused.err
        assert catalog(database) == before
        printed = setup(config, "--print")
        assert printed.code == 0
        assert catalog(database) == before
        psql(database, printed.out)
        assert cdcd("check", "-c", config).code == 0
        async with Daemon(config) as daemon:
            assert not daemon.find("publication.changed")
        assert cdcd("status", "-c", config).code == 0
        explained = cdcd("explain", "--table", "public.users", "--key", "1", "-c", config)
        assert "cdcd's role may not read public.users; give the row itself as JSON (--row)" in explained.err
        removed = cdcd("teardown", "--yes", "-c", config)
        assert removed.code == 1  # its store and its slot are gone, the publications are somebody else's
        assert "let whoever owns it run what `cdcd teardown --print` shows" in removed.err
        psql(database, cdcd("teardown", "--print", "-c", config).out)
        assert catalog(database) == before
    finally:
        drop_role(database, "least")


def test_the_printed_sql_for_a_role_that_is_not_there_yet(database: Database, tmp_path: Path) -> None:
    database.execute(TABLES)
    url = as_role(database, "later")
    drop_role(database, "later")
    printed = setup(write_config(tmp_path, url, {"users": TRIGGER}), "--print")
    assert printed.code == 2
    assert "not reached" in printed.err
    assert f'ALTER ROLE "later_{database.name}" REPLICATION;' in printed.out
    assert 'CREATE PUBLICATION "cdcd_shop_main" FOR TABLE "public"."users"' in printed.out
    assert "pg_create_logical_replication_slot" in printed.out
    assert 'CREATE SCHEMA IF NOT EXISTS "cdcd"' in printed.out
    assert "secret" not in printed.out


def psql(database: Database, text: str) -> None:
    """What the owner does with printed SQL."""
    command = [str(database.postgres.bin / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-", database.dsn]
    subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL)


def test_tables_that_cannot_be_captured_are_refused_with_what_mends_them(database: Database, tmp_path: Path) -> None:
    before = catalog(database)
    config = write_config(tmp_path, database.dsn)
    result = setup(config)
    assert result.code == 1
    assert "no table is named public.users" in result.err
    assert "`cdcd check` shows everything at once" in result.err
    assert catalog(database) == before
    started = cdcd("run", "-c", config)
    assert started.code == 1
    assert "no table is named public.users" in started.err
    assert catalog(database) == before
    assert cdcd("teardown", "-y", "-c", config).code == 0
    assert catalog(database) == before


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ("SELECT pg_drop_replication_slot('cdcd_shop_main')", "is gone"),
        (
            "SELECT pg_replication_slot_advance('cdcd_shop_main', pg_current_wal_flush_lsn())",
            "somebody else read or advanced it",
        ),
        ("DROP PUBLICATION cdcd_shop_main", "was dropped"),
        ("DROP PUBLICATION cdcd_shop_main_insert; CREATE PUBLICATION cdcd_shop_main_insert", "was dropped or made again"),
        (
            "INSERT INTO cdcd.positions (source, settled, recorded, identity)"
            ' VALUES (\'main\', 1, 1, \'{"system": "1", "timeline": "1", "slot": "cdcd_shop_main"}\')',
            "another cluster",
        ),
    ],
    ids=["dropped", "advanced", "unpublished", "made-again", "another-cluster"],
)
def test_a_gap_is_refused_until_it_is_accepted_and_then_recorded(
    database: Database, tmp_path: Path, loss: str, told: str
) -> None:
    database.execute(TABLES)
    config = write_config(tmp_path, database.dsn)
    assert setup(config).code == 0
    database.execute("INSERT INTO users VALUES (1, 'x')")
    database.execute(loss)
    before = catalog(database), database.execute("SELECT * FROM cdcd.positions ORDER BY seq")
    since, _ = newest_position(database)
    refused = setup(config)
    assert refused.code == 1
    assert told in refused.err
    assert "--accept-gap" in refused.err
    assert (catalog(database), database.execute("SELECT * FROM cdcd.positions ORDER BY seq")) == before
    checked = cdcd("check", "--json", "-c", config)
    assert told in " ".join(finding["what"] for finding in checked.found("mistake") + checked.found("warning"))

    accepted = setup(config, "--accept-gap")
    assert accepted.code == 0, accepted.err
    settled, identity = newest_position(database)
    assert settled == confirmed(database) > since
    assert identity["gap_since"] == f"{since >> 32:X}/{since & 0xFFFFFFFF:X}"
    assert accepted.err == ""
    assert "gap accepted" in accepted.out
    assert setup(config).out == "Everything is there already.\n"
    assert cdcd("check", "-c", config).code == 0


async def test_a_lost_slot_is_told_and_made_anew(own_server: OwnServer, tmp_path: Path) -> None:
    server = own_server({"max_slot_wal_keep_size": "1MB", "wal_keep_size": "0", "min_wal_size": "32MB", "max_wal_size": "32MB"})
    config = write_config(tmp_path, server.dsn())
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(TABLES)
        assert setup(config).code == 0
        for _ in range(4):
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("INSERT INTO visits VALUES (1)")
        connection.execute("CHECKPOINT")
        checked = cdcd("check", "--json", "-c", config)
        assert checked.code == 1
        assert "invalidated" in checked.mistake("slot")["what"]
        assert checked.found("warning", "wal_limit")
        status = cdcd("status", "-c", config)
        assert "--accept-gap" in status.out
        assert setup(config).code == 1
        assert setup(config, "--accept-gap").code == 0
    async with Daemon(config):
        pass


async def test_nothing_is_taken_from_under_a_running_daemon(database: Database, tmp_path: Path) -> None:
    database.execute(TABLES)
    config = write_config(tmp_path, database.dsn)
    async with Daemon(config) as daemon:
        made = catalog(database)
        assert setup(config).code == 0
        gap = setup(config, "--accept-gap")
        assert gap.code == 1
        assert "running cdcd" in gap.err
        down = cdcd("teardown", "--yes", "-c", config)
        assert down.code == 1
        assert "application 'cdcd'" in down.err
        assert catalog(database) == made
        owner = cdcd("check", "--json", "-c", config)
        assert owner.code == 0
        assert "running cdcd" in owner.found("ok", "owner")[0]["what"]
        assert await daemon.stop() == 0
    assert cdcd("teardown", "--yes", "-c", config).code == 0


def test_a_slot_and_a_schema_of_others_stay(database: Database, tmp_path: Path) -> None:
    database.execute(TABLES)
    database.execute("SELECT pg_create_logical_replication_slot('cdcd_shop_main', 'test_decoding')")
    database.execute("CREATE SCHEMA cdcd; CREATE TABLE cdcd.theirs ()")
    before = catalog(database)
    result = cdcd("teardown", "--yes", "-c", write_config(tmp_path, database.dsn))
    assert result.code == 1
    assert "holds other things" in result.err
    assert catalog(database) == before


async def test_the_embedded_store_is_made_kept_and_removed(database: Database, tmp_path: Path) -> None:
    database.execute(TABLES)
    before = catalog(database)
    config = write_config(tmp_path, database.dsn, eventing=None)
    assert setup(config).code == 0
    down = cdcd("status", "--json", "-c", config)
    assert down.code == 2
    assert "does not run now" in down.json["store_error"]
    async with Daemon(config):
        assert cdcd("check", "-c", config).code == 0
        status = cdcd("status", "--json", "-c", config)
        assert (status.code, status.json["complete"]) == (0, True)
        assert cdcd("teardown", "--yes", "-c", config).code == 1
    removed = cdcd("teardown", "--yes", "-c", config)
    assert removed.code == 0, removed.err
    assert names(tmp_path) == ["cdcd.yaml"]
    assert catalog(database) == before
