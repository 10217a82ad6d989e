"""Trying a trigger, as it is or as a draft: would it fire for this event, why (not), and which request exactly would be sent.

The rules:
- it is judged by `cdcd.triggers.judging`, and the request is made by the code that makes the real ones; nothing is recorded, and nothing is
  sent unless that is asked for;
- what is sent is signed like any delivery, once, under an id of its own, and says that it is a test: the header `X-Cdcd-Test: true`;
- nothing secret is shown: neither headers of the webhook, nor token and signature, nor what was put in from the environment or a file.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import uuid4

import structlog
from yarl import URL

from cdcd.admin.deliveries import Deliveries, Detail, Filter, NotThere
from cdcd.admin.editing import Draft, Editing, NoSuchTrigger
from cdcd.admin.samples import PLAIN_TABLE, NothingToTry, Sample, event_of
from cdcd.config.masking import MASK, shown_url
from cdcd.config.model import Config, Kind, TriggerConfig
from cdcd.delivery.request import Outgoing, Route
from cdcd.delivery.sender import Sender
from cdcd.delivery.signing import Signer
from cdcd.errors import EventError
from cdcd.event import Attempt, Delivery, Event
from cdcd.sources import present
from cdcd.triggers.judging import Judgement, check_size, judge, kind_of, remembered
from cdcd.triggers.trigger import Trigger, compile_trigger

log = structlog.get_logger()

MOST = 20  # events of one trial
LOOKED_AT = 100  # deliveries, to find as many events that differ
LARGEST = 256 * 1024  # bytes of a request's body that are shown
TEST = "X-Cdcd-Test"
_OPEN = frozenset(
    {"accept", "accept-encoding", "content-type", "user-agent", "host", "webhook-id", "webhook-timestamp", "x-cdcd-test"}
)


@dataclass(slots=True, frozen=True)
class Request:
    """What would be sent. Values of `headers` that prove who sends are masked. `body` is text, None for a request without one; `cut`: it is
    longer."""

    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    body: str | None
    cut: bool = False


@dataclass(slots=True, frozen=True)
class Trial:
    """What came of one event. `delivery`: the recorded delivery that it was taken from, "" for none. `request` is None when it does not
    fire; `problem`: why it cannot be made, or what the judgement says. `attempt` is there when it was sent."""

    event: Event
    judgement: Judgement
    request: Request | None = None
    problem: str = ""
    delivery: str = ""
    attempt: Attempt | None = None


Senders = Callable[[Iterable[Trigger]], Sender]


class Trying:
    """`config` gives the configuration in force, `signer` who signs by it, `senders` makes a sender."""

    def __init__(
        self,
        config: Callable[[], Config],
        editing: Editing,
        deliveries: Deliveries,
        signer: Callable[[], Signer],
        senders: Senders,
    ) -> None:
        self._config = config
        self._editing = editing
        self._deliveries = deliveries
        self._signer = signer
        self._senders = senders
        self._sending = asyncio.Lock()

    async def trigger(self, wanted: str | Draft) -> Trigger:
        """One of the configuration, or a draft compiled. Raises NoSuchTrigger, Invalid."""
        if isinstance(wanted, Draft):
            return await asyncio.to_thread(self._drafted, wanted)
        found = self._config().triggers.get(wanted)
        if found is None:
            raise NoSuchTrigger(f"there is no trigger {wanted}")
        return compile_trigger(found)

    def _drafted(self, draft: Draft) -> Trigger:
        return compile_trigger(self._editing.config_with(draft).triggers[draft.name])

    # What it is tried on

    async def on_sample(self, trigger: Trigger, sample: Sample) -> Trial:
        """One made-up event. Raises NothingToTry."""
        return await asyncio.to_thread(self._try, trigger, event_of(trigger.config, sample, self._config().project))

    async def on_last(self, trigger: Trigger, count: int) -> list[Trial]:
        """The last events of the event log that are of its types, whichever triggers wanted them; newest first. Raises StoreUnavailable."""
        config = trigger.config
        source = f"cdcd/{self._config().project}/{config.database}" if config.kind is Kind.DATABASE else ""
        wanted = Filter(type=tuple(sorted(config.types)), source=source)
        items = [*(await self._deliveries.list(wanted, limit=LOOKED_AT)).items]
        if len(items) < LOOKED_AT:  # a long log was not looked at whole for a type; what this trigger had is found at once
            items += (await self._deliveries.list(Filter(trigger=(trigger.name,)), limit=LOOKED_AT)).items
        seen: set[tuple[str, str, str, int]] = set()
        trials: list[Trial] = []
        for found in sorted(items, key=lambda each: each.time, reverse=True):
            event = (found.source, found.type, found.subject, found.time)
            if event in seen or len(trials) >= min(count, MOST):
                continue
            seen.add(event)
            with suppress(NothingToTry, NotThere):  # it went meanwhile, or nothing can be tried with it
                trials.append(await self.on_delivery(trigger, found.id))
        return trials

    async def on_delivery(self, trigger: Trigger, identity: str) -> Trial:
        """The event of a recorded delivery. Raises NotThere, NothingToTry, StoreUnavailable."""
        detail = await self._deliveries.show(identity)
        return replace(await asyncio.to_thread(self._try, trigger, _event_of(detail)), delivery=detail.delivery.id)

    async def again(self, trigger: Trigger, detail: Detail) -> Request:
        """What trying a recorded delivery again would send now, under its own id. It is sent whether or not the trigger would fire for it
        today. Raises NothingToTry when it cannot be made."""
        return await asyncio.to_thread(self._again, trigger, detail)

    def _again(self, trigger: Trigger, detail: Detail) -> Request:
        found, happened = detail.delivery, _event_of(detail)
        if kind_of(happened.type) is not trigger.kind:
            raise NothingToTry(f"{trigger.name} is a trigger of another kind of source than {happened.type} by now")
        delivery = Delivery(found.id, trigger.name, happened, None, attempts=found.attempts)
        try:
            if trigger.templates is not None:
                check_size(happened.data)
            route = Route(trigger, self._signer(), self._config().limits)
            return _shown(route, route.request(delivery, time.time()))
        except EventError as error:
            raise NothingToTry(error.explain()) from error

    async def on_rows(self, trigger: Trigger, table: str, kind: str, count: int) -> list[Trial]:
        """Rows of a table as they are, as if each were changed now. Raises NothingToTry, SourceUnavailable, SourceNotReady."""
        config = trigger.config
        if config.kind is not Kind.DATABASE:
            raise NothingToTry(f"{trigger.name} wants no rows of tables")
        table = table or next((each for each in config.tables if PLAIN_TABLE.fullmatch(each)), "")
        schema, dot, name = table.partition(".")
        where = (schema, name) if dot else ("public", schema)
        if not table or "\0" in table or not trigger.covers(*where):
            raise NothingToTry(
                f"{trigger.name} does not want rows of {'.'.join(where)}" if table else "say of which table: its name"
            )
        database = self._config().databases[config.database]
        now = int(time.time() * 1e6)
        found = await present.rows(self._config().project, database, where, kind or _kind(config), min(count, MOST), now)
        return await asyncio.to_thread(lambda: [self._try(trigger, each.event) for each in found])

    def _try(self, trigger: Trigger, event: Event) -> Trial:
        delivery = Delivery(str(uuid4()), trigger.name, event, None)
        if kind_of(event.type) is not trigger.kind:
            raise NothingToTry(f"{event.type} is an event of another kind of source than those of {trigger.name}")
        try:
            facts, scene = remembered(delivery, trigger.kind)
        except EventError as error:
            raise NothingToTry(str(error), hint=error.hint) from error
        judgement = judge(trigger, facts, scene)
        if not judgement.fires or judgement.problem:
            return Trial(event, judgement, problem=judgement.problem)
        try:
            route = Route(marked(trigger), self._signer(), self._config().limits)
            request = route.request(delivery, time.time())
        except EventError as error:
            return Trial(event, judgement, problem=error.explain())
        return Trial(event, judgement, _shown(route, request))

    # Sending

    async def send(self, trigger: Trigger, trial: Trial, who: str) -> Trial:
        """Send it, once; what came back is in the trial. One at a time. Raises ConfigError for a certificate that cannot be used."""
        if trial.request is None:
            return trial
        test = marked(trigger)
        async with self._sending:
            sender = self._senders([test])
            await sender.start()
            try:
                delivery = Delivery(str(uuid4()), trigger.name, trial.event, None)
                attempt = await sender.send(delivery, test)
            finally:
                await sender.stop()
        log.info("trigger.tried", trigger=trigger.name, status=attempt.status, who=who)
        return replace(trial, attempt=attempt)


def _event_of(detail: Detail) -> Event:
    found = detail.delivery
    if detail.data is None:
        raise NothingToTry(f"the data of the delivery {found.id} could not be stored")
    return Event(
        *(found.type, found.source, found.subject, found.key, found.time, detail.data, detail.position),
        found.extensions or None,
    )


def marked(trigger: Trigger) -> Trigger:
    """The same, whose requests say that they are a test."""
    config = trigger.config
    webhook = replace(config.webhook, headers=(*config.webhook.headers, (TEST, "true")))
    return compile_trigger(replace(config, webhook=webhook))


def _shown(route: Route, request: Outgoing) -> Request:
    redactor = route.redacting(request)
    headers = [(name, value if _is_open(name.lower()) else MASK) for name, value in request.headers.items()]
    body = None
    cut = False
    if request.body is not None:
        cut = len(request.body) > LARGEST
        body = redactor.clean(request.body[:LARGEST].decode(errors="replace"), request.token)
    return Request(route.method, shown_url(redactor.clean(_without_user(request.url))), headers, body, cut)


def _is_open(name: str) -> bool:
    return name in _OPEN or name.startswith("ce-")


def _without_user(url: URL) -> str:
    return str(url.with_user(None))


def _kind(config: TriggerConfig) -> str:
    return next(kind for kind in ("DB_INSERT", "DB_UPDATE", "DB_DELETE", *sorted(config.types)) if kind in config.types)
