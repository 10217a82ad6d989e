"""`/v1/events`: queueing custom events in our own form and as CloudEvents; those for later: listing, moving, taking back."""

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import orjson

from cdcd.event import Queued
from cdcd.server.auth import Claims
from cdcd.server.problems import Problem, Reason, Reasons
from cdcd.server.queueing import LONGEST_WAIT, Queueing
from cdcd.server.reading import LONGEST_IDENTITY, read_events, read_json
from cdcd.server.replies import Reply
from cdcd.server.routes import Call
from cdcd.store.scheduled import Found, Schedule, Scheduled
from cdcd.triggers.cloudevents import Malformed, moment
from cdcd.triggers.payload import rfc3339

MOST_LISTED, LISTED = 1000, 100
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?(?=$|[,;\s])", re.IGNORECASE)  # RFC 7240, 4.3
_PARENT = re.compile(r"[0-9a-f]{2}(-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})")  # W3C Trace Context, 2.2
_LIMIT = re.compile(r"[1-9][0-9]{0,3}")
_FROM_THE_START = (0, -1)


class Events:
    """The handlers."""

    def __init__(self, queueing: Queueing, schedule: Schedule) -> None:
        self.queueing = queueing
        self._schedule = schedule
        self._one = asyncio.Lock()
        self.traced = False
        """Whether a request's `traceparent` goes with its events."""

    async def queue(self, call: Call) -> Reply:
        """`POST /v1/events`."""
        now = self.queueing.now()
        reasons = Reasons()
        headers = {
            low: value
            for name, value in call.request.headers.items()
            if (low := name.lower()) == "content-type" or low.startswith("ce-")
        }
        asked = read_events(headers, call.body, now, reasons)
        parent = call.request.headers.get("traceparent", "") if self.traced else ""
        if _PARENT.fullmatch(parent):
            for each in asked:
                each.incoming.extensions = {"traceparent": parent, **(each.incoming.extensions or {})}
        self.queueing.check(asked, call.claims, reasons)
        wait = wait_of(call)
        if wait is None:
            taken = await self.queueing.queue(asked, now)
            return Reply(202, accepted(taken.ids, taken.new))
        if len(asked) != 1:
            raise Problem(
                422, "nothing was queued", [Reason("only a single event can be waited for: leave `Prefer: wait` out")]
            )
        taken, answered = await self.queueing.queue_and_wait(asked[0], now, wait)
        if answered is None:
            return Reply(202, accepted(taken.ids, taken.new))
        body = orjson.dumps({"ids": taken.ids, **answered.members()})
        return Reply(200, body, headers={"Preference-Applied": f"wait={wait:g}"})

    def read(self, body: bytes, claims: Claims) -> list[Queued]:
        """`POST /v1/events` with JSON that nobody waits for: what is to be made durable. Raises Problem."""
        now = self.queueing.now()
        reasons = Reasons()
        asked = read_json(body, now, reasons)
        self.queueing.check(asked, claims, reasons)
        return self.queueing.events(asked, now)

    async def scheduled(self, call: Call) -> Reply:
        """`GET /v1/events/scheduled`."""
        query = call.request.query
        reasons = Reasons()
        for name in query.keys() - {"limit", "after", "type"}:
            reasons.add(f"there is no parameter {name[:50]!a}", status=422)
        limit = query.get("limit", str(LISTED))
        if not _LIMIT.fullmatch(limit) or int(limit) > MOST_LISTED:
            reasons.add(f"limit must be 1 to {MOST_LISTED}")
        kind = query.get("type", "")
        if "\0" in kind:
            reasons.add("type must be a name")
        after = _place(query.get("after"), reasons)
        reasons.raise_if_any("nothing was listed")
        found, following = await self._listed(after, kind, int(limit))
        more = {"next": following} if following else {}
        return Reply(200, orjson.dumps({"events": [_shown(each) for each in found], **more}))

    async def later(self, after: str, limit: int) -> tuple[list[Scheduled], str]:
        """Events for later behind the cursor `after`, and the cursor of the next page, "" after the last. Raises Problem 422."""
        reasons = Reasons()
        place = _place(after, reasons)
        reasons.raise_if_any("nothing was listed")
        return await self._listed(place, "", limit)

    async def _listed(self, after: tuple[int, int], kind: str, limit: int) -> tuple[list[Scheduled], str]:
        async with self._one:
            found = await self._schedule.list(after, kind, limit)
        return found, _cursor(found[-1]) if len(found) == limit else ""

    async def cancel(self, call: Call) -> Reply:
        """`DELETE /v1/events/scheduled/{id}`."""
        identity = call.parameters["id"]
        await self.take_back(identity)
        return Reply(200, orjson.dumps({"id": identity}))

    async def take_back(self, identity: str) -> None:
        """An event that is for later will not happen. Raises Problem 404, 409."""
        _check_identity(identity)
        async with self._one:
            _done(await self._schedule.cancel(identity))

    async def move(self, call: Call) -> Reply:
        """`PATCH /v1/events/scheduled/{id}`."""
        identity = call.parameters["id"]
        _check_identity(identity)
        try:
            wanted = orjson.loads(call.body)
        except ValueError:
            raise Problem(400, "the body is not JSON in UTF-8") from None
        if not isinstance(wanted, dict) or wanted.keys() != {"at"}:
            raise Problem(422, "nothing was moved", [Reason('the body must be an object with `at` alone: {"at": TIME}')])
        due = await self.put_off(identity, wanted["at"])
        return Reply(200, orjson.dumps({"id": identity, "at": rfc3339(due).decode()}))

    async def put_off(self, identity: str, at: object) -> int:
        """An event that is for later happens at another time (RFC 3339), which is returned. Raises Problem 404, 409, 422."""
        _check_identity(identity)
        try:
            due = moment(at, "it")
        except Malformed as error:
            raise Problem(422, "nothing was moved", [Reason(str(error), "/at")]) from None
        async with self._one:
            _done(await self._schedule.move(identity, due))
        return due


def accepted(ids: Sequence[str], new: AbstractSet[str]) -> bytes:
    """The answer of 202, which tells which of them are not new."""
    duplicates = [identity for identity in ids if identity not in new]
    return orjson.dumps({"ids": ids, "duplicates": duplicates} if duplicates else {"ids": ids})


def wait_of(call: Call) -> float | None:
    """Seconds that the request prefers to wait for the answer, None when it does not."""
    for prefer in call.request.headers.getall("Prefer", ()):
        if (found := _WAIT.search(prefer)) is not None:
            return min(float(found[1]), LONGEST_WAIT) or None
    return None


def _check_identity(identity: str) -> None:
    if len(identity) > LONGEST_IDENTITY or "\0" in identity or not identity.isprintable():
        raise Problem(404, "there is no such event for later")


def _done(found: Found) -> None:
    if found is Found.UNKNOWN:
        raise Problem(404, "there is no such event for later")
    if found is Found.ON_ITS_WAY:
        raise Problem(409, "the event is due and on its way")


def _shown(event: Scheduled) -> dict[str, object]:
    return {
        "id": event.id,
        "type": event.type,
        "at": rfc3339(event.due).decode(),
        "source": event.source,
        "subject": event.subject,
        "key": event.key,
        "queuedAt": rfc3339(event.queued).decode(),
    }


def _cursor(event: Scheduled) -> str:
    return base64.urlsafe_b64encode(f"{event.due}.{event.seq}".encode()).decode().rstrip("=")


def _place(cursor: str | None, reasons: Reasons) -> tuple[int, int]:
    if not cursor:
        return _FROM_THE_START
    try:
        text = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
        due, seq = (int(part) for part in text.decode("ascii").split("."))
    except (binascii.Error, ValueError):
        reasons.add("after must be the `next` of an earlier answer")
        return _FROM_THE_START
    if not 0 <= due < 2**60 or not 0 <= seq < 2**62:
        reasons.add("after must be the `next` of an earlier answer")
        return _FROM_THE_START
    return due, seq
