"""What mends something, as the pages show it: sentences with code in them, and statements or commands as blocks to copy. Pure."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

_STATEMENT = re.compile(
    r"(ALTER|ANALYZE|COMMENT|CREATE|DELETE|DROP|DO|GRANT|INSERT|REVOKE|SELECT|SET|UPDATE|VACUUM|cdcd|mkdir|sysctl|sudo|host) \S"
)
"""How lines begin that somebody is to run, or to write into pg_hba.conf."""
_REMARK = re.compile(r"--\s")


class Piece(NamedTuple):
    """Some lines of a fix. `code`: to be run as they are."""

    code: bool
    text: str


def backticked(text: str) -> Markup:
    """A sentence in which what stands between backticks is code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one of them has no partner
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def pieces(fix: str) -> Sequence[Piece]:
    """A fix in pieces: what is to be run, and the words around it. What is to be run and what follows it until the line ends stay together,
    as do lines that follow each other."""
    found: list[Piece] = []
    for line in fix.splitlines():
        code = bool(_STATEMENT.match(line)) or bool(found and found[-1].code and _REMARK.match(line))
        before, colon, rest = line.partition(": ")
        if not code and colon and (statement := _alone(rest)):
            found += [Piece(False, f"{before}:"), Piece(True, statement)]
        elif found and found[-1].code is code:
            found[-1] = Piece(code, f"{found[-1].text}\n{line}")
        elif line.strip():
            found.append(Piece(code, line))
    return found


def _alone(text: str) -> str:
    """The statement that a text is, with backticks around it or without; empty when it is a sentence."""
    text = text.strip()
    if text.startswith("`") and text.endswith("`"):
        text = text[1:-1]
    return text if _STATEMENT.match(text) and "`" not in text else ""
