"""What is committed is delivered, signed, in order and recorded; what fails is tried again, and the rest goes on."""

import itertools
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from standardwebhooks.webhooks import Webhook

from tests.acceptance.setting import SECRET, Setting, docs
from tests.endpoint import Answer, Endpoint
from tests.postgres import Database

TABLE = "CREATE TABLE t (id int PRIMARY KEY, note text)"


@pytest.mark.matrix
async def test_every_kind_of_change_arrives_signed_and_is_recorded(tmp_path: Path, database: Database) -> None:
    """Insert, update and delete: one request each, verified by the official libraries, and a row in both logs."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"all": setting.trigger("/all", table="t")}) as daemon:
            for sql in ("INSERT INTO t VALUES (1, 'a')", "UPDATE t SET note = 'b'", "DELETE FROM t"):
                await setting.ask(sql)
            requests = await endpoint.wait_for(3)
            await setting.processed(3)
            assert await daemon.stop() == 0
        events = [request.event for request in requests]
        assert [event["type"] for event in events] == ["DB_INSERT", "DB_UPDATE", "DB_DELETE"]
        assert [event["data"].get("doc") for event in events] == [{"id": 1, "note": "a"}, {"id": 1, "note": "b"}, None]
        assert [event["data"]["find"] for event in events] == [{"id": 1}] * 3
        for request in requests:
            assert request.event["id"] == request.id
            Webhook(SECRET).verify(request.body, dict(request.headers.items()))
            token = request.headers["X-SC-Token"].removeprefix("Bearer ")
            claims = jwt.decode(
                token,
                Webhook(SECRET)._whsecret,
                algorithms=["HS256"],
                audience=endpoint.url("")[:-1] or endpoint.url(""),
                options={"verify_aud": False},
            )
            assert (claims["role"], claims["sub"]) == ("SpaceCloud", "all")
        recorded = await setting.ask(
            "SELECT id::text, type, trigger, status, attempts, payload::text FROM cdcd.event_logs ORDER BY position"
        )
        assert [row[0] for row in recorded] == [request.id for request in requests]
        assert [row[1:5] for row in recorded] == [
            (kind, "all", "processed", 1) for kind in ("DB_INSERT", "DB_UPDATE", "DB_DELETE")
        ]
        assert [json.loads(row[5]) for row in recorded] == [event["data"] for event in events]
        assert await setting.ask("SELECT number, status_code, error FROM cdcd.invocation_logs") == [(1, 200, "")] * 3


async def test_a_failing_delivery_is_tried_again_and_counted_across_a_restart(tmp_path: Path, database: Database) -> None:
    """Attempts are numbered on from where the killed daemon had come; each is in invocation_logs; id and body never change."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        endpoint.always(Answer(503, body=b"not now"))
        setting = Setting(tmp_path, database, endpoint)
        daemon = setting.daemon({"t": setting.trigger("/t", table="t")})
        async with daemon:
            await setting.ask("INSERT INTO t VALUES (1, 'a')")
            await setting.until("SELECT count(*) FROM cdcd.invocation_logs", lambda count: count >= 3)
            ((status, remark),) = await setting.ask(
                "SELECT status, last_error FROM cdcd.event_logs JOIN cdcd.pending USING (id)"
            )
            assert status == "staged"
            assert "503" in remark
            await daemon.kill()
            endpoint.always(Answer())
            await daemon.start()
            await setting.processed(1)
        assert len(set(endpoint.ids())) == 1
        assert len({request.body for request in endpoint.requests}) == 1
        ((attempts,),) = await setting.ask("SELECT attempts FROM cdcd.event_logs")
        rows = await setting.ask("SELECT number, status_code, response FROM cdcd.invocation_logs ORDER BY number")
        assert [row[0] for row in rows] == list(range(1, attempts + 1))
        assert [row[1] for row in rows] == [503] * (attempts - 1) + [200]
        assert rows[0][2] == "not now"
        assert len(endpoint.requests) - attempts in (0, 1)  # one may have been under way when it was killed


async def test_the_waits_grow_and_then_it_has_failed(tmp_path: Path, database: Database) -> None:
    """Exponential backoff: each wait is longer; after the last attempt the delivery is `failed` with what the endpoint said."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        endpoint.always(Answer(500))
        setting = Setting(tmp_path, database, endpoint)
        retries = {"max": 3, "first": "50ms", "factor": 3, "jitter": 0}
        async with setting.daemon({"t": setting.trigger("/t", table="t", retries=retries)}):
            await setting.ask("INSERT INTO t VALUES (1, 'a')")
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'failed'", 1)
        at = [request.monotonic for request in endpoint.requests]
        waits = [later - earlier for earlier, later in itertools.pairwise(at)]
        assert len(waits) == 3
        assert all(wait >= least for wait, least in zip(waits, (0.05, 0.15, 0.45), strict=True))
        ((attempts, remark),) = await setting.ask("SELECT attempts, remark FROM cdcd.event_logs")
        assert attempts == 4
        assert "500" in remark
        assert await setting.ask("SELECT id FROM cdcd.pending") == []


async def test_410_gives_up_at_once_and_the_next_of_its_key_goes_on(tmp_path: Path, database: Database) -> None:
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        endpoint.script(Answer(410))
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"t": setting.trigger("/t", table="t")}):
            await setting.ask("INSERT INTO t VALUES (1, 'a'); UPDATE t SET note = 'b'")
            await endpoint.wait_for(2)
            await setting.until("SELECT count(*) FROM cdcd.event_logs", 2)
        assert await setting.ask("SELECT type, status, attempts FROM cdcd.event_logs ORDER BY type") == [
            ("DB_INSERT", "failed", 1),
            ("DB_UPDATE", "processed", 1),
        ]


async def test_a_dead_endpoints_backlog_drains_in_order_once_it_is_back(tmp_path: Path, database: Database) -> None:
    """Meanwhile the slot moves on; afterwards every row's versions arrive one by one, and nothing stays staged."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v int)")
    async with Endpoint() as endpoint:
        await endpoint.stop()
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"t": setting.trigger("/t", table="t")}):
            await setting.ask("INSERT INTO t SELECT g, 0 FROM generate_series(1, 20) g")
            for _ in range(10):
                await setting.ask("UPDATE t SET v = v + 1")
            await setting.confirmed_beyond(await setting.lsn() - 1024 * 1024)
            await setting.until("SELECT count(*) FROM cdcd.pending", 220)
            ((last,),) = await setting.ask("SELECT max(position) FROM cdcd.event_logs")
            await setting.confirmed_beyond(last + 1)
            await endpoint.start()
            await setting.processed(220, timeout=90)
        versions: dict[int, list[int]] = {}
        for row in docs(endpoint, "/t"):
            versions.setdefault(row["id"], []).append(row["v"])
        assert versions == {number: list(range(11)) for number in range(1, 21)}
        assert len(endpoint.requests) == 220


async def test_a_slow_endpoint_does_not_hold_up_a_healthy_one_nor_the_wal(tmp_path: Path, database: Database) -> None:
    """While the slow one answers nothing, the other gets everything and the slot is confirmed beyond it all."""
    database.execute(TABLE)
    async with Endpoint() as endpoint, Endpoint() as slow:
        gate = slow.hold()
        setting = Setting(tmp_path, database, endpoint)
        triggers = {
            "healthy": setting.trigger("/healthy", table="t"),
            "slow": setting.trigger("/slow", table="t", url=slow.url("/slow"), timeout="60s"),
        }
        async with setting.daemon(triggers, limits={"in_flight": 500}):
            await setting.ask("INSERT INTO t SELECT g, 'x' FROM generate_series(1, 1000) g")
            await endpoint.wait_for(1000, timeout=60)
            ((last,),) = await setting.ask("SELECT max(position) FROM cdcd.event_logs")
            await setting.confirmed_beyond(last + 1)
            await setting.until("SELECT count(*) FROM cdcd.pending", lambda count: count >= 900)
            assert not slow.answered
            gate.set()
            await setting.processed(2000, timeout=90)
        assert len(set(slow.ids())) == 1000


async def test_what_cannot_be_delivered_is_failed_with_the_reason_and_the_rest_goes_on(
    tmp_path: Path, database: Database
) -> None:
    """An expression that raises on a NULL, a payload over the limit: failed, unsent; the rows around them arrive."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY, n int, note text)")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        triggers = {"n": setting.trigger("/n", table="t", when="new.n > 0"), "all": setting.trigger("/all", table="t")}
        async with setting.daemon(triggers, limits={"payload": "4KiB"}):
            await setting.ask(
                "INSERT INTO t VALUES (1, 1, 'x'), (2, NULL, 'x'), (3, 0, 'x'), (4, 4, repeat('x', 5000)), (5, 5, 'x')"
            )
            await setting.until("SELECT count(*) FROM cdcd.event_logs", 9)
        assert {row["id"] for row in docs(endpoint, "/n")} == {1, 5}
        assert {row["id"] for row in docs(endpoint, "/all")} == {1, 2, 3, 5}
        failed = await setting.ask(
            "SELECT trigger, subject, attempts, remark FROM cdcd.event_logs WHERE status = 'failed' ORDER BY 2, 1"
        )
        assert [row[:3] for row in failed] == [("n", "public.t/2", 0), ("all", "public.t/4", 0), ("n", "public.t/4", 0)]
        assert "new.n" in failed[0][3]
        assert "limits.payload" in failed[1][3]


async def test_an_unchanged_toasted_column_is_named_and_not_guessed(tmp_path: Path, database: Database) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY, note text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        async with setting.daemon({"t": setting.trigger("/t", table="t")}):
            await setting.ask("INSERT INTO t VALUES (1, 'a', repeat('x', 9000)); UPDATE t SET note = 'b'")
            await endpoint.wait_for(2)
            await setting.ask("ALTER TABLE t REPLICA IDENTITY FULL")
            await setting.ask("UPDATE t SET note = 'c'")
            requests = await endpoint.wait_for(3)
            await setting.processed(3)
        data: list[dict[str, Any]] = [request.event["data"] for request in requests]
        assert data[1]["unchanged"] == ["big"]
        assert "big" not in data[1]["doc"]
        assert data[2]["unchanged"] == []
        assert data[2]["doc"]["big"] == "x" * 9000
        assert data[2]["changed"] == ["note"]


async def test_a_transaction_of_100_000_rows(tmp_path: Path, database: Database) -> None:
    """Memory stays flat, everything wanted of it arrives, and the slot comes to stand behind it."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        triggers = {
            "t": setting.trigger("/t", table="t", when="new.id % 50 == 0"),
            "key": setting.trigger("/key", table="t", when="new.id == 7"),
        }
        async with setting.daemon(triggers) as daemon:
            await setting.ask("INSERT INTO t VALUES (0, 'first')")
            await endpoint.wait_for(1)
            before = _resident(daemon.pid)
            await setting.ask("INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 100000) g")
            await endpoint.wait_for(2002, timeout=90)
            await setting.processed(2002, timeout=60)
            assert _resident(daemon.pid) - before < 100 * 1024 * 1024
            ((last,),) = await setting.ask("SELECT max(position) FROM cdcd.event_logs")
            await setting.confirmed_beyond(last)
        assert len(set(endpoint.ids())) == len(endpoint.requests) == 2002


def _resident(pid: int) -> int:
    """Resident memory in bytes."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096
