"""What a caller who waits is given."""

import asyncio
from collections.abc import Callable

import orjson
import pytest

from cdcd.event import Attempt, Delivery, Event, Queued, Record, Status
from cdcd.server.waiting import Answered, Refused, Stopping, Unmatched, Waiting, response_of

EVENT = Event("A", "s", "", "", 0, b"1")
DEEP = "[" * 500 + "]" * 500
QUEUED = Queued("e", "A", "s", 0, b"1")


class Engine:
    """Who is told of which delivery."""

    def __init__(self) -> None:
        self.watched: dict[str, Callable[[Record], None]] = {}

    def watch(self, delivery: str, told: Callable[[Record], None]) -> None:
        self.watched[delivery] = told

    def unwatch(self, delivery: str) -> None:
        self.watched.pop(delivery, None)


def record(delivery: Delivery, status: Status, number: int, response: str = "", error: str = "") -> Record:
    return Record(delivery, status, True, Attempt(number, 0.0, 0.1, 500 if error else 200, response, error), reason=error)


@pytest.mark.parametrize(
    ("text", "response"),
    [
        ('{"response": [1]}', [1]),
        ("1e400", "1e400"),
        ('{"response": null, "x": 1}', None),
        ("5", 5),
        ("no", "no"),
        ("", ""),
        (DEEP, DEEP),
    ],
)
def test_responses(text: str, response: object) -> None:
    assert response_of(text) == response


async def test_the_first_success_is_the_answer_and_nobody_is_watched_afterwards() -> None:
    engine = Engine()
    waiting = Waiting(engine)
    one, two = Delivery("1", "t", EVENT, None), Delivery("2", "u", EVENT, None)
    with waiting.expect("e") as end:
        waiting.matched(Queued("other", "A", "s", 0, b"1"), [])
        waiting.matched(QUEUED, [one, two])
        assert engine.watched.keys() == {"1", "2"}
        engine.watched["1"](record(one, Status.STAGED, 1, error="503"))
        engine.watched["1"](record(one, Status.FAILED, 2, error="500"))
        assert not end.done()
        engine.watched["2"](record(two, Status.PROCESSED, 1, '{"response": 7}'))
        assert await end == Answered(7)
    assert engine.watched == {}
    waiting.matched(QUEUED, [one])
    assert engine.watched == {}


def test_digits_are_kept() -> None:
    assert orjson.dumps(response_of("[12345678901234567890123]")) == b"[12345678901234567890123]"


async def test_an_answer_that_was_cut_is_text_and_says_so() -> None:
    engine = Engine()
    waiting = Waiting(engine)
    delivery = Delivery("1", "t", EVENT, None)
    with waiting.expect("e") as end:
        waiting.matched(QUEUED, [delivery])
        attempt = Attempt(1, 0.0, 0.1, 200, "123", cut=True)
        engine.watched["1"](Record(delivery, Status.PROCESSED, True, attempt))
        answered = await end
        assert isinstance(answered, Answered)
        assert answered.members() == {"result": "123", "cut": True}


async def test_all_failures_are_told() -> None:
    engine = Engine()
    waiting = Waiting(engine)
    one = Delivery("1", "t", EVENT, None)
    with waiting.expect("e") as end:
        waiting.matched(QUEUED, [one])
        engine.watched["1"](record(one, Status.STAGED, 1, error="first"))
        engine.watched["1"](record(one, Status.FAILED, 2, error="second"))
        ended = await end
    assert isinstance(ended, Refused)
    assert [(each["number"], each["error"]) for each in ended.attempts] == [(1, "first"), (2, "second")]
    assert ended.why == "second"


async def test_nothing_matched_a_stop_and_two_who_wait() -> None:
    waiting = Waiting(Engine())
    with waiting.expect("e") as first, waiting.expect("e") as second, waiting.expect("f") as third:
        waiting.matched(QUEUED, [])
        assert isinstance(await first, Unmatched)
        assert isinstance(await second, Unmatched)
        waiting.stop()
        assert isinstance(await third, Stopping)
    with waiting.expect("e") as end:
        assert not end.done()
    with pytest.raises(asyncio.CancelledError):
        await end
