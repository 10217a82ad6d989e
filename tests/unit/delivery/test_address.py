"""An expression in a URL gives one segment, one name or one value, and leads nowhere else."""

import json
import re
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from cdcd.config.model import Kind, TriggerConfig, Webhook
from cdcd.delivery.address import Address
from cdcd.errors import EventError
from cdcd.event import Delivery, Event
from cdcd.triggers.stored import Stored, stored
from cdcd.triggers.templated import Templates
from cdcd.triggers.trigger import compile_trigger

ORIGIN = "https://search.example.com:8443"


def made(url: str) -> Templates:
    config = TriggerConfig("t", frozenset({"PAID"}), "", (), Webhook(url, ORIGIN), Kind.CUSTOM)
    templates = compile_trigger(config).templates
    assert templates is not None
    return templates


def facts(**data: object) -> Stored:
    event = Event("PAID", "s", "", "", 0, json.dumps(data).encode())
    return stored(Delivery("id", "t", event, None), Kind.CUSTOM)


def address(url: str, **data: object) -> URL:
    templates = made(url)
    return Address(templates.url).url(templates, facts(**data))


@pytest.mark.parametrize(
    ("path", "data", "expected"),
    [
        ("/a/${ data.x }", {"x": 7}, "/a/7"),
        ("/a/${ data.x }/b", {"x": "x/y..z"}, "/a/x%2Fy..z/b"),
        ("/a/${ data.x }", {"x": "50%"}, "/a/50%25"),
        ("/a?x=${ data.x }", {"x": "../.."}, "/a?x=..%2F.."),
        ("/a?x=${ data.x }&y=1", {"x": "1&y=2#z +é"}, "/a?x=1%26y%3D2%23z%20%2B%C3%A9&y=1"),
        ("/a?${ data.x }=1", {"x": "n"}, "/a?n=1"),
        ("/a?x=${ data.x }", {"x": ""}, "/a?x="),
        ("/ü b/../c${ data.x }".replace(" ", ""), {"x": "\r\n"}, "/c%0D%0A"),
        ("/v${ data.x }v${ data.y }v", {"x": "v", "y": "v0v"}, "/vvvv0vv"),
        ("/${ data.x }.json", {"x": "."}, "/..json"),
        ("?x=${ data.x }", {"x": True}, "/?x=true"),
        ("/$${a}/${ data.x }", {"x": 1.5}, "/$%7Ba%7D/1.5"),
    ],
)
def test_values_are_encoded_whole(path: str, data: dict[str, object], expected: str) -> None:
    url = address(ORIGIN + path, **data)
    assert url.raw_path_qs == expected
    assert str(url.origin()) == ORIGIN


@pytest.mark.parametrize("value", ["", ".", "..", "../../etc", "x/..", "..\\x", "%2e%2e", "..%2Fx", "%2E%2e%2fx", "x/./y"])
def test_a_value_that_makes_another_path_is_refused(value: str) -> None:
    with pytest.raises(EventError, match="a segment of the path empty"):
        address(f"{ORIGIN}/a/${{ data.x }}/b", x=value)


@pytest.mark.parametrize("value", [None, "\ud800"])
def test_what_has_no_text_is_refused(value: object) -> None:
    with pytest.raises(EventError, match="trigger t: "):
        address(f"{ORIGIN}/a/x${{ data.x }}", x=value)


@given(st.text(), st.text())
def test_the_origin_and_the_rest_never_change(segment: str, value: str) -> None:
    if not segment or {".", ".."}.intersection(re.split(r"[/\\]", unquote(unquote(segment)))):
        return
    url = str(address(f"{ORIGIN}/a/${{ data.x }}/b?p=${{ data.y }}&q=1", x=segment, y=value))
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}" == ORIGIN
    assert unquote(parts.path) == f"/a/{segment}/b"
    assert parts.path.count("/") == 3
    assert parse_qsl(parts.query, keep_blank_values=True) == [("p", value), ("q", "1")]
    assert parts.fragment == ""
    assert url.isascii()
    assert url.isprintable()
