"""Log sequence numbers: integers inside, `X/X` hexadecimal text outside (manual, "pg_lsn Type")."""

import re

_TEXT = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def parse_lsn(text: str) -> int:
    """`"0/1A2B3C4"` -> bytes since the start of the WAL. Raises ValueError."""
    if (match := _TEXT.fullmatch(text)) is None:
        raise ValueError(f"not an LSN: {text!r}")
    return int(match[1], 16) << 32 | int(match[2], 16)


def format_lsn(lsn: int) -> str:
    """The server's own spelling of an LSN."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
