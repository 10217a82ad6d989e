"""What an operator asks to be done to many deliveries: an `Order`, as a value and as the store keeps it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from cdcd.admin.deliveries import Filter, Unfit, check
from cdcd.config import masking
from cdcd.config.checks import url_problem
from cdcd.event import Status

ACTIONS = ("retry", "cancel", "replay")
FASTEST = 10_000.0  # deliveries a second

_SENSIBLE = {
    "retry": (Status.FAILED, Status.CANCELLED, Status.STAGED),
    "cancel": (Status.STAGED,),
    "replay": (Status.PROCESSED, Status.FAILED, Status.CANCELLED),
}
"""What each action is meant for when no status is given."""


@dataclass(slots=True, frozen=True)
class Order:
    """`action`: retry, cancel or replay all that `wanted` selects, oldest first (cancel: newest first).

    `rate` bounds how many a second are tried again or replayed; None: as many as hardly disturb what happens meanwhile. Of a replay:
    `to` is another URL than that of their triggers, and `today` leaves out those for which their trigger, as it is now, would not
    fire. What is a replay itself is not replayed, but for a `single` one that is meant by its id.
    """

    action: str
    wanted: Filter
    rate: float | None = None
    to: str = ""
    today: bool = False
    single: bool = False

    @property
    def newest_first(self) -> bool:
        """A cancelled head would let the next of its lane go, so lanes are cancelled from their end."""
        return self.action == "cancel"

    def check(self) -> None:
        """Raises Unfit when it cannot be meant."""
        if self.action not in ACTIONS:
            raise Unfit(f"action must be one of {', '.join(ACTIONS)}")
        check(self.wanted)
        if self.rate is not None and not 0 < self.rate <= FASTEST:
            raise Unfit(f"rate must be above 0 and at most {FASTEST:.0f} a second")
        if self.rate is not None and self.action == "cancel":
            raise Unfit("rate is for retry and replay: a cancel sends nothing")
        if self.action != "replay" and (self.to or self.today):
            raise Unfit("to and today are for replay")
        if self.action == "cancel" and self.wanted.status and Status.STAGED not in self.wanted.status:
            raise Unfit("only what is staged can be cancelled")
        if self.to:
            check_url(self.to)

    def bounded(self, moment: float) -> "Order":
        """The same, leaving out what happens after `moment`, so that it has an end, and statuses for which there is nothing to be done, so
        that nobody reads them."""
        until = moment if self.wanted.until is None else min(moment, self.wanted.until)
        sensible = _SENSIBLE[self.action]
        status = self.wanted.status or sensible
        if self.action == "cancel":
            status = tuple(one for one in status if one in sensible)
        return replace(self, wanted=replace(self.wanted, until=until, status=status))


def check_url(url: str) -> None:
    """Raises Unfit for what nothing can be sent to."""
    if problem := url_problem(url):
        raise Unfit(f"the URL: {problem}")
    if "${" in url:
        raise Unfit("the URL: expressions stand in triggers alone")
    if urlsplit(url).username or urlsplit(url).password:
        raise Unfit("the URL: it would be stored, so it must hold no user or password")


def shown_url(url: str) -> str:
    """A URL as it may be shown, logged and stored: a query may hold a key, and so may a path."""
    parts = urlsplit(url)
    return masking.shown_url(f"{parts.scheme}://{parts.netloc}{parts.path}") + ("?…" if parts.query else "")


def plain_filter(wanted: Filter) -> dict[str, Any]:
    """As JSON, without what excludes nothing. Times are wall-clock seconds."""
    members: dict[str, Any] = {
        "status": [status.value for status in wanted.status],
        "trigger": list(wanted.trigger),
        "type": list(wanted.type),
        "source": wanted.source,
        "key": wanted.key,
        "since": wanted.since,
        "until": wanted.until,
        "text": wanted.text,
        "error": wanted.error,
    }
    return {
        name: value
        for name, value in members.items()
        if (value is not None and value not in ("", [])) or (name == "key" and value == "")
    }


def read_filter(plain: Mapping[str, Any]) -> Filter:
    """What `plain_filter` made."""
    return Filter(
        tuple(Status(status) for status in plain.get("status", ())),
        *(tuple(plain.get("trigger", ())), tuple(plain.get("type", ())), plain.get("source", ""), plain.get("key")),
        *(plain.get("since"), plain.get("until"), plain.get("text", ""), plain.get("error", "")),
    )


def plain_options(order: Order) -> dict[str, Any]:
    """Everything but action and filter, as JSON."""
    return {
        **({} if order.rate is None else {"rate": order.rate}),
        **({"to": order.to} if order.to else {}),
        **({"today": True} if order.today else {}),
    }


def read_order(action: str, wanted: Mapping[str, Any], options: Mapping[str, Any]) -> Order:
    """What `plain_filter` and `plain_options` made."""
    return Order(action, read_filter(wanted), options.get("rate"), options.get("to", ""), options.get("today", False))
