"""A table that was emptied by TRUNCATE: one event, which has no row.

The rule: it stands in the lane of the table itself, where also the rows of a table without a key stand. Expressions see neither
`new` nor `old` in it; a `key:` is not asked.
"""

import orjson

from cdcd.sources.rows import Table, Transaction
from cdcd.triggers.occurrence import Occurrence

TRUNCATE = "DB_TRUNCATE"
TRUNCATIONS = 1 << 63  # above the ordinals of rows


def truncation(table: Table, transaction: Transaction) -> Occurrence:
    """What a trigger may ask of it."""
    relation = table.relation
    attributes = {
        "source": table.source,
        "subject": table.path,
        "key": "",
        "txid": transaction.xid,
        "database": table.database,
        "schema": relation.schema,
        "table": relation.name,
    }
    return Occurrence(TRUNCATE, table.path, transaction.time, attributes, {})


def truncation_data(table: Table, transaction: Transaction, cascade: bool, restart_identity: bool) -> bytes:
    """The CloudEvent's `data`: UTF-8 JSON. The options are those of the statement (manual, "TRUNCATE")."""
    return orjson.dumps(
        {
            "db": table.database,
            "schema": table.relation.schema,
            "col": table.relation.name,
            "find": {},
            "cascade": cascade,
            "restartIdentity": restart_identity,
            "txid": transaction.xid,
            "lsn": transaction.lsn,
        }
    )
