"""Schedules through the whole daemon, killed at any step: each tick is delivered under one id and recorded once."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.acceptance.setting import SOON, Setting
from tests.endpoint import Endpoint
from tests.postgres import Database


@pytest.mark.parametrize(
    "failpoint", ["schedule.ticked=2", "recorder.before_commit", "recorder.committed=2", "schedule.staged"]
)
async def test_killed_at_any_step(tmp_path: Path, database: Database, failpoint: str) -> None:
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        often = {
            "type": "SCHEDULE",
            "schedule": "*/10 * * * *",
            "missed": "all",
            "webhook": endpoint.url("/often"),
            "retries": SOON,
        }
        daily = {
            **often,
            "schedule": "0 * * * *",
            "timezone": "Asia/Kolkata",
            "missed": "once",
            "webhook": endpoint.url("/hour"),
        }
        triggers = {"often": often, "hourly": daily}
        async with setting.daemon(triggers):
            await setting.until("SELECT count(*) FROM cdcd.schedules", 2)
        # As if it had been down for a little more than three hours.
        await setting.ask("UPDATE cdcd.schedules SET last_tick = date_trunc('hour', now()) - interval '3 hours'")
        daemon = setting.daemon(triggers, failpoints=failpoint)
        await daemon.start()
        assert await asyncio.wait_for(daemon.wait(60), 60) == -signal.SIGKILL
        daemon.failpoints = ""
        async with daemon:
            await endpoint.wait_until(lambda e: len(set(e.ids("/often"))) >= 18 and bool(e.to("/hour")), timeout=30)
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status <> 'processed'", 0)
        often_times = {request.event["time"] for request in endpoint.to("/often")}
        assert len(often_times) == len(set(endpoint.ids("/often"))) <= 25
        (hour,) = {request.id: request.event["data"]["missed"] for request in endpoint.to("/hour")}.values()
        assert hour in (2, 3)
        assert await setting.ask("SELECT count(*), count(DISTINCT id) FROM cdcd.event_logs WHERE trigger = 'hourly'") == [
            (1, 1)
        ]
