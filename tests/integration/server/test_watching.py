"""/metrics, /livez, /readyz, /healthz and the canary, on a real daemon: all is well, then an endpoint is not."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.setting import Setting
from tests.endpoint import Answer, Endpoint
from tests.integration.server.talking import NOBODY, Client, api
from tests.postgres import Database


async def samples(client: Client) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    got = await client.ask("GET", "/metrics", role=NOBODY)
    assert got.status == 200, got.body
    assert got.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(got.body.decode())
        for sample in family.samples
    }


async def value(client: Client, name: str, **labels: str) -> float | None:
    return (await samples(client)).get((name, frozenset(labels.items())))


async def until(client: Client, name: str, wanted: Callable[[float | None], bool], **labels: str) -> None:
    deadline = time.monotonic() + 30
    while not wanted(found := await value(client, name, **labels)):
        assert time.monotonic() < deadline, f"{name}{labels} is {found}"
        await asyncio.sleep(0.05)  # nothing tells when a metric changes


async def troubles(client: Client) -> dict[str, Any]:
    got = await client.ask("GET", "/healthz", role=NOBODY)
    found = got.json
    assert (got.status == 200) == (found["status"] == "ok") == ("troubles" not in found), found
    return {each["code"]: each for each in found.get("troubles", ())}


async def until_troubles(client: Client, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while not wanted(found := await troubles(client)):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)  # nothing tells when trouble comes
    return found


async def asked(client: Client, *paths: str, **headers: str) -> list[int]:
    return [(await client.ask("GET", path, role=NOBODY, **headers)).status for path in paths]


async def test_a_day_in_the_life(tmp_path: Path, database: Database) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    async with Endpoint() as endpoint:
        setting, origin = Setting(tmp_path, database, endpoint), endpoint.url("").rstrip("/")
        triggers = {"t": setting.trigger("/t", table="t")}
        more: dict[str, Any] = {
            "canary": {"every": "1s", "late": "1s"},
            "databases": {"main": {"url": setting.url, "wal_budget": "1GiB"}},
        }
        async with api(setting, triggers, **more) as client:
            # All is well.
            assert await asked(client, "/livez", "/readyz", "/healthz", "/metrics") == [200] * 4
            database.execute("INSERT INTO t SELECT generate_series(1, 20)")
            await until(client, "cdcd_trigger_delivered_total", lambda found: found == 20, trigger="t")
            found = await samples(client)
            assert found["cdcd_delivery_latency_seconds_count", frozenset()] >= 20
            assert 0 < found["cdcd_trigger_latency_seconds_sum", frozenset({("trigger", "t")})] < 100
            answered = frozenset({("endpoint", origin), ("answer", "2xx")})
            assert found["cdcd_endpoint_attempts_total", answered] == 20
            main = frozenset({("database", "main")})
            assert found["cdcd_database_reading", main] == 1
            assert found["cdcd_database_wal_budget_bytes", main] == 2**30
            assert 0 <= found["cdcd_database_wal_held_bytes", main] < 2**30
            assert found["cdcd_database_settled_lsn", main] > 0
            assert (found["cdcd_ready", frozenset()], found["cdcd_well", frozenset()]) == (1, 1)
            # The same by the API.
            got = (await client.ask("GET", "/v1/overview", role="viewer")).json
            assert (got["well"], got["ready"], got["alive"], got["troubles"]) == (True, True, True, [])
            (row,) = [each for each in got["triggers"] if each["name"] == "t"]
            assert row["delivered"] == 20
            assert row["latency"]["count"] == 20
            assert 0 < row["latency"]["p50"] <= row["latency"]["p99"]
            assert got["startedAt"] < got["at"]
            assert got["databases"][0]["sampledAt"] is not None
            assert sum(each["delivered"] for each in got["history"]) > 0
            assert not {"latencyBuckets", "latency_sum"} & got.keys()
            # The canary comes, by way of the log, and leaves no other trace.
            await until(client, "cdcd_canary_came_total", lambda found: (found or 0) >= 2)
            assert 0 < (await value(client, "cdcd_canary_seconds") or 0) < 5
            assert database.execute("SELECT DISTINCT type, status FROM cdcd.event_logs WHERE trigger = 'cdcd.canary'") == [
                ("cdcd.canary", "processed")
            ]
            # Who asks.
            assert await asked(client, "/metrics", **{"X-Forwarded-For": "192.0.2.1"}) == [401]
            assert await asked(client, "/metrics", Host="rebound.example.com") == [401]
            assert await asked(client, "/metrics", Host=f"localhost:{client.port}") == [200]
            assert (await client.ask("GET", "/metrics", role="viewer", **{"Via": "1.1 proxy"})).status == 200
            assert (await client.ask("GET", "/metrics", role="queue", **{"Via": "1.1 proxy"})).status == 403
            # An endpoint is away: that is trouble, and the daemon is fine.
            endpoint.always(Answer(503), path="/t")
            database.execute("INSERT INTO t SELECT generate_series(101, 130)")
            seen = await until_troubles(client, lambda found: "endpoint.down" in found)
            assert seen["endpoint.down"]["where"] == f"endpoint {origin}"
            assert "503" in seen["endpoint.down"]["what"]
            assert abs(seen["endpoint.down"]["since"] - time.time()) < 30
            assert await asked(client, "/livez", "/readyz", "/healthz") == [200, 200, 503]
            told = await client.ask("GET", "/healthz", role=NOBODY, **{"Forwarded": "for=192.0.2.1"})
            assert (told.status, told.json) == (503, {"status": "trouble"})
            await until(client, "cdcd_trigger_backlog", lambda found: (found or 0) > 20, trigger="t")
            await until(client, "cdcd_trigger_backlog_oldest_timestamp_seconds", lambda found: found is not None, trigger="t")
            endpoint.always(Answer(200), path="/t")
            await until_troubles(client, lambda found: not found)
            await until(client, "cdcd_trigger_backlog", lambda found: found == 0, trigger="t")
            assert await asked(client, "/livez", "/readyz", "/healthz") == [200] * 3


async def test_trouble_with_a_database_and_a_directory(tmp_path: Path, database: Database) -> None:
    """A slot that is dropped under the daemon, a directory that is moved away; a canary that goes through the queue."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        triggers = {
            "t": setting.trigger("/t", table="t"),
            "f": {"type": "FILE_CREATE", "storage": "uploads", "webhook": endpoint.url("/f")},
        }
        async with api(setting, triggers, storage={"uploads": {"path": str(uploads)}}) as client:
            assert await troubles(client) == {}
            uploads.rename(tmp_path / "gone")
            seen = await until_troubles(client, lambda found: "storage.missing" in found)
            assert seen["storage.missing"]["where"] == "storage uploads"
            assert await value(client, "cdcd_storage_there", storage="uploads") == 0
            (tmp_path / "gone").rename(uploads)
            await until_troubles(client, lambda found: not found)
            slot = f"'{setting.slot}'"
            async with await database.aconnect() as admin:
                for _ in range(200):  # it is read: whoever reads it must be gone for a moment
                    await admin.execute(
                        f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = {slot}"
                    )
                    try:
                        await admin.execute(f"SELECT pg_drop_replication_slot({slot})")
                        break
                    except psycopg.errors.ObjectInUse:
                        continue
            seen = await until_troubles(client, lambda found: {"slot.missing", "source.stopped"} <= set(found))
            assert "--accept-gap" in seen["slot.missing"]["fix"] + seen["source.stopped"]["fix"]
            assert await value(client, "cdcd_database_slot", database="main", state="missing") == 1
            assert await asked(client, "/livez", "/readyz", "/healthz") == [200, 200, 503]


async def test_a_canary_where_changes_are_captured_by_triggers(tmp_path: Path, database: Database) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        more: dict[str, Any] = {
            "canary": "1s",
            "databases": {"main": {"url": setting.url, "capture": "triggers"}},
        }
        async with api(setting, {"t": setting.trigger("/t", table="t")}, **more) as client:
            await until(client, "cdcd_canary_came_total", lambda found: (found or 0) >= 1)
            database.execute("INSERT INTO t VALUES (1)")
            await until(client, "cdcd_trigger_delivered_total", lambda found: found == 1, trigger="t")
            await until(client, "cdcd_database_lag_changes", lambda found: found == 0, database="main")
            assert endpoint.to("/t")[0].event["data"]["doc"] == {"id": 1}
            assert {request.path for request in endpoint.requests} == {"/t"}
