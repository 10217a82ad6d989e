"""`cdcd check` on custom events and schedules: where they can be queued, whether they are heard, when they tick."""

from pathlib import Path
from typing import Any

from tests.integration.cli.commands import TRIGGER, cdcd, write_config
from tests.postgres import Database

HOOK = "http://127.0.0.1:1/hook"


def triggers(**more: Any) -> dict[str, Any]:
    return {
        "paid": {"type": "ORDER_PAID", "webhook": HOOK},
        "daily": {"type": "SCHEDULE", "schedule": "0 9 * * *", "timezone": "Europe/Berlin", "webhook": HOOK},
        **more,
    }


def test_it_says_where_and_when(database: Database, tmp_path: Path) -> None:
    database.execute("CREATE TABLE users (id int PRIMARY KEY)")
    databases = {"main": {"url": database.tcp_dsn, "channels": {"orders": "ORDER_PAID", "others": "NOBODY"}}}
    config = write_config(tmp_path, "", triggers(users=TRIGGER), databases=databases)
    result = cdcd("check", "--json", "-c", config)
    told = [finding["what"] for level in ("ok", "warning") for finding in result.found(level)]
    assert any("1 custom type: ORDER_PAID" in what for what in told)
    assert any('"cdcd".queue() is in the database main' in what for what in told)
    assert any("allows prepared transactions" in what for what in told)
    assert any("messages (pg_logical_emit_message) are read in: main" in what for what in told)
    assert any("orders can be heard" in what for what in told)
    assert any("`0 9 * * *` ticks next at" in what and "T09:00:00+0" in what for what in told)
    (unwanted,) = result.found("warning", "channel")
    assert "NOBODY" in unwanted["what"]


def test_what_cannot_be_heard_and_what_cannot_be_queued(database: Database, tmp_path: Path) -> None:
    databases = {"main": {"url": database.tcp_dsn + "_gone", "channels": {"orders": "ORDER_PAID"}}}
    eventing = {"state_dir": str(tmp_path / "state")}
    config = write_config(tmp_path, "", triggers(), databases=databases, eventing=eventing)
    result = cdcd("check", "--json", "-c", config)
    assert "cannot be heard" in result.found("unknown", "channel")[0]["what"]
    assert any("no cdcd.queue()" in finding["what"] for finding in result.found("ok", "custom"))
    assert result.code == 2
