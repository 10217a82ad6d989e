"""What every test has: real Postgres servers (`tests.postgres` documents the fixtures), and coroutines run as tests."""

import asyncio
import inspect
import os
from typing import Any

import hypothesis
import pytest
import uvloop

from tests.postgres import database, databases, own_server, postgres, pytest_generate_tests, servers

# How long one example takes is the machine's affair.
hypothesis.settings.register_profile("cdcd", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("cdcd")

__all__ = ["database", "databases", "own_server", "postgres", "pytest_generate_tests", "servers"]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def test_...` in an event loop of its own: the daemon's (uvloop), or asyncio's with CDCD_TEST_LOOP=asyncio."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or pyfuncitem.get_closest_marker("anyio"):
        return None
    arguments: dict[str, Any] = {
        name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames if name in pyfuncitem.funcargs
    }
    factory = asyncio.new_event_loop if os.environ.get("CDCD_TEST_LOOP") == "asyncio" else uvloop.new_event_loop
    marker = pyfuncitem.get_closest_marker("timeout")
    limit = float(marker.args[0] if marker else pyfuncitem.config.getoption("timeout") or 180)

    async def bounded() -> None:
        # pytest-timeout's signal does not wake uvloop, so the test's time is bounded within the loop, a little below it.
        async with asyncio.timeout(0.9 * limit):
            await pyfuncitem.obj(**arguments)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(bounded())
    return True
