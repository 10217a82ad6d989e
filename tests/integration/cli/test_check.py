"""`cdcd check` against real servers: every finding that somebody must act on comes with what mends it, and the exit code follows."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdcd.config.model import Server
from cdcd.replication.walsender import open_walsender
from cdcd.upkeep.finding import Section
from cdcd.upkeep.listening import check_listening
from tests.integration.cli.commands import SECRET, TRIGGER, Result, as_role, catalog, cdcd, drop_role, write_config
from tests.postgres import Database, OwnServer

USERS = "CREATE TABLE users (id int PRIMARY KEY, name text, email text)"


def check(config: Path) -> Result:
    return cdcd("check", "--json", "-c", config)


def test_every_mistake_of_the_file_is_a_finding_and_the_exit_code_is_1(tmp_path: Path) -> None:
    config = write_config(tmp_path, "postgresql://localhost/x", {"a": {**TRIGGER, "typ": 1}, "b": {**TRIGGER, "retries": -1}})
    result = check(config)
    assert result.code == 1
    assert len(result.found("mistake", "config")) == 2
    assert "cdcd.yaml:" in cdcd("check", "-c", config).out


def test_mistakes_in_expressions_are_found_with_all_others(tmp_path: Path) -> None:
    triggers = {
        "a": {
            **TRIGGER,
            "type": "DB_INSERT",
            "typ": 1,
            "when": "nwe.id == 1",
            "payload": {"ids": ["${ new.id }", "${ foo() }"]},
        }
    }
    config = write_config(tmp_path, "postgresql://localhost/x", triggers)
    told = [finding["what"] for finding in check(config).found("mistake", "config")]
    assert len(told) == 3
    assert any("triggers.a.payload.ids[2]: there is no function 'foo'" in what for what in told)
    run = cdcd("run", "-c", config)
    assert (run.code, run.err.count("triggers.a")) == (1, 3)
    assert "3 mistakes; nothing was started." in run.err


def test_columns_and_old_rows_that_templates_ask_for(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    payload = {"id": "${ new.id }", "was": "${ old.email }", "x": ["a ${ new.nmae }"]}
    config = write_config(tmp_path, database.tcp_dsn, {"a": {**TRIGGER, "type": "DB_UPDATE", "payload": payload}})
    result = check(config)
    (column,) = result.found("mistake", "column")
    assert "has no column nmae; did you mean name?" in column["what"]
    assert "payload.x[1]" in column["fix"]
    (identity,) = result.found("mistake", "identity")
    assert "it asks for old.email" in identity["what"]


def test_templates_that_calculate_with_numbers_that_may_have_no_point(database: Database, tmp_path: Path) -> None:
    database.execute("CREATE TABLE users (id int PRIMARY KEY, price numeric, score float8)")
    payload = {"a": "${ new.price * 1.19 }", "b": "${ double(new.score) * 1.5 + double(new.id) }", "c": "${ new.price }"}
    config = write_config(tmp_path, database.tcp_dsn, {"a": {**TRIGGER, "type": "DB_INSERT", "payload": payload}})
    result = check(config)
    assert result.code == 0
    (number,) = result.found("warning", "number")
    assert "it calculates with new.price of public.users" in number["what"]
    assert number["fix"] == "write double(new.price)"


@pytest.mark.matrix
def test_all_is_well_and_nothing_is_changed(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    before = catalog(database)
    config = write_config(tmp_path, database.tcp_dsn)
    result = check(config)
    assert result.code == 0, result.out
    assert not result.found("mistake")
    assert not result.found("unknown")
    assert {"reach", "version", "wal_level", "senders", "replication", "slots", "slot", "publication", "trigger", "store"} <= {
        finding["code"] for finding in result.found("ok")
    }
    assert catalog(database) == before
    shown = cdcd("check", "-c", config)
    assert shown.out.endswith("All is well.\n")
    assert SECRET not in shown.out
    assert conninfo_to_dict(database.tcp_dsn)["password"] not in shown.out  # type: ignore[operator]  # it has one


def test_a_role_that_may_not_replicate_gets_the_sql_that_lets_it(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    url = as_role(database, "plain")
    try:
        database.execute(
            f"ALTER TABLE users OWNER TO plain_{database.name}; GRANT CREATE ON DATABASE {database.name} TO PUBLIC"
        )
        config = write_config(tmp_path, url)
        result = check(config)
        assert result.code == 1
        assert len(result.found("mistake")) == 1
        database.execute(result.mistake("replication")["fix"])
        assert check(config).code == 0
    finally:
        drop_role(database, "plain")


def test_a_role_that_owns_nothing_gets_the_publications_sql(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    url = as_role(database, "poor", "LOGIN REPLICATION")
    try:
        config = write_config(tmp_path, url)
        result = check(config)
        assert result.code == 1
        publication = result.mistake("publication")
        assert "does not own public.users" in publication["what"]
        assert "no CREATE right" in publication["what"]
        database.execute("\n".join(line for line in publication["fix"].splitlines() if line.startswith("CREATE")))
        database.execute(result.mistake("store")["fix"].splitlines()[0])
        assert check(config).code == 0
    finally:
        drop_role(database, "poor")


def test_a_server_without_logical_wal(own_server: OwnServer, tmp_path: Path) -> None:
    server = own_server({"wal_level": "replica"})
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(USERS)
    result = check(write_config(tmp_path, server.dsn()))
    assert result.code == 1
    assert "ALTER SYSTEM SET wal_level = 'logical'" in result.mistake("wal_level")["fix"]
    assert len(result.found("mistake")) == 1


def test_no_free_slot_and_no_free_sender(own_server: OwnServer, tmp_path: Path) -> None:
    server = own_server({"max_replication_slots": "1", "max_wal_senders": "1"})
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(USERS)
        connection.execute("SELECT pg_create_logical_replication_slot('other', 'test_decoding')")
    config = write_config(tmp_path, server.dsn())

    async def with_a_sender_taken() -> Result:
        async with await open_walsender(server.dsn()):
            return await asyncio.to_thread(check, config)

    result = asyncio.run(with_a_sender_taken())
    assert result.code == 1
    assert "max_wal_senders = 10" in result.mistake("senders")["fix"]
    slots = result.mistake("slots")
    assert "other" in slots["what"]
    assert "pg_drop_replication_slot('other')" in slots["fix"]
    assert len(result.found("mistake")) == 2


def test_tables_and_columns_that_are_not_there_come_with_the_nearest_name(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    database.execute("CREATE VIEW recent AS SELECT * FROM users; CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY)")
    triggers = {
        "missing": {**TRIGGER, "table": "public.usres"},
        "elsewhere": {**TRIGGER, "table": "app.users"},
        "view": {**TRIGGER, "table": "recent"},
        "unlogged": {**TRIGGER, "table": "scratch"},
        "columns": {**TRIGGER, "columns": ["emial"]},
        "when": {**TRIGGER, "type": "DB_INSERT", "when": "new.nmae != ''"},
        "key": {**TRIGGER, "type": "DB_INSERT", "key": "new.ids"},
    }
    result = check(write_config(tmp_path, database.dsn, triggers))
    assert result.code == 1
    tables = {
        finding["what"].partition("trigger ")[2].partition(":")[0]: finding for finding in result.found("mistake", "table")
    }
    assert "did you mean public.users?" in tables["missing"]["what"]
    assert "did you mean public.users?" in tables["elsewhere"]["what"]
    assert "is a view" in tables["view"]["what"]
    assert any("SET LOGGED" in finding["fix"] for finding in result.found("mistake", "table"))
    columns = " ".join(finding["what"] for finding in result.found("mistake", "column"))
    assert "no column emial; did you mean email?" in columns
    assert "no column nmae; did you mean name?" in columns
    assert "no column ids; did you mean id?" in columns
    assert all("cdcd.yaml:" in finding["what"] for finding in result.found("mistake", "column"))


def test_emptied_tables_need_no_primary_key_and_no_row(database: Database, tmp_path: Path) -> None:
    """A table without one goes into the publication of inserts, which publishes TRUNCATE too."""
    database.execute("CREATE TABLE users (id int)")
    emptied = {**TRIGGER, "type": "DB_TRUNCATE"}
    assert check(write_config(tmp_path, database.dsn, {"emptied": emptied})).code == 0
    assert cdcd("setup", "-c", tmp_path / "cdcd.yaml").code == 0
    published = "SELECT pubtruncate FROM pg_publication JOIN pg_publication_tables USING (pubname) WHERE tablename = 'users'"
    assert database.execute(published) == [(True,)]
    result = check(write_config(tmp_path, database.dsn, {"emptied": {**emptied, "when": "new.id > 1"}}))
    assert "there is no row in a DB_TRUNCATE" in result.mistake("config")["what"]


def test_a_table_without_a_primary_key(database: Database, tmp_path: Path) -> None:
    database.execute("CREATE TABLE users (id int)")
    config = write_config(tmp_path, database.dsn)
    result = check(config)
    assert result.code == 1
    database.execute(result.mistake("table")["fix"])
    assert check(config).code == 0


def test_old_columns_need_the_old_row_and_the_sql_that_is_given_brings_it(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    triggers: dict[str, Any] = {
        "renamed": {**TRIGGER, "type": "DB_UPDATE", "when": "old.name != new.name"},
        "mailed": {**TRIGGER, "type": "DB_UPDATE", "columns": ["email"]},
        "by-id": {**TRIGGER, "type": "DB_UPDATE", "when": "old.id != 7"},
    }
    config = write_config(tmp_path, database.dsn, triggers)
    result = check(config)
    assert result.code == 1
    identity = result.mistake("identity")
    assert "old.name" in identity["what"]
    assert "trigger renamed" in identity["what"]
    database.execute(identity["fix"])
    again = check(config)
    assert (again.code, again.found("warning")) == (0, [])


def test_columns_without_the_old_row_only_warns(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    result = check(write_config(tmp_path, database.dsn, {"mailed": {**TRIGGER, "columns": ["email"]}}))
    assert result.code == 0
    (warning,) = result.found("warning")
    assert "every update fires" in warning["what"]
    assert warning["fix"] == 'ALTER TABLE "public"."users" REPLICA IDENTITY FULL;'


def test_partitions(database: Database, tmp_path: Path) -> None:
    database.execute(
        """
        CREATE TABLE users (id int PRIMARY KEY, name text) PARTITION BY RANGE (id);
        CREATE TABLE users_low PARTITION OF users FOR VALUES FROM (0) TO (10);
        CREATE TABLE users_high PARTITION OF users FOR VALUES FROM (10) TO (20);
        ALTER TABLE users REPLICA IDENTITY FULL;
        ALTER TABLE users_low REPLICA IDENTITY FULL;
        """
    )
    triggers = {"all": {**TRIGGER, "when": 'type == "DB_INSERT" || old.name != ""'}, "leaf": {**TRIGGER, "table": "users_low"}}
    result = check(write_config(tmp_path, database.dsn, triggers))
    assert result.code == 1
    assert "is a partition of public.users" in result.mistake("table")["what"]
    assert result.mistake("identity")["fix"] == 'ALTER TABLE "public"."users_high" REPLICA IDENTITY FULL;'
    (warning,) = result.found("warning", "partition")
    assert "public.users_high" in warning["what"]


@pytest.mark.matrix
def test_generated_columns(database: Database, tmp_path: Path) -> None:
    database.execute("CREATE TABLE users (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED)")
    named = check(write_config(tmp_path, database.dsn, {"a": {**TRIGGER, "type": "DB_INSERT", "when": "new.twice > 2"}}))
    plain = check(write_config(tmp_path, database.dsn))
    if database.postgres.major >= 18:
        assert (named.code, plain.code, plain.found("warning")) == (0, 0, [])
    else:
        assert named.code == 1
        assert "users.twice is a generated column" in named.mistake("column")["what"]
        assert "users.twice is generated" in plain.found("warning")[0]["what"]


def test_a_host_that_cannot_be_reached_could_not_be_checked(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://app:pw@127.0.0.1:{taken.getsockname()[1]}/shop"
        result = check(write_config(tmp_path, url))
    assert result.code == 2
    assert {finding["about"] for finding in result.found("unknown")} == {"database main", "event store"}
    assert not result.found("mistake")
    assert "app:pw" not in result.out


def test_a_wrong_password_is_a_mistake(database: Database, tmp_path: Path) -> None:
    url = make_conninfo(database.tcp_dsn, password="wrong")
    result = check(write_config(tmp_path, url))
    assert result.code == 1
    assert "authentication failed" in result.mistake("login")["what"]


def test_a_database_that_is_not_there_is_a_mistake(database: Database, tmp_path: Path) -> None:
    result = check(write_config(tmp_path, database.postgres.dsn("nowhere")))
    assert result.code == 1
    assert "does not exist" in result.mistake("reach")["what"]


def test_a_store_that_cannot_be_written(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    url = as_role(database, "reader", "LOGIN")
    try:
        database.execute(f"ALTER ROLE reader_{database.name} SET default_transaction_read_only = on")
        config = write_config(
            tmp_path, database.dsn, databases={"main": {"url": database.dsn}, "log": {"url": url}}, eventing={"database": "log"},
            triggers={"users": {**TRIGGER, "database": "main"}},
        )  # fmt: skip
        result = check(config)
        assert result.code == 1
        store = result.mistake("store")
        assert "read_only" in store["what"]
        database.execute(store["fix"])
        assert "no CREATE right" in check(config).mistake("store")["what"]
    finally:
        drop_role(database, "reader")


def test_a_store_of_another_project_and_a_schema_of_somebody_else(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    config = write_config(tmp_path, database.dsn)
    assert cdcd("setup", "-c", config).code == 0
    other = check(write_config(tmp_path, database.dsn, project="bakery"))
    assert other.code == 1
    assert "belongs to the project 'shop'" in other.mistake("store")["what"]
    database.execute("CREATE SCHEMA theirs; CREATE TABLE theirs.t ()")
    foreign = check(write_config(tmp_path, database.dsn, eventing={"database": "main", "schema": "theirs"}))
    assert foreign.code == 1
    assert "holds other things" in foreign.mistake("store")["what"]


def test_open_transactions_that_a_new_slot_would_wait_for_are_named(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    with database.connect() as connection, connection.transaction():
        connection.execute("INSERT INTO users VALUES (1, 'private', '')")
        result = check(write_config(tmp_path, database.dsn))
        pid = connection.info.backend_pid
    assert result.code == 0
    (warning,) = result.found("warning", "slot")
    assert f"pid {pid} " in warning["what"]
    assert "private" not in result.out


def test_a_slot_of_our_name_that_is_not_ours(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    database.execute("SELECT pg_create_logical_replication_slot('cdcd_shop_main', 'test_decoding')")
    result = check(write_config(tmp_path, database.dsn))
    assert result.code == 1
    assert "of another kind (test_decoding" in result.mistake("slot")["what"]


def test_endpoints_are_resolved_and_never_called(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = f"http://localhost:{listener.getsockname()[1]}/x"
        triggers = {
            "here": {**TRIGGER, "webhook": here},
            "metadata": {**TRIGGER, "webhook": "http://169.254.169.254/latest"},
            "public-only": {**TRIGGER, "webhook": {"url": here, "egress": "public"}},
        }
        result = check(write_config(tmp_path, database.dsn, triggers))
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert result.code == 1
    assert {finding["what"].partition("trigger ")[2].partition(":")[0] for finding in result.found("mistake", "guard")} == {
        "metadata",
        "public-only",
    }


def test_a_short_secret_warns(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    result = check(write_config(tmp_path, database.dsn, secret="0123456789abcdef"))
    assert result.code == 0
    assert "fewer than 24 bytes" in result.found("warning", "secret")[0]["what"]
    assert "0123456789abcdef" not in result.out


def test_the_embedded_store_is_not_started_nor_made(database: Database, tmp_path: Path) -> None:
    database.execute(USERS)
    result = check(write_config(tmp_path, database.dsn, eventing=None))
    assert result.code == 0
    (store,) = result.found("ok", "store")
    assert "will be made" in store["what"]
    assert [path.name for path in tmp_path.iterdir()] == ["cdcd.yaml"]


def test_a_database_that_nothing_keeps_utf8_is_warned_of(database: Database, tmp_path: Path) -> None:
    name = f"{database.name}_ascii"
    database.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    try:
        url = make_conninfo(database.tcp_dsn, dbname=name)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(USERS)
        result = check(write_config(tmp_path, url))
        assert [finding["code"] for finding in result.found("warning")] == ["encoding"]
    finally:
        database.execute(f"DROP DATABASE {name}")


def test_where_the_api_listens(database: Database, tmp_path: Path) -> None:
    """Somebody else there is a mistake; the daemon of this store is not."""
    database.execute(USERS)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = write_config(tmp_path, database.tcp_dsn, server=f"127.0.0.1:{other.getsockname()[1]}")
        result = check(config)
        assert result.code == 1
        assert "is in use, and not by this project's cdcd" in result.mistake("listen")["what"]
        store = Section("event store")
        store.ok("owner", "in use by a running cdcd")
        told = asyncio.run(check_listening(Server("127.0.0.1", other.getsockname()[1]), store))
        assert told is not None
        assert "as by the cdcd that runs" in told.findings[0].what
    result = check(config)
    assert result.code == 0
    assert "it can listen on" in result.found("ok", "listen")[0]["what"]
