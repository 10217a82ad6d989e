"""The test neighbours themselves: servers of every major, fresh databases, the proxy, the endpoint."""

import asyncio
import time

import aiohttp
import psycopg
import pytest

from tests.endpoint import Answer, Endpoint
from tests.postgres import Database, Databases, OwnServer
from tests.proxy import Proxy


@pytest.mark.matrix
def test_every_major_decodes_logically(database: Database) -> None:
    """Each server is of the major it says, and a logical slot can be made in a fresh database."""
    ((version, level),) = database.execute("SELECT current_setting('server_version_num')::int, current_setting('wal_level')")
    assert version // 10000 == database.postgres.major
    assert level == "logical"
    database.execute("SELECT pg_create_logical_replication_slot('left_over', 'pgoutput')")
    assert database.slots() == ["left_over"]  # the fixture has to drop it


def test_databases_are_cloned_from_a_template(databases: Databases) -> None:
    """The builder runs once; every clone has what it made."""
    built: list[str] = []

    def build(template: Database) -> None:
        built.append(template.name)
        template.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")

    clones = [databases("with_t", build) for _ in range(3)]
    assert [clone.execute("SELECT * FROM t") for clone in clones] == [[(1,)]] * 3
    assert built == ["with_t"]


async def test_a_crashed_server_comes_back_on_the_same_address(database: Database) -> None:
    """Both addresses survive a crash, and what was committed is there."""
    database.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    before = (database.dsn, database.tcp_dsn)
    await asyncio.to_thread(database.postgres.server.restart, crash=True)
    assert (database.dsn, database.tcp_dsn) == before
    async with await database.aconnect() as connection:
        cursor = await connection.execute("SELECT * FROM t")
        assert await cursor.fetchall() == [(1,)]


def test_a_server_left_down_is_up_for_the_next_test(database: Database) -> None:
    """The fixture restarts it to drop the database."""
    database.postgres.server.crash()
    assert not database.postgres.server.running


def test_a_private_server_has_its_own_settings(own_server: OwnServer) -> None:
    server = own_server(settings={"wal_level": "replica"})

    with psycopg.connect(server.dsn()) as connection:
        assert connection.execute("SHOW wal_level").fetchone() == ("replica",)


async def test_a_black_hole_holds_everything_and_healing_delivers_it(database: Database) -> None:
    """A query sent into the hole is answered after healing: nothing was dropped."""
    async with Proxy.to_postgres(database.dsn) as proxy:
        async with await psycopg.AsyncConnection.connect(proxy.dsn(database.tcp_dsn), autocommit=True) as connection:
            proxy.black_hole()
            asking = asyncio.create_task(connection.execute("SELECT 1"))
            passed = dict(proxy.passed)
            done, _ = await asyncio.wait({asking}, timeout=0.1)
            assert not done
            assert proxy.passed == passed
            proxy.heal()
            assert await (await asking).fetchone() == (1,)
        await proxy.wait_connections(0)


@pytest.mark.parametrize("command", ["cut", "reset"])
async def test_a_cut_connection_breaks_and_the_next_one_works(database: Database, command: str) -> None:
    async with Proxy.to_postgres(database.tcp_dsn) as proxy:
        connection = await psycopg.AsyncConnection.connect(proxy.dsn(database.tcp_dsn), autocommit=True)
        getattr(proxy, command)()
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT 1")
        await connection.close()
        await proxy.refuse()
        with pytest.raises(psycopg.OperationalError, match="refused"):
            await psycopg.AsyncConnection.connect(proxy.dsn(database.tcp_dsn))
        await proxy.accept()
        async with await psycopg.AsyncConnection.connect(proxy.dsn(database.tcp_dsn)) as connection:
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_a_delay_adds_to_every_way(database: Database) -> None:
    """A round trip takes at least twice the delay."""
    async with (
        Proxy.to_postgres(database.dsn) as proxy,
        await psycopg.AsyncConnection.connect(proxy.dsn(database.tcp_dsn), autocommit=True) as connection,
    ):
        proxy.delay(0.05)
        begun = time.monotonic()
        await connection.execute("SELECT 1")
        assert time.monotonic() - begun >= 0.1


async def test_a_response_can_be_lost_after_the_endpoint_acted() -> None:
    async with Endpoint() as endpoint, Proxy(("127.0.0.1", endpoint.port)) as proxy, aiohttp.ClientSession() as client:
        proxy.cut_after(down=0)
        with pytest.raises(aiohttp.ClientError):
            await client.post(proxy.url("/hook"), data=b"{}")
        assert [request.path for request in endpoint.requests] == ["/hook"]


async def test_a_half_closed_client_way_shows_as_the_end() -> None:
    async with Endpoint() as endpoint, Proxy(("127.0.0.1", endpoint.port)) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await proxy.wait_connections(1)
        proxy.half_close("down")
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_the_endpoint_follows_its_script() -> None:
    """Path and id go before path alone, each answer is used once, then `always`, then 200."""
    async with Endpoint() as endpoint, aiohttp.ClientSession() as client:

        async def post(path: str, id: str) -> int:
            async with client.post(endpoint.url(path), data=b'{"n": 1}', headers={"webhook-id": id}) as response:
                await response.read()
                return response.status

        endpoint.script(Answer(500), Answer(429, headers={"Retry-After": "1"}), path="/a")
        endpoint.script(Answer(410), path="/a", id="x")
        endpoint.always(Answer(503), path="/dead")
        got = [
            await post("/a", "x"),
            await post("/a", "y"),
            await post("/a", "x"),
            await post("/a", "z"),
            await post("/dead", "x"),
        ]
        assert got == [410, 500, 429, 200, 503]
        assert endpoint.ids("/a") == ["x", "y", "x", "z"]
        assert endpoint.requests[0].event == {"n": 1}
        await endpoint.wait_until(lambda e: len(e.answered) == 5)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(reset=True),
        Answer(close=True),
        Answer(reset_after_headers=True, body=b"half"),
        Answer(hang=True),
        Answer(delay=60),
        Answer(body=b"slow", trickle=60),
    ],
    ids=["reset", "close", "reset_after_headers", "hang", "delay", "trickle"],
)
async def test_the_endpoint_misbehaves_on_demand(answer: Answer) -> None:
    """Whatever it does, the request is recorded, and stopping does not wait for it."""
    async with Endpoint() as endpoint, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as client:
        endpoint.always(answer)
        with pytest.raises((aiohttp.ClientError, TimeoutError)):
            async with client.post(endpoint.url(), data=b"{}") as response:
                await response.read()
        assert len(endpoint.requests) == 1


async def test_a_held_answer_waits_for_its_gate() -> None:
    async with Endpoint() as endpoint, aiohttp.ClientSession() as client:
        gate = endpoint.hold("/slow")
        posting = asyncio.create_task(client.post(endpoint.url("/slow"), data=b"{}"))
        await endpoint.wait_for(1, "/slow")
        assert not endpoint.answered
        gate.set()
        assert (await posting).status == 200


async def test_the_endpoint_comes_back_on_its_port() -> None:
    async with Endpoint() as endpoint, aiohttp.ClientSession() as client:
        port = endpoint.port
        await endpoint.stop()
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.post(endpoint.url())
        await endpoint.start()
        assert endpoint.port == port
        assert (await client.post(endpoint.url(), data=b"{}")).status == 200


async def test_a_large_body_streams() -> None:
    async with Endpoint() as endpoint, aiohttp.ClientSession() as client:
        endpoint.always(Answer(size=1_000_001))
        async with client.post(endpoint.url()) as response:
            assert len(await response.read()) == 1_000_001
