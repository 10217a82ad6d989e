"""The frames of the streaming replication protocol: what travels in CopyData in either direction.

Source: PostgreSQL manual, "Streaming Replication Protocol", messages XLogData, Primary keepalive and Standby status update.
A frame stays raw bytes until someone asks: `frame[0]` tells its kind, the payload of XLogData begins at `HEADER`.
"""

from dataclasses import dataclass
from struct import Struct

from cdcd.replication.errors import DecodeError

XLOG_DATA = ord("w")
KEEPALIVE = ord("k")
HEADER = 25
"""Bytes before the payload of an XLogData frame."""

_POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01 in microseconds since the Unix epoch
_XLOG_DATA = Struct(">xQQq")
_KEEPALIVE = Struct(">xQqB")
_STATUS = Struct(">cQQQqB")


def unix_us(postgres_us: int) -> int:
    """Microseconds since 2000-01-01 -> microseconds since the Unix epoch."""
    return postgres_us + _POSTGRES_EPOCH_US


@dataclass(frozen=True, slots=True)
class XLogData:
    """A piece of WAL, here one pgoutput message."""

    wal_start: int
    """Int64: the starting point of the WAL data. 0 for Relation, Type, and a Begin before an Origin: never acknowledge it."""
    wal_end: int
    """Int64: the current end of WAL on the server."""
    sent_at: int
    """Int64: the server's clock when it sent this. Microseconds since the Unix epoch."""
    payload: bytes
    """Byten: one logical replication message."""


@dataclass(frozen=True, slots=True)
class PrimaryKeepalive:
    """The server shows that it lives, and how far it has sent."""

    wal_end: int
    """Int64: the current end of what was sent: everything that was committed before has been sent."""
    sent_at: int
    """Int64: the server's clock when it sent this. Microseconds since the Unix epoch."""
    reply: bool
    """Byte1: the client should reply as soon as possible, to avoid a timeout disconnect."""


Frame = XLogData | PrimaryKeepalive


def parse_frame(frame: bytes) -> Frame:
    """Parse one CopyData frame. Raises DecodeError."""
    kind = frame[0] if frame else -1
    if kind == XLOG_DATA:
        if len(frame) < HEADER:
            raise DecodeError("XLogData", "header", HEADER, len(frame))
        wal_start, wal_end, sent_at = _XLOG_DATA.unpack_from(frame)
        return XLogData(wal_start, wal_end, unix_us(sent_at), frame[HEADER:])
    if kind == KEEPALIVE:
        if len(frame) != _KEEPALIVE.size:
            raise DecodeError("PrimaryKeepalive", "length", _KEEPALIVE.size, len(frame))
        wal_end, sent_at, reply = _KEEPALIVE.unpack(frame)
        if reply > 1:
            raise DecodeError("PrimaryKeepalive", "reply", "0 or 1", reply)
        return PrimaryKeepalive(wal_end, unix_us(sent_at), reply == 1)
    raise DecodeError("frame", "kind", "'w' or 'k'", frame[:1])


def standby_status(received: int, flushed: int, applied: int, now_us: int, reply: bool = False) -> bytes:
    """A Standby status update: LSNs written, flushed and applied, our clock (µs since the Unix epoch), and
    whether the server should answer at once."""
    return _STATUS.pack(b"r", received, flushed, applied, now_us - _POSTGRES_EPOCH_US, reply)
