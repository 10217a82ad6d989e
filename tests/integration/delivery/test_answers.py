"""Which answers are looked at for events, as they come over the wire."""

import asyncio

import pytest

from cdcd.config.model import Limits, Webhook
from cdcd.event import Answer
from tests.integration.delivery.endpoints import Endpoint, delivery, endpoint, sender, trigger

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
JSON = "Content-Type: application/json\r\n"
EVENT = b'{"event":{"type":"A"}}'
LIMITS = Limits(response=200)


async def answer(head: str, body: bytes, *, promised: int | None = None, echo: bool = False) -> Answer | None:
    """What is kept of an answer with these headers and this body; of `promised` bytes, when it breaks off. `echo` puts the token in."""

    async def serve(here: Endpoint, reader: Reader, writer: Writer) -> None:
        request = await here.request(reader)
        token = request.partition(b"X-SC-Token: Bearer ")[2].partition(b"\r\n")[0]
        content = body.replace(b"TOKEN", token) if echo else body
        length = len(content) if promised is None else promised
        writer.write(f"HTTP/1.1 200 OK\r\n{head}Content-Length: {length}\r\n\r\n".encode() + content)
        await writer.drain()
        writer.close()

    webhook = Webhook("", "", headers=(("X-Debug", "true"), ("Authorization", "Bearer search-token")))
    limits = Limits(response=5000) if echo else LIMITS
    async with endpoint(serve) as here, sender(hook := trigger(here.origin, webhook), limits=limits) as part:
        attempt = await part.send(delivery(), hook)
        assert (attempt.status, attempt.error) == (200, "")
        return attempt.answer


async def test_an_answer_without_events_is_not_kept() -> None:
    assert await answer(JSON, b'{"ok": true}') is None
    assert await answer("", b"") is None


async def test_an_answer_with_events_is_kept_as_it_came() -> None:
    kept = await answer(JSON, EVENT)
    assert kept is not None
    assert (kept.headers, kept.body, kept.cut, kept.secret) == ({"content-type": "application/json"}, EVENT, False, False)


async def test_binary_mode_without_a_body_is_kept() -> None:
    kept = await answer("ce-specversion: 1.0\r\nce-type: A\r\nServer: x\r\n", b"")
    assert kept is not None
    assert (dict(kept.headers), kept.body) == ({"ce-specversion": "1.0", "ce-type": "A"}, b"")


@pytest.mark.parametrize("promised", [None, 1000])
async def test_what_is_longer_or_breaks_off_is_marked(promised: int | None) -> None:
    kept = await answer(JSON, EVENT if promised else EVENT + b" " * 200, promised=promised)
    assert kept is not None
    assert kept.cut
    assert len(kept.body) <= LIMITS.response


@pytest.mark.parametrize(("said", "secret"), [("TOKEN", True), ("search-token", True), ("true", False)])
async def test_what_repeats_a_secret_is_marked(said: str, secret: bool) -> None:
    """A header's value that is there by chance is none."""
    kept = await answer(JSON, b'{"event":{"type":"A","payload":"%s"}}' % said.encode(), echo=True)
    assert kept is not None
    assert kept.secret is secret
