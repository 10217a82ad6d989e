"""Types of events: those that cdcd makes itself, and the names of custom ones."""

import re
from difflib import get_close_matches

from cdcd.config.model import Kind

DATABASE_TYPES = ("DB_INSERT", "DB_UPDATE", "DB_DELETE", "DB_TRUNCATE")
STORAGE_TYPES = ("FILE_CREATE", "FILE_UPDATE", "FILE_DELETE")
SCHEDULE_TYPE = "SCHEDULE"
BUILT_IN = (*DATABASE_TYPES, *STORAGE_TYPES, SCHEDULE_TYPE)

TYPE = r"^[A-Za-z][A-Za-z0-9_.:/-]{0,99}$"
"""What a custom type looks like, as a regular expression."""

LAST_RESORT = "dlq_"
"""What stands before a trigger's name in the type of the event that a delivery of it queues when it has failed."""

OWN = "cdcd."
"""What types of custom events begin with that cdcd itself makes."""

CANARY = "cdcd.canary"
"""The type of the canary's events, and the name of its trigger."""

NEAR = 0.85  # a name that is so like a built-in one is a slip of the pen


def kind_of(name: str) -> Kind:
    """Which source makes events of this type."""
    if name.startswith("DB_"):
        return Kind.DATABASE
    if name.startswith("FILE_"):
        return Kind.STORAGE
    return Kind.SCHEDULE if name == SCHEDULE_TYPE else Kind.CUSTOM


def reserved(name: str) -> bool:
    """Whether only cdcd itself makes events of this type."""
    return kind_of(name) is not Kind.CUSTOM


def event_type(name: str) -> str:
    """A type that a trigger may name. Raises ValueError (without the name in its message)."""
    if name in BUILT_IN:
        return name
    close = get_close_matches(name.upper(), BUILT_IN, n=1, cutoff=0.6 if reserved(name) else NEAR)
    if reserved(name) or close:
        raise ValueError("no such type" + (f"; did you mean '{close[0]}'?" if close else f"; there are {', '.join(BUILT_IN)}"))
    return custom_type(name)


def custom_type(name: str) -> str:
    """A type that may be queued. Raises ValueError (without the name in its message)."""
    if reserved(name):
        raise ValueError("events of this type come from their source alone; a custom type begins with neither DB_ nor FILE_")
    if name.startswith(OWN):
        raise ValueError("types that begin with cdcd. are cdcd's own")
    if re.fullmatch(TYPE, name) is None:
        raise ValueError("a custom type is letters, digits and _ . : / -, begins with a letter, and has at most 100 of them")
    return name
