"""Where reading begins: the stored position and the slot, held against each other. Pure.

The rule: reading begins at the position that the store holds, since the server saves the slot's own only now and then. It goes on
only if nothing can be missing in between; otherwise PositionLost says which span of WAL and time is.

===========================  =======================  ==============================================================
the store knows              the slot                 begin
===========================  =======================  ==============================================================
nothing                      is missing               make it; begin where it begins
nothing                      stands at C              at C
settled S                    stands at C <= S         at S
settled S, any timeline      stands at C > S          PositionLost: somebody else confirmed (S, C]
settled S                    is missing or lost       PositionLost: everything since S
settled S, other timeline    stands at C <= S         at C: after a failover S may lie beyond what the new primary has;
                                                      what is read again is looked up by id
settled S, other cluster     (any)                    PositionLost: S means nothing there
===========================  =======================  ==============================================================
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from cdcd.errors import PositionLost
from cdcd.event import Position
from cdcd.replication.lsn import format_lsn
from cdcd.replication.slot import SlotState

ACCEPT = "`cdcd setup --accept-gap` records the gap and begins anew from now on; rows that changed in between must be compared by hand"


@dataclass(slots=True, frozen=True)
class Beginning:
    """`start`: the LSN to begin at; None: the slot must be made first. `moved` tells of a new timeline."""

    start: int | None
    moved: bool = False


def where_to_begin(
    name: str, known: Position | None, slot: SlotState | None, identity: dict[str, str], *, remade: bool = False
) -> Beginning:
    """Decide, see the module. `identity` has `system`, `timeline` and `slot` of the server at hand. `remade`: its publications
    are not those that were read, so a gap is told in any case, and a slot that stands beyond was moved for it by cdcd.
    Raises PositionLost."""
    if known is None:
        if slot is not None and slot.lost:
            raise PositionLost(f"database {name!r}: the slot {slot.name!r} is invalidated ({_why(slot)})", hint=ACCEPT)
        return Beginning(None if slot is None else slot.confirmed_flush)
    if "log" in known.identity:
        raise PositionLost(
            f"database {name!r} was captured by triggers until now ({_moment(known.time)}); what stands in the change log and was not "
            "read is not in the replication stream",
            hint=f"set `capture: triggers` again; or {ACCEPT}",
        )
    since = f"{format_lsn(known.settled)} ({_moment(known.time)})"
    if known.identity.get("system", identity["system"]) != identity["system"]:
        raise PositionLost(
            f"database {name!r} is another cluster (system identifier {identity['system']}) than the one that was read until {since}",
            hint=f"point the url at the right server; or, if this one replaces it, {ACCEPT}",
        )
    if slot is None:
        raise PositionLost(
            f"database {name!r}: the slot {identity['slot']!r} is gone; changes since {since} cannot be read any more",
            hint=ACCEPT,
        )
    if slot.lost or slot.confirmed_flush is None:
        raise PositionLost(
            f"database {name!r}: the slot {slot.name!r} was invalidated ({_why(slot)}); changes since {since} cannot be read any more",
            hint=ACCEPT,
        )
    if slot.confirmed_flush > known.settled and not remade:
        raise PositionLost(
            f"database {name!r}: the slot {slot.name!r} stands at {format_lsn(slot.confirmed_flush)}, beyond {since} where cdcd had "
            "settled: somebody else read or advanced it, and what lies between was not delivered",
            hint=ACCEPT,
        )
    if known.identity.get("timeline", identity["timeline"]) != identity["timeline"]:
        return Beginning(slot.confirmed_flush, moved=True)
    return Beginning(known.settled)


def _why(slot: SlotState) -> str:
    return slot.invalidation_reason or f"wal_status {slot.wal_status}"


def _moment(time: int) -> str:
    return "no commit yet" if not time else datetime.fromtimestamp(time / 1e6, UTC).isoformat(timespec="seconds")
