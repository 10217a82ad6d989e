"""Somebody who has the console open: the overview's samples as they come, and the page's parts as often as its script asks for them.

    python -m benchmarks.visitor PORT TOKEN

Prints `open` when the first sample has come, and runs until its standard input ends. It takes the place of a browser, whose drawing would
cost the two processors of a small machine more than what is measured: what the daemon does for one.
"""

import asyncio
import sys

import aiohttp

EVERY = 5.0  # seconds between two looks at the parts that change
PARTS = ("/console/",)


async def main(port: int, token: str) -> None:
    """Both."""
    base = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession(base, headers={"Cookie": f"cdcd-bench={token}"}) as session:
        await asyncio.gather(_listen(session), _look(session))


async def _listen(session: aiohttp.ClientSession) -> None:
    told = False
    async with session.get("/console/samples", timeout=aiohttp.ClientTimeout(total=None)) as stream:
        stream.raise_for_status()
        async for line in stream.content:
            if line.startswith(b"event: sample") and not told:
                told = True
                print("open", flush=True)


async def _look(session: aiohttp.ClientSession) -> None:
    while True:
        for part in PARTS:
            async with session.get(part, headers={"HX-Request": "true"}) as answer:
                answer.raise_for_status()
                await answer.read()
        await asyncio.sleep(EVERY)


async def _until_the_end() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def _bounded() -> None:
    visiting = asyncio.create_task(main(int(sys.argv[1]), sys.argv[2]))
    await asyncio.wait((visiting, asyncio.create_task(_until_the_end())), return_when=asyncio.FIRST_COMPLETED)
    if visiting.done():
        visiting.result()


if __name__ == "__main__":
    asyncio.run(_bounded())
