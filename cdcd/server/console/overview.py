"""The overview: is all well, and if not, what, where, since when and what to do; below it what moves, endpoint by endpoint.

The rules:
- what is wrong comes first, here and within each table; every trouble has a way to the page that helps;
- it shows a bounded number of everything, and says how many more there are.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from cdcd.admin.deliveries import Filter
from cdcd.admin.faces import Admin
from cdcd.admin.snapshot import DatabaseState, EndpointState, Snapshot, TriggerState, Trouble
from cdcd.config.types import OWN
from cdcd.delivery.meter import ANSWERS
from cdcd.errors import CdcdError
from cdcd.server.console.pages import Pages
from cdcd.server.console.samples import MOMENT
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Route

TROUBLES, ENDPOINTS, TRIGGERS = 10, 12, 8  # that are shown
ALL_ENDPOINTS = 500
LONGEST = 400  # characters of what is told of one trouble
PATIENCE = 0.5  # seconds that the page waits for the event store
SEEN = 5.0  # seconds: what is seen since less long ago has no beginning worth telling
ROLLING = frozenset({"trigger.failing"})  # what is told of the last minutes, and did not begin there
GRAVE = frozenset({"store.unavailable", "source.stopped", "source.unavailable", "slot.lost", "slot.missing", "slot.unreserved"})
"""Codes of what stands in the way of everything, or may lose something."""


class Link(NamedTuple):
    """A way to a page that helps."""

    href: str
    words: str


@dataclass(slots=True, frozen=True)
class Told:
    """A trouble as the page shows it. `since` is None where it has no beginning that is known."""

    trouble: Trouble
    what: str
    since: float | None
    links: Sequence[Link]


class Overview:
    """The handlers."""

    def __init__(self, pages: Pages, admin: Admin) -> None:
        self._pages = pages
        self._admin = admin
        self._begun = False

    async def show(self, call: Call) -> Reply:
        """`GET /console/`."""
        snapshot = await self._admin.overview.now(MOMENT)
        await self._look_for_one()
        return self._pages.page(call, "overview.html", **self._names(snapshot))

    async def endpoints(self, call: Call) -> Reply:
        """`GET /console/endpoints`: all of them."""
        found = by_need(await self._admin.overview.now(MOMENT))
        return self._pages.page(call, "endpoints.html", endpoints=found[:ALL_ENDPOINTS], every=len(found), answers=answers)

    def part(self, snapshot: Snapshot) -> bytes:
        """What of it changes."""
        return self._pages.part(None, "overview-live.html", **self._names(snapshot))

    def _names(self, snapshot: Snapshot) -> dict[str, Any]:
        endpoints = by_need(snapshot)
        triggers = busiest(snapshot)
        replicated = [each for each in snapshot.databases if each.capture == "replication"]
        return {
            "snapshot": snapshot,
            "verdict": verdict(snapshot),
            "troubles": [told(each, snapshot) for each in sorted(snapshot.troubles, key=_gravity)[:TROUBLES]],
            "endpoints": endpoints[:ENDPOINTS],
            "every_endpoint": len(endpoints),
            "answers": answers,
            "triggers": triggers[:TRIGGERS],
            "every_trigger": len(triggers),
            "state": state_of,
            "oldest": min((each.oldest for each in snapshot.triggers if each.oldest is not None), default=None),
            "tightest": min(replicated, key=_room, default=None),
            "replicated": replicated[:4],
            "databases": self._admin.config.databases,
            "begun": self._has_begun(snapshot),
            "first": next((each for each in self._admin.config.triggers.values() if each.enabled), None),
        }

    def _has_begun(self, snapshot: Snapshot) -> bool:
        """Whether anything was ever delivered, or failed, or waits."""
        self._begun = self._begun or any(each.delivered or each.failed or each.backlog for each in _users(snapshot))
        return self._begun

    async def _look_for_one(self) -> None:
        """Before this start there may have been deliveries: the event log knows, where it can be asked."""
        if self._begun:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                last = await self._admin.deliveries.list(Filter(), limit=50)
                self._begun = any(not each.trigger.startswith(OWN) for each in last.items)
        except (CdcdError, TimeoutError):
            self._begun = True  # nobody who has trouble needs an introduction


def routes(pages: Pages, overview: Overview) -> tuple[Route, ...]:
    """Its routes."""
    return (pages.seen("", overview.show), pages.seen("endpoints", overview.endpoints))


def verdict(snapshot: Snapshot) -> tuple[str, str]:
    """How grave it is, as a class of the stylesheet, and in words."""
    number = len(snapshot.troubles)
    if not number:
        return ("ok", "All is well") if snapshot.ready else ("warn", "cdcd is starting, or stopping")
    words = "One thing is not well" if number == 1 else f"{number} things are not well"
    if not snapshot.alive:
        return "bad", f"{words}: deliveries stand still"
    if any(trouble.not_ready for trouble in snapshot.troubles):
        return "bad", f"{words}: no events are taken"
    return ("bad" if any(trouble.code in GRAVE for trouble in snapshot.troubles) else "warn"), words


def _gravity(trouble: Trouble) -> tuple[bool, ...]:
    return not trouble.stands_still, not trouble.not_ready, trouble.code not in GRAVE


def told(trouble: Trouble, snapshot: Snapshot) -> Told:
    """As the page shows it."""
    what = trouble.what if len(trouble.what) <= LONGEST else f"{trouble.what[:LONGEST]}…"
    known = trouble.code not in ROLLING and snapshot.at - trouble.since > SEEN
    return Told(trouble, what, trouble.since if known else None, links(trouble, snapshot))


def links(trouble: Trouble, snapshot: Snapshot) -> Sequence[Link]:
    """The pages that help with it."""
    kind, _, name = trouble.where.partition(" ")
    match kind:
        case "trigger":
            which = ("failed", "Its failed deliveries") if trouble.code == "trigger.failing" else ("staged", "What waits")
            return Link(_log(which[0], name), which[1]), Link(f"/console/triggers/{quote(name, safe='')}", "The trigger")
        case "endpoint":
            of = next((each.triggers for each in snapshot.endpoints if each.origin == name), ())
            waits = Link(_log("staged", *of[:20]), "What waits for it")
            return waits, *(Link(f"/console/triggers/{quote(each, safe='')}", f"Trigger {each}") for each in of[:3])
        case "database" | "storage":
            return (Link(f"/console/databases#{kind}-{quote(name, safe='')}", f"The {kind}"),)
        case "store" | "queue" | "canary":
            words = {"store": "The event store", "queue": "The queue", "canary": "The canary"}
            return (Link(f"/console/databases#{kind}", words[kind]),)
        case _:
            return ()


def _log(status: str, *triggers: str) -> str:
    return "/console/events?" + "&".join((f"status={status}", *(f"trigger={quote(each, safe='')}" for each in triggers)))


def by_need(snapshot: Snapshot) -> list[EndpointState]:
    """The endpoints of users' triggers: those that fail first, then those on which most waits."""
    own = [each for each in snapshot.endpoints if not all(name.startswith(OWN) for name in each.triggers)]
    return sorted(own, key=lambda each: (each.circuit == "closed", -each.backlog, -each.in_flight, each.origin))


def busiest(snapshot: Snapshot) -> list[TriggerState]:
    """The users' triggers: those in trouble first, then those that deliver most."""
    down = {each.origin for each in snapshot.endpoints if each.circuit != "closed"}

    def need(each: TriggerState) -> tuple[Any, ...]:
        well = not (each.failed_lately or (each.endpoint in down and each.backlog) or each.paused)
        return well, -each.rates.delivered, -each.backlog, -each.delivered, each.name

    return sorted(_users(snapshot), key=need)


def _users(snapshot: Snapshot) -> Iterator[TriggerState]:
    return (each for each in snapshot.triggers if not each.name.startswith(OWN))


def state_of(trigger: TriggerState, snapshot: Snapshot) -> tuple[str, str, str]:
    """Class, icon and word of how a trigger stands, as on the triggers' own page but for what fails."""
    if trigger.paused:
        return "warn", "pause", "paused"
    if any(each.origin == trigger.endpoint and each.circuit != "closed" for each in snapshot.endpoints):
        return "bad", "alert", "circuit open"
    return ("bad", "cross", "failing") if trigger.failed_lately else ("ok", "check", "active")


def answers(endpoint: EndpointState) -> list[tuple[str, int, str]]:
    """What it answered, most telling first: kind, how often, the class of the stylesheet. Kinds that never came are left out."""
    looks = {"2xx": "", "1xx": "", "3xx": "error", "4xx": "error", "5xx": "error", "none": "error", "refused": "error"}
    words = {"none": "no answer", "refused": "not sent"}
    order = ("2xx", "3xx", "4xx", "5xx", "none", "refused", "1xx", "other")
    assert {*order} == {*ANSWERS}
    return [(words.get(kind, kind), count, looks.get(kind, "")) for kind in order if (count := endpoint.answers.get(kind, 0))]


def _room(database: DatabaseState) -> tuple[float, float]:
    """Less where the budget is used up sooner, or more is held."""
    share = database.held / database.budget if database.held and database.budget else 0.0
    return (database.left if database.left is not None else float("inf")), -max(share, (database.held or 0) / 2**60)
