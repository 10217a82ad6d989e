"""Whatever an endpoint does, an attempt ends within its time, with words that say what happened, and never raises."""

import asyncio
import socket
import struct

import pytest

from cdcd.config.model import Egress, Limits, Webhook
from cdcd.delivery.redaction import REDACTED
from tests.integration.delivery.endpoints import DATA, Endpoint, delivery, endpoint, sender, trigger

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
QUICK = Webhook("", "", timeout=0.3)


async def answering(here: Endpoint, reader: Reader, writer: Writer) -> None:
    while True:
        await here.request(reader)
        writer.write(OK)


def reset(writer: Writer) -> None:
    """Close with a TCP RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_a_delivery_is_answered_and_the_connection_kept() -> None:
    async with endpoint(answering) as here, sender(hook := trigger(here.origin)) as part:
        for number in (1, 2, 3):
            attempt = await part.send(delivery(number), hook)
            assert (attempt.status, attempt.response, attempt.error, attempt.number) == (200, "ok", "", 1)
            assert 0.0 < attempt.duration < 5.0
        assert here.connections == 1
        assert here.requests[0].startswith(b"POST /hook HTTP/1.1\r\n")
        assert here.requests[0].endswith(b',"data":' + DATA + b"}")


async def test_headers_of_the_user_and_ours() -> None:
    webhook = Webhook("", "", headers=(("Authorization", "Bearer search-token"), ("X-Env", "prod")))
    async with endpoint(answering) as here, sender(hook := trigger(here.origin, webhook)) as part:
        await part.send(delivery(), hook)
        head = here.requests[0].partition(b"\r\n\r\n")[0].decode()
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
        assert headers["Authorization"] == "Bearer search-token"
        assert headers["X-Env"] == "prod"
        assert headers["Content-Type"] == "application/json"
        assert headers["User-Agent"].startswith("cdcd/")
        assert headers["X-SC-Token"].startswith("Bearer ey")
        assert headers["webhook-id"] == delivery().id
        assert "Cookie" not in headers


async def test_the_number_of_the_attempt_goes_on() -> None:
    async with endpoint(answering) as here, sender(hook := trigger(here.origin)) as part:
        again = delivery()
        again.attempts = 4
        assert (await part.send(again, hook)).number == 5


async def test_hangs_after_accepting() -> None:
    async def hang(here: Endpoint, reader: Reader, writer: Writer) -> None:
        await reader.read()

    async with endpoint(hang) as here, sender(hook := trigger(here.origin, QUICK)) as part:
        attempt = await part.send(delivery(), hook)
        assert (attempt.status, attempt.error) == (0, "no answer within 0.3 s")
        assert attempt.duration == pytest.approx(0.3, abs=0.25)


async def test_accepts_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        fillers = []
        for _ in range(4):  # until the queue of the listening socket is full, SYNs go unanswered
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        async with sender(hook := trigger(f"http://127.0.0.1:{port}", QUICK)) as part:
            attempt = await part.send(delivery(), hook)
        for filler in fillers:
            filler.close()
        assert (attempt.status, attempt.error) == (0, "no connection within 0.27 s")


async def test_200_then_reset_is_a_200() -> None:
    async def handle(here: Endpoint, reader: Reader, writer: Writer) -> None:
        await here.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it")
        await writer.drain()
        await asyncio.sleep(0.05)  # the head must be on its way before the reset overtakes it
        reset(writer)

    async with endpoint(handle) as here, sender(hook := trigger(here.origin)) as part:
        attempt = await part.send(delivery(), hook)
        assert (attempt.status, attempt.error) == (200, "")
        assert "half of it".startswith(attempt.response)
        assert len(here.requests) == 1


async def test_200_with_a_body_that_never_ends_is_a_200_within_its_time() -> None:
    async def handle(here: Endpoint, reader: Reader, writer: Writer) -> None:
        await here.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nslow")
        await reader.read()

    async with endpoint(handle) as here, sender(hook := trigger(here.origin, QUICK)) as part:
        attempt = await part.send(delivery(), hook)
        assert (attempt.status, attempt.response, attempt.error) == (200, "slow", "")
        assert attempt.duration < 2.0


async def test_slower_each_time_until_the_timeout() -> None:
    async def handle(here: Endpoint, reader: Reader, writer: Writer) -> None:
        while True:
            await here.request(reader)
            await asyncio.sleep(0.1 * (len(here.requests) - 1))
            writer.write(OK)

    async with endpoint(handle) as here, sender(hook := trigger(here.origin, QUICK)) as part:
        attempts = [await part.send(delivery(number), hook) for number in range(6)]
        assert [(attempt.status, attempt.cut) for attempt in attempts[:2]] == [(200, False), (200, False)]
        assert attempts[-1].error == "no answer within 0.3 s"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_response_of_1_gb_is_cut_and_not_read(chunked: bool) -> None:
    block = b"x" * 65536

    async def handle(here: Endpoint, reader: Reader, writer: Writer) -> None:
        await here.request(reader)
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 1073741824"
        writer.write(b"HTTP/1.1 500 Oh\r\n" + framing + b"\r\n\r\n")
        while here.sent < 1 << 30:
            writer.write(b"10000\r\n" + block + b"\r\n" if chunked else block)
            here.sent += len(block)
            await writer.drain()

    async with endpoint(handle) as here, sender(hook := trigger(here.origin)) as part:
        attempt = await part.send(delivery(), hook)
        assert attempt.status == 500
        assert attempt.response == "x" * 65536
        assert here.sent < 32 << 20, "more was taken off the wire than what socket buffers hold"


async def test_a_small_rest_is_read_so_that_the_connection_is_kept() -> None:
    body = b"y" * 2000

    async def handle(here: Endpoint, reader: Reader, writer: Writer) -> None:
        while True:
            await here.request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + body[:10])
            await writer.drain()
            await asyncio.sleep(0.01)  # so that the body comes apart from the head
            writer.write(body[10:])

    limits = Limits(response=100)
    async with endpoint(handle) as here, sender(hook := trigger(here.origin), limits=limits) as part:
        for number in (1, 2):
            attempt = await part.send(delivery(number), hook)
            assert (attempt.response, attempt.cut) == ("y" * 100, True)
        assert here.connections == 1


@pytest.mark.parametrize(
    ("answer", "response"),
    [
        (b"Content-Length: 5\r\n\r\n\xff\xfea\0b", "\ufffd\ufffdab"),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nTrailer: x\r\n\r\n", "abcde"),
        (b"Content-Length: 0\r\n\r\n", ""),
        (b"Connection: close\r\n\r\nuntil the end", "until the end"),
        (b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08", "\x1f\ufffd\x08"),
        (b"Content-Type: text/html; charset=nonsense\r\nContent-Length: 4\r\n\r\n<p/>", "<p/>"),
        (b"Set-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok", "ok"),
    ],
)
async def test_bodies_of_every_kind(answer: bytes, response: str) -> None:
    async def handle(here: Endpoint, reader: Reader, writer: Writer) -> None:
        await here.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + answer)
        await writer.drain()

    async with endpoint(handle) as here, sender(hook := trigger(here.origin)) as part:
        attempt = await part.send(delivery(), hook)
        assert (attempt.status, attempt.response, attempt.error) == (200, response, "")
        await part.send(delivery(2), hook)
        assert b"cookie" not in here.requests[-1].lower()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_refused_and_no_token_leaks(status: int) -> None:
    async def elsewhere(here: Endpoint, reader: Reader, writer: Writer) -> None:
        await here.request(reader)

    async with endpoint(elsewhere) as other:
        target = f"{other.origin}/new?x=1"

        async def handle(here: Endpoint, reader: Reader, writer: Writer) -> None:
            await here.request(reader)
            writer.write(f"HTTP/1.1 {status} Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())

        async with endpoint(handle) as here, sender(hook := trigger(here.origin)) as part:
            attempt = await part.send(delivery(), hook)
            assert attempt.status == status
            assert attempt.error == f"redirects are not followed: set url to {target}"
            assert other.connections == 0


@pytest.mark.parametrize(
    ("location", "target"),
    [("/there", "{origin}/there"), ("//[", "an address that is none"), ("http://u:p@h/", "http://h/")],
)
async def test_a_redirect_names_a_whole_url(location: str, target: str) -> None:
    async def handle(here: Endpoint, reader: Reader, writer: Writer) -> None:
        await here.request(reader)
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())

    async with endpoint(handle) as here, sender(hook := trigger(here.origin)) as part:
        attempt = await part.send(delivery(), hook)
        assert attempt.error == "redirects are not followed: set url to " + target.format(origin=here.origin)


@pytest.mark.parametrize(
    ("answer", "error", "after"),
    [
        (b"410 Gone", "answered 410 Gone", None),
        (b"429 Slow down\r\nRetry-After: 1000000000", "answered 429 Too Many Requests", 1e9),
        (b"503 X\r\nRetry-After: Tue, 14 Nov 2000 22:13:50 GMT", "answered 503 Service Unavailable", 0.0),
        (b"500 Internal\r\nRetry-After: whenever", "answered 500 Internal Server Error", None),
        (b"799 Odd", "answered 799", None),
        (b"304 Not Modified", "answered 304 Not Modified", None),
    ],
)
async def test_refusals_in_words(answer: bytes, error: str, after: float | None) -> None:
    async def handle(here: Endpoint, reader: Reader, writer: Writer) -> None:
        await here.request(reader)
        writer.write(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with endpoint(handle) as here, sender(hook := trigger(here.origin)) as part:
        attempt = await part.send(delivery(), hook)
        assert (attempt.error, attempt.retry_after) == (error, after)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "connection closed before an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "connection closed in the middle of the answer's head"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "not an HTTP answer"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "not an HTTP answer"),
    ],
)
async def test_answers_that_are_none(answer: bytes, error: str) -> None:
    async def handle(here: Endpoint, reader: Reader, writer: Writer) -> None:
        await here.request(reader)
        writer.write(answer)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    async with endpoint(handle) as here, sender(hook := trigger(here.origin)) as part:
        attempt = await part.send(delivery(), hook)
        assert attempt.status == 0
        assert attempt.error.startswith(error)
        assert not attempt.refused
        assert len(here.requests) == 1, "a fresh connection that closes is a failure, not a stale one"


async def test_reset_before_an_answer() -> None:
    async def handle(here: Endpoint, reader: Reader, writer: Writer) -> None:
        await here.request(reader)
        reset(writer)

    async with endpoint(handle) as here, sender(hook := trigger(here.origin)) as part:
        assert (await part.send(delivery(), hook)).error == "connection reset before an answer"
        assert len(here.requests) == 1


@pytest.mark.parametrize("abruptly", [False, True])
async def test_a_keepalive_connection_that_closed_is_replaced_once_and_uncounted(abruptly: bool) -> None:
    async def handle(here: Endpoint, reader: Reader, writer: Writer) -> None:
        first = here.connections == 1
        await here.request(reader)
        writer.write(OK)
        await here.request(reader)  # the second request on it is taken, and the connection closed without a byte
        if first and abruptly:
            reset(writer)
        elif not first:
            writer.write(OK)
            await writer.drain()

    async with endpoint(handle) as here, sender(hook := trigger(here.origin)) as part:
        assert (await part.send(delivery(1), hook)).status == 200
        attempt = await part.send(delivery(2), hook)
        assert (attempt.status, attempt.error, attempt.number) == (200, "", 1)
        assert here.connections == 2
        assert len(here.requests) == 3
        assert here.requests[1] == here.requests[2]


async def test_it_is_replaced_exactly_once() -> None:
    async def handle(here: Endpoint, reader: Reader, writer: Writer) -> None:
        first = here.connections == 1
        await here.request(reader)
        if first:
            writer.write(OK)
            await here.request(reader)

    async with endpoint(handle) as here, sender(hook := trigger(here.origin)) as part:
        assert (await part.send(delivery(1), hook)).status == 200
        attempt = await part.send(delivery(2), hook)
        assert attempt.error == "connection closed before an answer"
        assert len(here.requests) == 3


async def test_refused_connection_and_unknown_host() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    here, nowhere = trigger(f"http://127.0.0.1:{port}", name="a"), trigger("http://no-such-host.invalid", name="b")
    async with sender(here, nowhere) as part:
        assert (await part.send(delivery(1, "a"), here)).error == "connection refused"
        error = (await part.send(delivery(1, "b"), nowhere)).error
        assert error.startswith("DNS: ")
        assert "no-such-host.invalid" in error


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
async def test_public_egress_refuses_loopback_in_every_notation(host: str) -> None:
    async with endpoint(answering) as here:
        port = here.origin.rpartition(":")[2]
        hook = trigger(f"http://{host}:{port}", Webhook("", "", egress=Egress.PUBLIC))
        async with sender(hook) as part:
            attempt = await part.send(delivery(), hook)
            assert attempt.refused
            assert attempt.error.startswith("refused to connect to ")
            assert here.connections == 0


async def test_metadata_is_refused_by_default_and_an_allowed_network_is_not() -> None:
    metadata = trigger("http://169.254.169.254", name="a")
    async with endpoint(answering) as here:
        allowed = trigger(here.origin, Webhook("", "", egress=Egress.PUBLIC, allow=("127.0.0.0/8",)), name="b")
        async with sender(metadata, allowed) as part:
            assert (await part.send(delivery(1, "a"), metadata)).refused
            assert (await part.send(delivery(1, "b"), allowed)).status == 200


async def test_what_an_endpoint_echoes_is_redacted() -> None:
    async def echo(here: Endpoint, reader: Reader, writer: Writer) -> None:
        said = await here.request(reader)
        writer.write(b"HTTP/1.1 302 No\r\nLocation: /x?k=search-token\r\nContent-Length: %d\r\n\r\n" % len(said) + said)
        await writer.drain()

    webhook = Webhook("", "", headers=(("Authorization", "Bearer search-token"), ("X-Key", "key-of-search")))
    async with endpoint(echo) as here, sender(hook := trigger(here.origin, webhook)) as part:
        attempt = await part.send(delivery(), hook)
        kept = attempt.response + attempt.error
        assert REDACTED in attempt.response
        assert REDACTED in attempt.error
        for secret in ("search-token", "key-of-search", "eyJ"):
            assert secret not in kept


async def test_large_bodies_go_out_whole() -> None:
    data = b'{"a":"' + b"z" * (3 << 20) + b'"}'
    async with endpoint(answering) as here, sender(hook := trigger(here.origin)) as part:
        assert (await part.send(delivery(data=data), hook)).status == 200
        assert here.requests[0].endswith(data + b"}")


async def test_a_payload_over_the_limit_is_refused_unsent() -> None:
    async with endpoint(answering) as here, sender(hook := trigger(here.origin), limits=Limits(payload=50)) as part:
        attempt = await part.send(delivery(), hook)
        assert attempt.refused
        assert attempt.error == f"the payload is {len(DATA)} bytes, over limits.payload (50)"
        assert here.connections == 0


async def test_cancelled_while_waiting_and_while_reading_leaves_nothing_open() -> None:
    async def handle(here: Endpoint, reader: Reader, writer: Writer) -> None:
        await here.request(reader)
        if len(here.requests) == 2:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nslow")
        arrived.set()
        await reader.read()
        gone.set()

    async with endpoint(handle) as here, sender(hook := trigger(here.origin)) as part:
        for number in (1, 2):
            arrived, gone = asyncio.Event(), asyncio.Event()
            sending = asyncio.create_task(part.send(delivery(number), hook))
            await arrived.wait()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await gone.wait()


async def test_start_and_stop_twice() -> None:
    async with endpoint(answering) as here, sender(hook := trigger(here.origin)) as part:
        await part.start()
        assert (await part.send(delivery(), hook)).status == 200
        await part.stop()
        await part.stop()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://h/\xff\xfe\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: \xff\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 \xff\xfe\r\nRetry-After: \xff\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nLocation: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 OK\r\nLocation: " + b"x" * 7000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"\xff\0\xfe nonsense \0\r\n\r\n",
    ],
)
async def test_odd_bytes_in_the_head_never_make_words_that_cannot_be_stored(answer: bytes) -> None:
    async def handle(here: Endpoint, reader: Reader, writer: Writer) -> None:
        await here.request(reader)
        writer.write(answer)
        await writer.drain()

    async with endpoint(handle) as here, sender(hook := trigger(here.origin)) as part:
        attempt = await part.send(delivery(), hook)
        for text in (attempt.error, attempt.response):
            assert text.encode().decode() == text
            assert "\0" not in text
            assert len(text) < 1000
