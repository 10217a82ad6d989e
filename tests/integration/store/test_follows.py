"""What follows from a delivery's end is queued in the commit that records it: both or neither, and once."""

from cdcd.config.model import Limits
from cdcd.delivery.following import Following
from cdcd.event import Queued, Record, Status
from cdcd.store.inbox import enqueue
from tests.integration.store.shop import PROJECT, delivery, final, shop, staged
from tests.postgres import Database

FOLLOWING = Following(PROJECT, lambda kind: kind == "dlq_welcome", Limits())


def last_resort(record: Record) -> None:
    FOLLOWING.failed(record, 1_795_456_800.0)


def follows(record: Record, *types: str) -> Record:
    """`record` with events of these types."""
    record.follows = [
        Queued(f"{record.delivery.id}.1.{number}", kind, "cdcd/shop/welcome", 1_795_456_800_000_000, b"[1]", given=True)
        for number, kind in enumerate(types, 1)
    ]
    return record


async def test_records_of_every_fate_bring_what_follows(database: Database) -> None:
    """Live, out of the backlog, and in groups with others."""
    async with shop(database) as it:
        live, waiting = delivery("1"), delivery("2")
        await it.write(staged(waiting), final(delivery()))
        await it.write(final(delivery()), follows(final(live), "A", "B"), follows(final(waiting, Status.FAILED), "C"))
        assert it.rows("SELECT id, type FROM queued ORDER BY type") == [
            (f"{live.id}.1.1", "A"),
            (f"{live.id}.1.2", "B"),
            (f"{waiting.id}.1.1", "C"),
        ]
        assert it.rows("SELECT count(*) FROM event_logs WHERE status <> 'staged'") == [(4,)]


async def test_a_group_that_is_written_again_queues_nothing_again(database: Database) -> None:
    """Also when the event has been matched and has left the queue meanwhile."""
    async with shop(database) as it:
        record = follows(final(delivery()), "A")
        await it.write(record)
        it.rows("DELETE FROM queued RETURNING 1")
        await it.recorder._writer.write([record], [], 0.0, [enqueue(record.follows)])
        assert it.rows("SELECT count(*) FROM queued") == [(0,)]


async def test_a_row_that_is_refused_takes_nothing_of_the_others_along(database: Database) -> None:
    """Its own last resort comes without the data; what follows from a success whose data is refused is queued all the same."""
    async with shop(database) as it:
        it.recorder._on_unstorable = last_resort
        good = [follows(final(delivery()), "A") for _ in range(5)]
        odd = b'{"nul": "\x00"}'
        taken = follows(final(delivery(data=odd)), "B")
        failed = final(delivery(data=odd), Status.FAILED, reason="410 Gone")
        last_resort(failed)
        parked = staged(delivery("x", data=odd))
        parked.delivery.gone = True
        await it.write(*good[:3], taken, failed, parked, *good[3:])
        assert it.rows("SELECT type, count(*) FROM queued GROUP BY type ORDER BY type") == [
            ("A", 5),
            ("B", 1),
            ("dlq_welcome", 2),
        ]
        assert it.rows("SELECT DISTINCT payload ->> 'event_payload' FROM queued WHERE type = 'dlq_welcome'") == [(None,)]
        assert it.rows("SELECT status, count(*) FROM event_logs GROUP BY status ORDER BY status") == [
            ("failed", 2),
            ("processed", 6),
        ]


async def test_what_follows_is_left_out_at_last_when_nothing_else_helps(database: Database) -> None:
    async with shop(database) as it:
        record = follows(final(delivery()), "DB_INSERT")  # which the table refuses
        await it.write(record)
        assert it.rows("SELECT count(*) FROM queued") == [(0,)]
        ((status, remark),) = it.rows("SELECT status, remark FROM event_logs")
        assert status == "processed"
        assert remark.startswith("not stored whole: ")
