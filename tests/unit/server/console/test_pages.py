"""A page that asks the event store says so when that does not answer, and does not wait for it any longer."""

import asyncio

import pytest

from cdcd.server.console import pages
from cdcd.server.console.pages import Pages
from cdcd.server.problems import Problem
from cdcd.server.replies import Reply
from cdcd.server.routes import Call
from tests.unit.server.every import NOTHING

CALL = Call(NOTHING, {}, {})


async def test_what_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PATIENCE", 0.01)
    let_go, told = asyncio.Event(), asyncio.Event()

    async def hangs(_: Call) -> Reply:
        """As a query of a server that does not answer: it waits on, though it was cancelled."""
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.set()
            await let_go.wait()
        raise ValueError("nobody hears this")

    route = Pages("shop").seen("x", hangs, promptly=True)
    with pytest.raises(Problem, match="the event store did not answer") as caught:
        await route.handler(CALL)
    assert caught.value.status == 503
    await asyncio.wait_for(told.wait(), 5)
    let_go.set()
    await asyncio.sleep(0)


async def test_what_answers_is_passed_on() -> None:
    async def answers(_: Call) -> Reply:
        return Reply(200, b"x")

    async def refuses(_: Call) -> Reply:
        raise Problem(404, "nothing here")

    made = Pages("shop")
    reply = await made.seen("x", answers, promptly=True).handler(CALL)
    assert isinstance(reply, Reply)
    assert reply.content == b"x"
    with pytest.raises(Problem, match="nothing here"):
        await made.seen("x", refuses, promptly=True).handler(CALL)
