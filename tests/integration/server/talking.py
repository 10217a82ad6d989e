"""A client of the API for tests: a daemon with `server`, tokens, requests.

async with api(setting, triggers, events={"ORDER_PAID": {}}) as client:
    answer = await client.post("/v1/events", {"type": "ORDER_PAID"})
    assert (answer.status, answer.json) == (202, {"ids": [...]})
"""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt

from cdcd.config.secrets import secret_key
from tests.acceptance.setting import SECRET, Setting
from tests.daemon import Daemon

NOBODY: Any = object()


@dataclass(slots=True)
class Got:
    """What was answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def token(*, secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token of the project; `exp` in an hour unless given."""
    claims.setdefault("exp", time.time() + 3600)
    return jwt.encode(claims, secret_key(secret).value, algorithm)


class Client:
    """Requests to one daemon. `role` of the token is "app" unless told otherwise."""

    def __init__(self, daemon: Daemon, port: int, session: aiohttp.ClientSession, project: str) -> None:
        self.daemon = daemon
        self.port = port
        self.session = session
        self.project = project

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(
        self, method: str, path: str, body: Any = None, *, role: Any = "app", bearer: Any = None, **headers: str
    ) -> Got:
        """`body`: bytes as they are, anything else as JSON. `role` or `bearer` NOBODY: no token."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if role is not NOBODY and bearer is not NOBODY:
            made = token(role=role, aud=f"cdcd/{self.project}") if bearer is None else bearer
            sent["Authorization"] = f"Bearer {made}"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        async with self.session.request(method, self.url + path, data=data, headers=sent) as answer:
            return Got(answer.status, answer.headers.copy(), await answer.read())

    async def post(self, path: str, body: Any, **more: Any) -> Got:
        return await self.ask("POST", path, body, **more)


@contextlib.asynccontextmanager
async def connected(daemon: Daemon, project: str) -> AsyncIterator[Client]:
    """A client of a daemon that runs."""
    line = await daemon.wait_log("server.listening")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Client(daemon, line["port"], session, project)


@contextlib.asynccontextmanager
async def api(setting: Setting, triggers: Mapping[str, Any], **more: Any) -> AsyncIterator[Client]:
    """A daemon with the API on a free port; `more` are whole sections of the configuration."""
    more.setdefault("server", {"listen": "127.0.0.1:0"})
    async with setting.daemon(triggers, **more) as daemon, connected(daemon, setting.project) as client:
        yield client


def trigger(setting: Setting, kind: str | list[str], path: str = "/hook", **more: Any) -> dict[str, Any]:
    """A trigger of a custom type."""
    found = setting.trigger(path, table="x", type="DB_INSERT", **more)
    del found["table"]
    return {**found, "type": kind}
