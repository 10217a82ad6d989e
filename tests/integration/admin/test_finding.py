"""The event log: pages equal the sorted list whatever the filter, and every filter has its index."""

import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from cdcd.admin.deliveries import Deliveries, Filter, Found, NotThere, Unfit
from cdcd.event import Event, Record, Status
from cdcd.store.finding import Finder
from tests.integration.store.shop import SCHEMA, Shop, attempt, delivery, new_id, shop, staged
from tests.postgres import Database

TRIGGERS, TYPES, KEYS = ("welcome", "index", "rare"), ("DB_INSERT", "DB_DELETE"), ("1", "2,x", "")
STATUSES = (Status.PROCESSED, Status.FAILED, Status.CANCELLED)


async def filled(it: Shop, count: int = 400) -> list[Found]:
    """Deliveries of every kind over five days, three of them with partitions; as they should be found, newest first."""
    chance = random.Random(7)
    now = time.time()
    records = []
    for number in range(count):
        at = now - chance.choice([0, 1, 2, 400, 401]) * 86400 - chance.random() * 3600
        one = delivery(at=at, trigger=chance.choice(TRIGGERS), data=b'{"doc": {"note": "Caf\xc3\xa9 %d_%%"}}' % (number % 20))
        one.event = Event(
            chance.choice(TYPES),
            f"cdcd/shop/{chance.choice(['main', 'other'])}",
            "s",
            chance.choice(KEYS),
            int(at * 1e6),
            one.event.data,
        )
        one.id = new_id(one.event.time / 1e6)
        if chance.random() < 0.2:
            records.append(staged(one, at + 60, 1, f"answered 50{number % 10} oops"))
        else:
            status = chance.choice(STATUSES)
            reason = "" if status is Status.PROCESSED else f"answered 50{number % 10} oops"
            records.append(Record(one, status, False, attempt(), reason=reason))
    await it.write(*records)
    found = [
        Found(
            *(one.id, one.event.time, one.event.type, one.event.source, one.event.subject, one.trigger, one.event.key),
            *(record.status.value, 1, record.reason, 0, None, {}),
        )
        for record in records
        for one in [record.delivery]
    ]
    return sorted(found, key=lambda one: one.id, reverse=True)


def selected(everything: Iterable[Found], numbers: Mapping[str, int], wanted: Filter) -> list[str]:
    """What a filter means, said once more."""

    def matches(one: Found) -> bool:
        data = f'{{"doc": {{"note": "Café {numbers[one.id]}_%"}}}}'
        return (
            (not wanted.status or one.status in wanted.status)
            and (not wanted.trigger or one.trigger in wanted.trigger)
            and (not wanted.type or one.type in wanted.type)
            and (not wanted.source or wanted.source in (one.source, one.source.rpartition("/")[2]))
            and (wanted.key is None or one.key == wanted.key)
            and (wanted.since is None or one.time >= round(wanted.since * 1e6))
            and (wanted.until is None or one.time < round(wanted.until * 1e6))
            and wanted.text.lower() in data.lower()
            and (not wanted.error or (wanted.error.lower() in one.remark.lower() and one.status != "processed"))
        )

    return [one.id for one in everything if matches(one)]


async def pages(deliveries: Deliveries, wanted: Filter, limit: int) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = await deliveries.list(wanted, cursor, limit)
        assert len(page.items) <= limit
        found += [one.id for one in page.items]
        cursor = page.next
        if cursor is None:
            return found


async def test_pages_equal_the_sorted_list(database: Database) -> None:
    async with shop(database) as it:
        everything = await filled(it)
        rows = it.rows("SELECT id::text, payload::text FROM event_logs")
        numbers = {identity: int(payload.partition("é ")[2].partition("_")[0]) for identity, payload in rows}
        deliveries = Deliveries(database.dsn, SCHEMA)
        middle = everything[len(everything) // 2].time / 1e6
        options: dict[str, list[Any]] = {
            "status": [(), (Status.FAILED,), (Status.STAGED, Status.CANCELLED), (Status.PROCESSED, Status.FAILED)],
            "trigger": [(), ("rare",), ("index", "nobody", "rare")],
            "key": [None, "2,x", ""],
            "type": [(), ("DB_DELETE",)],
            "source": ["", "main", "cdcd/shop/other"],
            "text": ["", "café 1", "7_%"],
            "error": ["", "OOPS", "503"],
            "since": [None, middle, time.time() - 3 * 86400],
            "until": [None, middle, time.time() + 3600],
        }
        chance = random.Random(11)
        wanted = [Filter(**dict(zip(options, values, strict=True))) for values in product(*options.values())]
        simple = [replace(Filter(), **{name: value}) for name, values in options.items() for value in values]
        for one in [*simple, *chance.sample(wanted, 30)]:
            if one.since is not None and one.since == one.until:
                continue
            expected = selected(everything, numbers, one)
            assert await pages(deliveries, one, chance.choice([29, 100, 200])) == expected, one
            count = await deliveries.count(one, seconds=60.0)  # a busy machine takes its time
            assert (count.number, count.exact) == (len(expected), True), one
        count = await deliveries.count(Filter(), 10)
        assert (count.number, count.exact) == (10, False)
        await deliveries.close()


async def test_a_walk_whose_time_is_over_gets_on_all_the_same(database: Database) -> None:
    """However long its connection takes: whoever asks for page after page comes to the end."""
    async with shop(database) as it:
        everything = await filled(it, 60)
        finder = Finder(database.dsn, SCHEMA)
        for wanted in (Filter(), Filter(text="café")):
            found, cursor, asked = [], None, 0
            while asked == 0 or cursor is not None:
                stretch = await finder.find(wanted, 50, cursor=cursor, seconds=0.0)
                assert cursor is None or stretch.reached is None or stretch.reached < cursor
                found += [one.id for one in stretch.found]
                cursor, asked = stretch.reached, asked + 1
            assert found == [one.id for one in everything]
            assert 1 < asked < 20
        await finder.close()


async def test_a_key_longer_than_an_entry_of_an_index(database: Database) -> None:
    """It is stored and found, and what begins alike is not taken for it."""
    async with shop(database) as it:
        letters = random.Random(3)
        long = "".join(chr(letters.randrange(0x4E00, 0x9FFF)) for _ in range(4000))
        first, second, third = delivery("a"), delivery("a"), delivery("a")
        first.event.key, second.event.key, third.event.key = long, long[:-1], long[:200]
        await it.write(*(Record(one, Status.PROCESSED, False, attempt()) for one in (first, second, third)))
        deliveries = Deliveries(database.dsn, SCHEMA)
        for one in (first, second, third):
            wanted = Filter(key=one.event.key)
            assert [found.id for found in (await deliveries.list(wanted)).items] == [one.id]
            count = await deliveries.count(wanted, seconds=60.0)  # a busy machine takes its time
            assert (count.number, count.exact) == (1, True)
        await deliveries.close()


async def test_one_delivery_whole(database: Database) -> None:
    async with shop(database) as it:
        done, first, second = delivery("a"), delivery("b"), delivery("b")
        await it.write(Record(done, Status.PROCESSED, False, attempt(1)))
        await it.write(staged(first, time.time() + 60, 1, "answered 503"), staged(second))
        deliveries = Deliveries(database.dsn, SCHEMA)
        shown = await deliveries.show(done.id)
        assert (shown.data, shown.place, shown.url) == (done.event.data, None, None)
        assert [(one.number, one.status, one.response) for one in shown.attempts] == [(1, 200, "ok")]
        assert shown.delivery.settled is not None
        waiting = await deliveries.show(first.id)
        assert waiting.place is not None
        assert (waiting.place.before, waiting.place.first, waiting.place.error) == (0, None, "answered 503")
        behind = await deliveries.show(second.id)
        assert behind.place is not None
        assert (behind.place.before, behind.place.first, behind.place.due, behind.place.lane) == (1, first.id, None, "b")
        listed = await deliveries.list(Filter(status=(Status.STAGED,)))
        assert {one.id: (one.due is not None, one.attempts) for one in listed.items} == {
            first.id: (True, 1),
            second.id: (False, 0),
        }
        with pytest.raises(NotThere):
            await deliveries.show("none")
        with pytest.raises(NotThere):
            await deliveries.show(new_id())
        with pytest.raises(Unfit):
            await deliveries.list(Filter(), "nonsense")
        with pytest.raises(Unfit):
            await deliveries.list(Filter(), None, 201)
        with pytest.raises(Unfit):
            await deliveries.list(Filter(text="\0"))
        await deliveries.close()
