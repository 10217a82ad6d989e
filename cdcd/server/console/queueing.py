"""Queueing an event by hand, and the events that wait for later: taking one back, moving it.

The form becomes the body that `POST /v1/events` takes, and goes the same way (`reading`, `Queueing.check`, `Queueing.queue`): the rules of
`events` hold, `allow` with the claims of who has signed in.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from cdcd.admin.deliveries import Found, NotThere
from cdcd.admin.faces import Admin
from cdcd.config.model import Kind, TriggerConfig
from cdcd.server.auth import OPERATORS
from cdcd.server.console import words
from cdcd.server.console.example import example
from cdcd.server.console.mistakes import NONE, Mistakes, mistakes, read_json
from cdcd.server.console.pages import HTML, Pages, is_partial, see
from cdcd.server.console.signin import fields
from cdcd.server.events import Events
from cdcd.server.problems import Problem, Reason, Reasons
from cdcd.server.queueing import LONGEST_WAIT, Taken
from cdcd.server.reading import Asked
from cdcd.server.reading import read_json as read_body
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Route
from cdcd.server.waiting import Answered
from cdcd.store.connection import RowRefused
from cdcd.triggers.ids import event_delivery_id

NOTHING = "nothing was queued"
FIELDS = ("type", "data", "key", "delay", "at", "subject", "id", "wait")
USUAL_WAIT = 10
LISTED = 50  # events for later on a page
MOST_TRIGGERS = 20  # whose deliveries of one event are looked for
LOOKS = 30  # at what became of an event, one a second
_MINUTE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?")  # as a browser gives a time, without a zone


@dataclass(slots=True, frozen=True)
class Outcome:
    """What came of queueing. `due` is microseconds since the Unix epoch, `result` what was answered, as JSON; `attempts` are those of
    deliveries that failed."""

    look: str
    sign: str
    title: str
    id: str
    type: str
    due: int
    words: str = ""
    later: bool = False
    result: bytes | None = None
    cut: bool = False
    attempts: Sequence[Mapping[str, Any]] = ()


@dataclass(slots=True, frozen=True)
class About:
    """A type. `sample` is a payload to begin with; `triggers` are the enabled ones that want it."""

    type: str
    known: bool
    schema: bytes | None
    allow: str
    sample: str
    triggers: Sequence[TriggerConfig]


class QueueingPages:
    """The handlers."""

    def __init__(self, pages: Pages, admin: Admin, events: Events) -> None:
        self._pages = pages
        self._admin = admin
        self._events = events

    # Queueing

    async def show(self, call: Call) -> Reply:
        """`GET /console/queue`, whose query may fill the form in."""
        query = call.request.query
        form = {name: query.get(name, "")[: words.LONGEST_SHOWN] for name in FIELDS}
        if not form["data"].strip():
            form["data"] = self._about(form["type"].strip()).sample
        return self._pages.page(call, "queue.html", **self._names(form))

    async def queue(self, call: Call) -> Reply:
        """`POST /console/queue`."""
        form = self._form(call)
        outcome: Outcome | None = None
        wrong = NONE
        try:
            outcome = await self._queue(call, form)
        except Problem as problem:
            if problem.status not in (403, 413, 422):
                raise
            wrong = mistakes(problem, FIELDS)
        except RowRefused as error:
            wrong = mistakes(Problem(422, NOTHING, [Reason(f"the event store refuses it: {error}")]), FIELDS)
        names = self._names(form, outcome, wrong)
        if is_partial(call.request):
            return Reply(422 if wrong.any else 200, self._pages.part(call, "queue-form.html", **names), HTML)
        return self._pages.page(call, "queue.html", 422 if wrong.any else 200, **names)

    async def check(self, call: Call) -> Reply:
        """`POST /console/queue/check`: what would be wrong with it, and of another type what there is to know of it."""
        raw = fields(call.body)
        form = self._form(call)
        about = self._about(form["type"])
        other = raw.get("about", "") != about.type
        filled = other and form["data"].strip() in ("", "{}", raw.get("sample", "").strip())
        if filled:
            form["data"] = about.sample
        wrong = NONE
        try:
            self._read(call, form)
        except Problem as problem:
            wrong = mistakes(problem, FIELDS)
        names = {**self._names(form, None, wrong), "other": other, "filled": filled, "untouched": not form["type"]}
        return Reply(200, self._pages.part(call, "queue-checked.html", **names), HTML)

    async def became(self, call: Call) -> Reply:
        """`GET /console/queue/became?event=&type=&due=&look=`: the deliveries of an event, asked again until they have ended."""
        query = call.request.query
        event, kind = query.get("event", ""), query.get("type", "")
        due, look = _number(query.get("due", "")), _number(query.get("look", ""))
        found = await self._deliveries(event, kind, due)
        names: dict[str, Any] = {"event": event, "type": kind, "due": due, "look": look, "looks": LOOKS, "became": found}
        return self._pages.page(call, "queue-became.html", **names)

    # Later

    async def later(self, call: Call) -> Reply:
        """`GET /console/queue/later`: the events for later, in the order in which they are due."""
        return await self._later(call)

    async def cancel(self, call: Call) -> Reply:
        """`POST /console/queue/cancel`: take one back."""
        try:
            await self._events.take_back(fields(call.body).get("id", ""))
        except Problem as problem:
            return await self._later(call, problem)
        return see("/console/queue/later", "It will not happen.")

    async def move(self, call: Call) -> Reply:
        """`POST /console/queue/move`: to another time."""
        form = fields(call.body)
        try:
            due = await self._events.put_off(form.get("id", ""), zoned(form.get("at", "").strip()))
        except Problem as problem:
            return await self._later(call, problem)
        return see("/console/queue/later", f"It is due {words.exact(due / 1e6)}.")

    async def _later(self, call: Call, problem: Problem | None = None) -> Reply:
        if problem is not None and problem.status not in (404, 409, 422):
            raise problem
        after = call.request.query.get("after", "")
        found, following = await self._events.later(after, LISTED)
        status = 200 if problem is None else problem.status
        names: dict[str, Any] = {"later": found, "following": following, "after": after, "problem": problem}
        return self._pages.page(call, "queue-later.html", status, **names)

    # Parts of these

    async def _queue(self, call: Call, form: Mapping[str, str]) -> Outcome:
        """Raises Problem, for what is wrong with the form with pointers to its fields."""
        asked, now, wait = self._read(call, form)
        queueing, kind, due = self._events.queueing, asked.incoming.type, asked.due(now)
        if wait is None:
            taken = await queueing.queue((asked,), now)
            return _taken(taken, kind, due, later=due > now)
        try:
            taken, answered = await queueing.queue_and_wait(asked, now, wait)
        except Problem as problem:
            if "id" not in problem.more:
                raise
            return _unanswered(problem, kind, due)
        return _taken(taken, kind, due, later=False) if answered is None else _answered(taken, answered, kind, due)

    def _read(self, call: Call, form: Mapping[str, str]) -> tuple[Asked, int, float | None]:
        """The event, now, and how long to wait for what is answered, None for not at all. Raises Problem."""
        queueing = self._events.queueing
        now = queueing.now()
        reasons = Reasons()
        read_json(form["data"], "data", reasons)
        fits = not reasons.found
        event: dict[str, Any] = {"data": orjson.Fragment(form["data"]) if fits else None}
        event |= {name: form[name] for name in ("type", "key", "delay", "subject", "id") if form[name]}
        if form["at"]:
            event["at"] = zoned(form["at"])
        found = read_body(orjson.dumps(event), now, reasons)
        wait = wait_of(form["wait"], reasons)
        if wait is not None and found and found[0].due(now) > now:
            reasons.add("an event for later cannot be waited for", "/wait")
        if not fits or not found:
            reasons.raise_if_any(NOTHING)
        queueing.check(found, call.claims, reasons)
        return found[0], now, wait

    def _form(self, call: Call) -> dict[str, str]:
        form = fields(call.body)
        found = {name: form.get(name, "").strip() for name in FIELDS}
        found["data"] = form.get("data", "")
        found["wait"] = found["wait"] if form.get("waits") else ""
        return found

    def _about(self, kind: str) -> About:
        config, rules = self._admin.config, self._events.queueing.rules
        event = config.events.get(kind)
        schema = None if event is None or event.schema is None else event.schema
        sample = orjson.dumps(example(schema), option=orjson.OPT_INDENT_2).decode() if schema is not None else "{}"
        wanting = [each for each in config.triggers.values() if _wants(each, kind)]
        shown = None if schema is None else orjson.dumps(schema)
        return About(kind, rules.known(kind), shown, event.allow if event is not None else "", sample, wanting)

    def _names(self, form: Mapping[str, str], outcome: Outcome | None = None, wrong: Mistakes = NONE) -> dict[str, Any]:
        return {
            "form": form,
            "about": self._about(form["type"].strip()),
            "types": self._events.queueing.rules.types,
            "outcome": outcome,
            "wrong": wrong,
            "usual_wait": USUAL_WAIT,
            "longest_wait": int(LONGEST_WAIT),
            "filled": False,
        }

    async def _deliveries(self, event: str, kind: str, due: int) -> list[tuple[str, Found | None]]:
        """What the event has become, by trigger; None for what is not recorded (yet)."""
        config = self._admin.config
        found: list[tuple[str, Found | None]] = []
        for trigger in [each.name for each in config.triggers.values() if _wants(each, kind)][:MOST_TRIGGERS]:
            identity = event_delivery_id(config.project, event, trigger, due)
            try:
                found.append((trigger, (await self._admin.deliveries.show(identity, with_data=False)).delivery))
            except NotThere:
                found.append((trigger, None))
        return found


def routes(pages: Pages, admin: Admin, events: Events) -> tuple[Route, ...]:
    """Its routes."""
    queueing = QueueingPages(pages, admin, events)
    return (
        pages.seen("queue", queueing.show, promptly=True),
        pages.done("queue", queueing.queue, OPERATORS),
        pages.done("queue/check", queueing.check, OPERATORS),
        pages.seen("queue/became", queueing.became, promptly=True),
        pages.seen("queue/later", queueing.later, promptly=True),
        pages.done("queue/cancel", queueing.cancel, OPERATORS),
        pages.done("queue/move", queueing.move, OPERATORS),
    )


def _wants(trigger: TriggerConfig, kind: str) -> bool:
    return trigger.enabled and trigger.kind is Kind.CUSTOM and kind in trigger.types


def _taken(taken: Taken, kind: str, due: int, *, later: bool) -> Outcome:
    (identity,) = taken.ids
    if identity not in taken.new:
        told = "An event of this id and type was queued before: it is one event, so nothing new was queued."
        return Outcome("warn", "alert", "It was queued before", identity, kind, due, told)
    if later:
        return Outcome("ok", "clock", "It is queued for later", identity, kind, due, later=True)
    return Outcome("ok", "check", "It is queued", identity, kind, due)


def _answered(taken: Taken, answered: Answered, kind: str, due: int) -> Outcome:
    result = orjson.dumps(answered.response)
    return Outcome("ok", "check", "It was answered", taken.ids[0], kind, due, result=result, cut=answered.cut)


def _unanswered(problem: Problem, kind: str, due: int) -> Outcome:
    """It was taken, and there is no answer."""
    attempts = problem.more.get("attempts")
    look, sign = ("bad", "cross") if problem.status == 502 else ("warn", "alert")
    title = f"{problem.detail[:1].upper()}{problem.detail[1:]}"
    told = "; ".join(reason.detail for reason in problem.reasons)
    tried = attempts if isinstance(attempts, list) else ()
    return Outcome(look, sign, title, str(problem.more["id"]), kind, due, told, attempts=tried)


def wait_of(text: str, reasons: Reasons) -> float | None:
    """Seconds to wait for the answer; None for not at all, and for what cannot be meant, which `reasons` then has."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:4]) <= LONGEST_WAIT:
        reasons.add(f"seconds, from 1 to {LONGEST_WAIT:g}", "/wait")
        return None
    return float(text)


def zoned(text: str) -> str:
    """A time as RFC 3339 has it: one without a zone is in UTC, as the form says."""
    if not _MINUTE.fullmatch(text):
        return text
    return f"{text}{':00' if text.count(':') == 1 else ''}Z"


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0
