"""Somebody who has the console open in three windows: the overview, whose samples and parts come as a stream, the event log with its live
tail on, and the list of triggers, which is asked for again and again.

    python -m benchmarks.visitor PORT TOKEN

Prints `open` when the streams have begun, and runs until its standard input ends. It takes the place of a browser, whose drawing would
cost the two processors of a small machine more than what is measured: what the daemon does for one.
"""

import asyncio
import sys
from collections.abc import Sequence

import aiohttp

EVERY = 4.0  # seconds between two looks at the list, as its page says
STREAMS = ("/console/samples", "/console/events/tail")
LIST = "/console/triggers"


async def main(port: int, token: str) -> None:
    """All of them."""
    base = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession(base, headers={"Cookie": f"cdcd-bench={token}"}) as session:
        open_ = [asyncio.Event() for _ in STREAMS]
        listening = [_listen(session, path, event) for path, event in zip(STREAMS, open_, strict=True)]
        await asyncio.gather(*listening, _look(session), _tell(open_))


async def _listen(session: aiohttp.ClientSession, path: str, open_: asyncio.Event) -> None:
    async with session.get(path, timeout=aiohttp.ClientTimeout(total=None)) as stream:
        stream.raise_for_status()
        while await stream.content.readany():
            open_.set()


async def _tell(open_: Sequence[asyncio.Event]) -> None:
    for event in open_:
        await event.wait()
    print("open", flush=True)


async def _look(session: aiohttp.ClientSession) -> None:
    while True:
        async with session.get(LIST, headers={"HX-Request": "true"}) as answer:
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
