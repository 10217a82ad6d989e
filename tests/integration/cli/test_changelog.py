"""The commands for a database that refuses replication: check, setup, run, status, teardown; and with a role that may only read."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from tests.daemon import Daemon
from tests.endpoint import Endpoint
from tests.integration.cli.commands import TRIGGER, as_role, catalog, cdcd, drop_role, write_config
from tests.postgres import Database, Databases, OwnServer, Postgres

TABLES = (
    "CREATE TABLE users (id int PRIMARY KEY, name text); CREATE TABLE visits (at int) PARTITION BY LIST (at);"
    "CREATE TABLE visits_1 PARTITION OF visits FOR VALUES IN (1)"
)
TRIGGERS = {"users": TRIGGER, "visits": {**TRIGGER, "table": "visits"}}
REFUSING = {"wal_level": "minimal", "max_wal_senders": "0", "max_replication_slots": "0", "max_prepared_transactions": "0"}


def captured(url: str) -> dict[str, Any]:
    return {"main": {"url": url, "capture": "triggers"}}


async def test_from_nothing_to_nothing_where_replication_is_refused(
    own_server: OwnServer, postgres: Postgres, tmp_path: Path
) -> None:
    database = Database("postgres", Postgres(postgres.major, own_server(REFUSING, major=postgres.major)))
    database.execute(TABLES)
    before = catalog(database)
    refused = cdcd("check", "-c", write_config(tmp_path, database.dsn, TRIGGERS), "--json")
    assert "capture: triggers" in refused.found("warning", "capture")[0]["fix"]

    async with Endpoint() as endpoint:
        triggers = {name: {**each, "webhook": endpoint.url(f"/{name}")} for name, each in TRIGGERS.items()}
        config = write_config(tmp_path, database.dsn, triggers, databases=captured(database.dsn))
        found = cdcd("check", "-c", config, "--json")
        assert not found.found("mistake"), found.out
        assert "triggers fit" in found.found("ok", "capture")[0]["what"]
        assert catalog(database) == before
        first = cdcd("setup", "-c", config)
        assert first.code == 0, first.err
        made = catalog(database)
        second = cdcd("setup", "-c", config)
        assert (second.code, second.out) == (0, "Everything is there already.\n")
        assert cdcd("setup", "-c", config, "--print").out == "-- Nothing is missing.\n"
        assert catalog(database) == made
        database.execute("INSERT INTO users VALUES (1, 'before the first run')")
        waiting = cdcd("status", "-c", config)
        assert "1 changes not settled" in waiting.out
        async with Daemon(config) as daemon:
            await daemon.ready()
            database.execute("INSERT INTO visits VALUES (1); DELETE FROM visits")
            await endpoint.wait_for(3)
            report = cdcd("status", "-c", config, "--json").json["databases"][0]
            assert report["log"]["readers"] == 1
            assert report["log"]["written"] == 3
            await daemon.stop()
        database.execute('DROP TRIGGER "00_cdcd_changes" ON users')
        broken = cdcd("check", "-c", config, "--json")
        assert "public.users" in broken.mistake("trigger_missing")["what"]
        assert "not written down" in cdcd("status", "-c", config).out.replace("\n", " ")
        words = cdcd("teardown", "-c", config)
        assert "change log and its triggers" in words.out
        assert cdcd("teardown", "--yes", "-c", config).code == 0
        assert catalog(database) == before
        assert cdcd("teardown", "--yes", "-c", config).out == "Nothing is there.\n"


@pytest.mark.matrix(ends=True)
async def test_a_role_that_may_only_read_the_log(database: Database, databases: Databases, tmp_path: Path) -> None:
    """The owner runs what `cdcd setup --print` prints; the role needs no right on any table of the application."""
    database.execute(TABLES)
    before = catalog(database)
    url = as_role(database, "reader")
    store = databases()
    role = f"reader_{database.name}"
    store.execute(f"GRANT CREATE ON DATABASE {store.name} TO {role}")
    own = make_conninfo(store.tcp_dsn, user=role, password="secret")
    try:
        async with Endpoint() as endpoint:
            triggers = {"users": {**TRIGGER, "database": "main", "webhook": endpoint.url("/users")}}
            config = write_config(
                tmp_path, url, triggers, databases={**captured(url), "store": {"url": own}}, eventing={"database": "store"}
            )
            refused = cdcd("setup", "-c", config)
            assert refused.code == 1
            assert "public.users" in refused.err
            assert catalog(database) == before
            assert "does not own public.users" in cdcd("check", "-c", config, "--json").mistake("changelog")["what"]
            printed = cdcd("setup", "-c", config, "--print")
            log = printed.out[printed.out.index("-- database main") :]
            psql = [str(database.postgres.bin / "psql"), "-qX", "-v", "ON_ERROR_STOP=1", database.dsn]
            await asyncio.to_thread(subprocess.run, psql, input=log, text=True, check=True, capture_output=True)
            assert not cdcd("check", "-c", config, "--json").found("mistake")
            async with Daemon(config) as daemon:
                await daemon.ready()
                database.execute(
                    "INSERT INTO users VALUES (1); ALTER TABLE users ADD more int; INSERT INTO users VALUES (2, 'b', 3)"
                )
                await endpoint.wait_for(2)
                await daemon.stop()
    finally:
        cdcd("teardown", "--yes", "-c", write_config(tmp_path, database.dsn, TRIGGERS, databases=captured(database.dsn)))
        store.execute(f"DROP OWNED BY {role} CASCADE")
        drop_role(database, "reader")
