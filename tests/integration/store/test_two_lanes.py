"""A row whose key changed stands in two lanes of the backlog: it waits for both, and both wait for it."""

import time

import pytest

from cdcd.event import Delivery
from cdcd.store.pending import Backlog
from tests.integration.store.shop import SCHEMA, delivery, final, shop, staged
from tests.postgres import Database

pytestmark = pytest.mark.matrix(ends=True)


async def due(backlog: Backlog) -> list[str]:
    return [one.id for one in (await backlog.claim("welcome", [], 100, 1 << 20, time.time() + 1)).deliveries]


def moved(new: str, old: str) -> Delivery:
    one = delivery(new)
    one.also = old
    return one


@pytest.mark.parametrize("together", [True, False], ids=["one group", "group by group"])
async def test_it_waits_for_both_lanes_and_both_wait_for_it(database: Database, together: bool) -> None:
    async with shop(database) as it:
        one, two = delivery("1"), delivery("2")
        change = moved("2", "1")
        after_one, after_two = delivery("1"), delivery("2")
        every = [one, two, change, after_one, after_two]
        if together:
            await it.write(*(staged(each) for each in every))
        else:
            for each in every:
                await it.write(staged(each))
        backlog = Backlog(database.dsn, SCHEMA)
        assert await backlog.lanes("welcome", 10) == {"1": 3, "2": 3}
        assert await due(backlog) == [one.id, two.id]
        await it.write(final(two))
        assert await due(backlog) == [one.id]
        await it.write(final(one))
        [claimed] = (await backlog.claim("welcome", [], 100, 1 << 20, time.time() + 1)).deliveries
        assert (claimed.id, claimed.lane, claimed.also) == (change.id, "2", "1")
        await it.write(final(change))
        assert sorted(await due(backlog)) == sorted([after_one.id, after_two.id])
        await backlog.close()


async def test_a_run_of_followers_ends_before_one_that_waits_for_another_lane(database: Database) -> None:
    async with shop(database) as it:
        head, second = delivery("1"), delivery("1")
        away, last = moved("9", "1"), delivery("1")
        await it.write(*(staged(each) for each in [head, second, away, last]))
        backlog = Backlog(database.dsn, SCHEMA)
        assert await due(backlog) == [head.id, second.id]
        await backlog.close()
