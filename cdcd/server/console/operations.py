"""What operators did and do: the list, and one operation that moves while it runs.

The rules:
- a page asks again while an operation runs, and not any more when it is over;
- what a filter cannot tell is not claimed: which deliveries an operation touched is known as far as its own filter says it, so their
  statuses are those of all that the filter selects, whatever they were.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from cdcd.admin.asking import ACTIONS
from cdcd.admin.deliveries import Count, Filter, Unfit
from cdcd.admin.faces import Admin
from cdcd.admin.operations import Operation
from cdcd.event import Status
from cdcd.server.auth import OPERATORS
from cdcd.server.console.filters import kept_filter, pairs_of, sentence
from cdcd.server.console.pages import Pages, is_partial, see
from cdcd.server.console.words import number
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Route
from cdcd.server.v1.asked import answering, who
from cdcd.server.v1.operations import cursor_of, place_of

SHOWN = 50  # operations on a page
COUNTING = 0.25  # seconds for each status
NAMES = {
    "retry": "Retry",
    "cancel": "Cancel",
    "replay": "Replay",
    "send": "Send elsewhere",
    "pause": "Pause",
    "resume": "Resume",
}
LOOKS = {"running": ("", "again"), "done": ("ok", "check"), "stopped": ("warn", "stop"), "failed": ("bad", "cross")}
_OF_ONE = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}): ")


@dataclass(slots=True, frozen=True)
class Told:
    """An operation as its page tells it. `left`: seconds until it is over, as far as its pace says. `rate`: deliveries a second so far.
    `delivery`: the only one that it is about, `trigger` likewise."""

    one: Operation
    title: str
    meant: str
    delivery: str
    trigger: str
    rate: float | None
    left: float | None

    @property
    def dealt_with(self) -> int:
        """How many it has come by."""
        return self.one.done + self.one.skipped + self.one.failed

    @property
    def is_running(self) -> bool:
        """Whether it goes on."""
        return self.one.state == "running"

    @property
    def look(self) -> tuple[str, str]:
        """The looks of its badge."""
        if self.one.state == "done" and self.one.failed:
            return ("warn", "alert")
        return LOOKS.get(self.one.state, ("", "dot"))

    @property
    def remark(self) -> tuple[str, str]:
        """What is amiss: the delivery that it is about, "" for none, and the words."""
        found = _OF_ONE.match(self.one.remark)
        return (found[1], self.one.remark[found.end() :]) if found else ("", self.one.remark)

    @property
    def counts(self) -> str:
        """How far it has come, in a few words."""
        one = self.one
        parts = [f"{number(one.done)} done"]
        parts += [f"{number(one.skipped)} left out"] if one.skipped else []
        parts += [f"{number(one.failed)} not possible"] if one.failed else []
        of = f" of {'' if one.exact else 'at least '}{number(one.total)}" if self.is_running else ""
        return ", ".join(parts) + of


def told(one: Operation, now: float) -> Told:
    """How it is told. `now`: wall-clock seconds."""
    delivery = str(one.filter.get("id") or "")
    many = one.action in ACTIONS and not delivery
    triggers = one.filter.get("trigger") or ()
    trigger = str(triggers[0]) if one.action in ("pause", "resume") and triggers else ""
    name = NAMES.get(one.action, one.action)
    if many:
        count = number(one.total) if one.exact else f"at least {number(one.total)}"
        title = f"{name} of {count} {'delivery' if one.exact and one.total == 1 else 'deliveries'}"
    else:
        title = f"{name}: {trigger}" if trigger else name
    spent = ((one.ended or int(now * 1e6)) - one.started) / 1e6
    dealt_with = one.done + one.skipped + one.failed
    rate = dealt_with / spent if many and spent > 0.5 and dealt_with else None
    left = max(0.0, one.total - dealt_with) / rate if rate and one.exact and one.state == "running" else None
    return Told(one, title, sentence(kept_filter(one.filter)) if many else "", delivery, trigger, rate, left)


def standing_of(one: Operation) -> Filter:
    """Everything that its filter may have selected, as far as that can be said now: a status and an error may have changed since."""
    return replace(kept_filter(one.filter), status=(), error="")


class OperationPages:
    """The handlers."""

    def __init__(self, pages: Pages, admin: Admin) -> None:
        self._pages = pages
        self._admin = admin

    async def list(self, call: Call) -> Reply:
        """`GET /console/operations`."""
        cursor = call.request.query.get("cursor")
        with answering("nothing was listed"):
            found = await self._admin.operations.list(SHOWN, place_of(cursor))
        runs = any(each.state == "running" for each in found)
        return self._pages.page(
            call,
            "operations.html",
            headers=_over(call, runs=runs),
            found=[told(each, self._now) for each in found],
            cursor=cursor or "",
            next=cursor_of(found[-1]) if len(found) == SHOWN else "",
            runs=runs,
        )

    async def show(self, call: Call) -> Reply:
        """`GET /console/operations/{id}`."""
        with answering("nothing was found"):
            found = told(await self._admin.operations.show(call.parameters["id"]), self._now)
        headers = _over(call, runs=found.is_running)
        return self._pages.page(call, "operation.html", headers=headers, told=found, many=bool(found.meant))

    async def standing(self, call: Call) -> Reply:
        """`GET /console/operations/{id}/standing`: how many of its deliveries have which status now, as a part of its page."""
        with answering("nothing was found"):
            one = await self._admin.operations.show(call.parameters["id"])
        wanted = standing_of(one)
        counts = [(status, await self._count(wanted, status), _address(wanted, status)) for status in Status]
        waits = one.state == "running" or any(count.number for status, count, _ in counts if status is Status.STAGED)
        return self._pages.page(call, "operation-standing.html", one=one, counts=counts, waits=waits)

    async def _count(self, wanted: Filter, status: Status) -> Count:
        try:
            return await self._admin.deliveries.count(replace(wanted, status=(status,)), seconds=COUNTING)
        except Unfit:  # it was fit when it was begun
            return Count(0, False)

    async def stop(self, call: Call) -> Reply:
        """`POST /console/operations/{id}/stop`."""
        with answering("nothing was stopped"):
            one = await self._admin.operations.stop_one(call.parameters["id"], who(call.claims))
        return see(f"/console/operations/{one.id}", "It stops. What it has done stays done.")

    @property
    def _now(self) -> float:
        return time.time()


def routes(pages: Pages, admin: Admin) -> tuple[Route, ...]:
    """Its routes."""
    handlers = OperationPages(pages, admin)
    return (
        pages.seen("operations", handlers.list, promptly=True),
        pages.seen("operations/{id}", handlers.show, promptly=True),
        pages.seen("operations/{id}/standing", handlers.standing, promptly=True),
        pages.done("operations/{id}/stop", handlers.stop, OPERATORS),
    )


def _over(call: Call, *, runs: bool) -> Mapping[str, str]:
    """The last answer takes the place of the part that asks, so that nothing asks any more."""
    return {"HX-Reswap": "outerHTML"} if is_partial(call.request) and not runs else {}


def _address(wanted: Filter, status: Status) -> str:
    return f"/console/events?{urlencode(pairs_of(replace(wanted, status=(status,))))}"
