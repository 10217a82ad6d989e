"""An answer as it goes over the wire."""

import pytest

from cdcd.server.replies import whole


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\0b", "a\x85b\u2028c", "€ é", "\udc80"])
def test_nothing_within_a_header_ends_it(value: str) -> None:
    head, _, body = whole(200, b"body", headers={"X-A": value, "X-B": "b"}).partition(b"\r\n\r\n")
    assert body == b"body"
    lines = head.split(b"\r\n")
    assert sum(line.startswith(b"X-") for line in lines) == 3  # X-Content-Type-Options is the third
    assert not any(byte < 32 for line in lines for byte in line)


def test_a_header_that_can_stand_there_stands_as_it_is() -> None:
    assert b"\r\nSet-Cookie: a=b; Path=/; HttpOnly\r\n" in whole(200, b"", headers={"Set-Cookie": "a=b; Path=/; HttpOnly"})
