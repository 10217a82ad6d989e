"""What decides which events a trigger wants, as text and back."""

from dataclasses import replace

import orjson
import pytest

from cdcd.config.model import Kind, Order, Schedule, TriggerConfig, Webhook
from cdcd.config.types import CANARY
from cdcd.errors import ConfigError
from cdcd.reloading.plan import wants
from cdcd.triggers.definition import defined, definitions
from cdcd.triggers.trigger import compile_trigger

SECRET = "https://user:pass@hooks.example/x"
ROWS = TriggerConfig(
    "rows",
    frozenset({"DB_INSERT", "DB_UPDATE"}),
    "main",
    ("public.a", "b*"),
    Webhook(SECRET, SECRET, headers=(("Authorization", "Bearer abc"),)),
    columns=frozenset({"y", "x"}),
    when="new.id > 7",
    order=Order.KEY,
    key="string(new.id)",
)
PAID = replace(
    ROWS, name="paid", types=frozenset({"PAID"}), database="", tables=(), columns=frozenset(), kind=Kind.CUSTOM, when="", key=""
)
FILES = replace(PAID, name="files", types=frozenset({"FILE_CREATE"}), kind=Kind.STORAGE, storage="up")
DAILY = replace(PAID, name="daily", types=frozenset({"SCHEDULE"}), kind=Kind.SCHEDULE, schedule=Schedule("0 9 * * *"))


def of(*configs: TriggerConfig) -> dict[str, str]:
    return definitions(compile_trigger(config) for config in configs)


@pytest.mark.parametrize("config", [ROWS, PAID, replace(ROWS, order=Order.NONE, key=""), replace(PAID, when="data.x == 'ä\"'")])
def test_it_wants_the_same_again(config: TriggerConfig) -> None:
    ((name, text),) = of(config).items()
    again = defined(name, text)
    assert again.name == config.name
    assert wants(again.config) == wants(config)
    assert of(again.config) == {name: text}  # the same text, so that nothing is written for it


def test_nothing_of_where_it_is_sent_is_in_it() -> None:
    assert "hooks" not in of(ROWS)["rows"]
    assert "abc" not in of(ROWS)["rows"]


def test_those_whose_events_are_staged_first_have_none() -> None:
    assert of(FILES, DAILY, replace(PAID, name=CANARY)) == {}


def test_one_with_text_from_elsewhere_has_none() -> None:
    """It may be a secret, and the event store is no place for one."""
    secret = replace(ROWS, when='new.token == "s3cret"', put_in=frozenset({"s3cret", ""}))
    assert of(secret, replace(ROWS, put_in=frozenset({"elsewhere", ""}))) == of(ROWS)
    assert of(replace(ROWS, key='"s3cret"', put_in=frozenset({"s3cret"}))) == {}


@pytest.mark.parametrize(
    "changed",
    [{"when": "new.("}, {"types": "DB_INSERT"}, {"kind": "other"}, {"order": 1}, {"tables": None}, {"key": None}],
    ids=str,
)
def test_what_is_no_definition_is_told(changed: dict[str, object]) -> None:
    whole = orjson.loads(of(ROWS)["rows"])
    if changed == {"key": None}:
        del whole["key"]
    else:
        whole |= changed
    with pytest.raises((ConfigError, KeyError, TypeError, ValueError)):
        defined("rows", orjson.dumps(whole).decode())
