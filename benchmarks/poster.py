"""The baseline of delivery: a bare aiohttp + uvloop loop that posts the same bytes, in a process of its own.

python -m benchmarks.poster URL COUNT CONCURRENCY BYTES            all at once: prints requests/s
python -m benchmarks.poster URL COUNT 1 BYTES --rate 200           paced: prints round trips in seconds
"""

import asyncio
import sys
import time

import aiohttp
import orjson
import uvloop


def body(size: int) -> bytes:
    """A CloudEvent like cdcd's, of `size` bytes or a little more."""
    head = {
        "specversion": "1.0",
        "id": "01a209fa-765b-83c8-b922-9b1d5a760312",
        "source": "cdcd/bench/main",
        "type": "DB_INSERT",
        "subject": "public.items/1",
        "time": "2026-11-23T19:55:38.971563Z",
        "datacontenttype": "application/json",
        "data": {"db": "main", "schema": "public", "col": "items", "find": {"id": 1}, "doc": {"id": 1, "body": ""}},
    }
    empty = orjson.dumps(head)
    head["data"]["doc"]["body"] = "x" * max(0, size - len(empty))  # type: ignore[index]  # a literal, just above
    return orjson.dumps(head)


async def burst(url: str, count: int, concurrency: int, data: bytes) -> float:
    """Requests per second."""
    left = count
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                async with session.post(url, data=data, headers={"Content-Type": "application/json"}) as response:
                    await response.read()

        begun = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        return count / (time.perf_counter() - begun)


async def paced(url: str, count: int, rate: float, data: bytes) -> list[float]:
    """Round trips in seconds, at `rate` a second."""
    trips = []
    async with aiohttp.ClientSession() as session:
        begun = time.perf_counter()
        for number in range(count):
            await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
            sent = time.perf_counter()
            async with session.post(url, data=data, headers={"Content-Type": "application/json"}) as response:
                await response.read()
            trips.append(time.perf_counter() - sent)
    return trips


async def main() -> None:
    url, count, concurrency, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    data = body(size)
    if "--rate" in sys.argv:
        rate = float(sys.argv[sys.argv.index("--rate") + 1])
        print(orjson.dumps(await paced(url, count, rate, data)).decode())
    else:
        await burst(url, min(count, 500), concurrency, data)  # connections, code paths
        print(await burst(url, count, concurrency, data))


if __name__ == "__main__":
    uvloop.run(main())
