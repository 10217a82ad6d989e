"""Retry, cancel and replay of deliveries that are named by their ids: one after the other, and what could not be done is told."""

import sys
from typing import TYPE_CHECKING, Any

from cdcd.cli.doing import DONE, REFUSED, print_json
from cdcd.cli.times import rfc3339, seconds_of
from cdcd.cli.working import watched
from cdcd.errors import CdcdError
from cdcd.event import REPLAY_OF

if TYPE_CHECKING:
    from cdcd.cli.reach import Reach

Body = dict[str, Any]

_SAID = {"retry": "is tried again", "cancel": "is cancelled", "replay": "is replayed"}


async def act_on(reach: "Reach", action: str, ids: list[str], extra: dict[str, Any], *, dry_run: bool, as_json: bool) -> int:
    """The exit code: 1 when it could not be done for one of them."""
    code = DONE
    for identity in ids:
        try:
            done = await _one(reach, action, identity, extra, dry_run)
        except CdcdError as error:
            code = REFUSED
            print(f"{identity}: {error.explain()}", file=sys.stderr)
            continue
        if as_json:
            print_json(done, lines=len(ids) > 1)
        elif dry_run:
            first: Body = done["first"][0]
            print(f"{identity}: {first['whyNot'] or 'it would be done'}")
        elif "attempt" in done:
            attempt = done["attempt"]
            said = attempt["error"] or f"status {attempt['status']}"
            print(f"{identity} was sent to {extra['to']}: {said}; recorded as {done['id']}")
            code = REFUSED if attempt["error"] else code
        else:
            print(f"{identity} {_SAID[action]}")
    return code


async def _one(reach: "Reach", action: str, identity: str, extra: dict[str, Any], dry_run: bool) -> Body:
    if dry_run or action == "replay":
        if action == "replay" and "to" in extra and not dry_run:
            return await reach.send(identity, extra["to"])
        order = {"action": action, "filter": await _alone(reach, identity), **extra}
        if dry_run:
            return await reach.operate({**order, "dryRun": True})
        begun = await watched(reach, await reach.operate(order))
        if not begun["done"]:
            raise CdcdError(begun["remark"] or "it was not replayed; --dry-run tells why")
        return {"id": identity, "operation": begun["id"]}
    return await reach.act(identity, action)


async def _alone(reach: "Reach", identity: str) -> Body:
    """A filter that selects this delivery and no other. Raises CdcdError where there is none."""
    one = await reach.delivery(identity)
    if (first := one["extensions"].get(REPLAY_OF)) is not None:
        raise CdcdError("it is a replay itself", hint=f"replay what it repeats: {first}")
    begin = seconds_of(one["time"])
    wanted: Body = {
        "trigger": [one["trigger"]],
        "type": [one["type"]],
        "status": [one["status"]],
        "key": one["key"],
        "since": one["time"],
        "until": rfc3339(begin + 1e-6),
    }
    query = [(name, each) for name, value in wanted.items() for each in (value if isinstance(value, list) else [value])]
    found = (await reach.deliveries(query, None, 200))["deliveries"]
    others = [each for each in found if each["id"] != identity and REPLAY_OF not in each["extensions"]]  # replays are left out
    if others:
        raise CdcdError(
            f"{len(others) + 1} deliveries have this trigger, key and time (they are of one transaction), so it cannot be selected alone",
            hint=f"replay them together: --trigger {one['trigger']} --key '{one['key']}' --since {one['time']} --until {wanted['until']}",
        )
    return wanted
