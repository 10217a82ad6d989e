"""`cdcd status` and `cdcd schema`: what is told while the daemon runs, while it does not, and when something cannot be reached."""

import json
import socket
from pathlib import Path

import pytest

from cdcd.config import schema
from tests.daemon import Daemon
from tests.endpoint import Answer, Endpoint
from tests.integration.cli.commands import TRIGGER, cdcd, write_config
from tests.postgres import Database

USERS = "CREATE TABLE users (id int PRIMARY KEY, name text); CREATE TABLE orders (id int PRIMARY KEY)"


def test_before_anything_was_made(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    config = write_config(tmp_path, database.dsn)
    result = cdcd("status", "--json", "-c", config)
    assert result.code == 0
    assert result.json["store_made"] is False
    assert result.json["databases"][0]["missing_slot"] is True
    shown = cdcd("status", "-c", config)
    assert "not running" in shown.out
    assert "there is none yet" in shown.out


async def test_deliveries_failures_and_backlog_while_running_and_after(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    async with Endpoint() as endpoint:
        endpoint.always(Answer(410), path="/gone")
        endpoint.always(Answer(503), path="/down")
        triggers = {
            "good": {**TRIGGER, "webhook": endpoint.url("/good")},
            "gone": {**TRIGGER, "table": "orders", "webhook": endpoint.url("/gone")},
            "down": {**TRIGGER, "table": "orders", "webhook": endpoint.url("/down"), "retries": {"first": "1h"}},
            "off": {**TRIGGER, "webhook": endpoint.url("/off"), "enabled": False},
        }
        config = write_config(tmp_path, database.dsn, triggers)
        async with Daemon(config) as daemon:
            database.execute("INSERT INTO users SELECT g, 'x' FROM generate_series(1, 3) g; INSERT INTO orders VALUES (1)")
            await endpoint.wait_for(5)
            assert await daemon.stop() == 0
            await daemon.start()
            await daemon.ready()
            result = cdcd("status", "--json", "-c", config)
            assert result.code == 0, result.err
            running = result.json
            assert "application 'cdcd'" in running["running"]
            (main,) = running["databases"]
            assert main["slot"]["active"] is True
            assert main["slot"]["held_bytes"] < 64 << 20
            assert main["lag_bytes"] < 1 << 20
            assert main["settled_time"] is not None
            assert [(each["name"], each["triggers"], each["inserts_only"]) for each in main["tables"]] == [
                ("public.orders", ["gone", "down"], False),
                ("public.users", ["good"], False),
            ]
            rows = {row["name"]: row for row in running["triggers"]}
            assert (rows["good"]["delivered"], rows["good"]["failed"], rows["good"]["backlog"]) == (3, 0, 0)
            assert (rows["gone"]["delivered"], rows["gone"]["failed"]) == (0, 1)
            assert "410" in rows["gone"]["last_error"]
            assert rows["down"]["backlog"] == 1
            assert rows["down"]["oldest_unsettled"] is not None
            assert "503" in rows["down"]["last_error"]
            assert rows["off"]["enabled"] is False
        stopped = cdcd("status", "-c", config)
        assert stopped.code == 0
        assert "nobody reads the slot: cdcd is not running" in stopped.out
        assert "off (off)" in stopped.out
        # A trigger that left the file is shown for as long as it has a backlog.
        write_config(tmp_path, database.dsn, {"good": triggers["good"]})
        assert "down (off)" in cdcd("status", "-c", config).out


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("SELECT pg_drop_replication_slot('cdcd_shop_main')", "is gone"),
        ("DROP PUBLICATION cdcd_shop_main", "a publication was dropped"),
        ("DROP TABLE users", "no table is named public.users"),
    ],
    ids=["slot", "publication", "table"],
)
def test_what_keeps_changes_from_being_read_is_said(database: Database, tmp_path: Path, harm: str, told: str) -> None:
    database.execute(USERS)
    config = write_config(tmp_path, database.dsn)
    assert cdcd("setup", "-c", config).code == 0
    assert cdcd("status", "-c", config).code == 0
    database.execute("INSERT INTO users VALUES (1, 'x')")
    database.execute(harm)
    result = cdcd("status", "--json", "-c", config)
    shown = cdcd("status", "-c", config)
    assert (result.code, shown.code) == (1, 1)
    (trouble,) = result.json["databases"][0]["trouble"]
    assert told in trouble["what"]
    assert trouble["fix"]
    assert "trouble:" in shown.out
    assert "up to date" not in shown.out
    assert "there is none yet" not in shown.out


def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        config = write_config(tmp_path, f"postgresql://app:pw@127.0.0.1:{taken.getsockname()[1]}/shop")
        result = cdcd("status", "--json", "-c", config)
        removed = cdcd("teardown", "--yes", "-c", config)
        printed = cdcd("teardown", "--print", "-c", config)
    assert result.code == 2
    assert result.json["store_made"] is None
    assert result.json["databases"][0]["missing_slot"] is None
    assert (removed.code, printed.code) == (2, 2)
    assert "Nothing is there" not in removed.out + printed.out
    assert "could not be looked at" in removed.out
    assert printed.out.startswith("-- ")


def test_what_cannot_be_reached_is_said_and_the_rest_is_shown(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"postgresql://app:pw@127.0.0.1:{taken.getsockname()[1]}/shop"
        databases = {"main": {"url": database.dsn}, "far": {"url": dead}}
        triggers = {"users": {**TRIGGER, "database": "main"}, "far": {**TRIGGER, "database": "far"}}
        config = write_config(tmp_path, "", triggers, databases=databases)
        result = cdcd("status", "--json", "-c", config)
        shown = cdcd("status", "-c", config)
    assert (result.code, shown.code) == (2, 2)
    main, far = result.json["databases"]
    assert main["error"] == ""
    assert "refused" in far["error"].lower()
    assert "not reached" in shown.out
    assert "app:pw" not in result.out + shown.out


def test_the_schema_is_that_of_the_configuration() -> None:
    assert json.loads(cdcd("schema").out) == json.loads(json.dumps(schema()))


def test_every_command_tells_what_it_is_for_with_an_example() -> None:
    overview = cdcd("--help").out
    for command in ("run", "check", "setup", "teardown", "status", "schema", "receive"):
        assert command in overview
    for command in ("check", "setup", "teardown", "status", "schema"):
        assert "Example" in cdcd(command, "--help").out
