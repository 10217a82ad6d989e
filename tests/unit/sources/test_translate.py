"""Which of cdcd's errors each refusal of the server becomes, and that it says what to do."""

import pytest

from cdcd.config.model import Capture, Database
from cdcd.errors import (
    CdcdError,
    PermanentError,
    PositionLost,
    SlotInUse,
    SourceNotReady,
    SourceUnavailable,
)
from cdcd.replication import errors
from cdcd.sources.translate import translate, translated

DATABASE = Database("main", "postgresql://u:secret@h/d", Capture.REPLICATION, "cdcd_shop_main", "cdcd_shop_main")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (errors.DecodeError("Insert", "new", "'N'", b"X"), PermanentError, "report"),
        (errors.SlotActive("active", "55006", 123), SlotInUse, "server process 123"),
        (errors.SlotActive("active", "55006"), SlotInUse, "read by another connection"),
        (errors.SlotLost("lost", "55000"), PositionLost, "--accept-gap"),
        (errors.SlotMissing("no slot", "42704"), PositionLost, "--accept-gap"),
        (errors.PublicationMissing("none", "42704"), SourceUnavailable, "cdcd setup"),
        (errors.NotPermitted("denied", "42501"), SourceNotReady, "REPLICATION"),
        (errors.ConnectionLost("gone"), SourceUnavailable, "gone"),
        (errors.ReplicationError("logical decoding requires wal_level >= logical", "55000"), SourceNotReady, "ALTER SYSTEM"),
        (errors.ReplicationError("all replication slots are in use", "53400"), SourceNotReady, "max_replication_slots"),
        (errors.ReplicationError("disk full", "53100"), SourceUnavailable, "disk full"),
        (errors.ReplicationError("could not read", "58030"), SourceUnavailable, "could not read"),
        (errors.ReplicationError("internal", "XX000"), SourceUnavailable, "internal"),
        (errors.ReplicationError("no such thing", "42704"), SourceNotReady, "cdcd setup"),
    ],
)
def test_errors(error: errors.ReplicationError | errors.DecodeError, kind: type[CdcdError], words: str) -> None:
    found = translate(error, DATABASE)
    assert type(found) is kind
    assert words in found.explain()
    assert "'main'" in str(found)
    assert "secret" not in found.explain()


def test_the_cause_is_kept_and_others_pass() -> None:
    cause = errors.ConnectionLost("gone")
    with pytest.raises(SourceUnavailable) as caught, translated(DATABASE):
        raise cause
    assert caught.value.__cause__ is cause
    with pytest.raises(ZeroDivisionError), translated(DATABASE):
        raise ZeroDivisionError
