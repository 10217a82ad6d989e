"""The envelope: CloudEvents 1.0 in a fixed order, the same bytes each time, `data` spliced in untouched."""

import json
from datetime import UTC, datetime

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from cdcd.event import Delivery, Event
from cdcd.triggers.payload import attributes, envelope, rfc3339

TEXT = st.text(st.characters(codec="utf-8"))
ID = "0193585d-2b80-8abc-9abc-0123456789ab"


def delivered(event: Event) -> bytes:
    return envelope(Delivery(ID, "t", event, None), event)


def test_the_fields_and_their_order() -> None:
    event = Event("DB_UPDATE", "cdcd/shop/main", "public.products/42", "42", 1_795_456_800_123_456, b'{"db":"main","n":1.50}')
    assert delivered(event) == (
        b'{"specversion":"1.0","id":"' + ID.encode() + b'","source":"cdcd/shop/main","type":"DB_UPDATE",'
        b'"subject":"public.products/42","time":"2026-11-23T18:00:00.123456Z","datacontenttype":"application/json",'
        b'"data":{"db":"main","n":1.50}}'
    )


@given(TEXT, TEXT, TEXT)
def test_any_text_is_escaped(kind: str, source: str, subject: str) -> None:
    event = Event(kind, source, subject, "k", 0, b"null")
    assert delivered(event) == delivered(event)
    body = json.loads(delivered(event))
    assert (body["type"], body["source"], body["subject"], body["data"]) == (kind, source, subject, None)


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 12, 31)))
def test_times(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    microseconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000 + moment.microsecond
    text = rfc3339(microseconds).decode()
    assert len(text) == 27
    assert abs((datetime.fromisoformat(text) - moment).total_seconds()) <= 1  # total_seconds is a float


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, b"1970-01-01T00:00:00.000000Z"),
        (-1, b"1969-12-31T23:59:59.999999Z"),
        (1_795_456_800_000_001, b"2026-11-23T18:00:00.000001Z"),
    ],
)
def test_times_to_the_microsecond(microseconds: int, text: bytes) -> None:
    assert rfc3339(microseconds) == text


def test_extensions_in_headers_have_their_canonical_form() -> None:
    event = Event("A", "s", "", "", 0, b"null", extensions={"flag": True, "off": False, "count": 3, "word": "é"})
    headers = dict(attributes(Delivery("id", "t", event, None)))
    assert (headers["ce-flag"], headers["ce-off"], headers["ce-count"], headers["ce-word"]) == ("true", "false", "3", "%C3%A9")


def test_the_official_library_reads_it() -> None:
    event = Event("DB_INSERT", "cdcd/shop/main", "public.users/1", "1", 1_795_456_800_123_456, b'{"a":1}')
    parsed = JSONFormat().read(CloudEvent, delivered(event))
    assert (parsed.get_id(), parsed.get_type(), parsed.get_data()) == (ID, "DB_INSERT", {"a": 1})
    assert parsed.get_time() == datetime(2026, 11, 23, 18, 0, 0, 123456, UTC)
