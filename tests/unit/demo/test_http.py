"""Requests come out whole however their bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.demo.http import MAX_HEAD, BadRequest, Reader, Request

PLAIN = b"POST /hook?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nwebhook-id: 42\r\n\r\nhello"
NO_BODY = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
LAST = b"POST /l HTTP/1.1\r\nConnection: close\r\ncontent-length: 0\r\n\r\n"
OLD = b"POST /o HTTP/1.0\r\nContent-Length: 1\r\n\r\nx"

CASES = [
    (PLAIN, b"hello", False),
    (NO_BODY, b"", False),
    (CHUNKED, b"abc0123456789", False),
    (LAST, b"", True),
    (OLD, b"x", True),
]


def drain(reader: Reader) -> list[Request]:
    found = []
    while (request := reader.next()) is not None:
        found.append(request)
    return found


@pytest.mark.parametrize(("data", "body", "last"), CASES)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_whole_and_byte_by_byte_and_with_the_next_behind_it(data: bytes, body: bytes, last: bool, step: int) -> None:
    reader = Reader()
    found = []
    stream = data + PLAIN
    for at in range(0, len(stream), step):
        reader.feed(stream[at : at + step])
        found += drain(reader)
    assert [(request.body, request.last) for request in found] == [(body, last), (b"hello", False)]


@given(st.lists(st.sampled_from(CASES), max_size=5), st.lists(st.integers(1, 60)))
def test_any_sequence_cut_anywhere(cases: list[tuple[bytes, bytes, bool]], cuts: list[int]) -> None:
    reader, found = Reader(), []
    stream = b"".join(data for data, _, _ in cases)
    for cut in [*cuts, len(stream)]:
        if stream[:cut]:
            reader.feed(stream[:cut])
            found += drain(reader)
            stream = stream[cut:]
    assert [request.body for request in found] == [body for _, body, _ in cases]


def test_path_and_headers() -> None:
    reader = Reader()
    reader.feed(PLAIN)
    request = reader.next()
    assert request is not None
    assert request.path == "/hook?x=1"
    assert request.headers == {"host": "h", "content-length": "5", "webhook-id": "42"}
    assert request.header(b"webhook-id") == b"42"
    assert request.header(b"absent") == b""


def test_who_waits_for_continue_is_told_once() -> None:
    reader = Reader()
    reader.feed(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert reader.next() is None
    assert reader.continue_wanted
    reader.continue_wanted = False
    reader.feed(b"ab")
    assert reader.next() is None
    assert not reader.continue_wanted
    reader.feed(b"cd")
    assert reader.next() is not None


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"x" * (MAX_HEAD + 1),
    ],
)
def test_what_it_does_not_understand(data: bytes) -> None:
    reader = Reader()
    reader.feed(data)
    with pytest.raises(BadRequest):
        reader.next()
