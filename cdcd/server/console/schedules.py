"""Schedules: when each fires next, what came of the last times, and letting one fire now."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote
from uuid import UUID

from cdcd.admin.faces import Admin
from cdcd.admin.ticking import NoSchedule, NotNow, Scheduled, Ticking
from cdcd.errors import CdcdError
from cdcd.server.auth import OPERATORS
from cdcd.server.console.pages import Pages, see
from cdcd.server.console.samples import MOMENT
from cdcd.server.problems import Problem, Reason
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Route
from cdcd.server.v1.asked import who

SHOWN = 50  # on a page
PATIENCE = 1.0  # seconds that the page waits for the event store
MISSED = {
    "once": "one that was missed while cdcd was down is made up for, the last",
    "skip": "what was missed while cdcd was down is left out",
    "all": "every one that was missed while cdcd was down is made up for",
}


class Schedules:
    """The handlers."""

    def __init__(self, pages: Pages, admin: Admin) -> None:
        self._pages = pages
        self._admin = admin

    @property
    def _ticking(self) -> Ticking:
        return self._admin.ticking

    async def show(self, call: Call) -> Reply:
        """`GET /console/schedules`. `ran` and `trigger`: the delivery of one that has just fired by hand."""
        query = call.request.query
        ran, trigger = query.get("ran", ""), query.get("trigger", "")
        return await self._page(call, ran=ran if _is_id(ran) and trigger in self._ticking.names else "", trigger=trigger)

    async def run(self, call: Call) -> Reply:
        """`POST /console/schedules/{trigger}/run`."""
        name = call.parameters["trigger"]
        try:
            delivery = await self._ticking.run(name, who(call.claims))
        except NoSchedule as error:
            raise Problem(404, str(error)) from None
        except NotNow as error:
            return await self._page(call, 409, problem=Problem(409, f"{name} was not run", [Reason(str(error))]))
        return see(f"/console/schedules?ran={delivery}&trigger={quote(name, safe='')}")

    async def _page(
        self, call: Call, status: int = 200, *, ran: str = "", trigger: str = "", problem: Problem | None = None
    ) -> Reply:
        names = self._ticking.names
        pages = max(1, -(-len(names) // SHOWN))
        page = min(max(1, _number(call.request.query.get("page", "1"))), pages)
        found, known = await self._found(names[(page - 1) * SHOWN : page * SHOWN])
        snapshot = await self._admin.overview.now(MOMENT)
        return self._pages.page(
            call,
            "schedules.html",
            status,
            schedules=soonest(found) if pages == 1 else found,
            known=known,
            paused={each.name for each in snapshot.triggers if each.paused},
            page=page,
            pages=pages,
            every=len(names),
            ran=ran,
            trigger=trigger,
            problem=problem,
            in_zone=in_zone,
            missed=MISSED,
        )

    async def _found(self, names: Sequence[str]) -> tuple[Sequence[Scheduled], bool]:
        """These schedules, and whether the event store could tell what came of them."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._ticking.list(names), True
        except (CdcdError, TimeoutError):
            return self._ticking.coming(names), False


def routes(pages: Pages, admin: Admin) -> tuple[Route, ...]:
    """Its routes."""
    schedules = Schedules(pages, admin)
    return (
        pages.seen("schedules", schedules.show, promptly=True),
        pages.done("schedules/{trigger}/run", schedules.run, OPERATORS),
    )


def soonest(schedules: Sequence[Scheduled]) -> Sequence[Scheduled]:
    """The next to fire first, those that are off last."""
    return sorted(schedules, key=lambda each: (each.next[0] if each.next else float("inf"), each.trigger))


def in_zone(written: str) -> str:
    """A time as its zone's clocks show it: `Tue 2026-12-01 03:00`."""
    return datetime.fromisoformat(written).strftime("%a %Y-%m-%d %H:%M")


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1
