"""A delivery as its page tells it: how it stands in a sentence, what may be done to it, and the way from commit to answer. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from http import HTTPStatus

from cdcd.admin.deliveries import MOST_BEFORE, Detail, Found, Tried
from cdcd.admin.explaining import Explanation, Step
from cdcd.config.model import Config
from cdcd.event import REPLAY_OF, Status

SHOWN_ATTEMPTS = 100  # the newest; of more, the rest is not shown
UNFOLDED = 6  # attempts that stand open to the eye; those before them are folded away
LONGEST_ANSWER = 16 * 1024  # characters of an answer that stands on the page


@dataclass(slots=True, frozen=True)
class Verdict:
    """How it stands. `look` and `sign` are those of a badge. `due`: when it is tried next (microseconds since the Unix epoch); `behind`:
    the first of those that go before it."""

    look: str
    sign: str
    title: str
    words: str = ""
    due: int | None = None
    behind: str = ""


@dataclass(slots=True, frozen=True)
class Doable:
    """What an operator may do to it now. `retry`: "" for nothing, else the button's words; `sure`: it asks first, as it was delivered."""

    retry: str = ""
    sure: bool = False
    cancel: bool = False
    why_not: str = ""


@dataclass(slots=True, frozen=True)
class Moment:
    """One thing on the way. `since`: seconds after the event happened. `tried` is there for an attempt, `status` its code in words."""

    step: Step
    since: float | None
    tried: Tried | None = None
    status: str = ""
    answer: str = ""

    @property
    def error(self) -> str:
        """What went wrong, where the status does not say it already."""
        error = self.tried.error if self.tried is not None else ""
        return "" if error == f"answered {self.status}" else error

    @property
    def is_cut(self) -> bool:
        """Whether `answer` is the start of what is kept."""
        return self.tried is not None and len(self.answer) < len(self.tried.response)


@dataclass(slots=True, frozen=True)
class Way:
    """From commit to answer: `before` is folded away, it stands between `first` and `last`. `left_out` attempts are not shown at all."""

    first: Sequence[Moment]
    before: Sequence[Moment]
    last: Sequence[Moment]
    left_out: int


def verdict(found: Explanation, most: int | None) -> Verdict:
    """How it stands. `most`: attempts that its trigger allows, None when that is not known."""
    detail = found.detail
    one = detail.delivery
    made = "" if not one.attempts else f" after {_counted(one.attempts, 'attempt')}"
    if one.status == Status.PROCESSED:
        taken = f"At the {_ordinal(one.attempts)} attempt" if one.attempts else ""
        return Verdict("ok", "check", "Delivered", taken)
    if one.status == Status.FAILED:
        return Verdict("bad", "cross", f"Failed{made or ', and was never sent'}", one.remark)
    if one.status == Status.CANCELLED:
        return Verdict("", "stop", f"Cancelled{made}", one.remark)
    place = detail.place
    if place is None:
        return Verdict("warn", "wait", "It is being moved just now", "Look again in a moment.")
    error = f"The last attempt: {place.error}" if place.error else ""
    if found.paused:
        return Verdict("warn", "pause", "Waits: its trigger is paused", error)
    if place.before:
        count = f"{MOST_BEFORE:,} or more" if place.before >= MOST_BEFORE else str(place.before)
        return Verdict("warn", "wait", f"Waits behind {count} of its lane", error, behind=place.first or "")
    number = place.attempts - place.earlier + 1
    of = f" of at most {most}" if most is not None and number <= most else ""
    title = f"Waits for attempt {number}{of}" if place.attempts else "Waits for its first attempt"
    return Verdict("warn", "wait", title, error, place.due)


def doable(detail: Detail) -> Doable:
    """What may be done to it; whether it can be is for `admin.operations` to say."""
    one, place = detail.delivery, detail.place
    if one.status == Status.STAGED:
        first = place is not None and not place.before
        return Doable("Try it now" if first else "", cancel=True, why_not="" if first else "It is tried after those before it.")
    if detail.url is not None:
        return Doable(why_not=f"An operator sent it to {detail.url}, so it cannot be tried again at its trigger's webhook.")
    if one.status == Status.PROCESSED:
        return Doable("Send it again", sure=True)
    return Doable("Retry")


def way(found: Explanation) -> Way:
    """Every step, the attempts with what came of them."""
    detail = found.detail
    tried = {(each.at, each.number): each for each in detail.attempts}
    moments: list[Moment] = []
    numbers = iter(sorted(tried))
    for step in found.steps:
        since = None if step.at is None or step.name == "due" else (step.at - detail.delivery.time) / 1e6
        if step.name == "answered":  # the attempt says it
            continue
        if step.name != "attempt":
            moments.append(Moment(step, since))
            continue
        each = tried[next(numbers)]
        moments.append(Moment(step, since, each, status_words(each.status), each.response[:LONGEST_ANSWER]))
    places = [place for place, each in enumerate(moments) if each.tried is not None]
    if len(places) <= UNFOLDED:
        return Way((), (), moments, 0)
    low, high = places[0], places[-UNFOLDED]
    folded = moments[low:high]
    left_out = max(0, sum(each.tried is not None for each in folded) - SHOWN_ATTEMPTS + UNFOLDED)
    shown = folded[places[left_out] - low :] if left_out else folded
    return Way(moments[:low], shown, moments[high:], left_out)


def status_words(status: int) -> str:
    """`503 Service Unavailable`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status) if status else "no answer"


def replays(found: Explanation) -> tuple[list[Found], list[Found]]:
    """What followed from it: deliveries that repeat it, and others."""
    again = [each for each in found.caused if each.extensions.get(REPLAY_OF) == found.detail.delivery.id]
    return again, [each for each in found.caused if each not in again]


def most_attempts(config: Config, trigger: str) -> int | None:
    """How many its trigger allows."""
    known = config.triggers.get(trigger)
    return None if known is None else known.retries.max + 1


def mark(found: Explanation) -> str:
    """Another one whenever its page would tell anything else of how it stands."""
    detail = found.detail
    told = (detail.delivery, detail.place, len(detail.attempts), found.paused, len(found.caused), len(found.queued))
    return blake2b(repr(told).encode(errors="replace"), digest_size=8).hexdigest()


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count:,} {what}s"


def _ordinal(number: int) -> str:
    words = {1: "first", 2: "second", 3: "third"}
    if number in words:
        return words[number]
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"
