"""The id of a delivery: the same for the same change and trigger, whenever and however often it is read.

UUID version 8 (RFC 9562, 5.8), 128 bits:

    48  commit time, milliseconds since the Unix epoch, so that ids sort by time
     4  version, 8
    12  hash
     2  variant, binary 10
    62  hash

The hash is BLAKE2b of (system identifier, commit LSN, xid, ordinal of the change in its transaction, trigger); for what is no
row's change, of what names it in the project, and the trigger. The time is part of the id, so a database that was restored to an
earlier LSN never makes an id again.
"""

from hashlib import blake2b
from struct import Struct

_TRANSACTION = Struct(">QQI")
_ORDINAL = Struct(">Q")
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class TransactionIds:
    """The ids of one transaction's deliveries: what they share is computed once."""

    __slots__ = ("_head", "_shared")

    def __init__(self, system_identifier: int, commit_lsn: int, xid: int, commit_time_us: int) -> None:
        """`system_identifier` and `commit_lsn` are unsigned 64 bits, `commit_time_us` microseconds since the Unix epoch."""
        self._shared = blake2b(_TRANSACTION.pack(system_identifier, commit_lsn, xid), digest_size=10)
        milliseconds = f"{max(commit_time_us, 0) // 1000 & 0xFFFF_FFFF_FFFF:012x}"
        self._head = f"{milliseconds[:8]}-{milliseconds[8:]}-8"

    def id(self, ordinal: int, trigger: str) -> str:
        """The id of the delivery of change number `ordinal` to `trigger`, in canonical text."""
        hashed = self._shared.copy()
        hashed.update(_ORDINAL.pack(ordinal) + trigger.encode())
        digits = hashed.hexdigest()
        return f"{self._head}{digits[:3]}-{_VARIANT[digits[3]]}{digits[4:7]}-{digits[7:19]}"


def event_delivery_id(project: str, event: str, trigger: str, time_us: int) -> str:
    """The id of the delivery of a custom event to `trigger`: `event` is its id in the project, `time_us` when it happens."""
    hashed = blake2b("\0".join((project, event, trigger)).encode(), digest_size=10)
    return _uuid(time_us, hashed.hexdigest())


def replay_id(delivery: str, operation: str) -> str:
    """The id of a delivery that an operator's operation sends once more: it begins with the time of the first one."""
    hashed = blake2b(f"{operation}\0{delivery}".encode(), digest_size=10).hexdigest()
    return f"{delivery[:14]}8{hashed[:3]}-{_VARIANT[hashed[3]]}{hashed[4:7]}-{hashed[7:19]}"


def _uuid(time_us: int, digits: str) -> str:
    head = f"{max(time_us, 0) // 1000 & 0xFFFF_FFFF_FFFF:012x}"
    return f"{head[:8]}-{head[8:]}-8{digits[:3]}-{_VARIANT[digits[3]]}{digits[4:7]}-{digits[7:19]}"


def delivery_id(system_identifier: int, commit_lsn: int, xid: int, ordinal: int, trigger: str, commit_time_us: int) -> str:
    """One id; see TransactionIds."""
    return TransactionIds(system_identifier, commit_lsn, xid, commit_time_us).id(ordinal, trigger)
