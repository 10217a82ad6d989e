"""What a table's shape and its replica identity make of a change, on every major."""

import pytest

from cdcd.replication.messages import Delete, Insert, LogicalMessage, Relation, Truncate, Type, Update
from cdcd.replication.tuples import UNCHANGED
from tests.integration.replication.reading import reading
from tests.postgres import Database

pytestmark = pytest.mark.matrix


async def test_a_row_is_inserted_changed_and_deleted(database: Database) -> None:
    """Under the default identity an update tells the old key only when it changed; a delete tells the key."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY, a text, b text)")
    async with reading(database) as found:
        found.execute("INSERT INTO t VALUES (1, 'x', NULL)")
        relation, insert = await found.transaction()
        assert isinstance(relation, Relation)
        assert (relation.schema, relation.name, relation.replica_identity) == ("public", "t", "d")
        assert relation.names == ("id", "a", "b")
        assert relation.key_indexes == (0,)
        assert isinstance(insert, Insert)
        assert insert.relation is relation
        assert insert.new.columns() == [b"1", b"x", None]

        found.execute("UPDATE t SET a = 'y'")
        (update,) = await found.changes()
        assert isinstance(update, Update)
        assert (update.old_kind, update.old) == (None, None)
        assert update.new.columns() == [b"1", b"y", None]

        found.execute("UPDATE t SET id = 2")
        (update,) = await found.changes()
        assert isinstance(update, Update)
        assert update.old_kind == "key"
        assert update.old is not None
        assert update.old.columns() == [b"1", None, None]
        assert update.new.columns() == [b"2", b"y", None]

        found.execute("DELETE FROM t")
        (delete,) = await found.changes()
        assert isinstance(delete, Delete)
        assert delete.old_kind == "key"
        assert delete.old.columns() == [b"2", None, None]


async def test_identity_full_tells_the_whole_old_row(database: Database) -> None:
    """REPLICA IDENTITY FULL: every column is part of the key, and the old row comes with each update and delete."""
    database.execute("CREATE TABLE t (id int, a text); ALTER TABLE t REPLICA IDENTITY FULL")
    async with reading(database) as found:
        found.execute("INSERT INTO t VALUES (1, NULL)")
        (insert,) = await found.changes()
        assert isinstance(insert, Insert)
        assert insert.relation.replica_identity == "f"
        assert insert.relation.key_indexes == (0, 1)
        found.execute("UPDATE t SET a = 'y'")
        (update,) = await found.changes()
        assert isinstance(update, Update)
        assert update.old_kind == "full"
        assert update.old is not None
        assert (update.old.columns(), update.new.columns()) == ([b"1", None], [b"1", b"y"])
        found.execute("DELETE FROM t")
        (delete,) = await found.changes()
        assert isinstance(delete, Delete)
        assert (delete.old_kind, delete.old.columns()) == ("full", [b"1", b"y"])


async def test_identity_index_tells_its_columns(database: Database) -> None:
    """REPLICA IDENTITY USING INDEX: the index's columns are the key, not the primary key's."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL, a text); CREATE UNIQUE INDEX u ON t (code);"
        "ALTER TABLE t REPLICA IDENTITY USING INDEX u"
    )
    async with reading(database) as found:
        found.execute("INSERT INTO t VALUES (1, 'c', 'x')")
        (insert,) = await found.changes()
        assert isinstance(insert, Insert)
        assert (insert.relation.replica_identity, insert.relation.key_indexes) == ("i", (1,))
        found.execute("UPDATE t SET code = 'd', id = 5")
        (update,) = await found.changes()
        assert isinstance(update, Update)
        assert update.old is not None
        assert (update.old_kind, update.old.columns()) == ("key", [None, b"c", None])


async def test_a_table_without_identity_tells_inserts(database: Database) -> None:
    """REPLICA IDENTITY NOTHING, or no primary key: inserts come; truncation comes."""
    database.execute("CREATE TABLE t (a int); CREATE TABLE n (id int PRIMARY KEY); ALTER TABLE n REPLICA IDENTITY NOTHING")
    async with reading(database) as found:
        found.execute("INSERT INTO t VALUES (1); INSERT INTO n VALUES (2)")
        changes = await found.changes()
        assert [change.new.columns() for change in changes if isinstance(change, Insert)] == [[b"1"], [b"2"]]
        relations = found.decoder.relations.values()
        assert {relation.name: relation.replica_identity for relation in relations} == {"t": "d", "n": "n"}
        assert all(relation.key_indexes == () for relation in relations)
        found.execute("TRUNCATE t, n RESTART IDENTITY CASCADE")
        (truncate,) = await found.changes()
        assert isinstance(truncate, Truncate)
        assert sorted(relation.name for relation in truncate.relations) == ["n", "t"]
        assert (truncate.cascade, truncate.restart_identity) == (True, True)


async def test_an_unchanged_toasted_value_is_neither_null_nor_text(database: Database) -> None:
    """What lies out of line and was not changed is not sent: UNCHANGED, also beside a null. Under FULL the old row has it."""
    for name in ("t", "f"):
        database.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, big text, n text, a int)")
        database.execute(f"ALTER TABLE {name} ALTER big SET STORAGE EXTERNAL")
    database.execute("ALTER TABLE f REPLICA IDENTITY FULL")
    big = b"x" * 10_000
    async with reading(database) as found:
        for name in ("t", "f"):
            found.execute(f"INSERT INTO {name} VALUES (1, repeat('x', 10000), NULL, 1)")
            (insert,) = await found.changes()
            assert isinstance(insert, Insert)
            assert insert.new.columns() == [b"1", big, None, b"1"]
            found.execute(f"UPDATE {name} SET a = 2")
            (update,) = await found.changes()
            assert isinstance(update, Update)
            assert update.new.columns() == [b"1", UNCHANGED, None, b"2"]
            if name == "f":
                assert update.old is not None
                assert update.old.columns() == [b"1", big, None, b"1"]


async def test_a_toasted_key(database: Database) -> None:
    """A key that lies out of line: an update that changes it tells the old one whole."""
    database.execute("CREATE TABLE t (k text PRIMARY KEY, a int); ALTER TABLE t ALTER k SET STORAGE EXTERNAL")
    async with reading(database) as found:
        found.execute("INSERT INTO t VALUES (repeat('k', 2500), 1)")
        await found.changes()
        found.execute("UPDATE t SET a = 2")
        (update,) = await found.changes()
        assert isinstance(update, Update)
        # The server logs a key that lies out of line with every update, and then sends the old key.
        known = update.new.column(0) if update.old is None else update.old.column(0)
        assert known == b"k" * 2500


async def test_partitions_come_as_their_root(database: Database) -> None:
    """publish_via_partition_root: the root's name and columns, whichever partition, however its columns are ordered."""
    database.execute(
        "CREATE TABLE p (id int, at int, a text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE p2 (a text, at int NOT NULL, id int NOT NULL, PRIMARY KEY (id, at));"
        "ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)"
    )
    async with reading(database) as found:
        found.execute("INSERT INTO p VALUES (1, 5, 'x'), (2, 15, 'y')")
        first, second = await found.changes()
        assert isinstance(first, Insert)
        assert isinstance(second, Insert)
        assert first.relation is second.relation
        assert first.relation.name == "p"
        assert (first.new.columns(), second.new.columns()) == ([b"1", b"5", b"x"], [b"2", b"15", b"y"])
        found.execute("UPDATE p SET at = 15 WHERE id = 1")
        moved = await found.changes()
        assert [type(change) for change in moved] == [Delete, Insert]
        found.execute("CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (20) TO (30); INSERT INTO p VALUES (3, 25, 'z')")
        (insert,) = await found.changes()
        assert isinstance(insert, Insert)
        assert (insert.relation.name, insert.new.columns()) == ("p", [b"3", b"25", b"z"])


async def test_generated_columns(database: Database) -> None:
    """A stored generated column is sent from PostgreSQL 18 on; before, the Relation message leaves it out."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY, double int GENERATED ALWAYS AS (id * 2) STORED, a text)")
    async with reading(database) as found:
        found.execute("INSERT INTO t (id, a) VALUES (4, 'x')")
        (insert,) = await found.changes()
        assert isinstance(insert, Insert)
        if database.postgres.major >= 18:
            assert (insert.relation.names, insert.new.columns()) == (("id", "double", "a"), [b"4", b"8", b"x"])
        else:
            assert (insert.relation.names, insert.new.columns()) == (("id", "a"), [b"4", b"x"])


async def test_the_shape_changes_in_mid_stream(database: Database) -> None:
    """Rows are decoded with what the table was when they were written, not with what it is now."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY, a text, gone int)")
    async with reading(database) as found:
        found.execute("INSERT INTO t VALUES (1, '5', 9)")
        found.execute("ALTER TABLE t RENAME a TO b; INSERT INTO t VALUES (2, '6', 9)")
        found.execute("ALTER TABLE t ALTER b TYPE int USING b::int; INSERT INTO t VALUES (3, 7, 9)")
        found.execute("ALTER TABLE t DROP gone, ADD c text DEFAULT 'new'; INSERT INTO t VALUES (4, 8)")
        found.execute("ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (5, 9, NULL)")
        found.execute("DROP TABLE u")
        rows = []
        for _ in range(5):
            (insert,) = [change for change in await found.changes() if isinstance(change, Insert)]
            relation = insert.relation
            rows.append((relation.name, relation.names, relation.columns[1].type_oid, insert.new.columns()))
        assert rows == [
            ("t", ("id", "a", "gone"), 25, [b"1", b"5", b"9"]),
            ("t", ("id", "b", "gone"), 25, [b"2", b"6", b"9"]),
            ("t", ("id", "b", "gone"), 23, [b"3", b"7", b"9"]),
            ("t", ("id", "b", "c"), 23, [b"4", b"8", b"new"]),
            ("u", ("id", "b", "c"), 23, [b"5", b"9", None]),
        ]


async def test_names_of_any_kind(database: Database) -> None:
    """Quoted, non-ASCII, with dots, quotes and blanks: in schemas, tables, columns and types."""
    database.execute(
        """CREATE SCHEMA "Ünï.Code"; CREATE TYPE "Ünï.Code"."Gefühl ""!" AS ENUM ('très bien', '悪い');
        CREATE TABLE "Ünï.Code"."Tab ""le'" ("Id " int PRIMARY KEY, "日本" "Ünï.Code"."Gefühl ""!")"""
    )
    async with reading(database, ["Ünï.Code.*"]) as found:
        found.execute("""INSERT INTO "Ünï.Code"."Tab ""le'" VALUES (1, '悪い')""")
        described, relation, insert = await found.transaction()
        assert isinstance(described, Type)
        assert (described.schema, described.name) == ("Ünï.Code", 'Gefühl "!')
        assert isinstance(relation, Relation)
        assert (relation.schema, relation.name, relation.names) == ("Ünï.Code", "Tab \"le'", ("Id ", "日本"))
        assert relation.columns[1].type_oid == described.oid
        assert isinstance(insert, Insert)
        assert insert.new.columns() == [b"1", "悪い".encode()]


async def test_rolled_back_work_never_comes(database: Database) -> None:
    """A rolled back transaction, and what was rolled back to a savepoint, are not sent."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    async with reading(database) as found:
        found.execute("BEGIN; INSERT INTO t VALUES (1); ROLLBACK")
        found.execute(
            "BEGIN; INSERT INTO t VALUES (2); SAVEPOINT s; INSERT INTO t VALUES (3); ROLLBACK TO s; INSERT INTO t VALUES (4); COMMIT"
        )
        changes = await found.changes()
        assert [change.new.columns() for change in changes if isinstance(change, Insert)] == [[b"2"], [b"4"]]


async def test_logical_messages_when_asked_for(database: Database) -> None:
    """`messages=True` brings what pg_logical_emit_message wrote."""
    async with reading(database, messages=True) as found:
        found.execute("SELECT pg_logical_emit_message(true, 'präfix', E'\\\\x00ff'::bytea)")
        (message,) = await found.changes()
        assert isinstance(message, LogicalMessage)
        assert (message.transactional, message.prefix, message.content) == (True, "präfix", b"\x00\xff")
