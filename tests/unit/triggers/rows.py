"""A change made of plain mappings, for the tests of this directory."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

ATTRIBUTES: Mapping[str, object] = {
    "time": datetime(2026, 11, 23, 18, 0, 0, 123456, UTC),
    "source": "cdcd/shop/main",
    "subject": "public.users/1",
    "key": "1",
    "type": "DB_UPDATE",
    "txid": 7345,
    "database": "main",
    "schema": "public",
    "table": "users",
}


@dataclass
class PlainChange:
    """`asked` notes which columns were read."""

    type: str = "DB_UPDATE"
    new_row: Mapping[str, object] = field(default_factory=dict)
    old_row: Mapping[str, object] = field(default_factory=dict)
    known: Mapping[str, bool] = field(default_factory=dict)
    key: str = "1"
    asked: list[str] = field(default_factory=list)

    def reader(self, root: str) -> Callable[[str], object]:
        return {"new": self.new, "old": self.old, "event": self.attribute}[root]

    def members(self, root: str) -> Iterable[str]:
        return tuple(self.new_row if root == "new" else self.old_row)

    def new(self, column: str) -> object:
        self.asked.append(f"new.{column}")
        return self.new_row[column]

    def old(self, column: str) -> object:
        self.asked.append(f"old.{column}")
        return self.old_row[column]

    def attribute(self, name: str) -> object:
        return ATTRIBUTES[name]

    def changed(self, column: str) -> bool | None:
        return self.known.get(column)
