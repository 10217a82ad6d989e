"""Why nothing happened: a row, and which check of which trigger says no.

For admins, since it reads from a database; everybody sees how to ask.
"""

from typing import Any

from cdcd.admin.faces import Admin
from cdcd.admin.samples import PLAIN_TABLE
from cdcd.admin.unfired import TYPES, Unfired
from cdcd.config.model import Kind
from cdcd.server.auth import ADMINS
from cdcd.server.console.mistakes import NONE, Mistakes, mistakes, read_json
from cdcd.server.console.pages import HTML, Pages, is_partial
from cdcd.server.console.signin import fields
from cdcd.server.problems import Problem, Reasons
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Route
from cdcd.server.v1.explaining import NOTHING, read_row, row_answers

FIELDS = ("table", "key", "database", "type", "row", "old")


class ExplainingPages:
    """The handlers."""

    def __init__(self, pages: Pages, admin: Admin) -> None:
        self._pages = pages
        self._admin = admin

    async def show(self, call: Call) -> Reply:
        """`GET /console/explain`, whose query may fill the form in."""
        query = call.request.query
        return self._page(call, 200, {name: query.get(name, "")[:2000] for name in FIELDS})

    async def explain(self, call: Call) -> Reply:
        """`POST /console/explain`."""
        form = fields(call.body)
        asked = {name: form.get(name, "").strip() for name in FIELDS}
        found: Unfired | None = None
        wrong = NONE
        try:
            row = read_row(_members(asked))
            with row_answers():
                found = await self._admin.explaining.row(row)
        except Problem as problem:
            wrong = mistakes(problem, FIELDS)
        if is_partial(call.request):
            body = self._pages.part(call, "explain-asked.html", **self._names(asked, found, wrong))
            return Reply(422 if wrong.any else 200, body, HTML)
        return self._page(call, 422 if wrong.any else 200, asked, found, wrong)

    def _page(
        self, call: Call, status: int, asked: dict[str, str], found: Unfired | None = None, wrong: Mistakes = NONE
    ) -> Reply:
        return self._pages.page(call, "explain.html", status, **self._names(asked, found, wrong))

    def _names(self, asked: dict[str, str], found: Unfired | None, wrong: Mistakes) -> dict[str, Any]:
        config = self._admin.config
        tables = {
            table
            for trigger in config.triggers.values()
            if trigger.kind is Kind.DATABASE
            for table in trigger.tables
            if PLAIN_TABLE.fullmatch(table)
        }
        firing = [] if found is None else [each for those in found.judgements.values() for each in those if each.fires]
        return {
            "asked": asked,
            "found": found,
            "wrong": wrong,
            "firing": list(dict.fromkeys(each.trigger for each in firing)),
            "tables": sorted(tables),
            "databases": sorted(config.databases),
            "types": TYPES,
        }


def routes(pages: Pages, admin: Admin) -> tuple[Route, ...]:
    """Its routes."""
    explaining = ExplainingPages(pages, admin)
    return (pages.seen("explain", explaining.show), pages.done("explain", explaining.explain, ADMINS))


def _members(asked: dict[str, str]) -> dict[str, Any]:
    """As the API's body says it. Raises Problem 422."""
    reasons = Reasons()
    if not asked["table"]:
        reasons.add("say which table", "/table")
    members: dict[str, Any] = {name: value for name, value in asked.items() if value and name not in ("row", "old")}
    members |= {name: read_json(asked[name], name, reasons) for name in ("row", "old") if asked[name]}
    if not asked["key"] and not asked["row"]:
        reasons.add("say which row by its key, or give the row below as JSON", "/key")
    reasons.raise_if_any(NOTHING)
    return members
