"""The endpoint of the benchmarks, in a process of its own: counts requests by path and keeps when they arrived.

Commands on stdin, one a line, each answered by one JSON line on stdout: `stats PATH` and `reset`.
"""

import asyncio
import re
import sys
from array import array
from datetime import datetime
from typing import Any

import orjson
import uvloop

from cdcd.demo.receiver import Received, Receiver

TIME = re.compile(rb'"time":"([^"]+)"')
SUBJECT = re.compile(rb'"subject":"([^"]+)".{0,200}?"doc":\{[^}]*?"version":(\d+)')


class Arrivals:
    """What came for one path: wall-clock seconds, and how long after the event's own time."""

    def __init__(self) -> None:
        self.at = array("d")
        self.after = array("d")


async def main(timed: bool) -> None:
    arrivals: dict[str, Arrivals] = {}

    def on_received(received: Received) -> None:
        path = received.request.path
        seen = arrivals.get(path)
        if seen is None:
            seen = arrivals[path] = Arrivals()
        seen.at.append(received.arrived_at)
        if timed and (found := TIME.search(received.request.body)) is not None:
            moment = datetime.fromisoformat(found[1].decode())
            seen.after.append(received.arrived_at - moment.timestamp())

    receiver = Receiver(on_received=on_received)
    await receiver.start()
    print(receiver.port, flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command, _, path = line.strip().partition(" ")
        answer: dict[str, Any] = {}
        if command == "stats":
            seen = arrivals.get(path) or Arrivals()
            answer = {"count": len(seen.at)}
            if seen.at:
                answer |= {"first": seen.at[0], "last": seen.at[-1], "after": sorted(seen.after)}
        elif command == "reset":
            arrivals.clear()
        print(orjson.dumps(answer).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(main("--timed" in sys.argv))
