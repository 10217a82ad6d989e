"""A request as a command that somebody pastes into a shell. Pure.

The rules:
- whatever stands in the request, the shell sees one word for it: in single quotes nothing has a meaning but the quote itself;
- a terminal acts on control characters before any shell does, so a body that has some goes through `printf '%b'`, which gets them in
  octal;
- what is not shown stands as `<token>`, `<signature>`, `<value>`: the command holds no secret;
- a program takes at most 128 KiB as one word, the shell's own `printf` any number; and to curl a body that begins with @ names a file.
"""

import re
import shlex

from cdcd.admin.trying import Request
from cdcd.config.masking import MASK

LONGEST_WORD = 100_000  # bytes of a body that stands in the command of curl itself
FILE = "body"  # where somebody puts a body that is not shown whole

_PLACEHOLDERS = {"x-sc-token": "Bearer <token>", "webhook-signature": "<signature>"}
_IMPLIED = frozenset({"host", "content-length"})  # curl makes them of the URL and the body
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # all but the line feed
_GLOB = re.compile(r"[][{}]")  # to curl they are patterns


def command(request: Request) -> str:
    """The command: a line for each thing that it says."""
    words = ["curl --include", *_method(request)]
    if _GLOB.search(request.url):
        words.append("--globoff")
    names = {name.lower() for name, _ in request.headers}
    words += [f"-H {_word(_header(name, value))}" for name, value in request.headers if name.lower() not in _IMPLIED]
    before = ""
    if request.body is not None:
        if "content-type" not in names:
            words.append("-H 'Content-Type:'")  # curl would say that it is a form
        before, given = _body(request.body, cut=request.cut)
        words.append(given)
    words.append(_word(request.url))
    return before + " \\\n  ".join(words)


def placeholders(request: Request) -> bool:
    """Whether anything in the command stands for what is not shown."""
    return any(value == MASK for _, value in request.headers) or MASK in request.url


def _method(request: Request) -> list[str]:
    usual = "GET" if request.body is None else "POST"
    return [] if request.method == usual else [f"-X {_word(request.method)}"]


def _header(name: str, value: str) -> str:
    if value == MASK:
        value = _PLACEHOLDERS.get(name.lower(), "<value>")
    return f"{name}: {value}" if value else f"{name};"  # so curl writes one without a value


def _body(body: str, *, cut: bool) -> tuple[str, str]:
    """What stands before the command, and what within it."""
    if cut:
        return "", f"--data-binary @{FILE}"
    if _CONTROL.search(body):
        octal = _CONTROL.sub(_octal, body.replace("\\", "\\\\"))
        return f"printf '%b' {shlex.quote(octal)} | ", "--data-binary @-"
    if body.startswith("@") or len(body.encode(errors="replace")) > LONGEST_WORD:
        return f"printf '%s' {shlex.quote(body)} | ", "--data-binary @-"
    return "", f"--data-binary {shlex.quote(body)}"


def _octal(found: re.Match[str]) -> str:
    return "".join(f"\\0{byte:03o}" for byte in found[0].encode())


def _word(text: str) -> str:
    """No header, method or URL has control characters; should one, it is not repeated."""
    return shlex.quote(_CONTROL.sub("?", text).replace("\n", "?"))
