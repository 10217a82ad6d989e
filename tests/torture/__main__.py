"""Run the torture test by itself, for as many seeds as wanted.

python -m tests.torture --seed 7 --seconds 30              one seed
python -m tests.torture --seeds 20 --seconds 30            seeds 1 to 20, one after the other
python -m tests.torture --capture triggers --seeds 20      the same of the change log
python -m tests.torture --reloads 50 --seconds 60          with reloads among the troubles
python -m tests.torture --reloads 50 --calm                reloads alone: nothing may come twice
"""

import argparse
import sys
from pathlib import Path

from tests.postgres import Servers, chosen_majors
from tests.torture.run import torture


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description="Seeded crash tests of the whole daemon.")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after the other")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the workload and the trouble last")
    parser.add_argument("--drain", type=float, default=300.0, help="how long draining may take afterwards")
    parser.add_argument("--logs", type=Path, default=Path("/tmp/cdcd-torture"), help="where the logs of each seed go")
    parser.add_argument("--major", type=int, default=chosen_majors()[-1], help="PostgreSQL major")
    parser.add_argument(
        "--capture", choices=("replication", "triggers"), default="replication", help="how changes are captured"
    )
    parser.add_argument("--reloads", type=int, default=0, help="how many reloads, valid and invalid ones, among the troubles")
    parser.add_argument("--calm", action="store_true", help="no other troubles: then nothing may come twice")
    arguments = parser.parse_args()
    servers = Servers()
    failed = 0
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        directory = arguments.logs / f"{arguments.capture}-{seed}"
        outcome = torture(
            *(seed, arguments.seconds, directory),
            major=arguments.major,
            drain=arguments.drain,
            servers=servers,
            capture=arguments.capture,
            reloads=arguments.reloads,
            calm=arguments.calm,
        )
        print(outcome.line, flush=True)
        if outcome.faults:
            failed += 1
            print(f"  {outcome.numbers}\n{outcome.faults}\n  logs: {directory}", flush=True)
    servers.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
