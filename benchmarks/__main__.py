"""`python -m benchmarks [--small] [--json FILE] [NAME ...]`: run the benchmarks, print a table.

Exit 1 when a target is missed; with `--small` (a pass that only shows that they run) a missed target is told, not punished.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import (
    capture,
    changelog,
    console,
    files,
    isolation,
    latency,
    memory,
    operating,
    queue,
    schedule,
    throughput,
    watched,
)
from benchmarks.harness import Figure, Server

ALL: dict[str, Callable[..., list[Figure]]] = {
    "throughput": throughput.run,
    "capture": capture.run,
    "changelog": changelog.run,
    "latency": latency.run,
    "isolation": isolation.run,
    "memory": memory.run,
    "schedule": schedule.run,
    "files": files.run,
    "queue": queue.run,
    "console": console.run,
    "watched": watched.run,
    "operating": operating.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(ALL)} (all)")
    parser.add_argument("--small", action="store_true", help="one short round of each")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="cdcd-bench-") as directory:
        Path(directory).chmod(0o755)
        server = Server(Path(directory))
        try:
            for name in arguments.names or ALL:
                print(f"{name} ...", file=sys.stderr, flush=True)
                figures += ALL[name](server, small=arguments.small)
        finally:
            server.close()
    table = Table("", "cdcd", "baseline", "ratio", "target", "met", "")
    for figure in figures:
        met = "yes" if figure.met else "NO"
        table.add_row(figure.name, figure.value, figure.baseline, f"{figure.ratio:.2f}", figure.target, met, figure.note)
    Console(width=None if sys.stdout.isatty() else 150).print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps([figure.as_dict() for figure in figures], indent=2) + "\n")
    return 0 if arguments.small or all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
