"""Following the event log: what is recorded since the last look, and what has another status since.

The rule: a delivery is recorded when it ends, but its id says when its event happened, so newer ones can come first. Each look therefore
goes back some time before the last one (`back`), and what was told is not told again. What is recorded for the first time later than that
after its event (cdcd catches up after an outage, a replay of something old) is seen by who looks back further.
"""

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

from cdcd.cli.asking import Unreachable
from cdcd.cli.doing import print_json
from cdcd.cli.showing import console, delivery_row
from cdcd.cli.times import rfc3339, seconds_of
from cdcd.errors import TransientError

if TYPE_CHECKING:
    from rich.console import Console

    from cdcd.cli.reach import Reach

PAGE = 200
MOST = 5000  # deliveries of one look
LONGEST_WAIT = 10.0  # seconds between tries to reach a daemon that is gone

Body = dict[str, Any]


async def follow(
    reach: "Reach", query: list[tuple[str, str]], lines: int, interval: float, back: float, *, as_json: bool
) -> None:
    """Until it is cancelled. Raises CdcdError for what will not mend by itself."""
    out = console()
    told: dict[str, tuple[str, float]] = {}  # status, and when its event happened
    first = await reach.deliveries(query, None, PAGE)
    begun = max((_changed(one) for one in first["deliveries"]), default=0.0)
    for one in first["deliveries"]:
        told[one["id"]] = (one["status"], seconds_of(one["time"]))
    for one in list(reversed(first["deliveries"][:lines])):
        _tell(out, one, as_json=as_json)
    since, away = time.time(), 0.0
    while True:
        await asyncio.sleep(max(interval, away))
        looked = time.time()
        try:
            fresh = await _since(reach, query, since - back, back)
        except (Unreachable, TransientError) as error:
            if not away:
                print(f"({error}; waiting for it)", file=sys.stderr)
            away = min(max(interval, away * 2), LONGEST_WAIT)
            continue
        if away:
            print("(it is back)", file=sys.stderr)
            away = 0.0
        since = looked
        for one in reversed(fresh):
            happened = seconds_of(one["time"])
            if one["id"] not in told and _changed(one) < begun:
                told[one["id"]] = (one["status"], happened)  # it was there before
            if told.get(one["id"], ("", 0.0))[0] != one["status"]:
                _tell(out, one, as_json=as_json)
                told[one["id"]] = (one["status"], happened)
        told = {identity: known for identity, known in told.items() if known[1] > since - 2 * back}


def _changed(one: Body) -> float:
    """When it was last recorded, by the store's clock."""
    return seconds_of(one["settledAt"] or one["createdAt"])


async def _since(reach: "Reach", query: list[tuple[str, str]], moment: float, back: float) -> list[Body]:
    found: list[Body] = []
    cursor: str | None = None
    while len(found) < MOST:
        page = await reach.deliveries([*query, ("since", rfc3339(moment))], cursor, PAGE)
        found += page["deliveries"]
        cursor = page.get("next")
        if cursor is None:
            return found
    print(
        f"(more than {MOST:,} deliveries in {back:.0f} s: the older ones are left out; filters make them fewer)",
        file=sys.stderr,
    )
    return found


def _tell(out: "Console", one: Body, *, as_json: bool) -> None:
    if as_json:
        print_json(one, lines=True)
    elif not out.is_terminal:
        print("\t".join(" ".join(str(cell).split()) for cell in delivery_row(one, out)), flush=True)
    else:
        from rich.text import Text

        identity, when, state, trigger, what, _, remark = delivery_row(one, out)
        line = Text.assemble((str(when), "dim"), " ", state, " ", (str(trigger), "bold"), " ", what, " ", (str(remark), "dim"))
        out.print(line, overflow="ellipsis", no_wrap=True)
        out.print(Text(f"         {identity}", "dim"))
