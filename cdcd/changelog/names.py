"""What the change log's objects are called, and the texts that stand in its SQL for them. Pure."""

from dataclasses import dataclass
from hashlib import sha256

from cdcd.replication.quoting import identifier, literal

LEAVES = 8
LEAF_BITS = 14
"""A leaf takes 2^14 changes in a row; then comes the next of the eight."""
LONGEST = 63  # bytes of a name (NAMEDATALEN)


def leaf_of(seq: int) -> int:
    """The number of the leaf in which a change is."""
    return (seq >> LEAF_BITS) % LEAVES


@dataclass(frozen=True, slots=True)
class Names:
    """The names that the log in `schema` uses."""

    schema: str

    @property
    def quoted(self) -> str:
        """The schema, for SQL."""
        return identifier(self.schema)

    @property
    def changes(self) -> str:
        return f"{self.quoted}.changes"

    @property
    def channel(self) -> str:
        """The notifications' channel: they say that there is something, and never what."""
        return _short(self.schema, "_changes")

    @property
    def awake(self) -> int:
        """The advisory lock that the daemon holds while it looks by itself: as long as it does, nobody need notify."""
        return int.from_bytes(sha256(b"cdcd.changes.awake." + self.schema.encode()).digest()[:8], "big", signed=True)

    @property
    def row_trigger(self) -> str:
        """On each captured table. Triggers of one event fire in the order of their names: what is made by those behind it is
        written down behind."""
        return "00_" + _short(self.schema, "_changes", 3)

    @property
    def truncate_trigger(self) -> str:
        return "00_" + _short(self.schema, "_truncate", 3)

    def leaf(self, number: int) -> str:
        return f"{self.quoted}.changes_{number}"


def _short(schema: str, end: str, before: int = 0) -> str:
    return schema.encode()[: LONGEST - before - len(end)].decode(errors="ignore") + end


def columns_mark(relid: str, name: str) -> str:
    """SQL of the number that stands for a table's columns: `relid` is SQL of its OID, `name` of its full name."""
    return f"""(coalesce((
        SELECT pg_catalog.bit_xor(pg_catalog.hashtextextended(
            a.attname::text COLLATE "C", (a.atttypid::bigint << 16) + a.attnum * 2 + a.attnotnull::int))
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = {relid} AND a.attnum > 0 AND NOT a.attisdropped), 0)
        # pg_catalog.hashtextextended({name} COLLATE "C", 0))"""


def key_mark(top: str) -> str:
    """SQL of the number that stands for a table's key: `top` is SQL of the OID of the captured table."""
    return f"""coalesce((
        SELECT pg_catalog.bit_xor(pg_catalog.hashtextextended(
            i.indkey::text COLLATE "C", i.indnkeyatts * 4 + i.indisprimary::int * 2 + i.indisreplident::int))
        FROM pg_catalog.pg_index i WHERE i.indrelid = {top} AND (i.indisprimary OR i.indisreplident)), 0)"""


def fingerprint(relid: str, name: str, top: str) -> str:
    """SQL of the number that stands for both. Two descriptions of one table that share it would have to collide in 64 bits."""
    return f"({columns_mark(relid, name)} # {key_mark(top)})"


def sequence(names: Names) -> str:
    """The sequence, as SQL text for `nextval`."""
    return literal(f"{names.quoted}.changes_seq")
