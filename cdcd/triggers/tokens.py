"""CEL source text as tokens: enough to know which names are variables, never a parser.

Grammar: Common Expression Language specification, "Lexis". Whitespace and comments are kept apart from the tokens, so that a
text can be put together again with some tokens replaced. The compiler of the expression stays the judge of what is valid.
"""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<space> \s+ | //[^\n]* )
    | (?P<string> (?:[bB]?[rR]) (?: \"\"\".*?\"\"\" | '''.*?''' | "[^"\n]*" | '[^'\n]*' )
                | [bB]? (?: \"\"\"(?:\\.|.)*?\"\"\" | '''(?:\\.|.)*?''' | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' ) )
    | (?P<number> 0x[0-9a-fA-F]+[uU]? | (?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]? )
    | (?P<name> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<mark> && | \|\| | [=!<>]= | . )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(slots=True, frozen=True)
class Token:
    """`kind` is `string`, `number`, `name` or `mark`; `start` and `end` are offsets in the source."""

    kind: str
    text: str
    start: int
    end: int


def tokens(source: str) -> list[Token]:
    """The tokens of `source` without space and comments. Never fails: what fits nothing is a mark of one character."""
    return [
        Token(found.lastgroup, found.group(), found.start(), found.end())
        for found in _TOKEN.finditer(source)
        if found.lastgroup is not None and found.lastgroup != "space"
    ]
