"""Publication, slot and the tables behind patterns, on real catalogs."""

import pytest

from cdcd.replication import publication, slot
from cdcd.replication.errors import NotPermitted, ReplicationError, SlotMissing
from cdcd.replication.messages import Insert, Update
from cdcd.replication.tables import matches, resolve_tables
from tests.integration.replication.reading import new_slot, reading
from tests.postgres import Database

pytestmark = pytest.mark.matrix


async def test_a_publication_is_kept_at_exactly_its_tables(database: Database) -> None:
    """Created, extended, cut down, emptied; a second time nothing is run. The publication keeps its OID throughout."""
    database.execute(
        'CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int); CREATE SCHEMA s; CREATE TABLE s."C\'" (id int)'
    )
    a, b, c = ("public", "a"), ("public", "b"), ("s", "C'")
    async with await database.aconnect() as connection:
        assert await publication.inspect(connection, 'my"pub') is None
        oid = 0
        for tables in ([a], [a, c], [b, c], [], [b]):
            assert await publication.ensure(connection, 'my"pub', tables)
            assert not await publication.ensure(connection, 'my"pub', tables)
            state = await publication.inspect(connection, 'my"pub')
            assert state is not None
            assert state.tables == set(tables)
            assert (state.publish, state.via_root, state.all_tables) == (publication.ALL_KINDS, True, False)
            assert state.oid == (oid or state.oid)
            oid = state.oid
        await publication.ensure(connection, 'my"pub', [b], publication.INSERT_KINDS)
        state = await publication.inspect(connection, 'my"pub')
        assert state is not None
        assert state.publish == publication.INSERT_KINDS
        await publication.drop(connection, 'my"pub')
        await publication.drop(connection, 'my"pub')
        assert await publication.inspect(connection, 'my"pub') is None


async def test_a_publication_made_by_others_is_set_right(database: Database) -> None:
    """FOR ALL TABLES, row filters, column lists and whole schemas are replaced by whole tables."""
    database.execute("CREATE TABLE a (id int PRIMARY KEY, x int); CREATE TABLE b (id int PRIMARY KEY)")
    made = ["FOR ALL TABLES"]
    if database.postgres.major >= 15:
        made += ["FOR TABLE a WHERE (id > 5)", "FOR TABLE a (id)", "FOR TABLES IN SCHEMA public"]
    async with await database.aconnect() as connection:
        for how in made:
            await connection.execute(f"CREATE PUBLICATION p {how}".encode())
            await publication.ensure(connection, "p", [("public", "a")])
            state = await publication.inspect(connection, "p")
            assert state is not None
            assert state.tables == {("public", "a")}
            assert not state.filtered
            assert not state.all_tables
            await publication.drop(connection, "p")


async def test_what_tables_are(database: Database) -> None:
    """Keys, identities, partitions, persistence, generated columns."""
    database.execute(
        """
        CREATE TABLE plain (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id + 1) STORED);
        CREATE TABLE keyless (a int);
        CREATE TABLE whole (a int, b int); ALTER TABLE whole REPLICA IDENTITY FULL;
        CREATE TABLE two (b int, a int, c text NOT NULL UNIQUE, PRIMARY KEY (a, b) INCLUDE (c));
        ALTER TABLE two REPLICA IDENTITY USING INDEX two_c_key;
        CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
        CREATE UNLOGGED TABLE light (id int PRIMARY KEY);
        CREATE TABLE root (id int) PARTITION BY RANGE (id); ALTER TABLE root REPLICA IDENTITY FULL;
        CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10);
        CREATE VIEW seen AS SELECT 1; CREATE SCHEMA cdcd; CREATE TABLE cdcd.event_logs (id int)
        """
    )
    async with await database.aconnect() as connection:
        found = await resolve_tables(connection, ["*.*"], ["cdcd"])
        tables = {table.name: table for table in found}
        assert set(tables) == {"plain", "keyless", "whole", "two", "nothing", "light", "root"}
        facts = {name: (t.primary_key, t.identity_columns, t.identity_usable) for name, t in tables.items()}
        assert facts == {
            "plain": (("id",), ("id",), True),
            "keyless": ((), (), False),
            "whole": ((), ("a", "b"), True),
            "two": (("a", "b"), ("c",), True),
            "nothing": (("id",), (), False),
            "light": (("id",), ("id",), True),
            "root": ((), ("id",), False),
        }
        assert tables["plain"].generated == {"g"}
        assert [table.name for table in found if not table.publishable] == ["light"]
        root = tables["root"]
        assert (root.kind, [leaf.name for leaf in root.leaves]) == ("partitioned", ["leaf"])
        (leaf,) = await resolve_tables(connection, ["public.lea?"])
        assert leaf.root == ("public", "root")


def test_patterns() -> None:
    """Globs over schema and table; case counts; brackets mean themselves; names may have dots."""
    assert matches("public.*", "public", "users")
    assert not matches("public.*", "Public", "users")
    assert matches("*.order?", "shop", "orders")
    assert matches("a.b.c", "a.b", "c")
    assert matches("a.b.c", "a", "b.c")
    assert not matches("users", "public", "users")
    assert matches("s.t[1]", "s", "t[1]")


async def test_the_owners_updates_go_on_working(database: Database) -> None:
    """A table whose identity is said to be usable takes UPDATE and DELETE while it is published, generated columns or not."""
    database.execute(
        "CREATE TABLE f (id int, g int GENERATED ALWAYS AS (id + 1) STORED); ALTER TABLE f REPLICA IDENTITY FULL;"
        "CREATE TABLE k (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id + 1) STORED)"
    )
    virtual = "CREATE TABLE v (id int, g int GENERATED ALWAYS AS (id + 1)); ALTER TABLE v REPLICA IDENTITY FULL"
    if database.postgres.major >= 18:
        database.execute(virtual)
    async with await database.aconnect() as connection:
        tables = [table for table in await resolve_tables(connection, ["public.*"]) if table.identity_usable]
    assert [table.name for table in tables] == ["f", "k"]
    async with reading(database, ["public.f", "public.k"]) as found:
        for name in ("f", "k"):
            found.execute(f"INSERT INTO {name} VALUES (1)")
            assert [type(change) for change in await found.changes()] == [Insert]
            found.execute(f"UPDATE {name} SET id = 2")
            assert [type(change) for change in await found.changes()] == [Update]


async def test_a_slot_is_made_looked_at_and_dropped(database: Database) -> None:
    """Its state as the server tells it; a second of the same name is refused; failover from 17 on."""
    async with await database.aconnect() as connection:
        name = new_slot()
        lsn = await slot.create(connection, name, failover=database.postgres.major >= 17)
        with pytest.raises(ReplicationError) as caught:
            await slot.create(connection, name)
        assert caught.value.sqlstate == "42710"
        state = await slot.inspect(connection, name)
        assert state is not None
        assert (state.plugin, state.database, state.active_pid) == ("pgoutput", database.name, None)
        assert state.confirmed_flush == lsn
        assert not state.lost
        assert state.failover == (database.postgres.major >= 17)
        await connection.execute("CREATE TABLE t AS SELECT generate_series(1, 10000)")
        to = await slot.flushed_lsn(connection)
        assert await slot.advance(connection, name, to) > lsn
        await slot.drop(connection, name)
        with pytest.raises(SlotMissing):
            await slot.advance(connection, name, to)


async def test_publishing_needs_ownership(database: Database) -> None:
    """A role that does not own the table is NotPermitted, and nothing is left behind."""
    role = f"plain_{database.name}"
    database.execute(f"CREATE TABLE t (id int); CREATE ROLE {role}; GRANT ALL ON DATABASE {database.name} TO {role}")
    try:
        async with await database.aconnect() as connection:
            await connection.execute(f"SET ROLE {role}".encode())
            with pytest.raises(NotPermitted):
                await publication.ensure(connection, "p", [("public", "t")])
            assert await publication.inspect(connection, "p") is None
    finally:
        database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
