"""What follows from the end of a delivery: from its answer, and from its failure."""

import json
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from cdcd.config.model import Limits
from cdcd.delivery.answers import events_of, headers_of, may_carry
from cdcd.delivery.following import Following
from cdcd.event import Answer, Delivery, Event, Record, Status
from cdcd.triggers.cloudevents import Incoming

JSON = {"content-type": "application/json"}
NOW = 1_795_456_800.0
PARENT = "01a20ace-d831-867e-a2e4-6fea691b2338"


def answer(body: Any, **more: Any) -> Answer:
    return Answer(JSON, body if isinstance(body, bytes) else json.dumps(body).encode(), **more)


def found(body: Any, **more: Any) -> list[Any]:
    """What an answer carries: types, or why not."""
    events = events_of(answer(body, **more), int(NOW * 1e6))
    return [each.type if isinstance(each, Incoming) else str(each) for each in events]


def record(status: Status = Status.PROCESSED, **extensions: str | int) -> Record:
    event = Event("DB_INSERT", "cdcd/p/main", "public.t/1", "1", 1_795_456_800_123_456, b'{"a":1}', 0, extensions or None)
    delivery = Delivery(PARENT, "t", event, "public.t/1", attempts=1)
    return Record(delivery, status, False, reason="no" if status is Status.FAILED else "")


def following(*wanted: str, payload: int = 10_000) -> Following:
    return Following("p", lambda kind: kind in wanted, Limits(payload=payload))


def headers(**given: str) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict({name.replace("_", "-"): value for name, value in given.items()}))


def test_a_closer_look_is_taken_only_where_it_may_be_worth_it() -> None:
    plain = headers(Content_Type="application/json")
    assert not may_carry(plain, b"")
    assert not may_carry(plain, b'{"ok":true}')
    assert may_carry(plain, b'{"events":[]}')
    assert may_carry(headers(Content_Type="application/CloudEvents+json"), b"{}")
    assert not may_carry(headers(Content_Type="application/cloudevents+json"), b"")
    assert may_carry(headers(ce_specversion="1.0"), b"")
    assert headers_of(headers(Content_Type="a/b", CE_Type="X", Server="s")) == {"content-type": "a/b", "ce-type": "X"}


def test_what_is_no_answer_with_events_is_nothing() -> None:
    for body in (b'"event', b"[1]", b'{"eventual": 1}', b'"event"', b'{"event": null, "events": []}', b'{"a": {"event": {}}}'):
        assert found(body) == []


def test_event_comes_before_events() -> None:
    assert found({"events": [{"type": "B"}, {"type": "C"}], "event": {"type": "A"}}) == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ("x", "an event is a JSON object"),
        ({}, "type is missing"),
        ({"type": "DB_UPDATE"}, "from their source alone"),
        ({"type": "A", "delay": -1}, "delay must be"),
        ({"type": "A", "delay": 1.5}, "delay must be"),
        ({"type": "A", "delay": True}, "delay must be"),
        ({"type": "A", "delay": 10**17}, "delay must be"),
        ({"type": "A", "timestamp": "soon"}, "timestamp must be a time"),
        ({"type": "A", "options": []}, "options must be"),
        ({"type": "A", "key": 5}, "key must be text"),
    ],
)
def test_what_is_malformed_says_why(event: Any, why: str) -> None:
    (text,) = found({"event": event})
    assert why in text
    (text,) = found({"events": [event]})
    assert why in text
    assert len(found({"events": {"type": "A"}})) == 1


def test_an_answer_that_was_cut_or_repeats_a_secret_carries_nothing() -> None:
    for trouble in ("cut", "secret"):
        (text,) = found({"event": {"type": "A"}}, **{trouble: True})
        assert ("limits.response" if trouble == "cut" else "secret") in text
        assert found({"note": "an event"}, **{trouble: True}) == []


def test_delay_is_milliseconds_on_top_of_the_timestamp() -> None:
    body = {
        "events": [
            {"type": "A"},
            {"type": "A", "delay": 1500},
            {"type": "A", "timestamp": "2026-11-23T18:00:00.5Z", "delay": 1},
            {"type": "A", "timestamp": "", "delay": None},
        ]
    }
    times = [each.time for each in events_of(answer(body), int(NOW * 1e6)) if isinstance(each, Incoming)]
    assert times == [None, int(NOW * 1e6) + 1_500_000, 1_795_456_800_501_000, None]


def test_what_follows_knows_where_it_comes_from() -> None:
    """The same end gives the same ids; the chain's first stays the correlation."""
    first, again = record(correlationid="root", chaindepth=2), record(correlationid="root", chaindepth=2)
    for each in (first, again):
        assert (
            following().answered(each, answer({"events": [{"type": "A", "payload": 1, "key": "k"}, {"type": "B"}]}), NOW)
            is None
        )
    assert (
        [queued.id for queued in first.follows] == [queued.id for queued in again.follows] == [f"{PARENT}.1.1", f"{PARENT}.1.2"]
    )
    one, two = first.follows
    assert one.extensions == {"causationid": PARENT, "correlationid": "root", "chaindepth": 3}
    assert (one.source, one.data, one.key, one.given, one.at_once, one.due) == (
        "cdcd/p/t",
        b"1",
        "k",
        True,
        True,
        int(NOW * 1e6),
    )
    assert (two.data, two.key) == (b"null", None)


def test_what_cannot_be_queued_does_not_keep_the_rest() -> None:
    it = record()
    body = {"events": [{"type": "A"}, *({"type": "DB_X"} for _ in range(7)), {"type": "B"}]}
    trouble = following().answered(it, answer(body), NOW)
    assert trouble is not None
    assert len(trouble.reasons) == 7
    assert [(queued.type, queued.id) for queued in it.follows] == [("A", f"{PARENT}.1.1"), ("B", f"{PARENT}.1.9")]
    assert it.status is Status.PROCESSED
    assert it.reason.endswith("; and 2 more")


@pytest.mark.parametrize(("depth", "queued"), [(15, True), (16, False), ("15", True), ("16", False), ("odd", True), (-3, True)])
def test_a_chain_is_as_long_as_it_may_be(depth: str | int, queued: bool) -> None:
    it, failed = record(chaindepth=depth), record(Status.FAILED, chaindepth=depth)
    trouble = following().answered(it, answer({"event": {"type": "A"}}), NOW)
    assert bool(it.follows) is queued
    last = following("dlq_t").failed(failed, NOW)
    assert bool(failed.follows) is queued
    if not queued:
        assert trouble is not None
        assert last is not None
        assert trouble.loop == last.loop == 17
        assert "limits.max_chain" in it.reason
        assert failed.reason.startswith("no; not queued: dlq_t")


def test_a_last_resort_only_where_it_is_wanted() -> None:
    it = record(Status.FAILED)
    assert following("dlq_other", "dlq_dlq_t").failed(it, NOW) is None
    assert len(it.follows) == 0
    following("dlq_t").failed(it, NOW)
    (queued,) = it.follows
    assert (queued.id, queued.type, queued.key, queued.subject) == (f"{PARENT}.1.dlq", "dlq_t", "public.t/1", "public.t/1")
    assert orjson.loads(queued.data) == {
        "event_id": PARENT,
        "event_type": "DB_INSERT",
        "event_payload": {"a": 1},
        "event_timestamp": "2026-11-23T18:00:00.123456Z",
        "event_name": "t",
    }


def test_the_last_resort_of_what_cannot_be_stored_or_sent_has_no_payload() -> None:
    unstorable, large = record(Status.FAILED), record(Status.FAILED)
    unstorable.delivery.unstorable = True
    following("dlq_t").failed(unstorable, NOW)
    following("dlq_t", payload=1000).failed(large, NOW)
    for it in (unstorable, large):
        assert orjson.loads(it.follows[0].data)["event_payload"] is None
