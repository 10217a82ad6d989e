"""The publication: looked at, and kept at exactly the tables it should have (manual, "CREATE PUBLICATION").

Changes are given as SQL text first, so that the same statements can be printed for an owner to run. A table whose replica
identity is not usable must not be in a publication that publishes updates or deletes: the server would refuse its owner's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cdcd.replication.quoting import identifier, literal, table
from cdcd.replication.refusal import translated
from cdcd.replication.walsender import Connection

ALL_KINDS = ("insert", "update", "delete", "truncate")
INSERT_KINDS = ("insert", "truncate")
"""What can be published of a table without usable replica identity."""

Name = tuple[str, str]
"""Schema and name of a table."""


@dataclass(frozen=True, slots=True)
class PublicationState:
    """A publication as it stands."""

    name: str
    oid: int
    owner: str
    publish: tuple[str, ...]
    """Which of `ALL_KINDS`."""
    via_root: bool
    """publish_via_partition_root: changes of partitions appear as the root's."""
    all_tables: bool
    generated: bool
    """Whether stored generated columns are published: PostgreSQL 18 and later."""
    tables: frozenset[Name]
    """The tables named in it, whole schemas expanded; not the partitions below them. Everything for FOR ALL TABLES."""
    filtered: frozenset[Name] = frozenset()
    """Those of `tables` that have a row filter or a column list (PostgreSQL 15 and later), or come from a whole schema."""


async def inspect(connection: Connection, name: str) -> PublicationState | None:
    """How the publication stands; None when there is none."""
    modern = connection.info.server_version >= 150000
    with translated():
        cursor = await connection.execute(
            """
            SELECT oid, pubowner::regrole::text, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, puballtables,
                   coalesce(to_jsonb(p) ->> 'pubgencols', 'n') = 's'
            FROM pg_catalog.pg_publication p WHERE pubname = %s
            """,
            [name],
        )
        if (row := await cursor.fetchone()) is None:
            return None
        oid, owner, *kinds, via_root, all_tables, generated = row
        altered = "r.prqual IS NOT NULL OR r.prattrs IS NOT NULL" if modern else "false"
        query = f"""
            SELECT n.nspname, c.relname, {altered} FROM pg_catalog.pg_publication_rel r
            JOIN pg_catalog.pg_class c ON c.oid = r.prrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE r.prpubid = %(oid)s
        """
        if modern:
            query += """
                UNION SELECT n.nspname, c.relname, true FROM pg_catalog.pg_publication_namespace s
                JOIN pg_catalog.pg_namespace n ON n.oid = s.pnnspid JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
                WHERE s.pnpubid = %(oid)s AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
            """
        if all_tables:
            query = "SELECT schemaname, tablename, false FROM pg_catalog.pg_publication_tables WHERE pubname = %(name)s"
        cursor = await connection.execute(query, {"oid": oid, "name": name})
        rows = await cursor.fetchall()
    return PublicationState(
        name=name,
        oid=oid,
        owner=owner,
        publish=tuple(kind for kind, on in zip(ALL_KINDS, kinds, strict=True) if on),
        via_root=via_root,
        all_tables=all_tables,
        generated=generated,
        tables=frozenset((schema, relation) for schema, relation, _ in rows),
        filtered=frozenset((schema, relation) for schema, relation, special in rows if special),
    )


def create_sql(name: str, tables: Iterable[Name], publish: Sequence[str] = ALL_KINDS, *, server_version: int = 0) -> str:
    """The statement that creates it for exactly `tables` (may be none), on a server of `server_version` (such as 180003).
    Its owner must own them. From PostgreSQL 18 on, stored generated columns are published too."""
    wanted = set(tables)
    listed = f" FOR TABLE {_listed(wanted)}" if wanted else ""
    return f"CREATE PUBLICATION {identifier(name)}{listed} WITH ({_options(publish, server_version)})"


def alter_sql(
    state: PublicationState, tables: Iterable[Name], publish: Sequence[str] = ALL_KINDS, *, server_version: int = 0
) -> list[str]:
    """The statements that bring it from how it stands to exactly `tables`; none when it is right already."""
    wanted = set(tables)
    name = identifier(state.name)
    if state.all_tables or (state.filtered and not wanted):
        # Neither FOR ALL TABLES nor whole schemas can be altered away.
        return [drop_sql(state.name), create_sql(state.name, wanted, publish, server_version=server_version)]
    statements = []
    stored = server_version < 180000 or state.generated
    if set(state.publish) != set(publish) or not state.via_root or not stored:
        statements.append(f"ALTER PUBLICATION {name} SET ({_options(publish, server_version)})")
    if state.filtered:
        statements.append(f"ALTER PUBLICATION {name} SET TABLE {_listed(wanted)}")
        return statements
    # Not SET: the one who alters need only own the tables that are new.
    if new := wanted - state.tables:
        statements.append(f"ALTER PUBLICATION {name} ADD TABLE {_listed(new)}")
    if gone := state.tables - wanted:
        statements.append(f"ALTER PUBLICATION {name} DROP TABLE {_listed(gone)}")
    return statements


def drop_sql(name: str) -> str:
    """The statement that drops it, if it is there."""
    return f"DROP PUBLICATION IF EXISTS {identifier(name)}"


def _listed(tables: Iterable[Name]) -> str:
    return ", ".join(table(*each) for each in sorted(tables))


def _options(publish: Sequence[str], server_version: int) -> str:
    generated = ", publish_generated_columns = stored" if server_version >= 180000 else ""
    return f"publish = {literal(', '.join(publish))}, publish_via_partition_root = true{generated}"


async def ensure(connection: Connection, name: str, tables: Iterable[Name], publish: Sequence[str] = ALL_KINDS) -> list[str]:
    """Create or alter it to exactly `tables`, in one transaction; returns the statements that were run (none: it was right).

    Raises NotPermitted (not the owner of a table or of the publication, or no CREATE right on the database), ReplicationError.
    """
    wanted = list(tables)
    state = await inspect(connection, name)
    version = connection.info.server_version
    if state is None:
        statements = [create_sql(name, wanted, publish, server_version=version)]
    else:
        statements = alter_sql(state, wanted, publish, server_version=version)
    if statements:
        with translated():
            async with connection.transaction():
                for statement in statements:
                    await connection.execute(statement)
    return statements


async def drop(connection: Connection, name: str) -> None:
    """Drop it, if it is there. Raises NotPermitted."""
    with translated():
        await connection.execute(drop_sql(name))
