"""What clients may not do to the daemon: hold it up, fill its memory, or end it."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from cdcd.clock import SystemClock
from cdcd.config.model import Secret
from cdcd.config.model import Server as Address
from cdcd.errors import CannotListen
from cdcd.server.auth import QUEUERS, Tokens
from cdcd.server.events import Events
from cdcd.server.intake import Intake
from cdcd.server.queueing import Queueing
from cdcd.server.routes import Group, Route, Table
from cdcd.server.rules import Rule, Rules
from cdcd.server.serving import Handling, Server
from cdcd.server.sessions import Sessions
from cdcd.server.waiting import Waiting
from cdcd.store.inbox import Inbox
from cdcd.store.migrate import migrate
from cdcd.store.scheduled import Schedule
from tests.acceptance.setting import SECRET, Setting
from tests.daemon import Daemon
from tests.endpoint import Endpoint
from tests.integration.server.talking import api, token
from tests.postgres import Database
from tests.proxy import Proxy

KEY = Secret(b"k" * 32, "k")
LARGEST = 70_000  # bytes of a body


class Nobody:
    """Nobody tells what becomes of deliveries."""

    def watch(self, delivery: str, told: object) -> None:
        raise AssertionError

    def unwatch(self, delivery: str) -> None:
        raise AssertionError


def make(
    dsn: str, *, most_connections: int = 10, in_flight_bytes: int = 0, port: int = 0
) -> tuple[Server, list[BaseException]]:
    failures: list[BaseException] = []

    def failed(part: str, error: BaseException) -> None:
        failures.append(error)

    intake = Intake(Inbox(dsn, "cdcd"), lambda: None, SystemClock(), failed)
    schedule = Schedule(dsn, "cdcd")
    waiting = Waiting(Nobody())
    queueing = Queueing("shop", Rules({"A": Rule(None, None)}), intake, waiting, SystemClock(), 4096)
    events = Events(queueing, schedule)
    tokens = Tokens((KEY,), "shop", SystemClock())
    handling = Handling(
        Address("127.0.0.1", port, body=LARGEST, cors=("https://shop.example.com",)),
        Table.of([Group((Route("POST", "/v1/events", events.queue, QUEUERS, body=True),))]),
        tokens,
        Sessions((KEY,), "shop", tokens),
        events,
        in_flight_bytes,
    )
    return Server(handling, waiting, intake, schedule, most_connections=most_connections), failures


def request(body: bytes, *more: str, length: int | None = None) -> bytes:
    lines = [
        "POST /v1/events HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {token(secret='k' * 32)}",
        f"Content-Length: {len(body) if length is None else length}",
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def exchange(port: int, data: bytes) -> bytes:
    """What is answered until the server closes, or has answered in whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await reader.readuntil(b"\r\n\r\n")
    finally:
        await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    """Close it, whatever the other side did."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


BODY = b'{"type": "A", "delay": "1h"}'


async def test_bodies_connections_and_headers_are_bounded(database: Database) -> None:
    await migrate(database.dsn, "cdcd", "shop")
    server, failures = make(database.dsn, most_connections=3, in_flight_bytes=LARGEST)
    await server.start()
    port = server.address.port
    try:
        assert (await exchange(port, request(BODY))).startswith(b"HTTP/1.1 202 ")
        assert (await exchange(port, request(b"", length=5_000_000))).startswith(b"HTTP/1.1 413 ")
        chunked = request(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        many = chunked + b"10000\r\n" + b"x" * 0x10000 + b"\r\n" + b"2000\r\n" + b"x" * 0x2000
        assert (await exchange(port, many)).startswith(b"HTTP/1.1 413 ")
        assert (await exchange(port, chunked + b"zz\r\n"))[9:12] == b"400"
        assert (await exchange(port, request(BODY, "X: " + "x" * 20_000)))[9:12] == b"400"
        assert (await exchange(port, request(BODY, *(f"X{n}: 1" for n in range(150)))))[9:12] == b"400"
        page = await exchange(port, request(BODY, "X: " + "x" * 20_000))
        assert b"Content-Type: application/problem+json\r\n" in page
        assert (await exchange(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"))[9:12] == b"400"
        expecting = request(BODY, "Expect: 100-continue")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(expecting[: -len(BODY)])
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(BODY)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 ")
        await close(writer)

        # What is only announced takes no room. What has come of a body that never ends does; who comes then is asked to come again.
        first = await asyncio.open_connection("127.0.0.1", port)
        first[1].write(request(b"x", length=LARGEST))
        while not (await exchange(port, request(BODY))).startswith(b"HTTP/1.1 202 "):
            pass  # those before are still being closed
        first[1].write(b"x" * (LARGEST - 10))
        while (head := await exchange(port, request(BODY))).startswith(b"HTTP/1.1 202 "):
            pass
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1\r\n" in head
        second = await asyncio.open_connection("127.0.0.1", port)
        third = await asyncio.open_connection("127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
        for each in (first, second, third, (reader, writer)):
            await close(each[1])
    finally:
        await server.stop()
        await server.stop()
    assert failures == []


async def test_a_client_that_hangs_up_is_no_trouble(database: Database) -> None:
    await migrate(database.dsn, "cdcd", "shop")
    server, failures = make(database.dsn)
    with capture_logs() as logs:
        await server.start()
        try:
            for more in ((), ("Expect: 100-continue",)):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
                writer.write(request(b"x" * 100, *more, length=1000))
                if more:
                    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                writer.transport.abort()
            assert (await exchange(server.address.port, request(BODY))).startswith(b"HTTP/1.1 202 ")
        finally:
            await server.stop()
    assert [entry["event"] for entry in logs] == ["server.listening"]
    assert failures == []


async def test_pages_of_named_origins_may_call(database: Database) -> None:
    await migrate(database.dsn, "cdcd", "shop")
    server, failures = make(database.dsn)
    await server.start()
    port, ours, theirs = server.address.port, "Origin: https://shop.example.com", "Origin: https://evil.example.com"
    asking = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type")
    preflight = "OPTIONS /v1/events HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n"
    try:
        head = await exchange(port, (preflight % "\r\n".join((ours, *asking))).encode())
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"Access-Control-Allow-Origin: https://shop.example.com\r\n" in head
        assert b"Access-Control-Allow-Headers: authorization,content-type\r\n" in head
        assert (await exchange(port, (preflight % "\r\n".join((theirs, *asking))).encode())).startswith(b"HTTP/1.1 405 ")
        for _ in range(3):  # also when its head is known
            head = await exchange(port, request(BODY, ours))
            assert head.startswith(b"HTTP/1.1 202 ")
            assert b"Access-Control-Allow-Origin: https://shop.example.com\r\nVary: Origin\r\n" in head
        assert b"Access-Control-Allow-Origin" not in await exchange(port, request(BODY, theirs))
        assert b"Access-Control-Allow-Origin" in await exchange(port, request(b"{", ours))
    finally:
        await server.stop()
    assert failures == []


async def test_an_address_in_use_is_told(database: Database) -> None:
    await migrate(database.dsn, "cdcd", "shop")
    server, _ = make(database.dsn)
    await server.start()
    other, _ = make(database.dsn, port=server.address.port)
    with pytest.raises(CannotListen, match=f"127.0.0.1:{server.address.port}") as caught:
        await other.start()
    assert "server.listen" in caught.value.hint
    await other.stop()
    await server.stop()


async def test_a_daemon_whose_address_is_in_use_ends_with_the_reason(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        daemon: Daemon = setting.daemon({}, server=f"127.0.0.1:{endpoint.port}")
        await daemon.start()
        assert await daemon.wait() == 1
        (line,) = daemon.find("failed")
        assert f"127.0.0.1:{endpoint.port}" in line["error"]
        assert "another cdcd" in line["hint"]


async def test_a_store_that_is_away_is_told_and_the_daemon_goes_on(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint, Proxy.to_postgres(database.dsn) as proxy:
        setting = Setting(tmp_path, database, endpoint, url=proxy.dsn(database.tcp_dsn))
        async with api(setting, {}, events={"A": {}}) as client:
            event = {"type": "A", "delay": "1h"}
            assert (await client.post("/v1/events", event)).status == 202
            await proxy.refuse()
            proxy.reset()
            got = await client.post("/v1/events", event)
            assert got.status == 503
            assert "Retry-After" in got.headers
            assert (await client.ask("GET", "/v1/events/scheduled", role="admin")).status == 503
            await proxy.accept()
            async with asyncio.timeout(30):  # connections that were cut are told, until there are others
                while (got := await client.post("/v1/events", event)).status != 202:
                    assert got.status == 503
                    await asyncio.sleep(0.02)
            assert SECRET not in json.dumps(client.daemon.logs)
