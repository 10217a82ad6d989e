"""Messages in the WAL as custom events: which are, which are not, and ids that stay."""

from pathlib import Path

import pytest

from cdcd.config.model import Capture, Config, Database, Eventing, Kind, Limits, TriggerConfig, Webhook
from cdcd.replication.messages import LogicalMessage
from cdcd.sources.channels import data_of
from cdcd.sources.emitted import Ignored, Messages
from cdcd.sources.rows import Transaction
from cdcd.triggers.ids import TransactionIds
from cdcd.triggers.matcher import Index
from cdcd.triggers.trigger import compile_trigger

DATABASE = Database("main", "", Capture.REPLICATION, "slot", "publication")
TRANSACTION = Transaction.of(100, 7, 1_700_000_000_000_000)


def messages(limit: int = 1000, **more: str) -> Messages:
    config = Config("shop", (), {"main": DATABASE}, Eventing(None, "cdcd", 1, Path()), {}, Limits(payload=limit))
    trigger = TriggerConfig("paid", frozenset({"PAID"}), "", (), Webhook("http://a/", "http://a"), kind=Kind.CUSTOM, **more)  # type: ignore[arg-type]
    return Messages(config, DATABASE, Index([compile_trigger(trigger)]))


def message(content: bytes = b"{}", prefix: str = "cdcd:PAID", transactional: bool = True) -> LogicalMessage:
    return LogicalMessage(transactional, 90, prefix, content)


def test_the_event_is_the_message() -> None:
    (delivery,) = messages(key="data.id").match(message(b'{"id": "x"}'), 5, TRANSACTION, 1)
    event = delivery.event
    assert (event.type, event.source, event.data, event.time, event.position) == (
        "PAID",
        "cdcd/shop/main",
        b'{"id": "x"}',
        1_700_000_000_000_000,
        100,
    )
    assert (delivery.lane, delivery.error) == ("x", "")
    assert messages().match(message(b""), 5, TRANSACTION, 1)[0].event.data == b"null"


def test_ids_are_stable_and_no_rows() -> None:
    """Read again they are the same; the second message, and a row with the same ordinal, have others."""
    once, again = (messages().match(message(), 5, TRANSACTION, 1)[0].id for _ in range(2))
    assert once == again
    assert messages().match(message(), 5, TRANSACTION, 2)[0].id != once
    assert TransactionIds(5, 100, 7, TRANSACTION.time).id(1, "paid") != once


@pytest.mark.parametrize("prefix", ["", "PAID", "other", "cdcd", "CDCD:PAID"])
def test_other_prefixes_are_somebody_elses(prefix: str) -> None:
    assert messages().match(message(prefix=prefix), 5, TRANSACTION, 1) == []


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (message(prefix="cdcd:DB_INSERT"), "from their source alone"),
        (message(prefix="cdcd:SCHEDULE"), "from their source alone"),
        (message(prefix="cdcd:"), "custom type"),
        (message(prefix="cdcd:NOBODY"), "no enabled trigger"),
        (message(transactional=False), "not written in a transaction"),
    ],
)
def test_what_is_no_event_says_why(given: LogicalMessage, why: str) -> None:
    with pytest.raises(Ignored, match=why):
        messages().match(given, 5, TRANSACTION if given.transactional else None, 1)


@pytest.mark.parametrize(
    ("content", "why"), [(b"{", "no JSON"), (b"\xff", "no JSON"), (b'"' + b"x" * 2000 + b'"', "limits.payload")]
)
def test_content_that_cannot_be_sent_is_a_failed_delivery(content: bytes, why: str) -> None:
    (delivery,) = messages(when="data.id == 1").match(message(content), 5, TRANSACTION, 1)
    assert why in delivery.error
    assert delivery.event.data == b'{"bytes":%d}' % len(content)


@pytest.mark.parametrize(
    ("payload", "data"),
    [
        ('{"id": 1}', b'{"id": 1}'),
        (" [1]", b" [1]"),
        ("1", b'{"text":"1"}'),
        ("{", b'{"text":"{"}'),
        ("", b'{"text":""}'),
        ("é", '{"text":"é"}'.encode()),
    ],
)
def test_payloads_of_notifications(payload: str, data: bytes) -> None:
    assert data_of(payload) == data
