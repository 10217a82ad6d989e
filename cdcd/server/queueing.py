"""From what was asked for to events that are queued: checked against every rule, made durable, and perhaps waited for.

A request's events are accepted together or not at all.
"""

import asyncio
import random
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import orjson

from cdcd.clock import Clock
from cdcd.event import Queued
from cdcd.server.auth import Claims
from cdcd.server.intake import Intake
from cdcd.server.problems import Problem, Reason, Reasons
from cdcd.server.reading import Asked, identity_of, type_problem
from cdcd.server.rules import LARGE, Rules
from cdcd.server.waiting import Answered, End, Refused, Unmatched, Waiting

LONGEST_WAIT = 60.0  # seconds that a caller may wait for what becomes of an event


@dataclass(slots=True, frozen=True)
class Taken:
    """What was queued: ids in the order asked for, and which of them are new."""

    ids: list[str]
    new: AbstractSet[str]


class Queueing:
    """What the routes that queue share. `largest`: bytes of one event's data."""

    def __init__(self, project: str, rules: Rules, intake: Intake, waiting: Waiting, clock: Clock, largest: int) -> None:
        self.rules = rules
        self._source = f"cdcd/{project}/queue"
        self._intake = intake
        self._waiting = waiting
        self._clock = clock
        self._largest = largest
        self._last = 0
        self._mark = f"8{random.getrandbits(12):03x}-{random.getrandbits(48):012x}"

    def now(self) -> int:
        """Microseconds since the Unix epoch."""
        return int(self._clock.now() * 1_000_000)

    def check(self, asked: Sequence[Asked], claims: Claims | None, reasons: Reasons) -> None:
        """Raise Problem with every reason why not all of these can be queued. `claims` None: `allow` is not asked."""
        for each in asked:
            if reasons.full:
                break
            incoming = each.incoming
            if len(incoming.data) > self._largest:
                reasons.add(
                    f"the data has {len(incoming.data)} bytes, more than limits.payload ({self._largest})",
                    each.pointer + each.member,
                    413,
                )
            elif not self.rules.free(incoming.type):
                self._check_rules(each, claims, reasons)
        reasons.raise_if_any("nothing was queued")

    def _check_rules(self, asked: Asked, claims: Claims | None, reasons: Reasons) -> None:
        kind = asked.incoming.type
        if self.rules.known(kind):
            try:
                payload = orjson.loads(asked.incoming.data)
            except ValueError:  # a CloudEvent's data is not looked at before
                reasons.add("it has a number that is too large to be checked", asked.pointer + asked.member)
                return
            large = len(asked.incoming.data) > LARGE
            self.rules.check(kind, payload, claims, asked.pointer + asked.member, reasons, large=large)
            return
        why = type_problem(kind) or f"there is no type {kind}: neither `events` names it nor does any enabled trigger want it"
        reasons.add(why, f"{asked.pointer}/type")

    async def queue(self, asked: Sequence[Asked], now: int) -> Taken:
        """Make them durable. Raises StoreUnavailable, StoreRefused, RowRefused."""
        return await self._put(self.events(asked, now))

    async def _put(self, events: Sequence[Queued]) -> Taken:
        new = await self._intake.put(events)
        return Taken([event.id for event in events], new)

    async def queue_and_wait(self, asked: Asked, now: int, seconds: float) -> tuple[Taken, Answered | None]:
        """Queue one event, and what its webhook answered, None when it was queued before. Raises Problem when there is no answer."""
        (event,) = self.events((asked,), now)
        if event.due > now + seconds * 1_000_000:
            raise Problem(422, "nothing was queued", [Reason("an event for later cannot be waited for", asked.pointer)])
        with self._waiting.expect(event.id) as end:
            taken = await self._put((event,))
            if event.id not in taken.new:
                return taken, None
            try:
                async with asyncio.timeout(seconds):
                    return taken, _answered(await end, event.id)
            except TimeoutError:
                what = f"there was no answer within {seconds:g} s; the delivery goes on"
                raise Problem(504, what, more={"id": event.id}) from None

    def events(self, asked: Sequence[Asked], now: int) -> list[Queued]:
        """What `check` has let pass, as it is queued."""
        events = []
        for each in asked:
            incoming = each.incoming
            time = incoming.time
            events.append(
                Queued(
                    identity_of(incoming) if incoming.id else self._new_id(now),
                    incoming.type,
                    incoming.source or self._source,
                    each.due(now),
                    incoming.data,
                    incoming.subject,
                    incoming.key,
                    incoming.extensions,
                    bool(incoming.id),  # given
                    time is None or time <= now,  # at once
                )
            )
        return events

    def _new_id(self, now: int) -> str:
        """A UUID of version 7 (RFC 9562, 5.7 and 6.2): ids sort as they were made, no two have the same microsecond, and what is random
        is so once for each life of the daemon."""
        if now <= self._last:
            now = self._last + 1
        self._last = now
        milliseconds, rest = divmod(now, 1000)
        return f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{rest:03x}-{self._mark}"


def _answered(end: End, event: str) -> Answered:
    if isinstance(end, Answered):
        return end
    if isinstance(end, Unmatched):
        raise Problem(404, "the event was taken, and no trigger wants it", more={"id": event})
    if isinstance(end, Refused):
        raise Problem(
            502,
            "the delivery failed for good",
            [Reason(end.why)] if end.why else (),
            more={"id": event, "attempts": end.attempts},
        )
    raise Problem(503, "cdcd stops; the event was taken and its delivery goes on afterwards", more={"id": event})
