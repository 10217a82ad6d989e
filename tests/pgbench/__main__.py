"""Run pgbench beside cdcd and compare: `python -m tests.pgbench --seconds 60 --clients 4`."""

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.pgbench.run import run
from tests.postgres import Servers, chosen_majors


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.pgbench", description="pgbench's tables, rebuilt from webhooks.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long pgbench runs")
    parser.add_argument("--clients", type=int, default=4, help="pgbench's clients")
    parser.add_argument("--scale", type=int, default=1, help="pgbench's scale")
    parser.add_argument("--major", type=int, default=chosen_majors()[-1], help="PostgreSQL major")
    arguments = parser.parse_args()
    servers = Servers()
    server = servers.new(arguments.major)
    with tempfile.TemporaryDirectory() as directory:
        try:
            account = uvloop.run(
                run(server, Path(directory), arguments.seconds, clients=arguments.clients, scale=arguments.scale)
            )
        finally:
            server.remove()
            servers.close()
    print(account.line)
    print("\n".join(account.faults))
    return 1 if account.faults else 0


if __name__ == "__main__":
    sys.exit(main())
