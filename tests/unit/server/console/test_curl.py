"""The command is run by real shells, with a program in curl's place that says what it was given: whatever stands in a request comes to
it as it was, and nothing else happens."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from cdcd.admin.trying import Request
from cdcd.server.console import curl

SHELLS = [shell for shell in ("sh", "bash", "dash", "zsh") if shutil.which(shell)]
STAND_IN = """#!/bin/sh
printf '%s\\0' "$@" > words
while [ $# -gt 0 ]; do
  if [ "$1" = --data-binary ]; then
    if [ "$2" = @- ]; then cat > body; else printf '%s' "$2" > body; fi
  fi
  shift
done
"""
HOSTILE = [
    "{}",
    '{"name":"O\'Brien"}',
    "'; touch owned; '",
    "$(touch owned) `touch owned` ${HOME} !! \\",
    "\"double\" and 'single' and \\' both",
    "a\nb\n",
    "\n'\n",
    "-X",
    "--data @/etc/passwd",
    "@/etc/passwd",
    "tab\there",
    "\x03touch owned\n\x1b[201~touch owned\n",
    "nul \x00 and \x7f and \x9b",
    "\\0101 is no letter, and neither is \\n nor \\c nor %s nor %b: \x01",
    "\x01777 digits behind it",
    "caf\u00e9 \u2028 \U0001f600",
    "</script></pre><script>alert(1)</script>",
    "",
    "x" * 200_000,
    "'" * 60_000,
]


def request(
    body: str | None = "{}", url: str = "http://127.0.0.1:9/hook", method: str = "POST", headers: dict[str, str] | None = None
) -> Request:
    return Request(method, url, tuple((headers or {"Content-Type": "application/json"}).items()), body)


def run(texts: Sequence[str], shell: str, folder: Path) -> list[tuple[list[str], bytes]]:
    """The words and the body that curl was given by each command."""
    stand_in = folder / "curl"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    script = ""
    for number, text in enumerate(texts):
        (folder / str(number)).mkdir()
        script += f"cd {folder}/{number}\n{text}\n"
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run([shell], input=script.encode(), cwd=folder, env=environment, check=True, timeout=20)
    found = []
    for number in range(len(texts)):
        here = folder / str(number)
        assert sorted(path.name for path in here.iterdir()) == ["body", "words"], "something else was done"
        words = (here / "words").read_bytes().decode().split("\0")[:-1]
        found.append((words, (here / "body").read_bytes()))
    return found


@pytest.mark.parametrize("shell", SHELLS)
def test_whatever_the_body_is_it_arrives_as_it_was(shell: str, tmp_path: Path) -> None:
    got = run([curl.command(request(body)) for body in HOSTILE], shell, tmp_path)
    for body, (words, arrived) in zip(HOSTILE, got, strict=True):
        assert arrived == body.encode(), body[:80]
        assert words[-1] == "http://127.0.0.1:9/hook"


@pytest.mark.parametrize("body", HOSTILE)
def test_nothing_that_a_terminal_acts_on_stands_in_it(body: str) -> None:
    text = curl.command(request(body, headers={"X-One": body.replace("\0", "")}))
    assert all(letter == "\n" or (ord(letter) >= 32 and not 0x7F <= ord(letter) <= 0x9F) for letter in text)


@pytest.mark.parametrize("shell", SHELLS)
def test_headers_and_address_are_one_word_each(shell: str, tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/it's/$(touch owned)?a={1,2}&b=[1-3]"
    headers = {"X-Own": '\'; touch owned; "$HOME"', "X-Empty": "", "Content-Type": "text/plain; charset='x'"}
    ((words, body),) = run([curl.command(request("x", url, "PATCH", headers))], shell, tmp_path)
    assert words[-1] == url
    assert [words[at + 1] for at, word in enumerate(words) if word == "-H"] == [
        'X-Own: \'; touch owned; "$HOME"',
        "X-Empty;",
        "Content-Type: text/plain; charset='x'",
    ]
    assert words[words.index("-X") + 1] == "PATCH"
    assert "--globoff" in words
    assert body == b"x"


def test_what_is_not_shown_is_a_placeholder() -> None:
    headers = {"X-SC-Token": "***", "webhook-signature": "***", "Authorization": "***", "webhook-id": "1", "Host": "h"}
    text = curl.command(request("{}", headers=headers))
    for line in (
        "-H 'X-SC-Token: Bearer <token>'",
        "-H 'webhook-signature: <signature>'",
        "-H 'Authorization: <value>'",
        "-H 'webhook-id: 1'",
        "-H 'Content-Type:'",
    ):
        assert line in text
    assert "***" not in text
    assert "Host" not in text
    assert curl.placeholders(request(headers=headers))
    assert not curl.placeholders(request())


def test_without_a_body_and_with_one_that_is_not_shown_whole() -> None:
    assert curl.command(Request("GET", "http://h/", (), None)) == "curl --include \\\n  http://h/"
    assert curl.command(Request("DELETE", "http://h/", (), None)) == "curl --include \\\n  -X DELETE \\\n  http://h/"
    assert "--data-binary @body" in curl.command(Request("POST", "http://h/", (), "{", cut=True))
