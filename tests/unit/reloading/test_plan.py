"""What a reload has to do: the plan from one configuration to another."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdcd.config.model import (
    Canary,
    Capture,
    Config,
    CustomType,
    Database,
    Eventing,
    Kind,
    Limits,
    Order,
    Reload,
    Retries,
    Schedule,
    Secret,
    Server,
    Storage,
    TriggerConfig,
    Webhook,
)
from cdcd.reloading.plan import Plan, compare

MAIN = Database("main", "postgresql://one/app", Capture.REPLICATION, "slot", "publication")
OTHER = replace(MAIN, name="other", url="postgresql://two/app")
ROWS = TriggerConfig("rows", frozenset({"DB_INSERT"}), "main", ("a",), Webhook("http://x/", "http://x:80"))
PAID = replace(ROWS, name="paid", types=frozenset({"PAID"}), database="", tables=(), kind=Kind.CUSTOM)
FILES = replace(ROWS, name="files", types=frozenset({"FILE_CREATE"}), database="", tables=(), kind=Kind.STORAGE, storage="up")
DAILY = replace(
    ROWS,
    name="daily",
    types=frozenset({"SCHEDULE"}),
    database="",
    tables=(),
    kind=Kind.SCHEDULE,
    schedule=Schedule("0 9 * * *"),
)
UP = Storage("up", Path("/up"))
CONFIG = Config(
    "shop",
    (Secret(b"k" * 32, "k"),),
    {"main": MAIN, "other": OTHER},
    Eventing("main", "cdcd", 3600.0, Path("/state")),
    {"rows": ROWS, "paid": PAID, "files": FILES, "daily": DAILY},
    storage={"up": UP},
    server=Server("127.0.0.1", 4122),
)
NOTHING = Plan()


def triggers(*of: TriggerConfig) -> dict[str, TriggerConfig]:
    return {each.name: each for each in of}


def plan(**changes: Any) -> Plan:
    return compare(CONFIG, replace(CONFIG, **changes), ["main"])


def test_the_same_again_is_nothing() -> None:
    assert compare(CONFIG, CONFIG, ["main"]) == NOTHING


def test_a_trigger_that_has_only_moved_within_its_file_is_the_same() -> None:
    moved = replace(ROWS, where="cdcd.yaml:99:3", places={"when": "cdcd.yaml:100:5"})
    assert plan(triggers=triggers(moved, PAID, FILES, DAILY), storage={"up": replace(UP, where="x:1:1")}) == NOTHING


@pytest.mark.parametrize(
    "changed",
    [
        replace(ROWS, webhook=Webhook("http://y/", "http://y:80")),
        replace(ROWS, retries=Retries(max=9)),
        replace(ROWS, claims={"a": 1}),
        replace(ROWS, put_in=frozenset({"secret"})),
    ],
)
def test_how_it_is_sent_changes_at_once(changed: TriggerConfig) -> None:
    """No database is asked, so it can be changed while one is down."""
    assert plan(triggers=triggers(changed, PAID, FILES, DAILY)) == Plan(changed=("rows",))


@pytest.mark.parametrize(
    "changed",
    [
        replace(ROWS, types=frozenset({"DB_INSERT", "DB_UPDATE"})),
        replace(ROWS, tables=("a", "b")),
        replace(ROWS, when="new.id > 1"),
        replace(ROWS, columns=frozenset({"id"})),
    ],
)
def test_which_rows_it_wants_is_cut(changed: TriggerConfig) -> None:
    found = plan(triggers=triggers(changed, PAID, FILES, DAILY))
    assert found == Plan(changed=("rows",), rematched=frozenset({"rows"}), cut=frozenset({"main"}))


@pytest.mark.parametrize("changed", [replace(ROWS, order=Order.ALL), replace(ROWS, key="string(new.n)")])
def test_which_lane_it_takes_is_cut_and_told(changed: TriggerConfig) -> None:
    found = plan(triggers=triggers(changed, PAID, FILES, DAILY))
    assert (found.relaned, found.cut) == (frozenset({"rows"}), frozenset({"main"}))


def test_disabled_is_not_there() -> None:
    off = triggers(replace(ROWS, enabled=False), PAID, FILES, DAILY)
    gone = plan(triggers=off)
    assert (gone.removed, gone.cut, gone.closed) == (("rows",), frozenset({"main"}), frozenset())
    back = compare(replace(CONFIG, triggers=off), CONFIG, ["main"])
    assert (back.added, back.cut, back.opened) == (("rows",), frozenset({"main"}), frozenset())


def test_a_trigger_that_moves_to_another_database_concerns_both() -> None:
    found = plan(triggers=triggers(replace(ROWS, database="other"), PAID, FILES, DAILY))
    assert (found.changed, found.cut, found.opened) == (("rows",), frozenset({"main"}), frozenset({"other"}))


def test_custom_types_concern_every_stream() -> None:
    """A message in the WAL may be such an event."""
    assert plan(triggers=triggers(ROWS, FILES, DAILY)).cut == {"main"}


def test_databases_come_go_and_move() -> None:
    one = {"main": replace(MAIN, url="postgresql://three/app")}
    found = plan(databases=one, eventing=CONFIG.eventing)
    assert found.rerouted == {"main"}
    assert plan(databases={"other": OTHER}, triggers=triggers(PAID)).closed == {"main"}
    assert compare(CONFIG, CONFIG, []).opened == {"main"}


def test_stores_of_files() -> None:
    assert plan(storage={"up": replace(UP, settle=9.0)}).stores == {"up"}
    assert plan(triggers=triggers(ROWS, PAID, DAILY)).left == {"up"}
    assert compare(replace(CONFIG, triggers=triggers(ROWS)), CONFIG, ["main"]).stores == {"up"}
    assert plan(triggers=triggers(ROWS, PAID, replace(FILES, paths=("*.jpg",)), DAILY)).stores == frozenset()


def test_schedules() -> None:
    assert plan(triggers=triggers(ROWS, PAID, FILES, replace(DAILY, schedule=Schedule("0 8 * * *")))).schedules
    assert not plan(triggers=triggers(ROWS, PAID, FILES, replace(DAILY, retries=Retries(max=9)))).schedules


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"project": "other"}, "project"),
        ({"eventing": replace(CONFIG.eventing, schema="x")}, "eventing.schema"),
        ({"eventing": replace(CONFIG.eventing, database=None)}, "eventing.database"),
        ({"eventing": replace(CONFIG.eventing, state_dir=Path("/x"))}, "eventing.state_dir"),
        ({"server": None}, "server"),
        ({"server": Server("127.0.0.1", 1)}, "server.listen"),
        ({"server": Server("127.0.0.1", 4122, tls=(Path("c"), Path("k")))}, "server.tls"),
        ({"canary": Canary("main")}, "canary"),
        ({"databases": {"main": replace(MAIN, slot="x"), "other": OTHER}}, "databases.main.slot"),
        ({"databases": {"main": replace(MAIN, capture=Capture.TRIGGERS), "other": OTHER}}, "databases.main.capture"),
        ({"databases": {"main": MAIN, "other": replace(OTHER, publication="x")}}, "databases.other.publication"),
        ({"databases": {"main": replace(MAIN, url="postgresql://x/"), "other": OTHER}}, "databases.main.url"),
    ],
)
def test_what_needs_a_restart_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    (refused,) = plan(**changes).refused
    assert refused.startswith(f"cdcd.yaml: {named} ")
    assert "restart" in refused


def test_all_refusals_are_told_together() -> None:
    assert len(plan(project="other", server=Server("::1", 1)).refused) == 2


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"limits": Limits(in_flight=1, spill_after=9.0)}, ("limits.in_flight", "limits.spill_after")),
        ({"secrets": (Secret(b"x" * 32, "x"),)}, ("secrets",)),
        ({"eventing": replace(CONFIG.eventing, retention=7200.0)}, ("eventing.retention",)),
        ({"databases": {"main": replace(MAIN, channels=(("c", "PAID"),))}}, ("databases.main.channels", "databases.other")),
        ({"events": {"PAID": CustomType("PAID", True)}}, ("events.PAID",)),
        ({"server": Server("127.0.0.1", 4122, cors=("*",))}, ("server.cors",)),
        ({"reload": Reload.WATCH}, ("reload",)),
    ],
)
def test_other_options_are_named_and_their_values_are_not(changes: dict[str, Any], options: tuple[str, ...]) -> None:
    assert plan(**changes) == Plan(options=options)
