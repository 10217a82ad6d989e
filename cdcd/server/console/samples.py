"""The stream of samples: what charts draw and the parts of a page that change, every two seconds and the same for all who look.

The rule: however many pages are open, there is one snapshot a turn (`cdcd.admin.live`), its sample is encoded once and each part is made
once. So a part holds nothing that depends on who looks.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import orjson

from cdcd.admin.faces import Admin
from cdcd.admin.live import Sample, Turn, following
from cdcd.admin.snapshot import Snapshot
from cdcd.server.console.pages import Pages
from cdcd.server.problems import Problem
from cdcd.server.replies import Reply, Stream, event
from cdcd.server.routes import Call, Route

MOST = 50  # streams of samples at a time
MOMENT = 0.2  # seconds that a page waits for the servers: what comes later comes with the samples

Part = Callable[[Snapshot], bytes]
"""Makes the part of a page that changes."""


class Samples:
    """The handler. `parts` are by the name that `?part=` asks for; the first of them unless it asks."""

    def __init__(self, admin: Admin, parts: Mapping[str, Part]) -> None:
        self._admin = admin
        self._parts = parts
        self._open = 0
        self._made: dict[str, tuple[Snapshot, bytes]] = {}

    async def stream(self, call: Call) -> Reply | Stream:
        """`GET /console/samples`: server-sent events `history`, then `sample` and `part` every two seconds."""
        name = call.request.query.get("part") or next(iter(self._parts))
        if name not in self._parts:
            raise Problem(422, f"there are the parts {', '.join(self._parts)}")
        if self._open >= MOST:
            raise Problem(503, f"{MOST} pages with charts are open already", headers={"Retry-After": "10"})
        return Stream(self._following(name))

    async def _following(self, name: str) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            async with following(self._admin.overview.live) as turns:
                kind, last = "history", b""
                async for turn in turns:
                    part = self._part(name, turn)
                    told = b"" if part == last else event(part, "part")
                    yield event(encoded(turn, kind), kind) + told
                    kind, last = "sample", part
        finally:
            self._open -= 1

    def _part(self, name: str, turn: Turn) -> bytes:
        made = self._made.get(name)
        if made is None or made[0] is not turn.snapshot:
            made = self._made[name] = turn.snapshot, self._parts[name](turn.snapshot)
        return made[1]


def routes(pages: Pages, admin: Admin, parts: Mapping[str, Part]) -> tuple[Route, ...]:
    """Its route."""
    return (pages.seen("samples", Samples(admin, parts).stream),)


def encoded(turn: Turn, kind: str) -> bytes:
    """The samples of a turn as the page's script reads them."""
    shown = [_shown(sample) for sample in turn.samples]
    return orjson.dumps(shown if kind == "history" else shown[-1])


def _shown(sample: Sample) -> dict[str, Any]:
    return {
        "t": round(sample.at, 3),
        "delivered": round(sample.delivered, 3),
        "failed": round(sample.failed, 3),
        "retried": round(sample.retried, 3),
        "p50": sample.p50,
        "p99": sample.p99,
        "backlog": sample.backlog,
        "in_flight": sample.in_flight,
        "commit": sample.commit,
        "held": dict(sample.held),
    }
