"""A database that is read for the canary alone is checked, set up, shown and torn down as any other."""

from pathlib import Path

from tests.integration.cli.commands import catalog, cdcd, write_config
from tests.postgres import Database

PAID = {"type": "ORDER_PAID", "webhook": "http://127.0.0.1:1/"}


def test_a_database_for_the_canary_alone(database: Database, tmp_path: Path) -> None:
    before = catalog(database)
    config = write_config(tmp_path, database.dsn, {"paid": PAID}, canary="30s")
    checked = cdcd("check", "--json", "-c", config)
    assert checked.found("mistake") == [], checked.out
    made = cdcd("setup", "-c", config)
    assert (made.code, "slot cdcd_shop_main made" in made.out) == (0, True), made.out + made.err
    assert cdcd("setup", "-c", config).out == "Everything is there already.\n"
    assert [each["name"] for each in cdcd("status", "--json", "-c", config).json["databases"]] == ["main"]
    assert cdcd("teardown", "-y", "-c", config).code == 0
    assert catalog(database) == before
