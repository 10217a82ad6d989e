"""Long work over many deliveries: the question before it, its progress, and an honest word when somebody ends the wait.

The rule: a daemon goes on with what it was asked for, whoever waits; within this process nobody else would, so the work is stopped and
what was done is told.
"""

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from cdcd.cli.doing import DONE, INTERRUPTED, REFUSED, confirmed, print_json
from cdcd.cli.showing import Body, console, counts, show_deliveries, show_table

if TYPE_CHECKING:
    from cdcd.cli.reach import Reach

SOONEST, LATEST = 0.05, 0.5  # seconds between looks

_DONE = {"retry": "tried again", "cancel": "cancelled", "replay": "replayed"}


async def operate(reach: "Reach", order: Body, *, dry_run: bool, yes: bool, wait: bool, as_json: bool) -> int:
    """Do it to everything that the order's filter selects; the exit code."""
    if dry_run:
        found = await reach.operate({**order, "dryRun": True})
        if not found["count"]:
            await _tell_unknown(reach, order)
        return _preview(found, order["action"], as_json=as_json)
    if not yes:
        count = await reach.count(_query(order["filter"]))
        if not count["count"]:
            await _tell_unknown(reach, order)
            return _nothing(as_json)
        words = counts(count["count"], count["exact"])
        to = f" to {order['to']}" if "to" in order else ""
        if not confirmed(f"{order['action'].capitalize()} {words}{to}?", yes=False):
            return REFUSED
    beginning = asyncio.ensure_future(reach.operate(order))
    try:
        await asyncio.wait((beginning,))
    except asyncio.CancelledError:  # it may have begun all the same, and would go on
        _stay()
        print("Waiting for what became of it…", file=sys.stderr)
        return await _left(reach, await beginning)
    begun = beginning.result()
    if not wait and not reach.direct:
        print_json(begun) if as_json else print(f"operation {begun['id']} runs; see `cdcd operations show {begun['id']}`")
        return DONE
    return await follow(reach, begun, as_json=as_json)


async def follow(reach: "Reach", operation: Body, *, as_json: bool) -> int:
    """Wait until an operation is over, showing how far it is; the exit code."""
    try:
        operation = await watched(reach, operation)
    except asyncio.CancelledError:
        _stay()
        return await _left(reach, operation)
    if not _dealt(operation):
        await _tell_unknown(reach, operation)
    if as_json:
        print_json(operation)
    else:
        _tell(operation)
    return DONE if operation["state"] == "done" and not operation["failed"] else REFUSED


async def watched(reach: "Reach", operation: Body) -> Body:
    """Wait until an operation is over, with a bar on a terminal; the operation as it is then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    pause = SOONEST
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(operation["action"], total=operation["total"] if operation["exact"] else None)
        while operation["state"] == "running":
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LATEST)
            operation = await reach.operation(operation["id"])
            waiting = f" ({operation['remark']})" if operation["remark"] else ""
            progress.update(task, completed=_dealt(operation), description=operation["action"] + waiting)
    return operation


def _stay() -> None:
    """Ctrl-C is dealt with here; the next one ends it."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


async def _left(reach: "Reach", operation: Body) -> int:
    identity = operation["id"]
    if not reach.direct:
        print(
            f"It goes on in the daemon: operation {identity}. `cdcd operations show {identity}` tells how far it is, "
            f"`cdcd operations stop {identity}` stops it.",
            file=sys.stderr,
        )
        return INTERRUPTED
    operation = await reach.stop(identity)
    while operation["state"] == "running":
        await asyncio.sleep(SOONEST)
        operation = await reach.operation(identity)
    print(f"Stopped after {_dealt(operation):,} of {counts(operation['total'], operation['exact'])}:", file=sys.stderr)
    _tell(operation)
    return INTERRUPTED


def _dealt(operation: Body) -> int:
    return int(operation["done"] + operation["skipped"] + operation["failed"])


def _tell(operation: Body) -> None:
    parts = [f"{counts(operation['done'])} {_DONE.get(operation['action'], operation['action'])}"]
    if operation["skipped"]:
        parts.append(f"{operation['skipped']:,} left as they were")
    if operation["failed"]:
        parts.append(f"{operation['failed']:,} could not be")
    print("; ".join(parts) + (f": {operation['remark']}" if operation["remark"] else "."))
    if operation["state"] not in ("done", "running"):
        print(f"The operation has {'been stopped' if operation['state'] == 'stopped' else 'failed'}.", file=sys.stderr)


def _preview(found: Body, action: str, *, as_json: bool) -> int:
    if as_json:
        print_json(found)
        return DONE
    out = console()
    print(
        f"{counts(found['count'], found['exact'])} would be {_DONE[action]}.",
        file=sys.stderr if not out.is_terminal else sys.stdout,
    )
    possible = [each["delivery"] for each in found["first"] if not each["whyNot"]]
    others = [each for each in found["first"] if each["whyNot"]]
    if possible:
        if out.is_terminal:
            print("The first of them:")
        show_deliveries(out, possible)
    if others:
        if out.is_terminal:
            print("Left as they are:")
        show_table(out, ("id", "why"), ((each["delivery"]["id"], each["whyNot"]) for each in others), whole=("id",))
    return DONE


def _nothing(as_json: bool) -> int:
    if as_json:
        print_json({"count": 0, "exact": True, "first": []})
    else:
        print("Nothing is selected.")
    return DONE


async def _tell_unknown(reach: "Reach", order: Body) -> None:
    from cdcd.cli.filters import tell_unknown

    await tell_unknown(reach, order["filter"].get("trigger", ()))


def _query(members: dict[str, Any]) -> list[tuple[str, str]]:
    from cdcd.cli.filters import query_of

    return query_of(members)
