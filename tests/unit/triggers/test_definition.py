"""What decides which events a trigger wants, as text and back."""

from dataclasses import replace

import orjson
import pytest

from cdcd.config.model import Kind, Order, TriggerConfig, Webhook
from cdcd.errors import ConfigError
from cdcd.reloading.plan import wants
from cdcd.triggers.definition import defined, definition

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


@pytest.mark.parametrize("config", [ROWS, PAID, replace(ROWS, order=Order.NONE, key=""), replace(PAID, when="data.x == 'ä\"'")])
def test_it_wants_the_same_again(config: TriggerConfig) -> None:
    text = definition(config)
    again = defined(config.name, text)
    assert again.name == config.name
    assert wants(again.config) == wants(config)
    assert definition(again.config) == text


def test_nothing_of_where_it_is_sent_is_in_it() -> None:
    assert "hooks" not in definition(ROWS)
    assert "abc" not in definition(ROWS)


@pytest.mark.parametrize(
    "changed",
    [{"when": "new.("}, {"types": "DB_INSERT"}, {"kind": "other"}, {"order": 1}, {"tables": None}, {"key": None}],
    ids=str,
)
def test_what_is_no_definition_is_told(changed: dict[str, object]) -> None:
    whole = orjson.loads(definition(ROWS))
    if changed == {"key": None}:
        del whole["key"]
    else:
        whole |= changed
    with pytest.raises((ConfigError, KeyError, TypeError, ValueError)):
        defined("rows", orjson.dumps(whole).decode())
