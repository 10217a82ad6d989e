"""The same changes, captured by replication and by triggers: the same events, in the same order."""

import json
from typing import Any

import orjson
import pytest

from cdcd.config.model import Capture
from cdcd.event import Delivery
from tests.integration.replication.test_values import CASES, TYPES
from tests.integration.sources.reader import EVERY, reader, trigger
from tests.postgres import Database, Databases

pytestmark = pytest.mark.matrix

OTHERWISE = ("lsn",)  # there is none in a change log
OF_OLD_ROWS = ("before", "beforeKind", "changed", "unchanged", "cascade", "restartIdentity")


async def both(database: Database, databases: Databases, statements: list[str], *patterns: str) -> list[list[Delivery]]:
    """What each capture makes of these statements."""
    wanted = {"t": trigger(*patterns, types=(*EVERY, "DB_TRUNCATE"))}
    async with (
        reader(database, wanted, store=databases()) as by_stream,
        reader(database, wanted, store=databases(), capture=Capture.TRIGGERS) as by_log,
    ):
        with database.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())
            ((count,),) = connection.execute("SELECT count(*) FROM cdcd.changes").fetchall()
        assert count
        return [list(await by_stream.offered(count)), list(await by_log.offered(count))]


def facts(delivery: Delivery, *, without: tuple[str, ...] = OTHERWISE) -> dict[str, Any]:
    event = delivery.event
    given = json.loads(event.data, parse_float=str, parse_int=str)  # every digit
    data = {name: value for name, value in given.items() if name not in without}
    return {"type": event.type, "subject": event.subject, "key": event.key, "lane": delivery.lane, "also": delivery.also} | data


async def test_every_type(database: Database, databases: Databases) -> None:
    """Whatever the application's session is set to."""
    database.execute(TYPES)
    statements = [
        "SET datestyle = 'German'; SET timezone = 'Asia/Tokyo'; SET intervalstyle = 'sql_standard'; SET bytea_output = 'escape'; "
        "SET extra_float_digits = -10; SET search_path = public, pg_catalog"
    ]
    for number, (kind, literals, _) in enumerate(CASES):
        database.execute(
            f"CREATE TABLE t{number} (id int PRIMARY KEY, v {kind}, last text); ALTER TABLE t{number} REPLICA IDENTITY FULL"
        )
        for place, literal in enumerate(literals):
            quoted = literal.replace("'", "''")
            statements.append(
                f"SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; INSERT INTO t{number} VALUES ({place}, '{quoted}'::{kind}, NULL); "
                "SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; "
                f"UPDATE t{number} SET last = '' WHERE id = {place}"
            )
        statements += [f"INSERT INTO t{number} VALUES (-1)", f"DELETE FROM t{number}"]
    by_stream, by_log = await both(database, databases, statements, "*.t*")
    assert len(by_log) > 700
    differing = [(facts(one), facts(other)) for one, other in zip(by_stream, by_log, strict=True) if facts(one) != facts(other)]
    assert not differing, differing[:3]
    assert all(one.error == other.error == "" for one, other in zip(by_stream, by_log, strict=True))


async def test_every_kind_of_table(database: Database, databases: Databases) -> None:
    """Keys that change, composite keys, an index as identity, none at all, partitions of other layouts, columns that are renamed,
    retyped, added and dropped in mid-transaction, generated ones, tables that are renamed and emptied."""
    database.execute(
        """
        CREATE TABLE t_key (id int PRIMARY KEY, note text, big text);
        CREATE TABLE t_pair (b int, a text, note text, PRIMARY KEY (a, b));
        CREATE TABLE t_index (serial int PRIMARY KEY, area int NOT NULL, code text NOT NULL);
        CREATE UNIQUE INDEX by_code ON t_index (area, code);
        ALTER TABLE t_index REPLICA IDENTITY USING INDEX by_code;
        CREATE TABLE t_full (note text, id int PRIMARY KEY, big text);
        ALTER TABLE t_full REPLICA IDENTITY FULL;
        CREATE TABLE t_bare (note text, n int);
        ALTER TABLE t_bare REPLICA IDENTITY FULL;
        CREATE TABLE t_root (id int, area int, note text, PRIMARY KEY (id, area)) PARTITION BY LIST (area);
        CREATE TABLE p_one PARTITION OF t_root FOR VALUES IN (1);
        CREATE TABLE p_two (note text, gone int, area int NOT NULL, id int NOT NULL);
        ALTER TABLE p_two DROP COLUMN gone;
        ALTER TABLE t_root ATTACH PARTITION p_two FOR VALUES IN (2);
        CREATE TABLE p_three PARTITION OF t_root FOR VALUES IN (3, 4) PARTITION BY LIST (area);
        CREATE TABLE p_four PARTITION OF p_three FOR VALUES IN (4);
        CREATE TABLE t_computed (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED, last text);
        CREATE TABLE "t_Odd, 'name'" ("the Id" int PRIMARY KEY, "a,b" text);
        """
    )
    big = "repeat('x', 9000)"
    statements = [
        f"INSERT INTO t_key VALUES (1, 'a', {big}), (2, NULL, ''); UPDATE t_key SET id = 3 WHERE id = 1; UPDATE t_key SET note = 'c'",
        "DELETE FROM t_key WHERE id = 3",
        "INSERT INTO t_pair VALUES (1, 'x,y', 'n'); UPDATE t_pair SET b = 2; DELETE FROM t_pair",
        "INSERT INTO t_index VALUES (1, 2, 'ü'); UPDATE t_index SET area = 3; UPDATE t_index SET serial = 9; DELETE FROM t_index",
        f"INSERT INTO t_full VALUES ('a', 1, {big}); UPDATE t_full SET note = NULL; UPDATE t_full SET id = 2; DELETE FROM t_full",
        "INSERT INTO t_bare VALUES ('a', 1), ('a', 1); UPDATE t_bare SET n = 2; DELETE FROM t_bare",
        "INSERT INTO t_root VALUES (1, 1, 'a'), (2, 2, 'b'), (4, 4, 'd'); UPDATE t_root SET note = 'c'; "
        "UPDATE t_root SET area = 2 WHERE id = 1; INSERT INTO p_two VALUES ('direct', 2, 9); DELETE FROM t_root",
        "INSERT INTO t_computed VALUES (1, 21, DEFAULT, 'z'); UPDATE t_computed SET n = 4",
        """INSERT INTO "t_Odd, 'name'" VALUES (1, '"'); UPDATE "t_Odd, 'name'" SET "a,b" = '\\' """,
        "BEGIN; INSERT INTO t_key VALUES (10, 'a', ''); ALTER TABLE t_key RENAME note TO remark; INSERT INTO t_key VALUES (11, 'b', ''); "
        "ALTER TABLE t_key ALTER id TYPE text; INSERT INTO t_key VALUES ('12', 'c', ''); ALTER TABLE t_key DROP big; "
        "ALTER TABLE t_key ADD extra jsonb DEFAULT '{}'; INSERT INTO t_key VALUES ('13', 'd', '[1]'); COMMIT",
        "ALTER TABLE t_pair RENAME TO t_renamed; INSERT INTO t_renamed VALUES (5, 'five', '')",
        "BEGIN; SAVEPOINT a; INSERT INTO t_key VALUES ('14'); ROLLBACK TO a; INSERT INTO t_key VALUES ('15'); COMMIT",
        "SET session_replication_role = replica; INSERT INTO t_key VALUES ('16'); RESET session_replication_role",
        "MERGE INTO t_key USING (VALUES ('16'), ('17')) v (id) ON t_key.id = v.id WHEN MATCHED THEN DELETE "
        "WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id)"
        if database.postgres.major >= 15
        else "DELETE FROM t_key WHERE id = '16'; INSERT INTO t_key VALUES ('17')",
        "INSERT INTO t_key VALUES ('17', 'again') ON CONFLICT (id) DO UPDATE SET remark = excluded.remark",
        "TRUNCATE t_key",
        "INSERT INTO t_key VALUES ('18')",
    ]
    by_stream, by_log = await both(database, databases, statements, "public.t?*")
    full = {"t_full", "t_bare"}
    for one, other in zip(by_stream, by_log, strict=True):
        table = orjson.loads(other.event.data)["col"]
        without = OTHERWISE if table in full else OTHERWISE + OF_OLD_ROWS
        assert facts(one, without=without) == facts(other, without=without)
        assert abs(one.event.time - other.event.time) < 60_000_000
        if other.event.type in ("DB_UPDATE", "DB_DELETE"):
            assert orjson.loads(other.event.data)["beforeKind"] == "full"
    assert len(by_log) == len({each.id for each in by_log}) > 45
