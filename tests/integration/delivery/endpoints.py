"""Real endpoints on loopback that misbehave exactly as told: a handler has the bare streams of each connection."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from cdcd.config.model import Format, Limits, Secret, TriggerConfig, Webhook
from cdcd.delivery.sender import Sender
from cdcd.delivery.signing import Signer
from cdcd.event import Delivery, Event
from cdcd.triggers.trigger import Trigger, compile_trigger

KEY = b"a key of thirty-two bytes or so."
SECRETS = (Secret(KEY, "k1"),)
DATA = b'{"db":"main","schema":"public","col":"users","find":{"id":1},"doc":{"id":1,"name":"\xc3\x84nne"}}'

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Endpoint:
    """What a test sees of one: its origin, how many connections were made, and the requests as they came."""

    def __init__(self) -> None:
        self.origin = ""
        self.connections = 0
        self.requests: list[bytes] = []
        self.sent = 0

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """Read one request (Content-Length) and keep it; IncompleteReadError when the client is gone."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        request = head + await reader.readexactly(length)
        self.requests.append(request)
        return request


@contextlib.asynccontextmanager
async def endpoint(
    handle: Callable[[Endpoint, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Endpoint]:
    """Serve every connection with `handle`; a client that goes away ends it quietly."""
    here = Endpoint()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handle(here, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    here.origin = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield here
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def trigger(origin: str, webhook: Webhook | None = None, name: str = "welcome", format: Format = Format.JSON) -> Trigger:
    """A trigger that sends to `origin`/hook, or as `webhook` says (its URL and endpoint are filled in)."""
    hook = replace(webhook or Webhook("", ""), url=f"{origin}/hook", endpoint=origin)
    return compile_trigger(TriggerConfig(name, frozenset({"DB_INSERT"}), "main", ("public.users",), hook, format=format))


def delivery(number: int = 1, trigger: str = "welcome", data: bytes = DATA) -> Delivery:
    """The `number`th delivery of a test."""
    event = Event("DB_INSERT", "cdcd/shop/main", f"public.users/{number}", str(number), 1_700_000_000_123_456, data)
    return Delivery(f"018bcfe5-6800-8000-8000-{number:012d}", trigger, event, None)


@contextlib.asynccontextmanager
async def sender(
    *triggers: Trigger, limits: Limits | None = None, secrets: tuple[Secret, ...] = SECRETS
) -> AsyncIterator[Sender]:
    """A running sender."""
    part = Sender(limits or Limits(), Signer(secrets, "shop", "cdcd-test"), triggers)
    await part.start()
    try:
        yield part
    finally:
        await part.stop()
