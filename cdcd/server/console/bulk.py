"""Retry, cancel or replay all that a filter selects: first the page that says what would be done, then the button that does it.

The rules:
- nothing is done by looking. The page says what the filter selects, how many that are, and what would become of the first; the button
  names the number;
- what is done is what was looked at: times of the filter stay, and what happens after the page was made is not meant;
- a form that is sent twice begins one operation: it has the operation's id already;
- what cannot be begun is told on the same page, with everything that was typed;
- the page comes at once. Where that was too soon to count what is selected, it asks for its own parts again, `patiently`.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import urlencode
from uuid import uuid4

from cdcd.admin.asking import ACTIONS
from cdcd.admin.deliveries import COUNTED
from cdcd.admin.faces import Admin
from cdcd.admin.operations import LOOKED, SHOWN, Order, Preview
from cdcd.server.auth import OPERATORS
from cdcd.server.console.filters import Asked, asked, moment_of, sentence
from cdcd.server.console.pages import Pages, see
from cdcd.server.console.signin import pairs
from cdcd.server.problems import Problem, Reason
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Route
from cdcd.server.v1.asked import answering, who

LONGEST_URL = 2000
NOT_BEGUN = "nothing was begun"
AT_ONCE = 0.03  # seconds for counting, and for the first few, before there is a page


@dataclass(slots=True, frozen=True)
class Written:
    """An order as an address or a form has it. `asked` ends at the moment when the page was made (`until_now`), unless it has an end of its
    own. `once` is the id that the operation will have."""

    action: str
    asked: Asked
    rate: str = ""
    to: str = ""
    today: bool = False
    once: str = ""
    until_now: bool = False

    @classmethod
    def of(cls, given: Iterable[tuple[str, str]], now: float) -> "Written":
        """Read it. Raises Problem 404 for an action that there is not; other mistakes are told by `order`."""
        given = list(given)
        values = {name: value.strip() for name, value in given}
        action = values.get("action", "retry")
        if action not in ACTIONS:
            raise Problem(404, "there is no such action", [Reason(f"it must be one of {', '.join(ACTIONS)}")])
        until_now = not values.get("until")
        if until_now:
            given.append(("until", moment_of(now)))
        wanted = asked(given, now)
        return cls(
            action,
            wanted if wanted.reasons else asked(wanted.fixed, now),
            values.get("rate", "") if action != "cancel" else "",
            values.get("to", "") if action == "replay" else "",
            action == "replay" and values.get("today") == "on",
            values.get("once", ""),
            until_now,
        )

    @property
    def query(self) -> str:
        """The address of what would be done, of events until the same moment."""
        return urlencode([("action", self.action), *self.asked.written, *([("today", "on")] if self.today else [])])

    def order(self) -> Order:
        """As `admin.operations` takes it. Raises Problem 422 with every reason."""
        reasons = list(self.asked.reasons)
        rate = None
        if self.rate:
            try:
                rate = float(self.rate)
            except ValueError:
                reasons.append(Reason("the rate must be a number of deliveries a second"))
        if len(self.to) > LONGEST_URL:
            reasons.append(Reason(f"the URL has more than {LONGEST_URL} characters"))
        if reasons:
            raise Problem(422, NOT_BEGUN, reasons)
        return Order(self.action, self.asked.filter, rate, self.to, self.today)


class Bulk:
    """The handlers."""

    def __init__(self, pages: Pages, admin: Admin) -> None:
        self._pages = pages
        self._admin = admin

    async def show(self, call: Call) -> Reply:
        """`GET /console/bulk`: what would be done."""
        patiently = call.request.query.get("patiently") == "on"
        return await self._page(call, Written.of(call.request.query.items(), time.time()), patiently=patiently)

    async def begin(self, call: Call) -> Reply:
        """`POST /console/bulk`: do it."""
        written = Written.of(pairs(call.body), time.time())
        try:
            order = written.order()
            with answering(NOT_BEGUN):
                begun = await self._admin.operations.begin(order, who(call.claims), written.once)
        except Problem as problem:
            return await self._page(call, written, problem)
        return see(f"/console/operations/{begun.id}", "It has begun.")

    async def _page(self, call: Call, written: Written, problem: Problem | None = None, *, patiently: bool = False) -> Reply:
        preview, words = None, ""
        for each in (written, replace(written, rate="", to="")):  # what is wrong with these does not hide what is selected
            try:
                order = each.order()
                wanted = order.bounded(time.time()).wanted
                words = sentence(replace(wanted, until=None) if written.until_now else wanted)
                with answering("this cannot be done"):
                    preview = await self._admin.operations.preview(order, seconds=LOOKED if patiently else AT_ONCE)
                break
            except Problem as error:
                problem = problem or error
        return self._pages.page(
            call,
            "bulk.html",
            200 if problem is None else problem.status,
            written=written,
            selected=words,
            preview=preview,
            unsure=not patiently and preview is not None and _is_unsure(preview),
            problem=problem,
            actions=ACTIONS,
            once=written.once or str(uuid4()),
        )


def _is_unsure(preview: Preview) -> bool:
    """Whether more would be known of it with more time."""
    total = preview.total
    return (not total.exact and total.number < COUNTED) or len(preview.first) < min(SHOWN, total.number)


def routes(pages: Pages, admin: Admin) -> tuple[Route, ...]:
    """Its routes."""
    bulk = Bulk(pages, admin)
    return (pages.seen("bulk", bulk.show, promptly=True), pages.done("bulk", bulk.begin, OPERATORS))
