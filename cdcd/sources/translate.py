"""The replication library's errors as cdcd's own, with what the operator can do about each. The only place that knows both."""

import contextlib
from collections.abc import Iterator

from cdcd.config.model import Capture, Database
from cdcd.errors import CdcdError, PermanentError, PositionLost, SlotInUse, SourceNotReady, SourceUnavailable
from cdcd.replication.errors import (
    ConnectionLost,
    DecodeError,
    NotPermitted,
    PublicationMissing,
    ReplicationError,
    SlotActive,
    SlotLost,
    SlotMissing,
)

SETUP = "run `cdcd setup`, or `cdcd setup --print` and let the database's owner run it"


def translate(error: ReplicationError | DecodeError, database: Database) -> CdcdError:
    """Who must act, and how. SQLSTATEs: PostgreSQL manual, appendix A."""
    text = f"database {database.name!r}: {error}"
    match error:
        case DecodeError():
            return PermanentError(
                text, hint="the server sent what its protocol does not allow; please report it with its version"
            )
        case SlotActive():
            who = f" (server process {error.pid})" if error.pid else ""
            return SlotInUse(
                f"database {database.name!r}: the slot {database.slot!r} is read by another connection{who}",
                hint="stop the other cdcd, or wait: after a broken network the server notices only after wal_sender_timeout",
            )
        case SlotLost():
            return PositionLost(
                text, hint="the slot can never be read again: `cdcd setup --accept-gap` begins anew from now on"
            )
        case SlotMissing():
            return PositionLost(text, hint="`cdcd setup --accept-gap` makes a new slot, and begins anew from now on")
        case PublicationMissing():
            return SourceUnavailable(text, hint="it is made again if the role may; otherwise " + SETUP)
        case NotPermitted():
            if database.capture is Capture.TRIGGERS:
                return SourceNotReady(text, hint=SETUP)
            return SourceNotReady(text, hint=f"the role needs LOGIN and REPLICATION and must be let in by pg_hba.conf; {SETUP}")
        case ConnectionLost():
            return SourceUnavailable(text)
    if database.capture is Capture.TRIGGERS and error.sqlstate in ("42P01", "3F000"):
        return SourceUnavailable(f"{text} (the change log was removed)", hint="it is looked for again")
    if error.sqlstate == "55000" and "wal_level" in str(error):
        return SourceNotReady(text, hint="ALTER SYSTEM SET wal_level = 'logical'; then restart the server")
    if error.sqlstate == "53400":
        return SourceNotReady(text, hint="all slots are taken: drop one, or raise max_replication_slots and restart the server")
    if error.sqlstate[:2] in ("53", "58", "XX"):
        return SourceUnavailable(text)
    return SourceNotReady(text, hint=SETUP)


@contextlib.contextmanager
def translated(database: Database) -> Iterator[None]:
    """Within this, the replication library's errors come out as cdcd's."""
    try:
        yield
    except (ReplicationError, DecodeError) as error:
        raise translate(error, database) from error
