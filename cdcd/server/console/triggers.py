"""Triggers: all of them with how they stand, and one with everything that is known of it and what can be done to it.

What needs the files, which take a while to read where they are large, comes as a part of its own (`definition`).
"""

from collections.abc import Mapping, Sequence

from cdcd.admin.deliveries import Deliveries, Filter, Page
from cdcd.admin.editing import Written
from cdcd.admin.faces import Admin
from cdcd.admin.triggers import IDLE, Listed, State
from cdcd.config.masking import shown_url
from cdcd.server.auth import ADMINS, OPERATORS
from cdcd.server.console.pages import HTML, Pages, is_partial, see
from cdcd.server.console.selecting import GRAVEST, selected, selection, types, wants
from cdcd.server.console.signin import fields
from cdcd.server.problems import Problem
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Route
from cdcd.server.v1.asked import answering, who
from cdcd.server.v1.triggers import editing_answers

LIST = "/console/triggers"
RECENT = 8  # deliveries on a trigger's page
LOOKS = 5  # for them, each as long as a page of the log looks
MOST_NEIGHBOURS = 5  # other triggers of its endpoint that are named
STATES: Mapping[State, tuple[str, str, str]] = {
    State.ACTIVE: ("ok", "check", "active"),
    State.CIRCUIT_OPEN: ("bad", "alert", "circuit open"),
    State.PAUSED: ("warn", "pause", "paused"),
    State.DISABLED: ("", "stop", "disabled"),
    State.GONE: ("warn", "cross", "gone"),
}
"""How a state looks: its hue, its shape, its words."""


class TriggerPages:
    """The handlers."""

    def __init__(self, pages: Pages, admin: Admin) -> None:
        self._pages = pages
        self._admin = admin

    async def list(self, call: Call) -> Reply:
        """`GET /console/triggers`."""
        wanted = selection(call.request.query.items())
        triggers = await self._admin.triggers.list()
        return self._pages.page(
            call,
            "triggers.html",
            wanted=wanted,
            found=selected(triggers, wanted),
            total=len(triggers),
            states=STATES,
            order=GRAVEST,
            types=types,
            wants=wants,
            shown_url=shown_url,
            include=bool(self._admin.config.include),
        )

    async def show(self, call: Call) -> Reply:
        """`GET /console/triggers/{name}`."""
        return await self._page(call)

    async def definition(self, call: Call) -> Reply:
        """`GET /console/triggers/{name}/definition`: the part; by itself, the page with it."""
        name = call.parameters["name"]
        written: Written | None = None
        try:
            with editing_answers("its definition cannot be shown"):
                written = await self._admin.editing.show(name)
        except Problem as problem:
            if not is_partial(call.request):
                return await self._page(call, problem=problem)
            if problem.status != 404:
                return Reply(422, self._pages.part(call, "refusal.html", problem=problem), HTML)
        if not is_partial(call.request):
            return await self._page(call, written=written)
        listed = await self._listed(name, written)
        body = self._pages.part(call, "trigger-definition.html", trigger=listed, written=written)
        return Reply(200, body, HTML)

    async def _page(self, call: Call, *, written: Written | None = None, problem: Problem | None = None) -> Reply:
        name = call.parameters["name"]
        admin = self._admin
        listed = await self._listed(name, written)
        snapshot = await admin.overview.now()
        endpoint = next((each for each in snapshot.endpoints if each.origin == listed.numbers.endpoint), None)
        neighbours: Sequence[str] = () if endpoint is None else [each for each in endpoint.triggers if each != name]
        paused = next((each for each in await admin.operations.paused() if each.trigger == name), None)
        with answering("its deliveries cannot be shown"):
            recent = await newest(admin.deliveries, name, RECENT)
        return self._pages.page(
            call,
            "trigger.html",
            200 if problem is None else problem.status,
            trigger=listed,
            states=STATES,
            wants=[] if listed.config is None else wants(listed.config),
            endpoint=endpoint,
            neighbours=neighbours[:MOST_NEIGHBOURS],
            more_neighbours=len(neighbours) - MOST_NEIGHBOURS,
            paused=paused,
            recent=recent,
            written=written,
            problem=problem,
        )

    async def _listed(self, name: str, written: Written | None = None) -> Listed:
        """Raises Problem 404. One that is written and not taken over yet stands nowhere."""
        listed = await self._admin.triggers.show(name)
        if listed is not None:
            return listed
        if written is None:
            with editing_answers("nothing was found"):
                await self._admin.editing.show(name)
        return Listed(name, State.DISABLED, None, IDLE, 0)

    # What is done to one

    async def pause(self, call: Call) -> Reply:
        """`POST /console/triggers/{name}/pause`."""
        name = call.parameters["name"]
        try:
            with answering("it was not paused"):
                await self._admin.operations.pause(name, who(call.claims))
        except Problem as problem:
            return await self._page(call, problem=problem)
        return see(_at(name), f"{name} is paused. What happens meanwhile is captured, and waits.")

    async def resume(self, call: Call) -> Reply:
        """`POST /console/triggers/{name}/resume`."""
        name = call.parameters["name"]
        try:
            with answering("it was not resumed"):
                await self._admin.operations.resume(name, who(call.claims))
        except Problem as problem:
            return await self._page(call, problem=problem)
        return see(_at(name), f"{name} goes on. What has waited goes first, in order.")

    async def enable(self, call: Call) -> Reply:
        """`POST /console/triggers/{name}/enable`."""
        return await self._switch(call, enabled=True)

    async def disable(self, call: Call) -> Reply:
        """`POST /console/triggers/{name}/disable`."""
        return await self._switch(call, enabled=False)

    async def _switch(self, call: Call, *, enabled: bool) -> Reply:
        name = call.parameters["name"]
        seen = fields(call.body).get("etag")
        try:
            with editing_answers(f"it was not {'enabled' if enabled else 'disabled'}"):
                await self._admin.editing.switch(name, who(call.claims), enabled=enabled, etag=seen)
        except Problem as problem:
            return await self._page(call, problem=problem)
        return see(_at(name), f"{name} is enabled." if enabled else f"{name} is disabled: it captures nothing any more.")

    async def delete(self, call: Call) -> Reply:
        """`POST /console/triggers/{name}/delete`."""
        name = call.parameters["name"]
        try:
            with editing_answers("it was not deleted"):
                await self._admin.editing.delete(name, who(call.claims), fields(call.body).get("etag"))
        except Problem as problem:
            return await self._page(call, problem=problem)
        left = await self._admin.triggers.show(name)
        return see(LIST if left is None else _at(name), f"{name} is deleted.")


def routes(pages: Pages, admin: Admin) -> tuple[Route, ...]:
    """Its routes."""
    found = TriggerPages(pages, admin)
    one = "triggers/{name}"
    return (
        pages.seen("triggers", found.list, promptly=True),
        pages.seen(one, found.show, promptly=True),
        pages.seen(f"{one}/definition", found.definition),
        pages.done(f"{one}/pause", found.pause, OPERATORS),
        pages.done(f"{one}/resume", found.resume, OPERATORS),
        pages.done(f"{one}/enable", found.enable, ADMINS),
        pages.done(f"{one}/disable", found.disable, ADMINS),
        pages.done(f"{one}/delete", found.delete, ADMINS),
    )


async def newest(deliveries: Deliveries, trigger: str, limit: int) -> Page:
    """The last deliveries of a trigger; where none were found in one look, a few more are taken. Raises StoreUnavailable."""
    wanted = Filter(trigger=(trigger,))
    page = await deliveries.list(wanted, limit=limit)
    for _ in range(LOOKS):
        if page.items or page.next is None:
            break
        page = await deliveries.list(wanted, page.next, limit)
    return page


def _at(name: str) -> str:
    return f"{LIST}/{name}"
