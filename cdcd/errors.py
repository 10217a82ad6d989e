"""The error tree, split by who must act.

    CdcdError                   every error that cdcd raises on purpose; carries a `hint`
    ├── ConfigError             the author of the YAML: a mistake in the configuration (exit 1)
    ├── PermanentError          the operator: retrying cannot heal it (exit 1)
    │   ├── SourceNotReady      the source lacks something (wal_level, permission, a table); the hint has the SQL
    │   ├── CannotListen        the API's address cannot be listened on (in use, not this machine's, a port below 1024)
    │   ├── PositionLost        the slot cannot continue from the settled position; says which span is gone
    │   └── StoreRefused        the event store cannot be used as it is (read-only role, newer schema, other project)
    ├── TransientError          nobody yet: retried with backoff, told in logs and `cdcd status`
    │   ├── SourceUnavailable   the source cannot be reached, or the connection broke
    │   ├── SlotInUse           another process reads our slot
    │   └── StoreUnavailable    the event store cannot be reached, or refuses writes for now (full, read-only, restarting)
    └── EventError              the owner of the data: this one event cannot become a request; recorded as `failed`
        ├── PayloadTooLarge     over `limits.payload`
        ├── ExpressionError     an expression raised: `when`, `key`, or one of the request's
        └── ValueNotJson        a value has no JSON form

Foreign exceptions (psycopg, aiohttp, OSError) are translated once, at the boundary that met them, `from exc`.
`cdcd.replication` has its own root, `DecodeError`, since it is a library that knows nothing of the rest.
"""


class CdcdError(Exception):
    """Root of the tree. `str()` says what happened and where; `hint` says how to mend it (may be empty)."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def explain(self) -> str:
        """Message and hint as shown to a person."""
        return f"{self}\n  fix: {self.hint}" if self.hint else str(self)


class ConfigError(CdcdError):
    """The configuration is wrong. `mistakes` lists every one as `file:line:col: what`."""

    def __init__(self, mistakes: list[str], *, hint: str = "") -> None:
        super().__init__("\n".join(mistakes), hint=hint)
        self.mistakes = mistakes


class PermanentError(CdcdError):
    """Waiting will not mend it; an operator must act."""


class SourceNotReady(PermanentError):
    """The source lacks something that only its owner can give."""


class CannotListen(PermanentError):
    """The address of the HTTP API cannot be listened on."""


class PositionLost(PermanentError):
    """The source can no longer be read from where cdcd had settled."""


class StoreRefused(PermanentError):
    """The event store exists but must not or cannot be used."""


class TransientError(CdcdError):
    """May heal by itself; the caller retries with backoff."""


class SourceUnavailable(TransientError):
    """The source cannot be reached, or its connection broke."""


class SlotInUse(TransientError):
    """Another process is reading our replication slot."""


class StoreUnavailable(TransientError):
    """The event store cannot be written for now."""


class EventError(CdcdError):
    """This event cannot be delivered as it is; it is recorded as `failed` with this message, and the rest goes on."""


class PayloadTooLarge(EventError):
    """The event's data is larger than `limits.payload`."""


class ExpressionError(EventError):
    """A CEL expression raised while it was evaluated on this event."""


class ValueNotJson(EventError):
    """A value cannot be written as JSON."""
