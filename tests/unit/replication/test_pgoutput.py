"""The decoder against what servers of each major really sent, and against what no server sends."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.replication.errors import DecodeError
from cdcd.replication.frames import HEADER, KEEPALIVE, PrimaryKeepalive, XLogData, parse_frame, standby_status
from cdcd.replication.messages import (
    Begin,
    Commit,
    Delete,
    Insert,
    LogicalMessage,
    Message,
    Origin,
    Relation,
    Truncate,
    Type,
    Update,
)
from cdcd.replication.pgoutput import Decoder
from cdcd.replication.tuples import UNCHANGED, Tuple
from tests.unit.replication.recorded import RECORDED

BIG = b"x" * 3000
MOOD = ("Type", "public", "mood")
ITEM = ("Relation", "public", "item", "d", [("id", True, 23), ("name", False, 1043), ("mood", False, 0), ("big", False, 25)])
WHOLE = ("Relation", "public", "whole", "f", [("a", True, 23), ("b", True, 25)])
NAMES = ("Relation", "Ö x", 't"t', "d", [("ä b", False, 1700)])

MEANING = [
    [MOOD, ITEM, ("Insert", "item", [b"1", "é".encode(), b"glad", None])],
    [("Update", "item", None, None, [b"1", None, b"glad", None])],
    [("Update", "item", "key", [b"1", None, None, None], [b"2", None, b"glad", None])],
    [("Update", "item", None, None, [b"2", None, b"glad", BIG])],
    [("Update", "item", None, None, [b"2", b"n", b"glad", UNCHANGED])],
    [("Delete", "item", "key", [b"2", None, None, None])],
    [WHOLE, ("Insert", "whole", [b"1", b""])],
    [("Update", "whole", "full", [b"1", b""], [b"1", None])],
    [("Delete", "whole", "full", [b"1", None])],
    [NAMES, ("Insert", 't"t', [b"1.50"])],
    [("LogicalMessage", True, "pre", b"text")],
    [("LogicalMessage", False, "", b"")],
    [MOOD, ITEM, WHOLE, ("Truncate", ["item", "whole"], True, True)],
    [("Origin", "elsewhere", 0xAB), WHOLE, ("Insert", "whole", [b"2", b"o"])],
]
"""What the recorded transactions that are not empty mean. Lone messages stand outside of one."""


def meaning(message: Message) -> tuple[object, ...]:
    """A message without what differs from server to server: LSNs, times, OIDs of what is not built in."""
    kind = type(message).__name__
    match message:
        case Relation():
            columns = [(c.name, c.is_key, c.type_oid if c.type_oid < 16384 else 0) for c in message.columns]
            return (kind, message.schema, message.name, message.replica_identity, columns)
        case Type():
            return (kind, message.schema, message.name)
        case Insert():
            return (kind, message.relation.name, message.new.columns())
        case Update():
            old = message.old.columns() if message.old is not None else None
            return (kind, message.relation.name, message.old_kind, old, message.new.columns())
        case Delete():
            return (kind, message.relation.name, message.old_kind, message.old.columns())
        case Truncate():
            return (kind, [each.name for each in message.relations], message.cascade, message.restart_identity)
        case LogicalMessage():
            return (kind, message.transactional, message.prefix, message.content)
        case Origin():
            return (kind, message.name, message.commit_lsn)
        case _:
            return (kind,)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("major", sorted(RECORDED))
def test_recorded_frames_mean_what_was_done(major: int, strict: bool) -> None:
    """Every frame of every major, in order; the transaction's messages agree with each other."""
    decoder = Decoder(strict=strict)
    transactions: list[list[tuple[object, ...]]] = []
    begun: Begin | None = None
    for raw in RECORDED[major]:
        frame = parse_frame(raw)
        if isinstance(frame, PrimaryKeepalive):
            assert frame.wal_end > 0
            continue
        message = decoder.decode(frame.payload)
        assert decoder.decode(memoryview(raw), HEADER) == message
        # A Begin that an Origin follows has position 0 too, which the manual does not say.
        assert frame.wal_start or isinstance(message, (Relation, Type, Begin))
        assert not (frame.wal_start and isinstance(message, (Relation, Type)))
        assert frame.wal_end == frame.wal_start or not frame.wal_start
        if isinstance(message, Begin):
            begun = message
            transactions.append([])
        elif isinstance(message, Commit):
            assert begun is not None
            assert (message.commit_lsn, message.commit_time) == (begun.final_lsn, begun.commit_time)
            assert message.end_lsn > message.commit_lsn
            begun = None
        elif begun is None:
            transactions.append([meaning(message)])
        else:
            transactions[-1].append(meaning(message))
    assert [each for each in transactions if each] == MEANING


@pytest.mark.parametrize("major", sorted(RECORDED))
def test_every_truncation_is_a_decode_error(major: int) -> None:
    """No frame that was cut short, or goes on, is taken for a whole one."""
    decoder = Decoder(strict=True)
    for raw in RECORDED[major]:
        for size in [*range(min(len(raw), 300)), *range(max(300, len(raw) - 40), len(raw))]:
            with pytest.raises(DecodeError):
                decode_frame(decoder, raw[:size])
        decode_frame(decoder, raw)
        with pytest.raises(DecodeError):
            decode_frame(decoder, raw + b"\0")


def decode_frame(decoder: Decoder, raw: bytes) -> Message | PrimaryKeepalive:
    frame = parse_frame(raw)
    return decoder.decode(frame.payload) if isinstance(frame, XLogData) else frame


@given(st.data())
def test_mutated_frames_give_a_message_or_a_decode_error(data: st.DataObject) -> None:
    """Any bytes overwritten, removed or put in: a message or DecodeError, nothing else; and then also on every lazy way."""
    frames = data.draw(st.sampled_from(sorted(RECORDED.values())))
    place = data.draw(st.integers(0, len(frames) - 1))
    decoder = Decoder()
    for raw in frames[:place]:
        decode_frame(decoder, raw)
    mutated = bytearray(frames[place])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, min(len(mutated), 200) - 1)))
        mutated[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        message = decode_frame(decoder, bytes(mutated))
    except DecodeError:
        return
    for row in message if isinstance(message, (Insert, Update, Delete)) else ():
        if isinstance(row, Tuple):
            one_by_one: list[object] = []
            failed = False
            for index in range(len(row)):
                try:
                    one_by_one.append(row.column(index))
                except DecodeError:
                    failed = True
            try:
                columns: list[object] = [*row.columns()]
            except DecodeError:
                continue  # also what is behind the last column counts here
            assert not failed
            assert columns == one_by_one


def tuple_data(*columns: object) -> bytes:
    parts = [struct.pack(">H", len(columns))]
    for column in columns:
        if isinstance(column, bytes):
            parts.append(b"t" + struct.pack(">i", len(column)) + column)
        else:
            parts.append(b"n" if column is None else b"u")
    return b"".join(parts)


def relation(oid: int, *names: str) -> bytes:
    columns = b"".join(b"\0" + name.encode() + b"\0" + struct.pack(">ii", 25, -1) for name in names)
    return b"R" + struct.pack(">I", oid) + b"public\0t\0d" + struct.pack(">H", len(names)) + columns


COLUMN = st.one_of(st.none(), st.just(UNCHANGED), st.binary(max_size=20), st.just(b"y" * 70_000))


@given(st.lists(COLUMN, min_size=1, max_size=6))
def test_rows_of_any_shape(columns: list[bytes | None]) -> None:
    """Small rows and large ones, ending in whatever kind of column, split the same way at once and one by one."""
    decoder = Decoder()
    decoder.decode(relation(7, *(f"c{number}" for number in range(len(columns)))))
    insert = decoder.decode(b"I" + struct.pack(">I", 7) + b"N" + tuple_data(*columns))
    assert isinstance(insert, Insert)
    assert [insert.new.column(index) for index in range(len(columns))] == columns
    assert insert.new.columns() == columns
    assert [insert.new.column(index) for index in range(len(columns))] == columns
    with pytest.raises(IndexError):
        insert.new.column(len(columns))


def test_relations_that_did_not_change_stay_the_same_object() -> None:
    """What is derived from a relation can be kept by identity; a real change makes a new one."""
    decoder = Decoder()
    first = decoder.decode(relation(7, "a"))
    assert decoder.decode(relation(7, "a")) is first
    assert decoder.decode(relation(7, "b")) is not first
    assert decoder.relations[7].columns[0].name == "b"


@pytest.mark.parametrize(
    ("payload", "message", "field"),
    [
        (b"", "message", "kind"),
        (b"S\0\0\0\0", "message", "kind"),
        (b"I\0\0\0\x09N" + tuple_data(b"x"), "Insert", "relation"),
        (b"I\0\0\0\x07N" + tuple_data(b"x", b"y"), "Insert", "number of columns"),
        (b"I\0\0\0\x07K" + tuple_data(b"x"), "Insert", "new"),
        (b"I\0\0\0\x07N\0\x01bxxxx", "Insert", "column 0 kind"),
        (b"I\0\0\0\x07N\0\x01t\xff\xff\xff\xff", "Insert", "column 0 value"),
        (b"I\0\0\0\x07N\0\x01t\0\0", "Insert", "column 0 length"),
        (b"U\0\0\0\x07X" + tuple_data(b"x"), "Update", "old or new"),
        (b"U\0\0\0\x07K" + tuple_data(b"x"), "Update", "new"),
        (b"U\0\0\0\x07K" + tuple_data(b"x") + b"K" + tuple_data(b"x"), "Update", "new"),
        (b"D\0\0\0\x07N" + tuple_data(b"x"), "Delete", "old"),
        (b"T\0\0\0\x01\0\0\0\0\x09", "Truncate", "relation"),
        (b"T\0\0\0\0\x04", "Truncate", "options"),
        (relation(1).replace(b"\0d\0", b"\0z\0"), "Relation", "replica identity"),
        (b"Y\0\0\0\x01\xff\0x\0", "Type", "namespace"),
        (b"Y\0\0\0\x01abc", "Type", "namespace"),
        (b"C\x01" + bytes(24), "Commit", "flags"),
        (b"M\x02" + bytes(8) + b"\0" + bytes(4), "Message", "flags"),
    ],
)
def test_what_is_wrong_is_named(payload: bytes, message: str, field: str) -> None:
    """DecodeError tells the message's kind and the field."""
    decoder = Decoder(strict=True)
    decoder.decode(relation(7, "a"))
    with pytest.raises(DecodeError) as caught:
        decoder.decode(payload)
    assert (caught.value.message, caught.value.field) == (message, field)


def test_the_status_update() -> None:
    """Byte1('r'), three LSNs, the clock since 2000 in microseconds, and whether an answer is wanted."""
    status = standby_status(3, 2, 1, 946_684_800_000_005, True)
    assert status == b"r" + struct.pack(">QQQqB", 3, 2, 1, 5, 1)


def test_a_keepalive() -> None:
    """wal_end, the server's clock, and whether it wants an answer; anything else is refused."""
    raw = b"k" + struct.pack(">QqB", 9, -1, 1)
    assert raw[0] == KEEPALIVE
    assert parse_frame(raw) == PrimaryKeepalive(9, 946_684_799_999_999, True)
    for wrong in (b"", b"x", raw[:-1], raw + b"\0", raw[:-1] + b"\2", b"w" + bytes(23)):
        with pytest.raises(DecodeError):
            parse_frame(wrong)
