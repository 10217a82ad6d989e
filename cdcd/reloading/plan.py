"""What is to be done to come from one configuration to another. Pure.

The rules:
- a trigger that is disabled counts as not there;
- what decides where cdcd keeps things, and what it is called there, cannot change while it runs: each such change is refused by name;
- only where it changes which rows a database's triggers want must its stream be cut; where and how they are sent changes at once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from cdcd.config.model import Config, Kind, TriggerConfig

RESTART = "cannot change while cdcd runs: restart it, or put the former value back"


@dataclass(slots=True, frozen=True)
class Plan:
    """Names of triggers, databases and stores. `rematched` triggers (added, changed or removed) want other events than before;
    `relaned` are changed in what waits for what. `cut` are databases that go on, with triggers that want other rows; `rerouted`
    those whose URL changed; `opened` and `closed` those that begin and cease to be read. `stores` begin, or begin anew; `left` cease.
    `options` is everything else that changed, dotted. `refused` are mistakes: they need a restart.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    rematched: frozenset[str] = frozenset()
    relaned: frozenset[str] = frozenset()
    cut: frozenset[str] = frozenset()
    rerouted: frozenset[str] = frozenset()
    opened: frozenset[str] = frozenset()
    closed: frozenset[str] = frozenset()
    stores: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    schedules: bool = False
    options: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def enabled(config: Config) -> dict[str, TriggerConfig]:
    """The triggers that count."""
    return {name: trigger for name, trigger in config.triggers.items() if trigger.enabled}


def compare(old: Config, new: Config, reading: Iterable[str]) -> Plan:
    """The plan. `reading`: databases that have a source, which may go on without a trigger: what is not read holds WAL."""
    before, after = enabled(old), enabled(new)
    changed = {name for name in before.keys() & after.keys() if not _same(before[name], after[name])}
    added, removed = after.keys() - before.keys(), before.keys() - after.keys()
    rematched = frozenset({name for name in changed if wants(before[name]) != wants(after[name])} | added | removed)
    relaned = frozenset(
        name for name in changed if (before[name].order, before[name].key) != (after[name].order, after[name].key)
    )
    sources = frozenset(reading)
    wanted = frozenset(_of(after, Kind.DATABASE))
    concerned = {trigger.database for each in (before, after) for name, trigger in each.items() if name in rematched}
    messages = any(
        trigger.kind is Kind.CUSTOM for each in (before, after) for name, trigger in each.items() if name in rematched
    )
    staying = sources & new.databases.keys()
    rerouted = frozenset(name for name in staying if old.databases[name].url != new.databases[name].url)
    stores_before, stores_after = _of(before, Kind.STORAGE), _of(after, Kind.STORAGE)
    return Plan(
        added=_ordered(after, added),
        changed=_ordered(after, changed),
        removed=_ordered(before, removed),
        rematched=rematched,
        relaned=relaned,
        cut=frozenset(name for name in staying if name in concerned or messages),
        rerouted=rerouted,
        opened=wanted - sources,
        closed=sources - staying,
        stores=frozenset(
            name for name in stores_after if name not in stores_before or _bare(old.storage[name]) != _bare(new.storage[name])
        ),
        left=frozenset(stores_before.keys() - stores_after.keys()),
        schedules=any(
            trigger.kind is Kind.SCHEDULE for each in (before, after) for name, trigger in each.items() if name in rematched
        ),
        options=tuple(_options(old, new)),
        refused=tuple(_refused(old, new)),
    )


def _of(triggers: Mapping[str, TriggerConfig], kind: Kind) -> dict[str, list[str]]:
    """The triggers of one kind, by source."""
    found: dict[str, list[str]] = {}
    for trigger in triggers.values():
        if trigger.kind is kind:
            found.setdefault(trigger.database or trigger.storage, []).append(trigger.name)
    return found


def _ordered(triggers: Mapping[str, TriggerConfig], names: Iterable[str]) -> tuple[str, ...]:
    chosen = frozenset(names)
    return tuple(name for name in triggers if name in chosen)


def _same(before: TriggerConfig, after: TriggerConfig) -> bool:
    """Whether nothing but its place in a file changed."""
    return bool(_bare(before) == _bare(after)) and before.claims == after.claims and before.put_in == after.put_in


def wants(trigger: TriggerConfig) -> tuple[object, ...]:
    """What decides which events become its deliveries, and with which lane."""
    return (
        *(trigger.kind, trigger.types, trigger.database, trigger.tables, trigger.storage, trigger.paths, trigger.schedule),
        *(trigger.columns, trigger.when, trigger.order, trigger.key),
    )


def _bare(value: Any) -> Any:
    """Without its place in a file."""
    return replace(value, where="")


def _refused(old: Config, new: Config) -> Iterable[str]:
    fixed: list[tuple[str, object, object]] = [
        ("project", old.project, new.project),
        ("eventing.database", old.eventing.database, new.eventing.database),
        ("eventing.schema", old.eventing.schema, new.eventing.schema),
        ("eventing.state_dir", old.eventing.state_dir, new.eventing.state_dir),
        ("server", old.server is None, new.server is None),
        ("canary", old.canary, new.canary),
        ("tracing", old.tracing, new.tracing),
    ]
    if old.server is not None and new.server is not None:
        fixed.append(("server.listen", (old.server.host, old.server.port), (new.server.host, new.server.port)))
        fixed.append(("server.tls", old.server.tls, new.server.tls))
    if old.canary is not None and old.canary == new.canary and old.canary.database in new.databases:
        name = old.canary.database
        fixed.append((f"databases.{name}.url (the canary goes through it)", old.databases[name].url, new.databases[name].url))
    for name in old.databases.keys() & new.databases.keys():
        before, after = old.databases[name], new.databases[name]
        fixed += [(f"databases.{name}.{option}", getattr(before, option), getattr(after, option)) for option in _FIXED]
    if (home := old.eventing.database) is not None and home == new.eventing.database and home in new.databases:
        fixed.append((f"databases.{home}.url (the event store is there)", old.databases[home].url, new.databases[home].url))
    for option, before_, after_ in sorted(fixed, key=lambda each: each[0]):
        if before_ != after_:
            yield f"{new.path}: {option} {RESTART}"


_FIXED = ("capture", "slot", "publication")


def _options(old: Config, new: Config) -> Iterable[str]:
    """What changed beside the triggers and what is refused."""
    if old.secrets != new.secrets:
        yield "secrets"
    yield from _members("databases", old.databases, new.databases)
    yield from _members("storage", _all_bare(old.storage), _all_bare(new.storage))
    yield from _members("events", _all_bare(old.events), _all_bare(new.events))
    yield from _differing("eventing", old.eventing, new.eventing)
    yield from _differing("limits", old.limits, new.limits)
    if old.server is not None and new.server is not None:
        yield from _differing("server", old.server, new.server)
    if old.reload != new.reload:
        yield "reload"


def _all_bare(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _bare(value) for name, value in values.items()}


def _members(section: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterable[str]:
    for name in sorted(old.keys() | new.keys()):
        if name in old and name in new:
            yield from _differing(f"{section}.{name}", old[name], new[name])
        else:
            yield f"{section}.{name}"


def _differing(section: str, old: Any, new: Any) -> Iterable[str]:
    for each in fields(old):
        if getattr(old, each.name) != getattr(new, each.name):
            yield f"{section}.{each.name}"
