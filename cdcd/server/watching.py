"""What machines watch cdcd by: `/metrics`, and `/livez`, `/readyz`, `/healthz`, which say no when the pipeline stands still and not only
when the process is dead.

=========== ====================================================== ==================================================
path        200 when                                               503 means
=========== ====================================================== ==================================================
`/livez`    the pipeline moves, as far as that is up to cdcd       restart it (nothing is lost by that)
`/readyz`   all parts run, the store takes events, it moves        send no events to it now
`/healthz`  nothing at all is the matter                           somebody should look; the body says at what
=========== ====================================================== ==================================================

The rules:
- the first two are judged from memory alone: no server is asked, so they answer at once whatever is down;
- everybody may ask whether; why, and the metrics, are for those whom `server.metrics` lets: by default this machine without a token. A
  request that came through a proxy, or by another name than this machine's own, is not this machine's.
"""

import asyncio
import ipaddress
from typing import Any
from urllib.parse import urlsplit

import orjson

from cdcd.admin.overview import Overview
from cdcd.admin.snapshot import Trouble
from cdcd.config.model import Metrics
from cdcd.config.model import Server as Address
from cdcd.server.auth import VIEWERS, Tokens, require
from cdcd.server.metrics import TYPE, exposition
from cdcd.server.openapi import answer, list_, object_, operation
from cdcd.server.problems import Problem
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Group, Route

FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
_TIME: dict[str, Any] = {"type": "number", "description": "Seconds since the Unix epoch."}
_TROUBLES = list_(
    object_(
        ["code", "what", "where", "fix", "since"],
        {
            "code": {"type": "string", "examples": ["endpoint.down"]},
            "what": {"type": "string"},
            "where": {"type": "string", "examples": ["database main"]},
            "fix": {"type": "string"},
            "since": _TIME,
        },
    ),
    description="What is not well; left out for those who may not know.",
)
_STATUS = object_(["status"], {"status": {"enum": ["ok", "trouble"]}, "troubles": _TROUBLES})


class Watching:
    """The handlers."""

    def __init__(self, overview: Overview, tokens: Tokens, address: Address) -> None:
        self._overview = overview
        self._tokens = tokens
        self._address = address
        self._exposing = asyncio.Lock()

    async def metrics(self, call: Call) -> Reply:
        """`GET /metrics`."""
        self._require(call)
        snapshot = await self._overview.now()
        async with self._exposing:  # several who ask at once make no more threads than one
            text = await asyncio.to_thread(exposition, snapshot)
        return Reply(200, text, TYPE, {"Cache-Control": "no-store"})

    async def live(self, call: Call) -> Reply:
        """`GET /livez`."""
        return self._told(call, [trouble for trouble in self._overview.motion() if trouble.stands_still])

    async def ready(self, call: Call) -> Reply:
        """`GET /readyz`."""
        troubles = [trouble for trouble in self._overview.motion() if trouble.not_ready]
        return self._told(call, troubles, well=self._overview.takes_events and not troubles)

    async def healthy(self, call: Call) -> Reply:
        """`GET /healthz`."""
        snapshot = await self._overview.now()
        return self._told(call, list(snapshot.troubles), well=snapshot.ready and snapshot.well)

    def _told(self, call: Call, troubles: list[Trouble], *, well: bool | None = None) -> Reply:
        well = not troubles if well is None else well
        body: dict[str, Any] = {"status": "ok" if well else "trouble"}
        if troubles and self._may(call):
            body["troubles"] = [
                {"code": each.code, "what": each.what, "where": each.where, "fix": each.fix, "since": each.since}
                for each in troubles
            ]
        return Reply(200 if well else 503, orjson.dumps(body), headers={"Cache-Control": "no-store"})

    def _require(self, call: Call) -> None:
        if not self._needs_no_token(call):
            require(self._tokens.claims(call.request.headers.get("Authorization"), call.request.remote or ""), VIEWERS)

    def _may(self, call: Call) -> bool:
        try:
            self._require(call)
        except Problem:
            return False
        return True

    def _needs_no_token(self, call: Call) -> bool:
        wanted = self._address.metrics
        return wanted is Metrics.OPEN or (wanted is Metrics.LOCAL and self._is_local(call))

    def _is_local(self, call: Call) -> bool:
        """Whether somebody on this machine asks for himself: a proxy on it tells for whom it asks, or is what `public_url` names. A page
        in a browser here that had another name resolved to loopback says that name as the host (DNS rebinding)."""
        headers = call.request.headers
        if self._address.public_url or any(name in headers for name in FORWARDED):
            return False
        try:
            host = urlsplit(f"//{headers.get('Host', '')}").hostname or ""
        except ValueError:
            return False
        return _is_loopback(call.request.remote or "") and (host == "localhost" or _is_loopback(host))


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def routes(overview: Overview, tokens: Tokens, address: Address) -> Group:
    """Its routes."""
    watching = Watching(overview, tokens, address)
    asked = {200: answer("Yes.", _STATUS), 503: answer("No.", _STATUS)}
    text = {200: answer("In Prometheus's text format.", {"type": "string"}, "text/plain")}
    return Group(
        (
            Route("GET", "/livez", watching.live, operation=operation("live", "Whether the pipeline moves.", asked), open=True),
            Route(
                "GET", "/readyz", watching.ready, operation=operation("ready", "Whether events are taken.", asked), open=True
            ),
            Route(
                "GET", "/healthz", watching.healthy, operation=operation("healthy", "Whether all is well.", asked), open=True
            ),
            Route(
                "GET",
                "/metrics",
                watching.metrics,
                operation=operation("metrics", "The metrics.", text, errors=(401, 403, 429)),
                open=True,
            ),
        )
    )
