"""Where a source goes over: after a start without some triggers, and when a reload comes before it has begun."""

import asyncio
from collections.abc import Iterable

from cdcd.config.model import Capture, Database, Kind, TriggerConfig, Webhook
from cdcd.sources.cuts import Cuts, Wants
from cdcd.triggers.matcher import Index
from cdcd.triggers.trigger import Trigger, compile_trigger

MAIN = Database("main", "postgresql://one/app", Capture.REPLICATION, "slot", "publication")


def trigger(name: str) -> Trigger:
    return compile_trigger(TriggerConfig(name, frozenset({"DB_INSERT"}), "main", (name,), Webhook("http://x/", "http://x:80")))


def custom(name: str) -> Trigger:
    return compile_trigger(
        TriggerConfig(name, frozenset({name}), "", (), Webhook("http://x/", "http://x:80"), kind=Kind.CUSTOM)
    )


def wants(*triggers: Trigger) -> Wants:
    index = Index(triggers)
    return Wants(index.of(Kind.DATABASE, "main"), index, 1000)


def names(triggers: Iterable[Trigger]) -> list[str]:
    return [each.name for each in triggers]


A, B, C = trigger("a"), trigger("b"), trigger("c")


async def test_what_was_wanted_before_the_start_ends_where_it_is_opened_first() -> None:
    cuts = Cuts(MAIN, wants(A))
    done = cuts.owing(wants(A, B))
    assert names(cuts.triggers) == ["a"]  # nothing more is captured for it
    cuts.opened("system", 100)
    cuts.opened("system", 200)  # once more, before it was reached
    (cut,) = cuts.ahead
    assert (cut.position, names(cut.wants.triggers), done.done()) == (100, ["a"], False)
    cuts.reached(cut)
    assert done.done()
    cuts.opened("system", 300)
    assert not cuts.ahead


async def test_messages_come_for_those_that_are_gone_until_then() -> None:
    cuts = Cuts(MAIN, wants(A))
    assert not cuts.messages
    cuts.owing(wants(A, custom("paid")))
    assert cuts.opening()
    cuts.opened("system", 100, asking=True)
    assert cuts.opening()
    cuts.reached(cuts.ahead[0])
    assert not cuts.messages


async def test_a_reload_before_it_is_opened_comes_after() -> None:
    cuts = Cuts(MAIN, wants(A))
    done = cuts.owing(wants(A, B))
    reloaded = cuts.add(50, wants(A, C))
    cuts.opened("system", 100)
    first, second = cuts.ahead
    assert (first.position, first.done, second.position, second.done) == (50, done, 50, reloaded)
    cuts.reached(first)
    cuts.reached(second)
    assert names(cuts.now.triggers) == ["a", "c"]
    assert [each.done() for each in (done, reloaded)] == [True, True]


async def test_who_waited_may_have_gone() -> None:
    cuts = Cuts(MAIN, wants(A))
    done: asyncio.Future[None] = cuts.owing(wants(A, B))
    cuts.opened("system", 100)
    done.cancel()
    cuts.reached(cuts.ahead[0])
    assert not cuts.ahead


async def test_in_another_history_what_is_owed_is_looked_for_anew() -> None:
    cuts = Cuts(MAIN, wants(A))
    assert cuts.ended() is None
    before = wants(A, B)
    done = cuts.owing(before)
    assert cuts.ended() is before  # it was never opened
    cuts.opened("system", 100)
    reloaded = cuts.add(150, wants(A, C))
    assert cuts.ended() is before
    cuts.reached(cuts.ahead[0])  # its position means nothing there
    assert (reloaded.done(), done.done()) == (True, False)
    cuts.opened("another", 20)
    (cut,) = cuts.ahead
    assert (cut.position, names(cut.wants.triggers)) == (20, ["a", "c"])
    cuts.reached(cut)
    assert done.done()
    assert cuts.ended() is None


async def test_who_waits_for_one_that_is_left_is_told() -> None:
    cuts = Cuts(MAIN, wants(A))
    owed = cuts.owing(wants(A, B))
    reloaded = cuts.add(150, wants(A, C))
    cuts.leave()
    assert [each.cancelled() for each in (owed, reloaded)] == [True, True]
