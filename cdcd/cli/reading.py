"""JSON that is given to a command: in the argument itself, in a file (`@FILE`), or on standard input (`-`)."""

import sys
from pathlib import Path
from typing import Any

import orjson


class Unreadable(Exception):
    """It is no JSON, or not there."""


def json_of(text: str) -> Any:
    """The value. Raises Unreadable."""
    raw: bytes | str = text
    what = "it"
    try:
        if text == "-":
            raw, what = sys.stdin.buffer.read(), "standard input"
        elif text.startswith("@"):
            raw, what = Path(text[1:]).read_bytes(), text[1:]
        return orjson.loads(raw)
    except OSError as error:
        raise Unreadable(f"{text[1:]} cannot be read: {error.strerror}") from error
    except ValueError as error:
        hint = '; text is "quoted" in JSON, and the shell takes quotes away' if raw is text else ""
        raise Unreadable(f"{what} is no JSON: {error}{hint}") from error
