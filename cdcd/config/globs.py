"""Globs of paths within a store: `**/*.{jpg,png}`.

`*` and `?` stay within one name, `**` crosses directories (none included), `[abc]` and `[!abc]` are one character, `{a,b}` is either
and nests. A path is relative, with `/` between its names, and has no dot in front. Matching is case-sensitive.
"""

import re
from functools import lru_cache


@lru_cache(maxsize=4096)
def parse_glob(text: str) -> re.Pattern[str]:
    """A regular expression that matches whole paths (`fullmatch`). Raises ValueError."""
    if not text or text.startswith("/") or text.endswith("/"):
        raise ValueError("not a glob of paths: they are relative, as in images/**/*.png, and do not end in /")
    if any(part in (".", "..") for part in text.split("/")):
        raise ValueError("not a glob of paths: there is no . and no .. in them")
    source, at, depth = [], 0, 0
    while at < len(text):
        mark = text[at]
        at += 1
        if mark == "*":
            if not text.startswith("*", at):
                source.append("[^/]*")
                continue
            at += 1
            whole = (at == 2 or text[at - 3] in "/{,") and (at == len(text) or text[at] in "/},")
            if not whole:
                raise ValueError("not a glob of paths: ** stands for whole directories, as in a/**/b")
            if at < len(text) and text[at] == "/":
                at += 1
                source.append("(?:[^/]+/)*")
            else:
                source.append(".*")
        elif mark == "?":
            source.append("[^/]")
        elif mark == "[":
            end = text.find("]", at + 1 + text.startswith("!", at))
            if end < 0:
                raise ValueError("not a glob of paths: a [ has no ]")
            inside, negated = text[at:end], text.startswith("!", at)
            plain = re.sub(r"([\\\[^])", r"\\\1", inside[negated:])
            source.append(f"(?!/)[{'^' if negated else ''}{plain}]")
            at = end + 1
        elif mark == "{":
            depth += 1
            source.append("(?:")
        elif mark == "}" and depth:
            depth -= 1
            source.append(")")
        elif mark == "," and depth:
            source.append("|")
        else:
            source.append(re.escape(mark))
    if depth:
        raise ValueError("not a glob of paths: a { has no }")
    try:
        return re.compile("".join(source), re.DOTALL)
    except re.error as error:
        raise ValueError(f"not a glob of paths: {error.msg}") from error
