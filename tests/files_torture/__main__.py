"""Run the file torture by itself, for as many seeds as wanted.

python -m tests.files_torture --seed 7 --seconds 20              one seed
python -m tests.files_torture --seeds 20 --seconds 20            seeds 1 to 20, one after the other
"""

import argparse
import sys
from pathlib import Path

from tests.files_torture.run import torture
from tests.postgres import Servers, chosen_majors


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.files_torture", description="Seeded crash tests of the files source."
    )
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after the other")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the workload and the trouble last")
    parser.add_argument("--drain", type=float, default=120.0, help="how long it may take afterwards until all is told")
    parser.add_argument("--logs", type=Path, default=Path("/tmp/cdcd-files-torture"), help="where the logs of each seed go")
    arguments = parser.parse_args()
    servers = Servers()
    failed = 0
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        directory = arguments.logs / f"seed-{seed}"
        outcome = torture(seed, arguments.seconds, directory, chosen_majors()[-1], arguments.drain, servers)
        print(outcome.line, flush=True)
        if outcome.faults:
            failed += 1
            print("\n".join(f"  {fault}" for fault in outcome.faults[:20]), f"  logs: {directory}", sep="\n", flush=True)
    servers.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
