"""What expressions see, by the kind of source: the names that stand for values (roots), and the attributes of `event`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cdcd.config.model import Kind

_EVENT = ("time", "source", "subject", "key", "type")


@dataclass(slots=True, frozen=True)
class Vocabulary:
    """`type` is always there beside the roots. `members` are those that a root may have, where they are known."""

    roots: tuple[str, ...]
    attributes: tuple[str, ...]
    members: Mapping[str, tuple[str, ...]]

    @property
    def variables(self) -> tuple[str, ...]:
        """All names that mean something."""
        return ("type", *self.roots)


FILE_MEMBERS = ("path", "name", "size", "mtime", "type", "contentType", "sha256", "movedFrom", "movedTo")

DATABASE = Vocabulary(("new", "old", "event"), (*_EVENT, "txid", "database", "schema", "table"), {})
STORAGE = Vocabulary(("file", "old", "event"), (*_EVENT, "store"), {"file": FILE_MEMBERS, "old": FILE_MEMBERS})
CUSTOM = Vocabulary(("data", "event"), _EVENT, {})
SCHEDULE = Vocabulary(("data", "event"), _EVENT, {"data": ("schedule", "timezone", "scheduled", "missed", "manual")})

VOCABULARIES: Mapping[Kind, Vocabulary] = {
    Kind.DATABASE: DATABASE,
    Kind.STORAGE: STORAGE,
    Kind.CUSTOM: CUSTOM,
    Kind.SCHEDULE: SCHEDULE,
}

TEMPLATES: Mapping[Kind, Vocabulary] = {
    kind: replace(vocabulary, attributes=(*vocabulary.attributes, "id")) for kind, vocabulary in VOCABULARIES.items()
}
"""What is seen when a request is made: `event.id` too, the delivery's, which is not known before it is matched."""
