"""Why a delivery came to be and what became of it, from commit to answer; and what it comes from and what followed.

The rules:
- nothing is made up: a step whose time nobody kept has none, and `unknown` says what cannot be known;
- the trigger is judged as it is now, on the event as it was: how the trigger was then is not kept;
- all times are those of who wrote them: the database's for the commit and what is recorded, cdcd's for attempts.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from cdcd.admin.deliveries import Deliveries, Detail, Found, NotThere, Status
from cdcd.admin.unfired import Asked, Unfired, look
from cdcd.config.model import Config
from cdcd.delivery.following import CAUSATION, CORRELATION
from cdcd.errors import EventError
from cdcd.event import Delivery, Event
from cdcd.store.causes import Causes, Waiting
from cdcd.store.operations import Paused
from cdcd.triggers.judging import Judgement, judge, kind_of, remembered
from cdcd.triggers.trigger import Trigger, compile_all, compile_trigger

MOST_CAUSES = 32  # up the chain
MOST_EVENTS = 100  # of one answer, that are looked for in the queue

_HAPPENED = {
    "DB_": "the change was committed",
    "FILE_": "the file's change was noticed",
    "SCHEDULE": "the schedule ticked",
}


@dataclass(slots=True, frozen=True)
class Step:
    """One thing that happened to a delivery. `name`: `happened`, `matched`, `staged`, `attempt`, `recorded`, `waiting` or `due`. `at` is
    microseconds since the Unix epoch, None when nobody kept it."""

    name: str
    at: int | None
    words: str
    good: bool | None = None


@dataclass(slots=True, frozen=True)
class Explanation:
    """A delivery explained.

    `judgement` is None when there is no such trigger any more, or its data cannot be read: `unjudged` says which. `causes` are the
    deliveries that it comes from, the first cause first; `origin` where that chain begins, if not there. `caused` are those that
    followed and those that repeat it, `queued` events that followed and are no deliveries yet. `paused`: its trigger is.
    """

    detail: Detail
    steps: tuple[Step, ...]
    judgement: Judgement | None
    unjudged: str
    causes: tuple[Found, ...]
    origin: str
    caused: tuple[Found, ...]
    queued: tuple[Waiting, ...]
    unknown: tuple[str, ...]
    paused: bool = False


class Explaining:
    """Raises NotThere, Unfit, StoreUnavailable, StoreRefused; for rows SourceUnavailable and SourceNotReady too. `config` gives the
    configuration in force, `paused` the triggers that are paused. May be used by any number of tasks."""

    def __init__(
        self,
        config: Callable[[], Config],
        deliveries: Deliveries,
        causes: Causes,
        paused: Callable[[], Awaitable[Sequence[Paused]]],
    ) -> None:
        self._config = config
        self._deliveries = deliveries
        self._causes = causes
        self._paused = paused
        self._compiled: tuple[Config, tuple[Trigger, ...]] | None = None

    async def delivery(self, identity: str, *, judged: bool = True) -> Explanation:
        """A delivery and everything around it. Not `judged`, and without its data: for who asks again and again how it stands."""
        detail = await self._deliveries.show(identity, with_data=judged)
        found = detail.delivery
        judgement, unjudged = await asyncio.to_thread(self._judge, detail) if judged else (None, "nobody asked")
        causes, origin = await self._causes_of(found)
        caused = await self._causes.caused(found.id, found.time)
        queued = await self._causes.queued(_events_of(found)) if found.settled is not None else []
        paused = found.trigger in {one.trigger for one in await self._paused()}
        steps = steps_of(detail, paused=paused)
        unknown = tuple(_unknown(detail, steps))
        return Explanation(detail, steps, judgement, unjudged, causes, origin, tuple(caused), tuple(queued), unknown, paused)

    async def row(self, asked: Asked) -> Unfired:
        """Why a row's changes make deliveries, or do not."""
        config = self._config()
        paused = {one.trigger for one in await self._paused()}
        triggers = await asyncio.to_thread(self._triggers, config)  # a thousand of them take a second
        return await look(config, triggers, self._deliveries, asked, paused)

    def _triggers(self, config: Config) -> tuple[Trigger, ...]:
        if self._compiled is None or self._compiled[0] is not config:
            self._compiled = (config, compile_all(config))
        return self._compiled[1]

    def _judge(self, detail: Detail) -> tuple[Judgement | None, str]:
        found = detail.delivery
        config = self._config().triggers.get(found.trigger)
        if config is None:
            return None, f"there is no trigger {found.trigger} any more"
        if detail.data is None:
            return None, "its data could not be kept"
        event = Event(
            *(found.type, found.source, found.subject, found.key, found.time, detail.data, detail.position, found.extensions)
        )
        try:
            facts, scene = remembered(Delivery(found.id, found.trigger, event, None), kind_of(found.type))
        except EventError as error:
            return None, error.explain()
        return judge(compile_trigger(config), facts, scene), ""

    async def _causes_of(self, found: Found) -> tuple[tuple[Found, ...], str]:
        """The deliveries up the chain, the first cause first, and where the chain begins, if that is not among them."""
        chain: list[Found] = []
        seen = {found.id}
        at = found
        while (cause := str(at.extensions.get(CAUSATION, ""))) and len(chain) < MOST_CAUSES:
            if cause in seen:
                return tuple(reversed(chain)), f"{cause}, which is in its own chain"
            seen.add(cause)
            try:
                at = (await self._deliveries.show(cause, with_data=False)).delivery
            except NotThere:
                return tuple(reversed(chain)), f"{cause}, which the event log does not hold (any more)"
            chain.append(at)
        origin = str(at.extensions.get(CAUSATION, ""))
        if origin:
            return tuple(reversed(chain)), f"{found.extensions.get(CORRELATION, origin)}, further up than is shown"
        return tuple(reversed(chain)), ""


def steps_of(detail: Detail, *, paused: bool = False) -> tuple[Step, ...]:
    """Everything that happened to a delivery, in order. Pure."""
    found = detail.delivery
    steps = [Step("happened", found.time, _happened(detail))]
    first = min((tried.at for tried in detail.attempts), default=None)
    early = found.settled is None or found.created < found.settled
    if early and (first is None or found.created < first):
        steps.append(Step("matched", None, f"it was read and matched with the trigger {found.trigger}"))
        steps.append(Step("staged", found.created, "it was made durable in the event store, to be sent from there"))
    else:
        steps.append(Step("matched", None, f"it was read, matched with the trigger {found.trigger} and sent at once"))
        if early:
            steps.append(Step("staged", found.created, "it was made durable in the event store, to be tried again"))
    for tried in detail.attempts:
        end = tried.at + round(tried.duration * 1000)
        status = f"status {tried.status}" if tried.status else "no answer"
        why = f": {tried.error}" if tried.error else ""
        words = f"attempt {tried.number}: {status} after {tried.duration:.0f} ms{why}"
        steps.append(Step("attempt", tried.at, words, good=not tried.error))
        if end > tried.at and not tried.error:
            steps.append(Step("answered", end, f"the endpoint answered {tried.status}", good=True))
    if found.settled is not None:
        good = found.status == Status.PROCESSED
        remark = f": {found.remark}" if found.remark else ""
        steps.append(Step("recorded", found.settled, f"it was recorded as {found.status}{remark}", good=good))
    steps = _in_order(steps)
    if found.settled is None:
        steps += _waiting(detail, paused)
    return tuple(steps)


def _in_order(steps: list[Step]) -> list[Step]:
    """By time; what has none stays behind what it stood behind."""
    keys: list[int] = []
    for step in steps:
        keys.append(step.at if step.at is not None else keys[-1])
    return [
        step for _, _, step in sorted((key, number, step) for number, (key, step) in enumerate(zip(keys, steps, strict=True)))
    ]


def _happened(detail: Detail) -> str:
    found = detail.delivery
    words = next((words for prefix, words in _HAPPENED.items() if found.type.startswith(prefix)), "the event was due")
    return f"{words} ({found.type} {found.subject})" if found.subject else f"{words} ({found.type})"


def _waiting(detail: Detail, paused: bool) -> list[Step]:
    place = detail.place
    if place is None:
        return [Step("waiting", None, "it is being moved in the backlog just now; look again")]
    steps = []
    if paused:
        steps.append(Step("waiting", None, f"it waits: the trigger {detail.delivery.trigger} is paused"))
    if place.before:
        lane = f" with the key {place.lane}" if place.lane else ""
        number = f"{place.before}{'+' if place.before >= 1000 else ''}"
        steps.append(Step("waiting", None, f"it waits behind {number} of its lane{lane}; first comes {place.first}"))
    elif place.due is not None:
        steps.append(
            Step("due", place.due, f"attempt {place.attempts + 1} is due" + (f", since: {place.error}" if place.error else ""))
        )
    return steps


def _events_of(found: Found) -> list[str]:
    """The ids of the events that its end queued (`cdcd.delivery.following`)."""
    head = f"{found.id}.{found.attempts}."
    return [f"{head}dlq", *(f"{head}{number}" for number in range(1, MOST_EVENTS + 1))]


def _unknown(detail: Detail, steps: Sequence[Step]) -> list[str]:
    found = detail.delivery
    later = next((step for step in steps if step.at is not None and step.name != "happened"), None)
    unknown = []
    if later is not None:
        lag = (later.at or 0) - found.time
        unknown.append(f"when it was read and matched: within the {lag / 1000:,.0f} ms until the next step")
    unknown.append("how the trigger was configured at that time: it is judged as it is now")
    if found.attempts > len(detail.attempts):
        unknown.append(f"{found.attempts - len(detail.attempts)} of its attempts: their record is past retention")
    if found.type == "DB_UPDATE" and detail.data is not None and b'"changed":null' in detail.data:
        unknown.append("the row as it was before: Postgres sends it only with ALTER TABLE ... REPLICA IDENTITY FULL")
    return unknown
