"""Which deliveries a change makes: ids, lanes, and what cannot be sent."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from cdcd.config.model import Capture, Config, Database, Eventing, Limits, Order, TriggerConfig, Webhook
from cdcd.event import Delivery
from cdcd.replication.errors import DecodeError
from cdcd.replication.messages import Delete, Insert, Relation, Update
from cdcd.replication.progress import Progress
from cdcd.replication.tuples import Tuple
from cdcd.sources.matching import LONGEST_ERROR, LONGEST_LANE, Matching, storable
from cdcd.triggers.ids import delivery_id
from cdcd.triggers.matcher import Index
from cdcd.triggers.trigger import compile_trigger
from tests.unit.sources.rows import TRANSACTION, relation, row

SYSTEM = 7_300_000_000_000_000_001
DATABASE = Database("main", "", Capture.REPLICATION, "cdcd_shop_main", "cdcd_shop_main")
BASE = TriggerConfig("t", frozenset({"DB_INSERT", "DB_UPDATE"}), "main", ("products",), Webhook("http://a/", "http://a"))


class Desk:
    """A Matching with its progress, and words for what is done to it."""

    def __init__(self, *options: dict[str, Any], payload: int = 10_000, relation: Relation | None = None) -> None:
        triggers = [compile_trigger(replace(BASE, name=f"t{n}", **each)) for n, each in enumerate(options or ({},))]
        config = Config("shop", (), {"main": DATABASE}, Eventing("main", "cdcd", 1, Path()), {}, Limits(payload=payload))
        self.matching = Matching(config, DATABASE, Index(triggers))
        self.progress = Progress(0)
        self.checkpoint = self.progress.open(TRANSACTION.commit_lsn)
        self.ordinal = 0
        self.matching.begin(SYSTEM, TRANSACTION)
        self.relation = relation or RELATION
        self.matching.described(self.relation, (), lambda _: None)

    def match(self, message: Insert | Update | Delete) -> list[Delivery]:
        self.ordinal += 1
        self.matching.row(message, self.ordinal, self.checkpoint)
        found, self.matching.waiting = self.matching.waiting, []
        return found

    def insert(self, *values: str | bytes | None) -> list[Delivery]:
        return self.match(Insert(self.relation, row(*values)))


RELATION = relation(("id", "name"))


def test_a_delivery_for_each_trigger_that_wants_it() -> None:
    """They share the event, have ids of their own, and hold the transaction."""
    desk = Desk({}, {"when": "new.id > 5"}, {"types": frozenset({"DB_DELETE"})}, {"when": 'new.name == "a"'})
    first, second = desk.insert("1", "a")
    assert (first.trigger, second.trigger) == ("t0", "t3")
    assert first.event is second.event
    event = first.event
    assert (event.type, event.source, event.subject) == ("DB_INSERT", "cdcd/shop/main", "public.products/1")
    assert (event.time, event.position) == (TRANSACTION.time, TRANSACTION.commit_lsn)
    for delivery in (first, second):
        assert delivery.id == delivery_id(SYSTEM, TRANSACTION.commit_lsn, 7345, 1, delivery.trigger, TRANSACTION.time)
    assert desk.checkpoint.unsettled == 2
    (other,) = desk.insert("2", "b")
    assert other.id == delivery_id(SYSTEM, TRANSACTION.commit_lsn, 7345, 2, "t0", TRANSACTION.time)


def test_what_nobody_wants_holds_nothing() -> None:
    desk = Desk({"when": "false"})
    assert desk.insert("1", "a") == []
    other = Relation(1, "public", "other", "d", RELATION.columns)
    assert not desk.matching.wants(other)
    desk.matching.described(other, (), lambda _: None)
    assert desk.match(Insert(other, row("1", "a"))) == []
    assert desk.checkpoint.unsettled == 0


def test_lanes() -> None:
    desk = Desk({}, {"order": Order.NONE}, {"order": Order.ALL}, {"key": "new.name"})
    assert [delivery.lane for delivery in desk.insert("1", "a")] == ["public.products/1", None, "", "a"]


def test_a_changed_key_is_in_two_lanes() -> None:
    """But only where the row's key is the lane."""
    desk = Desk({}, {"order": Order.ALL}, {"order": Order.NONE}, {"key": "new.name"}, {"key": "event.subject"})
    found = desk.match(Update(RELATION, "key", row("1", None), row("2", "a")))
    assert [(delivery.lane, delivery.also) for delivery in found] == [
        ("public.products/2", "public.products/1"),
        ("", None),
        (None, None),
        ("a", None),
        ("public.products/2", "public.products/1"),
    ]


def test_an_expression_that_raises_fails_its_own_delivery_alone() -> None:
    desk = Desk({"when": "new.missing > 1"}, {}, {"key": "new.missing"})
    wrong, right, keyless = desk.insert("1", "secret")
    for delivery in (wrong, keyless):
        assert "new.missing" in delivery.error
        assert "secret" not in delivery.error
        assert delivery.lane is None
    assert right.error == ""
    assert orjson.loads(right.event.data)["doc"] == {"id": 1, "name": "secret"}
    assert desk.checkpoint.unsettled == 3


def test_errors_are_cut() -> None:
    desk = Desk({"when": " && ".join(f"new.missing_{number} > 1" for number in range(300))})
    (delivery,) = desk.insert("1", "a")
    assert 0 < len(delivery.error) <= LONGEST_ERROR


def test_a_value_without_json_fails_with_what_is_known() -> None:
    desk = Desk({}, {"key": "new.id == 1 ? 'a' : 'b'"})
    found = desk.insert("1", b"secret\xff")
    for delivery in found:
        assert "column 'name'" in delivery.error
        assert "secret" not in delivery.error
        assert orjson.loads(delivery.event.data) == {
            "db": "main",
            "schema": "public",
            "col": "products",
            "txid": 7345,
            "lsn": "1/100",
        }
    assert [delivery.lane for delivery in found] == ["public.products/1", "a"]


def test_a_payload_over_the_limit_after_it_became_json() -> None:
    desk = Desk(payload=200)
    (small,) = desk.insert("1", "a" * 10)
    assert small.error == ""
    (large,) = desk.insert("1", "a" * 200)
    assert "limits.payload (200)" in large.error
    assert len(large.event.data) < 200


def test_a_row_far_over_the_limit_is_not_made_json_at_all() -> None:
    """Only what the server sent is looked at: half again as much as the limit, since bytes become shorter in JSON."""
    bytea = relation(("id", "raw"))
    desk = Desk(payload=1000, relation=bytea)

    def message(size: int) -> Insert:
        value = b"\\x" + b"00" * size
        parts = b"t\0\0\0\x011" + b"t" + len(value).to_bytes(4, "big") + value
        return Insert(bytea, Tuple("Insert", parts, 0, 2))

    (fits,) = desk.match(message(600))  # 1200 digits are 800 characters of base64
    assert fits.error == ""
    (never,) = desk.match(message(1000))
    assert "the row has 2,013 bytes" in never.error


def test_a_malformed_row_leaves_nothing_behind() -> None:
    desk = Desk({}, {})
    with pytest.raises(DecodeError):
        desk.match(Insert(RELATION, Tuple("Insert", b"t\0\0\0\xff1", 0, 2)))
    assert desk.matching.waiting == []
    assert desk.checkpoint.unsettled == 0


@pytest.mark.parametrize("lane", ["a", "", "public.products/é,1", "x" * LONGEST_LANE, "\U0001f600" * LONGEST_LANE])
def test_lanes_that_the_store_takes_stay(lane: str) -> None:
    assert storable(lane) == lane
    assert len(lane.encode()) < 2000


@pytest.mark.parametrize("lane", ["a\0b", "x" * (LONGEST_LANE + 1), "\ud800", "a\nb"])
def test_lanes_that_the_store_cannot_take_are_hashed(lane: str) -> None:
    assert storable(lane) == storable(lane) != storable(lane + "x")
    assert len(storable(lane)) == 41
    storable(lane).encode()


def test_a_long_key_is_hashed_in_both_lanes() -> None:
    codes = relation(("code", "name"), ("code",))
    desk = Desk(payload=1_000_000, relation=codes)
    (inserted,) = desk.insert("k" * 5000, "a")
    (moved,) = desk.match(Update(codes, "key", row("k" * 5000, None), row("l" * 5000, "a")))
    assert moved.also == inserted.lane
    assert moved.lane is not None
    assert max(len(moved.lane), len(moved.also or "")) == 41
    assert moved.event.subject == "public.products/" + "l" * 5000


@pytest.mark.parametrize("nesting", [201, 1000, 3000, 6000, 100_000])
@pytest.mark.parametrize("kind", [("[", "]"), ('{"a":', "}")])
def test_json_nested_too_deeply_for_an_expression_fails_its_delivery_alone(nesting: int, kind: tuple[str, str]) -> None:
    """It is passed on as it stands where no expression looks at it."""
    desk = Desk({"key": "new.doc"}, {"when": "new.doc == 1"}, {}, payload=1_000_000, relation=relation(("id", "doc")))
    keyed, judged, plain = desk.insert("1", kind[0] * nesting + "1" + kind[1] * nesting)
    assert "nested more than 200 levels" in keyed.error
    assert "nested more than 200 levels" in judged.error
    assert plain.error == ""


def test_json_with_many_brackets_is_not_deep() -> None:
    desk = Desk({"key": "size(new.doc)"}, relation=relation(("id", "doc")))
    [wide] = desk.insert("1", "[" + ",".join(["[]"] * 500) + "]")
    assert (wide.error, wide.lane) == ("", "500")
    [deepest] = desk.insert("2", "[" * 200 + "]" * 200)
    assert (deepest.error, deepest.lane) == ("", "1")


def test_a_table_that_was_emptied_is_one_event() -> None:
    """In the lane of the table, whatever the key; ids of its own, so that those of rows do not move."""
    types = frozenset({"DB_TRUNCATE", "DB_INSERT"})
    desk = Desk(
        {"types": types, "key": "new.name"}, {"types": types, "order": Order.NONE}, {"types": types, "when": "new.id == 1"}, {}
    )
    desk.matching.truncated(desk.relation, 1, desk.checkpoint, restart_identity=True)
    keyed, unordered, raised = desk.matching.waiting
    desk.matching.waiting = []
    assert (keyed.lane, unordered.lane, raised.lane) == ("public.products", None, None)
    assert "new.id" in raised.error
    event = keyed.event
    assert (event.type, event.subject, event.key) == ("DB_TRUNCATE", "public.products", "")
    assert orjson.loads(event.data) == {
        **{"db": "main", "schema": "public", "col": "products", "find": {}, "cascade": False, "restartIdentity": True},
        **{"txid": TRANSACTION.xid, "lsn": TRANSACTION.lsn},
    }
    inserted = desk.insert("1", "a")[0]
    assert inserted.id == delivery_id(SYSTEM, TRANSACTION.commit_lsn, TRANSACTION.xid, 1, "t0", TRANSACTION.time)
    assert keyed.id not in {inserted.id, unordered.id}
