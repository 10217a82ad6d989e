"""Who waits for what becomes of an event: from being matched to the first answer of an endpoint.

The rules:
- the first delivery that succeeds gives the answer; when all have failed, their attempts are told;
- whoever stops waiting changes nothing: the deliveries go on;
- what is not waited for costs nothing.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson

from cdcd.event import Delivery, Queued, Record, Status
from cdcd.server.problems import Problem
from cdcd.server.reading import parsed


class Watched(Protocol):
    """Who tells what becomes of a delivery (the engine)."""

    def watch(self, delivery: str, told: Callable[[Record], None]) -> None: ...
    def unwatch(self, delivery: str) -> None: ...


@dataclass(slots=True, frozen=True)
class Answered:
    """An endpoint took it and said `response`: the member `response` of its JSON, else its JSON, else its text. `cut`: it said more."""

    response: object
    cut: bool = False

    def members(self) -> dict[str, object]:
        """As it is told."""
        return {"result": self.response, **({"cut": True} if self.cut else {})}


@dataclass(slots=True, frozen=True)
class Refused:
    """Every delivery has failed. `attempts` in the order in which they were recorded."""

    attempts: list[dict[str, object]]
    why: str


class Unmatched:
    """No trigger wants it."""


class Stopping:
    """cdcd stops; the deliveries go on after its next start."""


End = Answered | Refused | Unmatched | Stopping


class Waiting:
    """The waits of all requests. `matched` is the queue source's side of it."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._waits: dict[str, list[_Wait]] = {}

    @contextlib.contextmanager
    def expect(self, event: str) -> Iterator[asyncio.Future[End]]:
        """Wait for the event with this id, from before it is queued until the end of the block."""
        wait = _Wait(self._watched)
        self._waits.setdefault(event, []).append(wait)
        try:
            yield wait.end
        finally:
            wait.close()
            waits = self._waits[event]
            waits.remove(wait)
            if not waits:
                del self._waits[event]

    def matched(self, queued: Queued, deliveries: Sequence[Delivery]) -> None:
        """An event has become these deliveries."""
        for wait in self._waits.get(queued.id, ()):
            wait.matched(deliveries)

    def stop(self) -> None:
        """Nobody waits any longer."""
        for waits in self._waits.values():
            for wait in waits:
                wait.finish(Stopping())


class _Wait:
    def __init__(self, watched: Watched) -> None:
        self.end: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._watched = watched
        self._open: set[str] = set()
        self._ids: list[str] = []
        self._attempts: list[dict[str, object]] = []
        self._why: list[str] = []

    def matched(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            self.finish(Unmatched())
        for delivery in deliveries:
            self._open.add(delivery.id)
            self._ids.append(delivery.id)
            self._watched.watch(delivery.id, self._told)

    def _told(self, record: Record) -> None:
        delivery, attempt = record.delivery, record.attempt
        if attempt is not None and attempt.error:
            self._attempts.append(
                {"trigger": delivery.trigger, "number": attempt.number, "status": attempt.status, "error": attempt.error}
            )
        if record.status is Status.STAGED:
            return
        if record.status is Status.PROCESSED:
            if attempt is None:
                self.finish(Answered(None))
            else:
                self.finish(Answered(attempt.response if attempt.cut else response_of(attempt.response), attempt.cut))
            return
        self._open.discard(delivery.id)
        if record.reason:
            self._why.append(record.reason)
        if not self._open:
            self.finish(Refused(self._attempts, "; ".join(dict.fromkeys(self._why))))

    def finish(self, end: End) -> None:
        if not self.end.done():
            self.end.set_result(end)

    def close(self) -> None:
        self.end.cancel()
        for delivery in self._ids:
            self._watched.unwatch(delivery)


def response_of(text: str) -> object:
    """What a webhook gives back to a caller who waits (Space Cloud: the member `response`)."""
    try:
        body = parsed(text.encode())
        found: object = body["response"] if isinstance(body, dict) and "response" in body else body
        orjson.dumps(found)  # what is nested too deeply cannot be given on as JSON
    except (Problem, orjson.JSONEncodeError):
        return text
    return found
