"""Table patterns: `schema.table`, each part a glob (`*`, `?`, `[abc]`); without a schema it means `public`.

A part in double quotes is taken literally, as in SQL: `"Odd.Name"`. Matching is case-sensitive, since PostgreSQL's names are.
"""

import re
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

_PART = r'"(?:[^"]|"")+"|[^".\s]+'
_PATTERN = re.compile(rf"(?:(?P<schema>{_PART})\.)?(?P<table>{_PART})")


@dataclass(slots=True, frozen=True)
class TablePattern:
    """`schema` and `table` are regular expressions that match a whole name; `literal` is (schema, table) without a glob."""

    text: str
    schema: re.Pattern[str]
    table: re.Pattern[str]
    literal: tuple[str, str] | None

    def matches(self, schema: str, table: str) -> bool:
        return self.schema.fullmatch(schema) is not None and self.table.fullmatch(table) is not None


@lru_cache(maxsize=4096)
def parse_table(text: str) -> TablePattern:
    """Raises ValueError (without the text in its message) when it is no table pattern."""
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise ValueError('not a table; write schema.table, or "quote" a name with a dot or a space in it')
    parts = [found["schema"] or "public", found["table"]]
    plain = [_plain(part) for part in parts]
    literal = (plain[0], plain[1]) if plain[0] is not None and plain[1] is not None else None
    schema, table = (
        re.compile(translate(part) if name is None else re.escape(name)) for part, name in zip(parts, plain, strict=True)
    )
    return TablePattern(text, schema, table, literal)


def _plain(part: str) -> str | None:
    """The name that a part without a glob means."""
    if part.startswith('"'):
        return part[1:-1].replace('""', '"')
    return None if any(mark in part for mark in "*?[") else part
