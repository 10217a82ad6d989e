"""What a server's refusal means: SQLSTATE -> one of this library's errors. The only place that translates psycopg's.

Messages may come in any language, so only codes are looked at; a slot's pid is the one thing that is read from the text.
"""

import contextlib
import re
from collections.abc import Iterator

import psycopg

from cdcd.replication.errors import (
    ConnectionLost,
    NotPermitted,
    ReplicationError,
    SlotActive,
    SlotMissing,
)

_NO_CONNECTION = ("08", "57P", "53300")  # connection, operator intervention, too many connections: waiting may help
_NOT_PERMITTED = ("28", "42501")
_NOT_LET_IN = ("authentication failed", "no pg_hba.conf entry", "permission denied", "must be superuser or replication role")

_UNREADABLE = "the connection string cannot be used (its user and password must be percent-encoded in a URL)"


def refusal(message: str, sqlstate: str) -> ReplicationError:
    """The error for a refusal with this code (manual, appendix A)."""
    text = " ".join(message.split())
    if not sqlstate or sqlstate.startswith(_NO_CONNECTION):
        return ConnectionLost(text, sqlstate)
    if sqlstate.startswith(_NOT_PERMITTED):
        return NotPermitted(text, sqlstate)
    if sqlstate == "55006":
        # "replication slot "x" is active for PID 123": the number stands last in every translation
        numbers = re.findall(r"\d+", text.rpartition('"')[2]) or re.findall(r"\d+", text)
        return SlotActive(text, sqlstate, int(numbers[-1]) if numbers else 0)
    return ReplicationError(text, sqlstate)


def slot_refusal(message: str, sqlstate: str) -> ReplicationError:
    """As `refusal`, for a statement whose only object is a slot."""
    return SlotMissing(" ".join(message.split()), sqlstate) if sqlstate == "42704" else refusal(message, sqlstate)


@contextlib.contextmanager
def translated(*, slot: bool = False) -> Iterator[None]:
    """Raise psycopg's and the network's errors as ours. `slot`: what is missing can only be the slot."""
    try:
        yield
    except psycopg.Error as exc:
        if isinstance(exc, psycopg.ProgrammingError) and not exc.sqlstate:
            # Not a server's words but the client's, which quote what they could not read: a password, say.
            raise ReplicationError(_UNREADABLE) from None
        # Only a connection that failed or broke comes without a code.
        message = exc.diag.message_primary or str(exc)
        raise (slot_refusal if slot else refusal)(message, exc.sqlstate or _connect_sqlstate(exc)) from exc
    except (OSError, TimeoutError) as exc:
        raise ConnectionLost(f"{type(exc).__name__}: {exc}") from exc


def _connect_sqlstate(exc: psycopg.Error) -> str:
    """The class of code behind a refused connection attempt: psycopg keeps only the words."""
    text = str(exc)
    return "28000" if any(words in text for words in _NOT_LET_IN) else ""
