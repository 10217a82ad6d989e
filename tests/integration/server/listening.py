"""The server with routes of a test's own, on a free port, without a daemon around it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

from cdcd.clock import SystemClock
from cdcd.config.model import Server as Address
from cdcd.server.auth import Tokens
from cdcd.server.routes import Group, Table
from cdcd.server.serving import Handling, Server
from cdcd.server.sessions import Sessions
from tests.unit.server.every import KEY, NOTHING

ADDRESS = Address("127.0.0.1", 0)


class Closing:
    """What the server closes at its end."""

    async def close(self) -> None: ...
    async def drained(self, _: float) -> None: ...
    def stop(self) -> None: ...


def sessions(address: Address = ADDRESS, tokens: Tokens | None = None) -> Sessions:
    """As the server that `serving` makes has them."""
    tokens = tokens or Tokens((KEY,), "shop", SystemClock())
    return Sessions((KEY,), "shop", tokens, tls=address.tls is not None, public_url=address.public_url)


@asynccontextmanager
async def serving(
    groups: Sequence[Group], address: Address = ADDRESS, tokens: Tokens | None = None, then: Tokens | None = None
) -> AsyncIterator[Server]:
    """The real server of the project `shop` with the key `KEY`; its `address` has the port. `then`: what a reload brings."""
    tokens, closing = tokens or Tokens((KEY,), "shop", SystemClock()), cast(Any, Closing())

    def handling(tokens: Tokens) -> Handling:
        return Handling(replace(address), Table.of(groups), tokens, sessions(address, tokens), NOTHING, 1024 * 1024)

    server = Server(handling(tokens), closing, closing, closing, remake=lambda _: handling(then or tokens))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
