"""What a table looked like when a change of it was written down: names and types of its columns, and its key. Pure.

The trigger writes down a fingerprint of the columns with each change, and the whole description where the fingerprint is not in
`changes_shapes` yet. So a row is never read with today's catalog. A partition's rows are told as the captured table's: under its
name, with its key, in the order of its columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from cdcd.changelog.composite import split
from cdcd.replication.errors import DecodeError
from cdcd.replication.messages import Column, Relation
from cdcd.replication.tuples import Tuple


@dataclass(frozen=True, slots=True)
class Shape:
    """`relation` is what a replication stream would say of the captured table. `width`: columns of a row's text; `order`: which
    of them are told, None for all of them as they stand."""

    relation: Relation
    width: int
    order: Sequence[int] | None

    def row(self, text: bytes) -> Tuple:
        """A row of it. Raises DecodeError."""
        columns = split(text, self.width)
        return Tuple.of(columns if self.order is None else [columns[index] for index in self.order], text)


def shape_of(number: int, described: bytes) -> Shape:
    """From the description that `changes_describe` made. `number` tells shapes apart. Raises DecodeError."""
    try:
        given = orjson.loads(described)
        # [name, type, typmod, in the key, sent, place in the captured table]
        sent = sorted((column for column in enumerate(given["columns"]) if column[1][4]), key=lambda column: column[1][5])
        columns = tuple(Column(key, name, type_oid, typmod) for _, (name, type_oid, typmod, key, _, _) in sent)
        relation = Relation(number, given["schema"], given["name"], "d", columns)
        order = [index for index, _ in sent]
        width = len(given["columns"])
    except (LookupError, TypeError, ValueError) as exc:
        raise DecodeError("shape", "description", "columns", type(exc).__name__) from exc
    return Shape(relation, width, None if order == list(range(width)) else order)
