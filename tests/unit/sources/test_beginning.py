"""Where reading begins: the module's table, row by row."""

import pytest

from cdcd.errors import PositionLost
from cdcd.event import Position
from cdcd.replication.lsn import parse_lsn
from cdcd.replication.slot import SlotState
from cdcd.sources.beginning import Beginning, where_to_begin

HERE = {"system": "7300000000000000001", "timeline": "1", "slot": "cdcd_shop_main"}
S = parse_lsn("1/1000")


def known(settled: int = S, **identity: str) -> Position:
    return Position("main", settled, settled, 1_795_456_800_000_000, HERE | identity)


def slot(confirmed: int | None = S, wal_status: str = "reserved", reason: str | None = None) -> SlotState:
    return SlotState("cdcd_shop_main", "pgoutput", "shop", None, 0, confirmed, wal_status, reason, 0, False, False)


@pytest.mark.parametrize(
    ("stored", "found", "begin"),
    [
        (None, None, Beginning(None)),
        (None, slot(7), Beginning(7)),
        (known(), slot(S), Beginning(S)),
        (known(), slot(S - 1), Beginning(S)),
        (known(timeline="2"), slot(S - 1), Beginning(S - 1, moved=True)),
        (known(timeline="2"), slot(S), Beginning(S, moved=True)),
        (Position("main", S, S), slot(7), Beginning(S)),
    ],
)
def test_it_begins(stored: Position | None, found: SlotState | None, begin: Beginning) -> None:
    assert where_to_begin("main", stored, found, HERE) == begin


@pytest.mark.parametrize(
    ("stored", "found", "words"),
    [
        (None, slot(None, "lost"), ["invalidated", "wal_status lost"]),
        (known(), None, ["is gone", "1/1000", "2026-11-23T18:00:00"]),
        (known(), slot(None, "lost"), ["invalidated", "1/1000"]),
        (known(), slot(S, "reserved", "wal_removed"), ["invalidated (wal_removed)", "1/1000"]),
        (known(), slot(None), ["invalidated", "1/1000"]),
        (known(), slot(S + 16), ["stands at 1/1010", "beyond 1/1000", "2026-11-23T18:00:00"]),
        (known(timeline="2"), slot(S + 16), ["stands at 1/1010", "beyond 1/1000"]),
        (known(system="8"), slot(S), ["another cluster", "1/1000", "2026-11-23T18:00:00"]),
        (known(system="8"), None, ["another cluster"]),
        (Position("main", S, S, 0, HERE), None, ["no commit yet"]),
    ],
)
def test_it_refuses_and_tells_the_span(stored: Position | None, found: SlotState | None, words: list[str]) -> None:
    with pytest.raises(PositionLost) as caught:
        where_to_begin("main", stored, found, HERE)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "--accept-gap" in caught.value.hint
