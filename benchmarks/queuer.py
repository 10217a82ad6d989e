"""The load of the queue benchmark, in a process of its own: requests at the API, or bare INSERTs, by so many connections.

python -m benchmarks.queuer http PORT CONNECTIONS SECONDS TOKEN TYPE DELAY      prints answers of 202 a second
python -m benchmarks.queuer insert DSN CONNECTIONS SECONDS                      prints committed rows a second

The HTTP side is a bare protocol that sends the same bytes again when the answer is there: a client that costs more would measure itself.
"""

import asyncio
import sys
import time
from typing import cast

import psycopg
import uvloop

PAYLOAD = '{"id": 4711, "customer": "%s", "total": 12.5}' % ("x" * 150)


class Poster(asyncio.Protocol):
    """One connection."""

    accepted = other = 0

    def __init__(self, request: bytes) -> None:
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 202"):
            Poster.accepted += 1
        else:
            Poster.other += 1
        self._transport.write(self._request)


async def post(port: int, connections: int, seconds: float, token: str, kind: str, delay: str) -> float:
    later = f', "delay": "{delay}"' if delay else ""
    body = f'{{"type": "{kind}", "data": {PAYLOAD}{later}}}'
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = (head + body).encode()
    loop = asyncio.get_running_loop()
    transports = [(await loop.create_connection(lambda: Poster(request), "127.0.0.1", port))[0] for _ in range(connections)]
    await asyncio.sleep(seconds / 10)
    before, begun = Poster.accepted, time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (Poster.accepted - before) / (time.perf_counter() - begun)
    for transport in transports:
        transport.abort()
    if Poster.other:
        raise SystemExit(f"{Poster.other} answers were not 202")
    return rate


async def insert(dsn: str, connections: int, seconds: float) -> float:
    opened = [await psycopg.AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=0) for _ in range(connections)]
    end = time.perf_counter() + seconds
    rows = 0

    async def work(connection: psycopg.AsyncConnection) -> None:
        nonlocal rows
        while time.perf_counter() < end:
            await connection.execute("INSERT INTO bare (type, payload) VALUES (%s, %s)", ("ORDER_PAID", PAYLOAD), binary=True)
            rows += 1

    begun = time.perf_counter()
    await asyncio.gather(*(work(connection) for connection in opened))
    rate = rows / (time.perf_counter() - begun)
    for connection in opened:
        await connection.close()
    return rate


async def main() -> None:
    what, where, connections, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    if what == "http":
        print(await post(int(where), connections, seconds, *sys.argv[5:8]))
    else:
        print(await insert(where, connections, seconds))


if __name__ == "__main__":
    uvloop.run(main())
