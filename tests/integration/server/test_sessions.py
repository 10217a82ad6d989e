"""Pages: who has signed in, where a request comes from, what an answer is protected with; answers that go on; https."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cdcd.clock import SystemClock
from cdcd.config.model import Secret
from cdcd.errors import ConfigError
from cdcd.server.auth import LEEWAY, OPERATORS, VIEWERS, Tokens, make_token
from cdcd.server.brake import BURST
from cdcd.server.problems import Problem
from cdcd.server.replies import MOST_UNREAD, Reply, Stream, event
from cdcd.server.routes import Call, Group, Route
from cdcd.server.serving import MOST_STREAMS
from tests.integration.delivery.certificates import Authority
from tests.integration.server.listening import ADDRESS, serving, sessions
from tests.unit.server.every import KEY, NOTHING

PAGE = "text/html; charset=utf-8"
MINE = {"Sec-Fetch-Site": "same-origin"}


def signed(role: str = "operator", seconds: float = 60, key: Any = KEY) -> str:
    return make_token(key, "shop", {"role": role, "exp": time.time() + seconds})


async def look(call: Call) -> Reply:
    assert call.session is not None
    return Reply(200, call.session.csrf.encode(), PAGE)


async def change(call: Call) -> Reply:
    return Reply(200, b"changed", PAGE)


PAGES = Group(
    (
        Route("GET", "/console/look", look, VIEWERS, page=True),
        Route("POST", "/console/change", change, OPERATORS, page=True, body=True),
        Route("POST", "/console/bare", change, OPERATORS, page=True),
        Route("POST", "/console/in", change, page=True, open=True, body=True),
    )
)


@contextmanager
def refused(status: int) -> Iterator[None]:
    with pytest.raises(Problem) as caught:
        yield
    assert caught.value.status == status


async def test_a_session_and_what_protects_it() -> None:
    ours = sessions()
    session, headers = ours.sign_in(signed(), "127.0.0.1")
    cookie = headers["Set-Cookie"]
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    cookies = {"Cookie": cookie.partition(";")[0]}
    viewer = {"Cookie": f"{ours.cookie}={signed('viewer')}"}
    async with serving([PAGES]) as server, aiohttp.ClientSession() as client:
        base = server.address.url

        async def ask(method: str, path: str, data: Any = None, **sent: str) -> tuple[int, str]:
            named = {name.replace("_", "-"): value for name, value in sent.items()}
            async with client.request(method, f"{base}/console/{path}", data=data, headers=named) as answer:
                assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
                assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
                assert "unsafe" not in answer.headers["Content-Security-Policy"]
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Referrer-Policy"] == "same-origin"
                assert "Access-Control-Allow-Origin" not in answer.headers
                return answer.status, await answer.text()

        assert await ask("GET", "look", **cookies) == (200, session.csrf)
        assert (await ask("GET", "look"))[0] == 401
        assert (await ask("GET", "look", Authorization=f"Bearer {signed()}"))[0] == 401  # a page looks at the cookie alone
        assert (await ask("GET", "look", Cookie=f"{ours.cookie}={signed(seconds=-60)}"))[0] == 401
        assert (await ask("GET", "look", Cookie=f"{ours.cookie}=x"))[0] == 401
        assert (await ask("POST", "change", **{**viewer, **MINE}))[0] == 403

        form, other = {"csrf": session.csrf}, {"csrf": "0" * 64}
        good = (200, "changed")
        origin = base.lower()
        assert await ask("POST", "change", form, **{**cookies, **MINE}) == good
        assert await ask("POST", "change", form, Origin=origin, **cookies) == good
        assert await ask("POST", "change", b"{}", X_CSRF_Token=session.csrf, **{**cookies, **MINE}) == good
        assert await ask("POST", "bare", X_CSRF_Token=session.csrf, **{**cookies, **MINE}) == good
        for data, sent in (
            (other, MINE),
            ({}, MINE),
            (b"{}", MINE),
            (form, {}),
            (form, {"Origin": "https://evil.example.com"}),
            (form, {"Origin": "null"}),
            (form, {"Sec-Fetch-Site": "same-site"}),
            (form, {"Sec-Fetch-Site": "cross-site", "Origin": origin}),
            (form, {"Sec-Fetch-Site": "none"}),
        ):
            assert (await ask("POST", "change", data, **{**cookies, **sent}))[0] == 403, (data, sent)
        assert (await ask("POST", "bare", **{**cookies, **MINE}))[0] == 403

        assert await ask("POST", "in", {"token": "x"}, **MINE) == good  # nobody has signed in yet: the origin counts
        assert (await ask("POST", "in", {"token": "x"}, Sec_Fetch_Site="cross-site"))[0] == 403

        status, text = await ask("GET", "look", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
        assert (status, "http-equiv" in text) == (200, True)  # a link on another site: it asks again from here
        assert (await ask("GET", "look", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="navigate"))[0] == 401


async def test_who_guesses_is_slowed_whatever_they_try() -> None:
    async def see(_: Call) -> Reply:
        return Reply(200, b"{}")

    async def sign_in(call: Call) -> Reply:
        _, headers = ours.sign_in(call.body.decode(), call.request.remote or "")
        return Reply(200, b"", PAGE, headers)

    routes = (
        Route("GET", "/v1/see", see, VIEWERS),
        Route("POST", "/console/in", sign_in, page=True, open=True, body=True),
    )
    tokens = Tokens((KEY,), "shop", SystemClock())
    ours = sessions(tokens=tokens)
    async with serving([Group(routes)], tokens=tokens) as server, aiohttp.ClientSession() as client:
        base, good = server.address.url, {"Authorization": f"Bearer {signed()}"}
        async with client.get(f"{base}/v1/see", headers=good) as answer:
            assert answer.status == 200
        met = []
        for number in range(BURST + 1):
            if number % 2:
                asked = client.get(f"{base}/v1/see", headers={"Authorization": "Bearer a.b.c"})
            else:
                asked = client.post(f"{base}/console/in", data="guess", headers=MINE)
            async with asked as answer:
                met.append(answer.status)
        assert met == [401] * BURST + [429]
        async with client.post(f"{base}/console/in", data=signed("viewer"), headers=MINE) as answer:  # not looked at
            assert answer.status == 429
            assert int(answer.headers["Retry-After"]) >= 1
        async with client.get(f"{base}/v1/see", headers=good) as answer:  # known before
            assert answer.status == 200


def test_signing_in_and_out() -> None:
    ours = sessions()
    one, _ = ours.sign_in(f" Bearer {signed()}\n", "")
    two, _ = ours.sign_in(signed("viewer"), "")
    assert one.csrf != two.csrf
    assert ours.sign_out()["Set-Cookie"].startswith(f"{ours.cookie}=; ")
    assert "Max-Age=0" in ours.sign_out()["Set-Cookie"]
    with refused(401):
        ours.sign_in("x", "")
    with refused(401):
        ours.sign_in(signed(key=replace(KEY, value=b"o" * 32)), "")
    with refused(422):
        ours.sign_in("x" * 4000, "")
    behind = sessions(replace(ADDRESS, public_url="https://cdcd.example.com"))
    _, headers = behind.sign_in(signed(), "")
    assert headers["Set-Cookie"].startswith("__Host-cdcd-shop=")
    assert headers["Set-Cookie"].endswith("; Secure")


async def test_a_stream_goes_on_until_it_ends() -> None:
    closed = asyncio.Event()
    go = asyncio.Event()

    async def parts(fail: bool) -> AsyncIterator[bytes]:
        try:
            yield event(b"one\ntwo", "tick", "7", 5000)
            await go.wait()
            if fail:
                raise ValueError("secret")
            yield event(b"three")
        finally:
            closed.set()

    async def stream(call: Call) -> Stream:
        return Stream(parts("fail" in call.request.query))

    async def flood(call: Call) -> Stream:
        async def many() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 65536
                    await asyncio.sleep(0)
            finally:
                closed.set()

        return Stream(many())

    routes = (Route("GET", "/v1/stream", stream, VIEWERS), Route("GET", "/v1/flood", flood, VIEWERS))
    headers = {"Authorization": f"Bearer {signed()}"}
    async with serving([Group(routes)]) as server, aiohttp.ClientSession(headers=headers) as client:
        url = f"{server.address.url}/v1/stream"
        async with client.get(url) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            expected = b"event: tick\nid: 7\nretry: 5000\ndata: one\ndata: two\n\n"
            assert await answer.content.readexactly(len(expected)) == expected
            go.set()
            assert await answer.read() == b"data: three\n\n"
        await asyncio.wait_for(closed.wait(), 5)

        closed.clear()
        async with client.get(url + "?fail=1") as answer:  # it ends, and nothing of the error is told
            assert b"secret" not in await answer.read()
        await asyncio.wait_for(closed.wait(), 5)

        closed.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port, limit=1024)
        writer.write(f"GET /v1/flood HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {signed()}\r\n\r\n".encode())
        await asyncio.wait_for(closed.wait(), 10)  # who reads nothing loses the connection
        assert MOST_UNREAD < 10**8
        writer.close()

        async with client.head(url) as answer:  # its head alone
            assert (answer.status, await answer.read()) == (200, b"")

        closed.clear()
        go.clear()
        short = {"Authorization": f"Bearer {signed(seconds=0.2 - LEEWAY)}"}
        async with client.get(url, headers=short) as answer:  # no longer than its token is good
            await answer.read()
        await asyncio.wait_for(closed.wait(), 5)

        closed.clear()
        async with client.get(url) as answer:  # the server's end ends it
            await answer.content.readany()
            stopping = asyncio.ensure_future(server.stop())
            await answer.read()
            await asyncio.wait_for(stopping, 3)
        assert closed.is_set()
        assert reader is not None


async def test_streams_are_bounded() -> None:
    async def parts() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def stream(_: Call) -> Stream:
        return Stream(parts())

    headers = {"Authorization": f"Bearer {signed()}"}
    group = Group((Route("GET", "/v1/stream", stream, VIEWERS),))
    connector = aiohttp.TCPConnector(limit=0)
    async with serving([group]) as server, aiohttp.ClientSession(headers=headers, connector=connector) as client:
        url = f"{server.address.url}/v1/stream"
        answers = await asyncio.gather(*(client.get(url) for _ in range(MOST_STREAMS)))
        assert {answer.status for answer in answers} == {200}
        async with client.get(url) as answer:
            assert answer.status == 503
            assert "Retry-After" in answer.headers
        for answer in answers:
            answer.close()


@pytest.mark.parametrize("kept", [True, False])
async def test_a_reload_without_a_secret_ends_what_goes_on(kept: bool) -> None:
    """Who has a token that is good no more hears nothing further; with one more secret nobody is cut off."""
    more = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        await more.wait()
        yield b"two"

    async def stream(_: Call) -> Stream:
        return Stream(parts())

    group = Group((Route("GET", "/v1/stream", stream, VIEWERS),))
    other = Secret(b"o" * 32, "other")
    then = Tokens((other, KEY) if kept else (other,), "shop", SystemClock())
    headers = {"Authorization": f"Bearer {signed()}"}
    async with (
        serving([group], then=then) as server,
        aiohttp.ClientSession(headers=headers) as client,
        client.get(f"{server.address.url}/v1/stream") as answer,
    ):
        assert await answer.content.readexactly(3) == b"one"
        server.take_over(NOTHING)
        if kept:
            more.set()
        assert await asyncio.wait_for(answer.read(), 5) == (b"two" if kept else b"")


async def test_https_and_a_certificate_that_is_renewed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first, key = authority.issue("first")
    cert, other = tmp_path / "server.pem", tmp_path / "server.key"

    def install(chain: Path, private: Path) -> None:
        cert.write_bytes(chain.read_bytes())
        other.write_bytes(private.read_bytes())

    install(first, key)
    client = ssl.create_default_context(cafile=authority.certificate)

    async def shown(port: int) -> Any:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        subject = writer.get_extra_info("peercert")["subject"]
        writer.close()
        return subject[0][0][1]

    async with serving([PAGES], replace(ADDRESS, tls=(cert, other))) as server, aiohttp.ClientSession() as session:
        port = server.address.port
        assert server.address.url == f"https://127.0.0.1:{port}"
        async with session.get(f"{server.address.url}/console/look", ssl=client) as answer:
            assert answer.status == 401
        assert await shown(port) == "first"
        install(*authority.issue("second"))
        server.renew()
        assert await shown(port) == "second"
        other.write_bytes(key.read_bytes())  # not this certificate's
        with pytest.raises(ConfigError, match=r"server.tls: the certificate .* cannot be used"):
            server.renew()
        assert await shown(port) == "second"
