"""What the recorder promises: groups are whole, in order, written again until they are committed, and never twice."""

import asyncio
import time

import psycopg
import pytest

from cdcd.errors import StoreRefused, StoreUnavailable
from cdcd.event import Position, Queued, Record, Status
from cdcd.store.inbox import enqueue
from cdcd.store.pending import Backlog
from cdcd.store.reads import Reads
from tests.integration.store.shop import SCHEMA, Checkpoint, attempt, delivery, final, shop, staged
from tests.postgres import Database

pytestmark = pytest.mark.matrix(ends=True)

KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cdcd' AND datname = current_database()"


async def test_a_live_success_is_two_inserts_and_keeps_the_bytes(database: Database) -> None:
    async with shop(database) as it:
        one = delivery("7", data=b'{"b": 1,   "a": "\xc3\xa9 \\u0000"}')
        await it.write(final(one))
        [row] = it.rows(
            "SELECT id::text, payload::text, status, attempts, remark, settled_at IS NOT NULL, key, position FROM event_logs"
        )
        assert row == (one.id, one.event.data.decode(), "processed", 1, None, True, "7", 42)
        [row] = it.rows("SELECT event_id::text, number, status_code, response, error, round(duration_ms) FROM invocation_logs")
        assert row == (one.id, 1, 200, "ok", "", 5)
        assert isinstance(one.checkpoint, Checkpoint)
        assert one.checkpoint.settled == 1


async def test_live_successes_cause_no_update_and_no_delete(database: Database) -> None:
    async with shop(database) as it:
        before = Position("main", 1, 1)
        for number in range(20):
            it.source.position = Position("main", number + 1, number + 1, identity=before.identity)
            await it.write(*(final(delivery(str(lane))) for lane in range(50)))
        await it.recorder.stop()
        changes = (
            "SELECT sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del) FROM pg_stat_user_tables "
            "WHERE schemaname = %s AND relname <> 'meta'"
        )
        deadline = time.monotonic() + 10  # the counters reach the views a little after the backend has ended
        while it.database.execute(changes, [SCHEMA])[0][0] < 2020:
            assert time.monotonic() < deadline
        assert it.database.execute(changes, [SCHEMA])[0][1:] == (0, 0)


async def test_the_position_is_in_the_same_commit_and_is_told_afterwards(database: Database) -> None:
    async with shop(database) as it:
        position = Position("main", 100, 120, 1_700_000_000_000_000, {"system": "1", "slot": "cdcd_shop"})
        it.source.position = position
        await it.write(final(delivery()))
        assert it.source.recorded == [position]
        reads = Reads(database.dsn, SCHEMA)
        assert await reads.positions() == {"main": position}
        moved = Position("main", 200, 220)
        it.source.position = moved
        it.recorder.position_moved()
        await it.until(lambda: it.source.recorded[-1] == moved)
        assert (await reads.positions())["main"] == moved
        await reads.close()


async def test_positions_are_compacted_to_the_newest(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdcd.store.recorder.COMPACT_EVERY", 5)
    async with shop(database) as it:
        for number in range(1, 13):
            it.source.position = Position("main", number, number, number * 1_000_000)
            await it.write(final(delivery()))
        assert len(it.rows("SELECT FROM positions")) == 3
        reads = Reads(database.dsn, SCHEMA)
        assert (await reads.positions())["main"] == Position("main", 12, 12, 12_000_000)
        await reads.close()


async def test_compaction_gives_way_to_a_reader(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdcd.store.recorder.COMPACT_EVERY", 1)
    async with shop(database) as it:
        with database.connect() as reader, reader.transaction():
            reader.execute(f'SELECT FROM "{SCHEMA}".positions')
            it.source.position = Position("main", 1, 1)
            await it.write(final(delivery()))
            it.source.position = Position("main", 2, 2)
            await it.write(final(delivery()))
        assert len(it.rows("SELECT FROM positions")) == 2
        assert it.failures == []


async def test_a_lost_answer_to_the_commit_writes_nothing_twice(database: Database) -> None:
    """The group is committed, the connection dies before the answer is read, the recorder writes the group again."""
    async with shop(database) as it:
        head, follower, live = delivery("a"), delivery("a"), delivery("b")
        await it.write(staged(head, number=1), staged(follower))
        writer = it.recorder._writer
        write, calls = writer.write, 0

        async def committed_but_unanswered(*args: object) -> None:
            nonlocal calls
            calls += 1
            await write(*args)  # type: ignore[arg-type] # the arguments are passed on as they came
            if calls == 1:
                await writer.close()
                raise StoreUnavailable("the answer was lost")

        writer.write = committed_but_unanswered  # type: ignore[method-assign, assignment] # the failpoint: after the commit, before its answer
        it.source.position = Position("main", 9, 9)
        late = delivery("a")
        await it.write(final(head, number=2), final(live), staged(late, due_at=5))
        assert calls == 2
        assert it.rows("SELECT status, attempts FROM event_logs WHERE id = %s", [head.id]) == [("processed", 2)]
        assert it.rows("SELECT count(*) FROM event_logs") == [(4,)]
        assert it.rows("SELECT event_id::text, number FROM invocation_logs ORDER BY event_id, number") == sorted(
            [(head.id, 1), (head.id, 2), (live.id, 1)]
        )
        assert it.rows("SELECT id::text, due_at IS NULL FROM pending ORDER BY seq") == [(follower.id, False), (late.id, True)]


async def test_a_live_group_that_is_written_again_changes_nothing(database: Database) -> None:
    async with shop(database) as it:
        twice = [final(delivery()) for _ in range(3)]
        await it.write(*twice)
        await it.write(*twice, final(delivery()))
        assert it.rows("SELECT count(*) FROM event_logs") == [(4,)]
        assert it.rows("SELECT count(*) FROM invocation_logs") == [(4,)]


async def test_a_former_session_that_the_server_still_keeps_is_ended(database: Database) -> None:
    async with shop(database) as it:
        await it.write(final(delivery()))
        writer = it.recorder._writer
        former, writer._connection = writer._connection, None  # the network broke, and only this side knows
        await it.write(final(delivery()))
        assert "former session" in str(it.states[0])
        assert it.rows("SELECT count(*) FROM event_logs") == [(2,)]
        assert former is not None
        await former.close()


async def test_backends_killed_while_writing_lose_and_repeat_nothing(database: Database) -> None:
    """Every group has the recorder's backend killed at some other moment of its being written."""
    async with shop(database) as it, await database.aconnect() as killer:
        deliveries = [delivery(str(number % 7)) for number in range(2000)]

        async def write(moment: int, *records: Record) -> None:
            writing = asyncio.create_task(it.write(*records))
            await killer.execute("SELECT pg_sleep(%s)", [moment % 10 * 0.002])
            await killer.execute(KILL)
            await writing

        for start in range(0, len(deliveries), 100):
            group = deliveries[start : start + 100]
            await write(start // 100, *(staged(one) if number % 2 else final(one) for number, one in enumerate(group)))
        parked = deliveries[1::2]
        for start in range(0, len(parked), 100):
            await write(start // 100, *(final(one) for one in parked[start : start + 100]))
        assert it.states  # some kill met a write
        assert it.rows("SELECT status, count(*) FROM event_logs GROUP BY 1") == [("processed", 2000)]
        assert it.rows("SELECT count(*), count(DISTINCT event_id) FROM invocation_logs") == [(2000, 2000)]
        assert it.rows("SELECT count(*) FROM pending") == [(0,)]
        assert all(isinstance(one.checkpoint, Checkpoint) and one.checkpoint.settled == 1 for one in deliveries)
        assert it.failures == []


async def test_what_a_source_asks_for_is_not_blamed_on_a_record(database: Database) -> None:
    """A statement that the store refuses ends the recorder by its name; the records of its commit are whole."""
    async with shop(database) as it:
        odd = enqueue([Queued("odd", "DB_INSERT", "cdcd/shop/queue", 0, b"1")])  # which comes from its source alone
        it.recorder.record(final(one := delivery()))
        it.recorder.submit([staged(two := delivery())], [odd])
        await it.until(lambda: bool(it.failures))
        assert "enqueue" in str(it.failures[0])
        rows = {row[0]: row[1:] for row in it.rows("SELECT id::text, status, payload IS NOT NULL FROM event_logs")}
        assert rows == {one.id: ("processed", True), two.id: ("staged", True)}


async def test_a_store_that_takes_no_writes_is_waited_for(database: Database) -> None:
    async with shop(database) as it:
        await it.write(final(delivery()))
        it.execute(f'ALTER DATABASE "{database.name}" SET default_transaction_read_only = on')
        database.execute(KILL)
        it.recorder.record(final(delivery()))
        await it.until(lambda: any("read-only" in str(state) for state in it.states))
        assert it.recorder.queued[0] == 1
        with database.connect() as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f'ALTER DATABASE "{database.name}" RESET default_transaction_read_only')
        database.execute(KILL)
        await it.until(lambda: len(it.recorded) == 2)
        assert it.states[-1] is None
        assert it.recorder.queued == (0, 0)


async def test_a_restart_of_the_server_is_lived_through(database: Database) -> None:
    async with shop(database) as it:
        await it.write(final(delivery()))
        restart = asyncio.create_task(asyncio.to_thread(database.postgres.server.restart, crash=True))
        for _ in range(50):
            await it.write(*(final(delivery()) for _ in range(20)))
        await restart
        await it.write(final(delivery()))
        assert it.rows("SELECT count(*) FROM event_logs") == [(1002,)]


async def test_a_row_that_the_server_refuses_is_found_and_the_others_go_on(database: Database) -> None:
    async with shop(database) as it:
        good = [delivery(str(number)) for number in range(9)]
        sent, waiting = delivery(data=b'{"broken": '), delivery("x", data=b'{"nul": "\x00"}')
        behind = delivery("x")
        records = [*map(final, good[:4]), final(sent), *map(final, good[4:]), staged(waiting), staged(behind)]
        it.source.position = Position("main", 5, 5)
        await it.write(*records)
        rows = {
            identity: rest
            for identity, *rest in it.rows(
                "SELECT id::text, status, payload IS NULL, remark LIKE 'not stored whole: %%json%%' FROM event_logs"
            )
        }
        assert len(rows) == 12
        assert rows[sent.id] == ["processed", True, True]
        assert rows[waiting.id][:2] == ["failed", True]
        assert rows[behind.id] == ["staged", False, None]
        assert it.rows("SELECT id::text, due_at IS NOT NULL FROM pending") == [(behind.id, True)]
        assert [record.status for record in it.recorded if record.delivery is waiting] == [Status.FAILED]
        assert it.rows("SELECT settled FROM positions") == [(5,)]


@pytest.mark.parametrize("together", [True, False])
async def test_the_outcome_of_an_attempt_outlives_the_refusal_of_its_data(database: Database, together: bool) -> None:
    """They are staged in place, their data is refused, and their attempts end only then."""
    async with shop(database) as it:
        taken, refused, again = (delivery(lane, data=b'{"nul": "\x00"}') for lane in "abc")
        behind = delivery("c")
        size = taken.size
        first = [staged(taken), staged(refused), staged(again), staged(behind)]
        last = [
            final(taken),
            final(refused, Status.FAILED, reason="410 Gone"),
            staged(again, time.time() + 60, number=1, reason="503"),
        ]
        if together:
            await it.write(*first, *last)
        else:
            await it.write(*first)
            assert it.rows("SELECT DISTINCT status FROM event_logs WHERE payload IS NULL") == [("failed",)]
            await it.write(*last)
            await it.write(final(delivery()))
        rows = {identity: rest for identity, *rest in it.rows("SELECT id::text, status, attempts, remark FROM event_logs")}
        assert rows[taken.id][:2] == ["processed", 1]
        assert rows[refused.id][:2] == ["failed", 1]
        assert rows[again.id][:2] == ["failed", 1]
        for one, why in ((taken, ""), (refused, "410 Gone"), (again, "503; it cannot be tried again")):
            assert why in rows[one.id][2]
            assert "not stored whole: " in rows[one.id][2]
        invocations = it.rows("SELECT event_id::text FROM invocation_logs")
        assert {(one.id,) for one in (taken, refused, again)} <= set(invocations)
        assert it.rows("SELECT id::text, due_at IS NOT NULL FROM pending") == [(behind.id, True)]
        assert it.recorded[-1].status is not Status.STAGED
        assert taken.size == size
        assert it.recorder.queued == (0, 0)


async def test_answers_that_text_cannot_hold_are_kept_as_far_as_they_can(database: Database) -> None:
    async with shop(database) as it:
        one = final(delivery())
        one.attempt = attempt(response="a\0b\udcff")
        await it.write(one)
        assert it.rows("SELECT response FROM invocation_logs") == [("a\ufffdb?",)]


async def test_a_failure_says_why_even_when_nobody_gave_a_reason(database: Database) -> None:
    async with shop(database) as it:
        silent, told = delivery(), delivery(data=b"")
        told.error = "the row cannot be written as JSON"
        await it.write(final(silent, Status.FAILED), final(told, Status.FAILED, 0))
        assert it.rows("SELECT remark FROM event_logs ORDER BY attempts") == [(told.error,), ("no reason was given",)]


async def test_stop_commits_what_is_queued(database: Database) -> None:
    async with shop(database) as it:
        for _ in range(5000):
            it.recorder.record(final(delivery()))
        await it.recorder.stop()
        assert it.rows("SELECT count(*) FROM event_logs") == [(5000,)]
        await it.recorder.stop()


async def test_a_second_daemon_is_told_who_owns_the_store(database: Database) -> None:
    async with shop(database) as it, shop(database, start=False) as other:
        with pytest.raises(StoreUnavailable, match=r"in use by another cdcd: pid \d+, application 'cdcd'"):
            await other.recorder.start()
        await it.recorder.stop()
        await other.recorder.start()
        await other.write(final(delivery()))


async def test_a_daemon_that_was_cut_off_ends_when_another_took_over(database: Database) -> None:
    async with shop(database) as it:
        await it.write(final(delivery()))
        await it.recorder._writer.close()  # its connection is gone, and it has not noticed
        async with shop(database) as other:
            await other.write(final(delivery()))
        it.recorder.record(final(delivery()))
        await it.until(lambda: bool(it.failures))
        assert isinstance(it.failures[0], StoreRefused)
        assert "took over" in str(it.failures[0])
        assert it.rows("SELECT count(*) FROM event_logs") == [(2,)]


async def test_another_projects_store_is_refused(database: Database) -> None:
    async with shop(database, start=False) as it:
        it.execute("UPDATE meta SET project = 'other'")
        with pytest.raises(StoreRefused, match="belongs to the project 'other', not 'shop'"):
            await it.recorder.start()


async def test_a_role_without_the_right_is_refused(database: Database) -> None:
    async with shop(database, start=False) as it:
        it.execute("DROP TABLE event_logs CASCADE")
        with pytest.raises(StoreRefused, match="event_logs"):
            await it.recorder.start()


async def test_staged_and_finished_in_one_group_never_touches_the_backlog(database: Database) -> None:
    async with shop(database) as it:
        one, behind = delivery("a"), delivery("a")
        await it.write(staged(one, number=1), final(one, number=2), staged(behind, due_at=time.time()))
        assert it.rows("SELECT status, attempts FROM event_logs WHERE id = %s", [one.id]) == [("processed", 2)]
        assert it.rows("SELECT id::text, due_at IS NOT NULL FROM pending") == [(behind.id, True)]
        assert it.rows("SELECT number FROM invocation_logs ORDER BY 1") == [(1,), (2,)]


async def test_only_the_head_of_a_lane_is_due_and_its_end_promotes_the_next(database: Database) -> None:
    async with shop(database) as it:
        first, second, third, free = delivery("a"), delivery("a"), delivery("a"), delivery()
        await it.write(staged(first, due_at=10), staged(second, due_at=11), staged(free, due_at=12))
        await it.write(staged(third, due_at=13))
        due = "SELECT id::text, round(extract(epoch FROM due_at))::int FROM pending ORDER BY seq"
        assert it.rows(due) == [(first.id, 10), (second.id, None), (free.id, 12), (third.id, None)]
        await it.write(staged(first, due_at=99, number=1, reason="503"))
        assert it.rows("SELECT attempts, last_error FROM pending WHERE due_at = to_timestamp(99)") == [(1, "503")]
        before = int(time.time())
        await it.write(final(first, number=2))
        [(_, promoted), *rest] = it.rows(due)
        assert promoted >= before
        assert rest == [(free.id, 12), (third.id, None)]
        # The next fails in the group in which the one before it ends: its own due time stands.
        await it.write(final(second), staged(third, due_at=77, number=1))
        assert it.rows(due) == [(free.id, 12), (third.id, 77)]
        await it.write(final(third, Status.CANCELLED, 0, "by hand"), final(free))
        assert it.rows("SELECT status, count(*) FROM event_logs GROUP BY 1 ORDER BY 1") == [("cancelled", 1), ("processed", 3)]


async def test_the_database_refuses_impossible_states(database: Database) -> None:
    async with shop(database) as it:
        row = (
            "INSERT INTO event_logs (id, time, type, source, subject, trigger, key, payload, status, remark, settled_at) "
            "VALUES (gen_random_uuid(), now(), '', '', '', '', '', {}, '{}', {}, {})"
        )
        for payload, status, remark, settled in [
            ("'1'", "staged", "NULL", "now()"),
            ("NULL", "staged", "'x'", "NULL"),
            ("'1'", "processed", "NULL", "NULL"),
            ("NULL", "processed", "NULL", "now()"),
            ("'1'", "failed", "NULL", "now()"),
            ("'1'", "cancelled", "NULL", "now()"),
            ("'1'", "intent", "'x'", "now()"),
        ]:
            with pytest.raises(psycopg.errors.CheckViolation):
                it.execute(row.format(payload, status, remark, settled))


async def test_a_backlog_survives_its_daemon(database: Database) -> None:
    async with shop(database) as it:
        one = delivery("a", data=b'{"doc":   {"id": 1}}')
        await it.write(staged(one, due_at=time.time() - 1, number=3))
    async with shop(database) as it:
        backlog = Backlog(database.dsn, SCHEMA)
        [again] = (await backlog.claim("welcome", [], 10, 1 << 20, time.time())).deliveries
        assert (again.id, again.lane, again.attempts, again.staged) == (one.id, "a", 3, True)
        assert (again.event.data, again.event.time, again.event.type) == (one.event.data, one.event.time, "DB_INSERT")
        await it.write(final(again, number=4))
        assert it.rows("SELECT status, attempts FROM event_logs") == [("processed", 4)]
        await backlog.close()


async def test_an_idle_recorder_takes_its_store_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection breaks while nothing is written; another daemon must find the store owned all the same."""
    monkeypatch.setattr("cdcd.store.recorder.LOOK_EVERY", 0.05)
    owner = (
        "SELECT l.pid FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    async with shop(database) as it:
        [(first,)] = await asyncio.to_thread(database.execute, owner)
        await asyncio.to_thread(database.execute, KILL)
        deadline = time.monotonic() + 10
        while not (rows := await asyncio.to_thread(database.execute, owner)) or rows == [(first,)]:
            assert time.monotonic() < deadline
        await it.write(final(delivery()))
