"""The event log: a page of deliveries that a filter selects, the next ones, how many there are, and new ones as they come.

The rules:
- the address is the filter: what a form or htmx asks for is led to the address that says it plainly, so every link to it stays good;
- a page answers at once. What no index finds is looked for in stretches, each a request of its own: a browser with scripts goes on by
  itself, `ROUNDS` times, others by a link;
- a live tail looks at the newest deliveries and sends those that have changed: at most `TAILED` in one look, whatever comes, and all tails
  together never look for more than a tenth of the time. So neither a flood nor a slow filter holds anything up, here or in a browser.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlencode
from uuid import UUID

import orjson

from cdcd.admin.deliveries import Deliveries, Found, Page, Unfit
from cdcd.admin.faces import Admin
from cdcd.event import Status
from cdcd.server.console.filters import RANGES, Asked, asked, is_plain
from cdcd.server.console.pages import Pages, is_partial, see
from cdcd.server.problems import Problem, Reason
from cdcd.server.replies import Reply, Stream, event
from cdcd.server.routes import Call, Route

SHOWN = 50  # deliveries on a page
ROUNDS = 40  # stretches that are looked at without being asked again
COUNTING = 0.5  # seconds: a page is there already when it asks for this
LOOK = 1.0  # seconds between looks of the live tail
TAILED = 100  # deliveries that it shows
MOST_TAILS = 20
AGAIN = 2000  # milliseconds until a browser asks again for a tail that has broken
HERE = "/console/events"


@dataclass(slots=True, frozen=True)
class Shown:
    """What a page says of where it is: `had` deliveries stand above it already, after `round` stretches that were looked at."""

    cursor: str
    round: int = 0
    had: int = 0

    @classmethod
    def of(cls, call: Call) -> "Shown":
        """As the address says it; a whole page begins anew."""
        query = call.request.query
        if not is_partial(call.request):
            return cls(query.get("cursor", ""))
        return cls(query.get("cursor", ""), _count(query.get("round")), _count(query.get("had")))


class Log:
    """The handlers."""

    def __init__(self, pages: Pages, admin: Admin) -> None:
        self._pages = pages
        self._admin = admin
        self._tails = 0

    @property
    def _deliveries(self) -> Deliveries:
        return self._admin.deliveries

    async def show(self, call: Call) -> Reply:
        """`GET /console/events`."""
        wanted, shown = asked(call.request.query.items(), time.time()), Shown.of(call)
        address = HERE + _joined(wanted.query, urlencode({"cursor": shown.cursor}) if shown.cursor else "")
        if not is_partial(call.request) and not is_plain(call.request.query.items(), wanted) and not wanted.reasons:
            return see(address)
        found, problem = Page(()), None
        try:
            wanted.check()
            found = await page_of(self._deliveries, wanted, shown.cursor or None, max(1, SHOWN - shown.had))
        except Problem as error:
            problem = error
        more = shown.round > 0
        config = self._admin.config
        return self._pages.page(
            call,
            "log-more.html" if more else "log.html",
            200 if problem is None else 422,
            {} if more else {"HX-Push-Url": address},
            asked=wanted,
            log=found,
            shown=shown,
            goes_on=found.searched is not None and shown.round < ROUNDS,
            problem=problem,
            statuses=list(Status),
            ranges=RANGES,
            triggers=sorted(config.triggers),
            types=sorted({kind for each in config.triggers.values() for kind in each.types}),
            sources=sorted({*config.databases, *config.storage, "queue"}),
        )

    async def count(self, call: Call) -> Reply:
        """`GET /console/events/count`: how many the filter selects, as a part of the page."""
        wanted = asked(call.request.query.items(), time.time())
        wanted.check()
        try:
            count = await self._deliveries.count(wanted.filter, seconds=COUNTING)
        except Unfit as error:
            raise _unusable(error) from error
        return self._pages.page(call, "log-count.html", count=count)

    async def tail(self, call: Call) -> Reply | Stream:
        """`GET /console/events/tail`: server-sent events, each what a look of the tail found (`Tail.look`)."""
        wanted = asked(call.request.query.items(), time.time())
        wanted.check()
        await page_of(self._deliveries, wanted, None, 1)  # what is wrong with it is told before it begins
        if self._tails >= MOST_TAILS:
            raise Problem(503, f"{MOST_TAILS} live tails are open already", headers={"Retry-After": "10"})
        return Stream(self._following(call, wanted))

    async def _following(self, call: Call, wanted: Asked) -> AsyncIterator[bytes]:
        self._tails += 1
        tail = Tail()
        try:
            while True:
                began = time.monotonic()
                first = tail.seen is None
                page = await page_of(self._deliveries, wanted, None, TAILED)
                look = tail.look(page)
                if look.changed or look.gone or first:
                    rows = self._pages.part(call, "log-rows.html", items=look.changed).decode()
                    told = {"rows": rows, "gone": look.gone, "all": first, "more": look.more, "next": page.next}
                    yield event(orjson.dumps(told), "look", retry=AGAIN)
                await asyncio.sleep(pause(time.monotonic() - began, self._tails))
        finally:
            self._tails -= 1


@dataclass(slots=True, frozen=True)
class Look:
    """What has changed since the look before: deliveries that are new or otherwise, ids of those that the filter selects no longer, and
    whether more are new than are told."""

    changed: tuple[Found, ...]
    gone: list[str]
    more: bool


@dataclass(slots=True)
class Tail:
    """What a live tail has told so far: the newest deliveries, as they stood. Before the first look there is nothing."""

    seen: dict[str, Found] | None = field(default=None)

    def look(self, page: Page) -> Look:
        """The difference to `page`, the newest deliveries as they stand now."""
        before = self.seen or {}
        now = {one.id: one for one in page.items}
        changed = tuple(one for one in page.items if before.get(one.id) != one)
        # What fell off the end is older than what was looked at: nothing is known of it any more.
        gone = [identity for identity in before if identity not in now and UUID(identity).int > _end(page)]
        more = self.seen is not None and len(page.items) >= TAILED and page.items[-1].id not in before
        self.seen = now
        return Look(changed, gone, more)


def routes(pages: Pages, admin: Admin) -> tuple[Route, ...]:
    """Its routes."""
    log = Log(pages, admin)
    return (
        pages.seen("events", log.show, promptly=True),
        pages.seen("events/count", log.count, promptly=True),
        pages.seen("events/tail", log.tail, promptly=True),
    )


def pause(took: float, tails: int) -> float:
    """Seconds until a tail looks again, after a look that took so long, when there are so many."""
    return max(LOOK, 10 * took * tails)


async def page_of(deliveries: Deliveries, wanted: Asked, cursor: str | None, limit: int) -> Page:
    """A page. Raises Problem 422 for what cannot be asked."""
    try:
        return await deliveries.list(wanted.filter, cursor, limit)
    except Unfit as error:
        raise _unusable(error) from error


def _unusable(error: Unfit) -> Problem:
    return Problem(422, "the filter cannot be used", [Reason(str(error))])


def _end(page: Page) -> int:
    """The id below which nothing of the page is known."""
    if page.searched is not None:
        return (int(page.searched * 1000) + 1) << 80
    return UUID(page.items[-1].id).int if page.items and page.next is not None else -1


def _joined(*parts: str) -> str:
    query = "&".join(filter(None, parts))
    return f"?{query}" if query else ""


def _count(text: str | None) -> int:
    return min(int(text), SHOWN) if text and text.isascii() and text.isdigit() and len(text) < 5 else 0
