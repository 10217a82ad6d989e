"""Which triggers a list shows, in which order: what its address asks for, and the page of it. Pure.

First come those that somebody must look at; whatever else is asked for, triggers that are alike stand by their names.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from cdcd.admin.triggers import Listed, State
from cdcd.config.masking import shown_url
from cdcd.config.model import TriggerConfig

SHOWN = 100  # triggers on a page
GRAVEST = (State.CIRCUIT_OPEN, State.GONE, State.PAUSED, State.ACTIVE, State.DISABLED)
"""The order of states where nothing else is asked for, and that of the filter."""

_STATES = {state.value: state for state in State}
_SORTS: Mapping[str, Callable[[Listed], tuple[object, ...]]] = {
    "state": lambda each: (GRAVEST.index(each.state),),
    "name": lambda _: (),
    "rate": lambda each: (-each.numbers.rates.delivered,),
    "success": lambda each: (2.0 if each.success is None else each.success,),
    "p50": lambda each: (-(each.numbers.latency.p50 or 0.0),),
    "p99": lambda each: (-(each.numbers.latency.p99 or 0.0),),
    "backlog": lambda each: (-each.backlog,),
}
SORTS = tuple(_SORTS)


@dataclass(slots=True, frozen=True)
class Selection:
    """What was asked for: words that must all be found, states (none: all), the order, and the page from 1."""

    words: str = ""
    states: frozenset[State] = frozenset()
    sort: str = "state"
    page: int = 1

    @property
    def narrow(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.words or self.states)

    def address(self, **changes: object) -> str:
        """The list's address with this, or with something else in it; another order begins at the first page."""
        if "page" not in changes:
            changes["page"] = 1
        asked = replace(self, **changes)  # type: ignore[arg-type]  # names and values are those of the fields
        pairs = [("q", asked.words)] if asked.words else []
        pairs += [("state", state.value) for state in GRAVEST if state in asked.states]
        pairs += [("sort", asked.sort)] if asked.sort != "state" else []
        pairs += [("page", str(asked.page))] if asked.page > 1 else []
        return "/console/triggers" + (f"?{urlencode(pairs)}" if pairs else "")


@dataclass(slots=True, frozen=True)
class Selected:
    """A page of the list. `found` are all that fit, `counts` those of each state among the ones that have the words."""

    rows: Sequence[Listed]
    found: int
    counts: Mapping[State, int]
    first: int
    page: int
    pages: int


def selection(pairs: Iterable[tuple[str, str]]) -> Selection:
    """Read an address; what it has no meaning for is left out."""
    words, sort, page = "", "state", 1
    states: set[State] = set()
    for name, value in pairs:
        if name == "q":
            words = value.strip()[:200]
        elif name == "state" and value in _STATES:
            states.add(_STATES[value])
        elif name == "sort" and value in _SORTS:
            sort = value
        elif name == "page" and value.isascii() and value.isdigit() and len(value) < 7:
            page = max(1, int(value))
    return Selection(words, frozenset(states), sort, page)


def selected(triggers: Iterable[Listed], wanted: Selection) -> Selected:
    """The page. One behind the last is the last."""
    words = wanted.words.casefold().split()
    having = [each for each in triggers if not words or _has(each, words)]
    found = [each for each in having if not wanted.states or each.state in wanted.states]
    order = _SORTS[wanted.sort]
    found.sort(key=lambda each: (*order(each), each.name))
    pages = max(1, -(-len(found) // SHOWN))
    page = min(wanted.page, pages)
    first = (page - 1) * SHOWN
    return Selected(found[first : first + SHOWN], len(found), Counter(each.state for each in having), first + 1, page, pages)


def types(config: TriggerConfig) -> list[str]:
    """Its types, those of rows and files in the order in which they come to be."""
    order = ("INSERT", "CREATE", "UPDATE", "DELETE", "TRUNCATE")
    return sorted(config.types, key=lambda each: (order.index(last) if (last := each.rpartition("_")[2]) in order else 9, each))


def wants(config: TriggerConfig) -> list[str]:
    """Which of the events of its types: its tables or paths, or when its schedule fires."""
    if config.schedule is not None:
        return [f"{config.schedule.cron} {config.schedule.timezone}"]
    return list(config.tables or config.paths)


def _has(each: Listed, words: Sequence[str]) -> bool:
    config = each.config
    parts = [each.name, each.state.value.replace("_", " ")]
    if config is not None:
        parts += [*config.types, *wants(config), config.database, config.storage, shown_url(config.webhook.endpoint)]
    text = "\n".join(parts).casefold()
    return all(word in text for word in words)
