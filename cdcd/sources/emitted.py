"""Messages that an application writes into the WAL (`pg_logical_emit_message`) as custom events. Pure.

The rules:
- a transactional message with the prefix `cdcd:TYPE` is an event of that type; other prefixes are somebody else's;
- what cannot be an event (a type that only cdcd makes, one that nobody wants, a message outside of a transaction, which would
  stay after a rollback) is told, and nothing else happens;
- content that is no JSON, or too much of it, becomes deliveries that carry their `error`.
"""

import orjson

from cdcd.config.model import Config, Database
from cdcd.config.types import CANARY, custom_type
from cdcd.errors import EventError, ValueNotJson
from cdcd.event import Delivery, Event
from cdcd.replication.messages import LogicalMessage
from cdcd.sources.occurring import Parsed, deliveries_of, too_large
from cdcd.sources.rows import Transaction
from cdcd.triggers.ids import TransactionIds
from cdcd.triggers.matcher import Index, Match
from cdcd.triggers.occurrence import Occurrence

PREFIX = "cdcd:"
MESSAGES = 1 << 62  # above the ordinals of rows


class Ignored(Exception):
    """The message is meant for cdcd and is no event; says why. `kind` is its type, as far as it may be told."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind[:100]


class Messages:
    """Turns the messages of one database's stream into deliveries."""

    def __init__(self, config: Config, database: Database, index: Index) -> None:
        self._source = f"cdcd/{config.project}/{database.name}"
        self._limit = config.limits.payload
        self._index = index

    def take_over(self, index: Index, largest: int) -> None:
        """What follows is matched by other triggers."""
        self._index, self._limit = index, largest

    def match(self, message: LogicalMessage, system: int, transaction: Transaction | None, ordinal: int) -> list[Delivery]:
        """One delivery for each trigger that wants it. `ordinal` is its place among the messages of its transaction (from 1): they
        are counted by themselves, so that the ids of rows are what they are without them. Raises Ignored."""
        if not message.prefix.startswith(PREFIX):
            return []
        kind = message.prefix.removeprefix(PREFIX)
        try:
            if kind != CANARY:
                custom_type(kind)
        except ValueError as error:
            raise Ignored(kind, str(error)) from error
        if not message.transactional or transaction is None:
            raise Ignored(kind, "it was not written in a transaction; call pg_logical_emit_message with true")
        triggers = self._index.custom.by_type.get(kind, ())
        if not triggers:
            raise Ignored(kind, "no enabled trigger has this type")
        data = message.content or b"null"
        if (problem := _problem(data, self._limit)) is not None:
            data = b'{"bytes":%d}' % len(message.content)
            matches: list[Match] = [(trigger, problem) for trigger in triggers]
        else:
            attributes = {"source": self._source, "subject": "", "key": ""}
            matches = self._index.custom.match(Occurrence(kind, None, transaction.time, attributes, {"data": Parsed(data)}))
        event = Event(kind, self._source, "", "", transaction.time, data, transaction.commit_lsn)
        ids = TransactionIds(system, transaction.commit_lsn, transaction.xid, transaction.time)
        return deliveries_of(matches, event, lambda name: ids.id(MESSAGES + ordinal, name))


def _problem(data: bytes, limit: int) -> EventError | None:
    if len(data) > limit:
        return too_large(len(data), limit)
    try:
        orjson.loads(data)
    except ValueError as error:
        return ValueNotJson(
            f"the message's content is no JSON: {error}", hint="pg_logical_emit_message(true, 'cdcd:TYPE', json::text)"
        )
    return None
