"""The text of a row (`ROW::text`), taken apart into the texts of its columns. Pure.

Source: manual, "Composite Type Input and Output Syntax", and record_out in src/backend/utils/adt/rowtypes.c: columns are separated
by commas; a null is nothing at all; a column that is empty or holds a quote, backslash, parenthesis, comma or white space stands in
double quotes, where quotes and backslashes are doubled.
"""

import re

from cdcd.replication.errors import DecodeError
from cdcd.replication.tuples import Column

_QUOTED = re.compile(rb'"((?:[^"\\]++|""|\\\\)*+)"', re.DOTALL).match
_PLAIN = re.compile(rb'[^,()"\\]++').match
_DOUBLED = re.compile(rb'(["\\])\1').sub


def split(text: bytes, count: int) -> list[Column]:
    """The columns of a row that has `count` of them. Raises DecodeError."""
    if text[:1] != b"(" or text[-1:] != b")" or len(text) < 2:
        raise DecodeError("row", "parentheses", "(...)", f"{len(text)} bytes")
    if b'"' not in text:
        columns: list[Column] = [part or None for part in text[1:-1].split(b",")] if count else []
        if not count and text != b"()":
            raise DecodeError("row", "columns", 0, "some")
    else:
        columns = _quoted(text)
    if len(columns) != count:
        raise DecodeError("row", "columns", count, len(columns))
    return columns


def _quoted(text: bytes) -> list[Column]:
    columns: list[Column] = []
    at, end = 1, len(text) - 1
    while True:
        if (match := _QUOTED(text, at)) is not None:
            value = match.group(1)
            columns.append(_DOUBLED(rb"\1", value) if b'"' in value or b"\\" in value else value)
            at = match.end()
        elif (match := _PLAIN(text, at)) is not None:
            columns.append(match.group())
            at = match.end()
        else:
            columns.append(None)
        if at == end:
            return columns
        if text[at : at + 1] != b",":
            raise DecodeError("row", f"column {len(columns) - 1}", "a comma", "something else")
        at += 1
