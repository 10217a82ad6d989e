"""The event log: a page of deliveries that a filter selects, the next ones, and new ones as they come."""

import asyncio
import time
from collections.abc import AsyncIterator

from cdcd.admin.deliveries import Deliveries, Found, Page, Unfit
from cdcd.admin.faces import Admin
from cdcd.event import Status
from cdcd.server.console.filters import Asked, asked
from cdcd.server.console.pages import Pages
from cdcd.server.problems import Problem, Reason
from cdcd.server.replies import Reply, Stream, event
from cdcd.server.routes import Call, Route

SHOWN = 50  # deliveries on a page
LOOK = 1.0  # seconds between looks of the live tail
MOST_TAILS = 20


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
        query = call.request.query
        wanted: Asked | None = None
        found, problem = Page(()), None
        try:
            wanted = asked(query.items(), time.time())
            found = await page_of(self._deliveries, wanted, query.get("cursor"), SHOWN)
        except Problem as error:
            problem = error
            wanted = wanted or Asked(asked((), 0).filter, tuple(query.items()), ())
        triggers = sorted(self._admin.config.triggers)
        return self._pages.page(
            call,
            "log.html",
            200 if problem is None else 422,
            asked=wanted,
            log=found,
            problem=problem,
            statuses=list(Status),
            triggers=triggers,
            types=sorted({kind for each in self._admin.config.triggers.values() for kind in each.types}),
            sources=sorted({*self._admin.config.databases, *self._admin.config.storage, "queue"}),
            cursor=query.get("cursor", ""),
            appended="cursor" in query and query.get("more") == "1",
        )

    async def tail(self, call: Call) -> Reply | Stream:
        """`GET /console/events/tail`: server-sent events `rows`, each some rows of the table."""
        if self._tails >= MOST_TAILS:
            raise Problem(503, f"{MOST_TAILS} live tails are open already", headers={"Retry-After": "10"})
        wanted = asked(call.request.query.items(), time.time())
        await page_of(self._deliveries, wanted, None, 1)  # what is wrong with it is told before it begins
        return Stream(self._following(call, wanted))

    async def _following(self, call: Call, wanted: Asked) -> AsyncIterator[bytes]:
        self._tails += 1
        try:
            yield event(b"", "began")
            seen: dict[str, Found] | None = None
            while True:
                began = time.monotonic()
                page = await page_of(self._deliveries, wanted, None, SHOWN)
                new = [one for one in page.items if seen is not None and seen.get(one.id) != one]
                seen = {one.id: one for one in page.items}
                if new:
                    yield event(self._pages.part(call, "log-rows.html", items=new), "rows")
                # A filter that no index serves is asked for more seldom.
                await asyncio.sleep(max(LOOK, 10 * (time.monotonic() - began)))
        finally:
            self._tails -= 1


def routes(pages: Pages, admin: Admin) -> tuple[Route, ...]:
    """Its routes."""
    log = Log(pages, admin)
    return (pages.seen("events", log.show), pages.seen("events/tail", log.tail))


async def page_of(deliveries: Deliveries, wanted: Asked, cursor: str | None, limit: int) -> Page:
    """A page. Raises Problem 422 for what cannot be asked."""
    try:
        return await deliveries.list(wanted.filter, cursor, limit)
    except Unfit as error:
        raise Problem(422, "the filter cannot be used", [Reason(str(error))]) from error
