"""Trying a trigger on a page: what a form asks for is tried as the API tries it, and becomes a part of a page.

Whoever has a form with the fields of `try-fields.html` gives it to `tried_by`, with the name of a trigger or with a draft, and puts what
comes back into `trials.html` as `tried`. The fields begin with `try-`, so that they can stand in any form.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import orjson

from cdcd.admin.deliveries import NotThere
from cdcd.admin.editing import Draft
from cdcd.admin.faces import Admin
from cdcd.admin.trying import Trial
from cdcd.errors import StoreUnavailable
from cdcd.server.auth import VIEWERS, Claims
from cdcd.server.console.pages import HTML, Pages, is_partial
from cdcd.server.console.prefilling import filled, rewritten
from cdcd.server.console.signin import fields
from cdcd.server.console.triggers import newest
from cdcd.server.console.words import LONGEST_SHOWN
from cdcd.server.problems import Problem, Reason
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Route
from cdcd.server.v1.asked import time_of
from cdcd.server.v1.triggers import editing_answers
from cdcd.server.v1.trying import NOTHING, tried

SAMPLE, LAST, DELIVERY, ROWS = "sample", "last", "delivery", "rows"
_MADE_UP = ("source", "subject", "key", "time")


@dataclass(slots=True, frozen=True)
class Tried:
    """What came of it: trials, or the `problem` for which there are none. `action` is where a trial's own form is sent to, with the
    fields of the form that `include` selects ("" for none)."""

    action: str
    include: str = ""
    on: str = SAMPLE
    trials: Sequence[Trial] = ()
    problem: Problem | None = None

    @property
    def words(self) -> str:
        """In a line."""
        count, firing = len(self.trials), sum(trial.judgement.fires for trial in self.trials)
        if count == 0:
            return "There is nothing to try it on"
        if self.trials[0].attempt is not None:
            return "It was sent"
        if count == 1:
            return ("It would fire, and fail" if self.trials[0].problem else "It would fire") if firing else "It would not fire"
        return f"It would fire for {firing} of {count} events"

    @property
    def nothing(self) -> str:
        """Why there are no trials, and what to do."""
        if self.on == ROWS:
            return "The table has no rows. Make an event up instead."
        return "The event log has no event of its types yet. Make one up instead."

    def fields(self, trial: Trial) -> list[tuple[str, str]]:
        """The hidden fields of the form that really sends what was tried; none for an event that is too large for a form."""
        if trial.delivery:
            return [("try-on", DELIVERY), ("try-delivery", trial.delivery), ("try-send", "1")]
        event = trial.event
        if len(event.data) > LONGEST_SHOWN:
            return []
        made = {"type": event.type, "data": event.data.decode(errors="replace"), "source": event.source}
        made |= {"subject": event.subject, "key": event.key, "time": time_of(event.time) or ""}
        return [("try-on", SAMPLE), *((f"try-{name}", value) for name, value in made.items()), ("try-send", "1")]


async def tried_by(
    admin: Admin, claims: Claims, wanted: str | Draft, form: Mapping[str, str], action: str, include: str = ""
) -> Tried:
    """What a form asks for, tried. Raises Problem 403 for what these claims may not; whatever else is wrong is in `problem`."""
    on = form.get("try-on", SAMPLE)
    try:
        return Tried(action, include, on, await tried(admin.trying, _asked(wanted, form, on), claims))
    except Problem as problem:
        if problem.status == 403:
            raise
        plain = [
            Reason(reason.detail) for reason in problem.reasons
        ]  # a place in a body of JSON says nothing to who filled in a form
        return Tried(action, include, on, problem=Problem(problem.status, problem.detail, plain))


def part(pages: Pages, call: Call, found: Tried) -> Reply:
    """What goes into `<section id="tried">`."""
    body = pages.part(call, "trials.html", tried=found)
    return Reply(200 if found.problem is None else 422, body, HTML)


def _asked(wanted: str | Draft, form: Mapping[str, str], on: str) -> dict[str, Any]:
    """As the API's body says it. Raises Problem 422."""
    asked: dict[str, Any]
    if isinstance(wanted, Draft):
        draft = {"name": wanted.name, "yaml": wanted.yaml, "definition": wanted.definition, "cloneOf": wanted.clone_of or None}
        asked = {"draft": {name: value for name, value in draft.items() if value is not None}}
    else:
        asked = {"trigger": wanted}
    if form.get("try-send"):
        asked["send"] = True
    if on == LAST:
        return {**asked, "last": _count(form.get("try-count", ""))}
    if on == DELIVERY:
        return {**asked, "delivery": form.get("try-delivery", "").strip()}
    if on == ROWS:
        rows = {"table": form.get("try-table", "").strip(), "count": _count(form.get("try-rows", ""))}
        kind = form.get("try-rows-type", "")
        return {**asked, "rows": {**rows, "type": kind} if kind else rows}
    event = {"type": form.get("try-type", ""), "data": _json(form.get("try-data", ""))}
    return {**asked, "event": event | {name: form[f"try-{name}"] for name in _MADE_UP if form.get(f"try-{name}")}}


def _count(text: str) -> int | str:
    text = text.strip() or "5"
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else text


def _json(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Problem(422, NOTHING, [Reason(f"the data is no JSON: {error.msg.partition(':')[0]} at {where}")]) from None


class TryPages:
    """The handlers."""

    def __init__(self, pages: Pages, admin: Admin) -> None:
        self._pages = pages
        self._admin = admin

    async def show(self, call: Call) -> Reply:
        """`GET /console/triggers/{name}/try`; `delivery` is one to try it on."""
        return await self._page(call, delivery=call.request.query.get("delivery", "")[:100])

    async def attempt(self, call: Call) -> Reply:
        """`POST /console/triggers/{name}/try`."""
        name = call.parameters["name"]
        form = fields(call.body)
        found = await tried_by(self._admin, call.claims, name, form, f"/console/triggers/{quote(name, safe='')}/try")
        if is_partial(call.request):
            return part(self._pages, call, found)
        return await self._page(call, found, form, delivery=form.get("try-delivery", ""))

    async def sample(self, call: Call) -> Reply:
        """`POST /console/try-sample`: the made-up event with another type; what is no JSON stays as it is."""
        form = fields(call.body)
        text = rewritten(form.get("try-type", ""), form.get("try-data", ""))
        return Reply(200, self._pages.part(call, "try-data.html", text=text), HTML)

    async def _page(
        self, call: Call, found: Tried | None = None, form: Mapping[str, str] | None = None, *, delivery: str = ""
    ) -> Reply:
        name = call.parameters["name"]
        with editing_answers("nothing was tried"):
            trigger = await self._admin.trying.trigger(name)
        when = "" if trigger.when is None else trigger.when.source
        fill = filled(trigger.config, trigger.columns_used, when, await self._last(name), delivery)
        if found is not None and form is not None:  # what was sent is there again
            type_, data = form.get("try-type", fill.type), form.get("try-data", fill.data)
            fill = replace(fill, on=found.on, type=type_, data=data, from_delivery="")
        status = 200 if found is None or found.problem is None else found.problem.status
        return self._pages.page(call, "try.html", status, trigger=trigger.config, filled=fill, tried=found)

    async def _last(self, name: str) -> tuple[str, str, bytes] | None:
        """Its last delivery; none while the event store is away."""
        with suppress(StoreUnavailable, NotThere):
            found = await newest(self._admin.deliveries, name, 1)
            for each in found.items:
                detail = await self._admin.deliveries.show(each.id)
                return None if detail.data is None else (each.id, each.type, detail.data)
        return None


def routes(pages: Pages, admin: Admin) -> tuple[Route, ...]:
    """Its routes."""
    found = TryPages(pages, admin)
    return (
        pages.seen("triggers/{name}/try", found.show, promptly=True),
        pages.done("triggers/{name}/try", found.attempt, VIEWERS),
        pages.done("try-sample", found.sample, VIEWERS),
    )
