"""CloudEvents of the HTTP binding as custom events."""

import json
from typing import Any

import pytest

from cdcd.triggers.cloudevents import Incoming, Malformed, is_cloudevent, read

BATCH = {"content-type": "application/cloudevents-batch+json"}
STRUCTURED = {"content-type": "Application/CloudEvents+JSON; charset=utf-8"}
NOW = 1_800_000_000_000_000  # microseconds
EVENT: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/s", "type": "a.b"}


def one(headers: dict[str, str], body: bytes) -> Incoming:
    (found,) = read(headers, body, NOW)
    assert isinstance(found, Incoming)
    return found


def structured(**attributes: Any) -> Incoming | Malformed:
    (found,) = read(STRUCTURED, json.dumps(EVENT | attributes).encode(), NOW)
    return found


def test_which_messages_are_cloudevents() -> None:
    assert is_cloudevent(STRUCTURED)
    assert is_cloudevent(BATCH)
    assert is_cloudevent({"ce-specversion": "1.0"})
    assert not is_cloudevent({"content-type": "application/json"})


def test_structured_keeps_every_attribute() -> None:
    found = one(
        STRUCTURED,
        b'{"specversion":"1.0","id":"1","source":"/s","type":"a.b","subject":"x","time":"2026-01-01T00:00:00.5+01:00",'
        b'"datacontenttype":"application/json","dataschema":"http://s","partitionkey":"k","count":3,"flag":true,"none":null,'
        b'"data":{"n":1.10,"big":123456789012345678901234567890,"e":1e400,"a":"\\u0000"}}',
    )
    assert found.data == b'{"n":1.10,"big":123456789012345678901234567890,"e":1e400,"a":"\\u0000"}'
    assert (found.id, found.source, found.type, found.subject, found.key) == ("1", "/s", "a.b", "x", "k")
    assert found.time == 1_767_222_000_500_000
    assert found.extensions == {"dataschema": "http://s", "partitionkey": "k", "count": 3, "flag": True}


def test_binary_reads_headers_and_body() -> None:
    headers = {f"ce-{name}": value for name, value in EVENT.items()} | {
        "ce-subject": "Euro%20%E2%82%AC",
        "content-type": "text/plain",
    }
    found = one(headers, "Grüße".encode())
    assert (found.subject, found.data) == ("Euro €", '"Grüße"'.encode())
    assert one(headers, b"").data == b"null"
    assert one({**headers, "content-type": "application/vnd.x+json"}, b"[1]").data == b"[1]"
    with pytest.raises(Malformed, match="neither JSON nor text"):
        read(headers, b"\xff", NOW)
    with pytest.raises(Malformed, match="not JSON"):
        read({**headers, "content-type": "application/json"}, b"{", NOW)


def test_each_of_a_batch_stands_for_itself() -> None:
    good, bad, odd = read(BATCH, json.dumps([EVENT, EVENT | {"type": "DB_INSERT"}, 7]).encode(), NOW)
    assert isinstance(good, Incoming)
    assert isinstance(bad, Malformed)
    assert isinstance(odd, Malformed)
    with pytest.raises(Malformed, match="array"):
        read(BATCH, b"{}", NOW)


def test_base64_data_stays_text() -> None:
    found = structured(data_base64="AAE=")
    assert isinstance(found, Incoming)
    assert found.data == b'"AAE="'


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"specversion": "0.3"}, "specversion must be 1.0"),
        ({"id": ""}, "id is missing"),
        ({"source": None}, "source is missing"),
        ({"type": "FILE_X"}, "FILE_X: events of this type"),
        ({"type": "SCHEDULE"}, "SCHEDULE: events of this type"),
        ({"type": "no spaces"}, "no spaces: a custom type is"),
        ({"type": "x" * 101}, "its type: a custom type is"),
        ({"type": 7}, "type must be text"),
        ({"subject": "a\0b"}, "subject must be text"),
        ({"subject": "\ud800"}, "subject must be text"),
        ({"subject": "x" * 2001}, "subject is longer than"),
        ({"time": "yesterday"}, "time must be a time"),
        ({"time": "2026-01-01T00:00:00"}, "time must be a time"),
        ({"time": "9999-12-31T23:59:59-12:00"}, "time must be a time"),
        ({"time": "1969-12-31T23:59:59Z"}, "time must be a time"),
        ({"time": 5}, "time must be a time"),
        ({"Bad-Name": "x"}, "lower-case"),
        ({"ext": {"a": 1}}, "ext must be text"),
        ({"ext": 1.5}, "ext must be text"),
        ({"data": "\ud800"}, "not Unicode"),
        ({f"x{number}": 1 for number in range(80)}, "more than 64 extensions"),
    ],
)
def test_what_is_malformed_says_why(attributes: dict[str, Any], why: str) -> None:
    found = structured(**attributes)
    assert isinstance(found, Malformed)
    assert why in str(found)


@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b'{"data":NaN}', b"\xff"])
def test_what_is_no_json_is_refused_whole(body: bytes) -> None:
    with pytest.raises(Malformed, match="not JSON"):
        read(STRUCTURED, body, NOW)


def test_data_nested_too_deeply_is_refused() -> None:
    body = json.dumps(EVENT)[:-1].encode() + b',"data":' + b"[" * 300 + b"]" * 300 + b"}"
    (found,) = read(STRUCTURED, body, NOW)
    assert isinstance(found, Malformed)


def test_a_time_to_come_is_now() -> None:
    for time, kept in (("2026-01-01T00:00:00Z", 1_767_225_600_000_000), ("2050-01-01T00:00:00Z", NOW)):
        found = structured(time=time)
        assert isinstance(found, Incoming)
        assert found.time == kept
