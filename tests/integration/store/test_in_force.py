"""Which triggers count, configuration by configuration, and when those that are gone are forgotten."""

from cdcd.store.in_force import QUEUE, Configurations, InForce, forgotten
from tests.integration.store.shop import SCHEMA, shop
from tests.postgres import Database

A, B, PAID = InForce("a", "main", '{"x": 1}'), InForce("b", "main", '{"x": 2}'), InForce("paid", QUEUE, '{"x": 3}')
OTHER = InForce("a", "other", '{"x": 9}')


async def test_what_is_gone_is_known_until_it_is_forgotten(database: Database) -> None:
    async with shop(database) as it:
        configurations = Configurations(database.dsn, SCHEMA)
        first = await configurations.note([A, B, PAID])
        assert (first.number, first.gone, first.queued) == (1, [], 0)
        it.execute("SELECT queue('PAID', '1')")
        second = await Configurations(database.dsn, SCHEMA).note([A])  # after a restart
        assert (second.number, second.queued) == (2, 1)
        assert sorted(each.name for each in second.gone) == ["b", "paid"]
        assert B in second.gone
        third = await configurations.note([OTHER])  # from elsewhere: what it was owed there is another thing
        assert third.number == 3
        assert A in third.gone

        async def forget(number: int, *sources: str) -> list[str]:
            await it.recorder.submit((), (forgotten(sources, number),))
            return [f"{name} {source}" for name, source in it.rows("SELECT name, source FROM in_force ORDER BY 1, 2")]

        # What the second does not have, of what comes from one source; the first is not over for the other.
        assert await forget(2, QUEUE) == ["a main", "a other", "b main"]
        assert await forget(2, "main") == ["a main", "a other"]
        # One that a later configuration has again is not forgotten for an earlier one that had it not.
        await configurations.note([A, OTHER])
        assert await forget(3, "main", "other", QUEUE) == ["a main", "a other"]
        assert (await configurations.note([A, OTHER])).gone == []


async def test_numbers_only_grow(database: Database) -> None:
    async with shop(database) as it:
        configurations = Configurations(database.dsn, SCHEMA)
        assert (await configurations.note([A])).number == 1
        assert (await configurations.note([])).number == 2
        await it.recorder.submit((), (forgotten(["main"], 2),))
        assert (await configurations.note([A])).number == 3  # nothing is there that says so
