"""The baseline of capture: receives every frame of a slot by cdcd's own connection layer, and looks at none of them.

python -m benchmarks.reader DSN SLOT PUBLICATION ROWS       prints rows/s between the first and the last row
"""

import sys
import time

import uvloop

from cdcd.replication.frames import HEADER
from cdcd.replication.stream import ReplicationStream

INSERT = ord("I")


async def main() -> None:
    dsn, slot, publication, rows = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    stream = await ReplicationStream.connect(dsn, slot, [publication])
    seen = 0
    begun = 0.0
    first = 0
    while seen < rows:
        frames = await stream.read()
        seen += sum(1 for frame in frames if frame[0] == 119 and frame[HEADER] == INSERT)
        if not begun and seen:
            begun = time.perf_counter()
            first = seen
    print((seen - first) / (time.perf_counter() - begun))
    await stream.close()


if __name__ == "__main__":
    uvloop.run(main())
