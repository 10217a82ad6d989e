"""What commands make of what is typed: times, filters, JSON; what they know without being loaded."""

import io
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import typer

from cdcd.cli import reading
from cdcd.cli.asking import declined
from cdcd.cli.filters import query_of, wanted
from cdcd.cli.options import trigger_names
from cdcd.cli.reach import address_of
from cdcd.cli.times import apart, moment, rfc3339, seconds_of
from cdcd.config.model import Server

NOW = 1_764_000_000.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", NOW - 7200),
        ("1d12h ago", NOW - 129_600),
        ("now", NOW),
        ("2025-11-24T18:00:00Z", 1_764_007_200.0),
        ("2025-11-24T18:00:00+02:00", 1_764_000_000.0),
        ("2025-11-24", datetime(2025, 11, 24).timestamp()),
        ("2025-11-24 18:30", datetime(2025, 11, 24, 18, 30).timestamp()),
    ],
)
def test_times_are_read_as_people_write_them(text: str, expected: float) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "soon", "5", "2025-13-01", "yesterday evening"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="2h"):
        moment(text, NOW)


def test_times_survive_to_the_microsecond() -> None:
    assert rfc3339(seconds_of("2026-11-24T05:59:59.123457Z")) == "2026-11-24T05:59:59.123457Z"
    assert [apart(each) for each in (0.0004, 0.25, 2.5, 3723, -0.5)] == ["+0.4 ms", "+250 ms", "+2.50 s", "+1h 2m", "-500 ms"]


def test_a_filter_is_what_was_given_and_nothing_else() -> None:
    assert wanted() == {}
    members = wanted(["a", "b"], ["failed"], key="", where="x")
    assert members == {"trigger": ["a", "b"], "status": ["failed"], "key": "", "text": "x"}
    assert query_of(members) == [("trigger", "a"), ("trigger", "b"), ("status", "failed"), ("key", ""), ("text", "x")]
    with pytest.raises(typer.BadParameter, match="staged"):
        wanted(status=["done"])


def test_json_comes_from_the_argument_a_file_or_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "event.json").write_text('{"n": 2}')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"n": 3}')))
    given = [reading.json_of(text) for text in ('{"n": 1}', f"@{tmp_path / 'event.json'}", "-")]
    assert given == [{"n": 1}, {"n": 2}, {"n": 3}]
    for wrong in ("{n: 1}", f"@{tmp_path / 'none'}"):
        with pytest.raises(reading.Unreadable):
            reading.json_of(wrong)


def test_names_of_triggers_are_completed_whatever_else_is_wrong_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "cdcd.yaml").write_text("triggers: {search: {}, orders: 7}\ninclude: more/*.yaml\nnonsense: 1\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.yaml").write_text("triggers: {sold: {}}\n")

    class Context:
        params = {"config": tmp_path / "cdcd.yaml"}  # noqa: RUF012

    context: Any = Context()
    assert trigger_names(context, "s") == ["search", "sold"]
    (tmp_path / "cdcd.yaml").write_text("triggers: [")
    assert trigger_names(context, "") == []


def test_a_daemon_that_listens_everywhere_is_asked_here() -> None:
    assert address_of(Server("0.0.0.0", 1)) == "http://127.0.0.1:1"
    assert address_of(Server("::", 1)) == "http://[::1]:1"
    assert address_of(Server("10.0.0.1", 1, tls=(Path("c"), Path("k")))) == "https://10.0.0.1:1"


def test_a_problem_is_told_with_every_reason() -> None:
    told = declined(422, {"detail": "nothing was begun", "errors": [{"detail": "rate must be above 0", "pointer": "/rate"}]})
    assert str(told) == "nothing was begun\n  /rate: rate must be above 0"
    assert "cdcd token" in declined(401, {"detail": "no token"}).hint
    assert "answered 200" not in str(declined(502, None))


def test_help_needs_neither_configuration_nor_database() -> None:
    """What takes long to import is imported by whoever needs it."""
    code = "import sys; import cdcd.cli.main; print(*(each for each in ('psycopg', 'aiohttp', 'cel', 'pydantic') if each in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
