"""Databases and storage: how far each source is read, what it keeps, where deliveries are kept; what `cdcd status` and `cdcd check` say.

The rule: the page itself is made of what memory knows; what the servers must be asked for comes afterwards, so that one that hangs holds
nothing up but its own part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cdcd.admin.faces import Admin
from cdcd.admin.snapshot import DatabaseState, Snapshot, Trouble
from cdcd.config.model import Capture
from cdcd.replication.lsn import format_lsn
from cdcd.server.console.fixes import pieces
from cdcd.server.console.overview import GRAVE
from cdcd.server.console.pages import Pages
from cdcd.server.console.samples import MOMENT
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Route
from cdcd.sources.tables import insert_only_name
from cdcd.upkeep.finding import Finding, Level, Section, count

TABLES, DATABASES, STORES = 200, 50, 100  # that are shown
NEAR = 0.8  # share of its budget from which on what a slot holds is shown as too much
LOOKS = {
    Level.MISTAKE: ("bad", "cross", "mistake"),
    Level.WARNING: ("warn", "alert", "warning"),
    Level.UNKNOWN: ("warn", "wait", "not known"),
    Level.OK: ("ok", "check", "well"),
}


@dataclass(slots=True, frozen=True)
class Position:
    """How far, in words; `said` is what that means."""

    name: str
    value: str
    said: str


class Sources:
    """The handlers."""

    def __init__(self, pages: Pages, admin: Admin) -> None:
        self._pages = pages
        self._admin = admin

    async def show(self, call: Call) -> Reply:
        """`GET /console/databases`."""
        return self._pages.page(call, "sources.html", **self._names(await self._admin.overview.now(MOMENT)))

    def part(self, snapshot: Snapshot) -> bytes:
        """What of it changes."""
        return self._pages.part(None, "sources-live.html", **self._names(snapshot))

    async def looked(self, call: Call) -> Reply:
        """`GET /console/databases/looked`: what the databases themselves say."""
        looked = await self._admin.looking.status()
        return self._pages.page(
            call, "sources-looked.html", at=looked.at, databases=looked.found.databases[:DATABASES], most=TABLES, pieces=pieces
        )

    async def check(self, call: Call) -> Reply:
        """`GET /console/databases/check`: what `cdcd check` says."""
        looked = await self._admin.looking.check()
        found = looked.found
        return self._pages.page(
            call,
            "sources-check.html",
            at=looked.at,
            sections=[(each.title, wrong(each), [one for one in each.findings if one.level is Level.OK]) for each in found],
            counts=[(LOOKS[level], count(found, level)) for level in (Level.MISTAKE, Level.WARNING, Level.UNKNOWN)],
            looks=LOOKS,
            pieces=pieces,
        )

    def _names(self, snapshot: Snapshot) -> dict[str, Any]:
        config = self._admin.config
        read = {each.name for each in snapshot.databases}
        return {
            "snapshot": snapshot,
            "databases": snapshot.databases[:DATABASES],
            "configured": config.databases,
            "unread": [name for name in config.databases if name not in read],
            "eventing": config.eventing,
            "stores": snapshot.files[:STORES],
            "every_store": len(snapshot.files),
            "stores_unread": [name for name in config.storage if name not in {each.name for each in snapshot.files}],
            "positions": positions,
            "inserts": insert_only_name,
            "share": share_of,
            "near": NEAR,
            "grave": GRAVE,
            "trouble_of": lambda where: trouble_of(snapshot, where),
            "pieces": pieces,
            "by_log": Capture.TRIGGERS.value,
        }


def routes(pages: Pages, sources: Sources) -> tuple[Route, ...]:
    """Its routes."""
    return (
        pages.seen("databases", sources.show),
        pages.seen("databases/looked", sources.looked),
        pages.seen("databases/check", sources.check),
    )


def positions(state: DatabaseState) -> Sequence[Position]:
    """How far a database is read: LSNs, or numbers of changes."""

    def shown(value: int) -> str:
        if not value:
            return "–"
        return f"{value:,}".replace(",", "\u202f") if state.capture == Capture.TRIGGERS.value else format_lsn(value)

    return (
        Position("Received", shown(state.received), "read up to here"),
        Position("Settled", shown(state.settled), "up to here everything is delivered, or kept in the event store"),
        Position("Recorded", shown(state.recorded), "the event store knows it: after a crash reading goes on from here"),
    )


def share_of(state: DatabaseState) -> float | None:
    """How much of its budget of WAL a slot holds; None where that has no bound, or is not known."""
    return min(1.0, state.held / state.budget) if state.held is not None and state.budget else None


def trouble_of(snapshot: Snapshot, where: str) -> Trouble | None:
    """What is the matter with a part, the first thing that is told of it."""
    return next((each for each in snapshot.troubles if each.where == where), None)


def wrong(section: Section) -> list[Finding]:
    """What is not well in it, the gravest first."""
    order = [Level.MISTAKE, Level.UNKNOWN, Level.WARNING]
    return sorted((one for one in section.findings if one.level in order), key=lambda one: order.index(one.level))
