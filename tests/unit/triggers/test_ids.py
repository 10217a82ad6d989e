"""Ids: UUID version 8, the same for the same change, apart for every other, sorted by commit time."""

from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from cdcd.triggers.ids import TransactionIds, delivery_id

U64 = st.integers(0, 2**64 - 1)
XID = st.integers(0, 2**32 - 1)
TIMES = st.integers(-(2**62), 2**62)


@given(U64, U64, XID, U64, st.text(st.characters(codec="utf-8")), TIMES)
def test_it_is_a_uuid_8_in_canonical_text(system: int, lsn: int, xid: int, ordinal: int, trigger: str, time: int) -> None:
    text = delivery_id(system, lsn, xid, ordinal, trigger, time)
    made = UUID(text)
    assert str(made) == text
    assert (made.version, made.variant) == (8, RFC_4122)
    assert text == TransactionIds(system, lsn, xid, time).id(ordinal, trigger)


@given(st.integers(0, 2**48 * 1000 - 1))
def test_its_first_48_bits_are_the_commit_time_in_milliseconds(time: int) -> None:
    assert UUID(delivery_id(1, 2, 3, 4, "t", time)).int >> 80 == time // 1000


def test_every_part_counts() -> None:
    parts: list[tuple[int, int, int, int, str, int]] = [
        (1, 2, 3, 4, "t", 5000),
        (2, 2, 3, 4, "t", 5000),
        (1, 3, 3, 4, "t", 5000),
        (1, 2, 4, 4, "t", 5000),
        (1, 2, 3, 5, "t", 5000),
        (1, 2, 3, 4, "u", 5000),
        (1, 2, 3, 4, "t", 6000),
    ]
    assert len({delivery_id(*part) for part in parts}) == len(parts)


def test_the_changes_of_one_transaction_have_ids_of_their_own() -> None:
    ids = TransactionIds(7_000_000_000_000_000_000, 2**40, 12345, 1_700_000_000_000_000)
    assert len({ids.id(ordinal, "t") for ordinal in range(100_000)}) == 100_000


def test_it_never_changes() -> None:
    """An id that changed with a version of cdcd would make an upgrade deliver twice under two names."""
    assert delivery_id(7_000_000_000_000_000_000, 0x1A2B3C4, 7345, 1, "welcome-email", 1_795_456_800_123_456) == (
        "01a20990-957b-8fa3-9bee-147a8a373689"
    )
