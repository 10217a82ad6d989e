"""Finding deliveries: the event log, newest first, in pages; one delivery with everything that happened to it.

The rule: a page answers at once, whatever is asked for. Where no index helps it stops after a short while and says how far it has
looked; the next page goes on from there.
"""

import base64
import binascii
from dataclasses import dataclass
from uuid import UUID

from cdcd.errors import CdcdError
from cdcd.event import Status
from cdcd.store.finding import MOST_BEFORE, Finder, Found, Place, Tried, until_of
from cdcd.store.walks import Filter

__all__ = [
    "MOST_BEFORE",
    "Count",
    "Deliveries",
    "Detail",
    "Filter",
    "Found",
    "NotThere",
    "Page",
    "Place",
    "Status",
    "Tried",
    "Unfit",
]

MOST = 200  # deliveries of a page
PAGE_SECONDS = 0.08  # that a page looks for what no index finds
COUNT_SECONDS = 0.08
COUNTED = 10_000  # a count says "at least" beyond


class Unfit(CdcdError):
    """What was asked for cannot be asked like this: a cursor that is none, a limit that is too high, a time that lies nowhere."""


class NotThere(CdcdError):
    """There is no such delivery (any more)."""


@dataclass(slots=True, frozen=True)
class Page:
    """Deliveries, newest first. `next`: the cursor of the next page, None after the last. `searched`: the page is not full though there
    may be more, since it stopped looking at this moment of the log (wall-clock seconds); None when it did not."""

    items: tuple[Found, ...]
    next: str | None = None
    searched: float | None = None


@dataclass(slots=True, frozen=True)
class Count:
    """How many deliveries a filter selects; at least so many unless `exact`."""

    number: int
    exact: bool


@dataclass(slots=True, frozen=True)
class Detail:
    """One delivery. `data` is the CloudEvent's data, JSON text byte for byte as it is sent; None when it was not asked for, and when it
    could not be stored (not `stored`), so that it cannot be sent again. `attempts` are in order. `place` is how it waits, while it is
    staged. `url` is where an operator had it sent, when that was not the webhook of its trigger."""

    delivery: Found
    position: int
    data: bytes | None
    attempts: tuple[Tried, ...]
    place: Place | None
    url: str | None
    stored: bool = True


class Deliveries:
    """The event log. Raises StoreUnavailable and StoreRefused, and Unfit. May be used by any number of tasks at a time."""

    def __init__(self, dsn: str, schema: str) -> None:
        self.finder = Finder(dsn, schema)

    async def list(self, wanted: Filter, cursor: str | None = None, limit: int = 50) -> Page:
        """A page: `limit` (1 to 200) deliveries behind `cursor`, which an earlier page gave for the same filter."""
        check(wanted)
        if not 1 <= limit <= MOST:
            raise Unfit(f"limit must be from 1 to {MOST}")
        stretch = await self.finder.find(wanted, limit, cursor=_number(cursor), seconds=PAGE_SECONDS)
        short = stretch.reached is not None and len(stretch.found) < limit
        return Page(
            tuple(stretch.found),
            None if stretch.reached is None else _cursor(stretch.reached),
            until_of(stretch.reached) if stretch.reached is not None and short else None,
        )

    async def count(self, wanted: Filter, most: int = COUNTED, seconds: float = COUNT_SECONDS) -> Count:
        """How many there are, counted up to `most` and for about so many `seconds`."""
        check(wanted)
        return Count(*await self.finder.count(wanted, most, seconds=seconds))

    async def show(self, identity: str, *, with_data: bool = True) -> Detail:
        """One delivery; without its data, which may be large, for who needs the rest. Raises NotThere."""
        try:
            whole = await self.finder.whole(identity, with_data=with_data)
        except ValueError as error:
            raise NotThere(
                f"{identity[:100]!r} is no delivery's id", hint="an id is a UUID, as `webhook-id` shows it"
            ) from error
        if whole is None:
            raise NotThere(
                f"there is no delivery {identity}",
                hint="it may be past eventing.retention, or not recorded yet: what is being sent for the first time is in memory alone",
            )
        return Detail(whole.found, whole.position, whole.data, whole.attempts, whole.place, whole.url, whole.stored)

    async def close(self) -> None:
        """Close the connections; the next call makes others."""
        await self.finder.close()


def check(wanted: Filter) -> None:
    """Raises Unfit for a filter that cannot be meant."""
    for name, moment in (("since", wanted.since), ("until", wanted.until)):
        if moment is not None and not -6e10 < moment < 2.5e11:
            raise Unfit(f"{name} must be a time from the year 70 to the year 9891")
    if wanted.since is not None and wanted.until is not None and wanted.since >= wanted.until:
        raise Unfit("since must be before until")
    values = (*wanted.trigger, *wanted.type, wanted.source, wanted.key or "", wanted.text, wanted.error)
    if any("\0" in value or (not value.isascii() and _unpaired(value)) for value in values):
        raise Unfit("a filter cannot hold a NUL or half a surrogate pair: no stored text has one")


def _unpaired(value: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in value)


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(UUID(int=min(number, (1 << 128) - 1)).bytes).rstrip(b"=").decode()


def _number(cursor: str | None) -> int | None:
    if not cursor:
        return None
    try:
        raw = base64.b64decode(cursor + "==", b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unfit("the cursor is none that a page gave") from error
    if len(raw) != 16:
        raise Unfit("the cursor is none that a page gave")
    return int.from_bytes(raw, "big")
