"""The errors of the replication library: what the server refused, and what bytes could not be read.

    DecodeError             bytes that are not what the protocol says
    ValueNotConvertible     a column's text that is not what its type says
    ReplicationError        the server refused; carries its SQLSTATE
    ├── ConnectionLost      the connection cannot be made, or broke
    ├── NotPermitted        the role may not do this
    ├── SlotActive          another process reads the slot; carries its pid
    ├── SlotMissing         there is no slot of that name
    ├── SlotLost            the slot exists, but the server has thrown away what it needs
    └── PublicationMissing  the stream met a change and could not find a publication

This library knows nothing of its callers: they translate these into their own errors.
"""


class DecodeError(Exception):
    """A frame or message that is malformed. Where it is malformed: `message` (its kind) and `field`; what was
    needed there and what was found: `need`, `have` (byte counts or values)."""

    def __init__(self, message: str, field: str, need: object, have: object) -> None:
        super().__init__(f"{message}: {field}: need {need}, have {have}")
        self.message = message
        self.field = field
        self.need = need
        self.have = have


class ValueNotConvertible(ValueError):
    """The text of a column is not what its type promises. `kind` names the conversion; the value itself is not kept."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(f"not a valid {kind}: {why}")
        self.kind = kind


class ReplicationError(Exception):
    """The server refused, with `sqlstate` (PostgreSQL manual, appendix A; empty when it sent none)."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class ConnectionLost(ReplicationError):
    """The connection could not be made or has ended. Trying again may help."""


class NotPermitted(ReplicationError):
    """The role lacks a right (REPLICATION, CREATE, ownership), or `pg_hba.conf` does not let it in."""


class SlotActive(ReplicationError):
    """The slot is read by another connection, whose server process is `pid` (0 when the server did not say)."""

    def __init__(self, message: str, sqlstate: str = "", pid: int = 0) -> None:
        super().__init__(message, sqlstate)
        self.pid = pid


class SlotMissing(ReplicationError):
    """There is no replication slot of that name."""


class SlotLost(ReplicationError):
    """The slot was invalidated: the WAL that it needs is gone, and it can never be read again."""


class PublicationMissing(ReplicationError):
    """A publication that the stream was started with did not exist when a change was committed."""
