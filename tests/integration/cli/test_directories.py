"""`cdcd check` on stores of files: what is not there, what cannot be read, and how much there is to watch."""

import json
from pathlib import Path
from typing import Any

from tests.integration.cli.commands import SECRET, Result, cdcd


def check(directory: Path, **storage: Any) -> Result:
    config = {
        "project": "shop",
        "secret": SECRET,
        "databases": {"main": {"url": "postgresql://127.0.0.1:9/nothing"}},
        "eventing": {"database": "main"},
        "storage": {name: {"path": str(path)} | more for name, (path, more) in storage.items()},
        "triggers": {name: {"type": "FILE_CREATE", "storage": name, "webhook": "http://127.0.0.1:9/"} for name in storage},
    }
    path = directory / "cdcd.yaml"
    path.write_text(json.dumps(config))
    return cdcd("check", "--json", "-c", path)


def test_stores_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "there" / "a" / "b").mkdir(parents=True)
    (tmp_path / "there" / "cache" / "deep").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    found = check(
        tmp_path,
        there=(tmp_path / "there", {"ignore": ["cache/**"]}),
        flat=(tmp_path / "there", {"recursive": False}),
        away=(tmp_path / "it's away", {}),
        odd=(tmp_path / "file", {}),
    )
    told = [finding["what"] for finding in found.found("ok", "storage")]
    assert [what.rpartition("; ")[2] for what in told] == ["3 directories", "1 directory"]
    away, odd = found.found("mistake", "storage")
    assert "is not there" in away["what"]
    assert away["fix"] == f"mkdir -p '{tmp_path}/it'\"'\"'s away'"
    assert "is no directory" in odd["what"]
    assert found.found("ok", "watches") or found.found("warning", "watches")
    assert found.code == 1
