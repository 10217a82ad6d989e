"""LSNs as text and as integers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.replication.lsn import format_lsn, parse_lsn


@given(st.integers(0, 2**64 - 1))
def test_there_and_back(lsn: int) -> None:
    """Any LSN's text means that LSN."""
    assert parse_lsn(format_lsn(lsn)) == lsn


def test_the_servers_spelling() -> None:
    """Upper-case hexadecimal, without leading zeros; either case is read."""
    assert format_lsn(0x1_0A2B_3C4D) == "1/A2B3C4D"
    assert parse_lsn("0/1a2b3c4") == 0x1A2B3C4


@pytest.mark.parametrize("text", ["", "0", "0/", "/0", "0/123456789", "g/0", "0/0 ", "-1/0", "0x1/0"])
def test_what_is_no_lsn(text: str) -> None:
    """ValueError for anything else."""
    with pytest.raises(ValueError, match="not an LSN"):
        parse_lsn(text)
