"""kill -9 during a burst of requests loses nothing that was answered 202.

`CDCD_TEST_REQUESTS=10000 pytest tests/acceptance/test_api.py` does it with 10,000, by as many connections as the API takes.
"""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from tests.acceptance.setting import Setting
from tests.daemon import Daemon
from tests.endpoint import Endpoint
from tests.integration.server.talking import connected, token, trigger
from tests.postgres import Database

REQUESTS = int(os.environ.get("CDCD_TEST_REQUESTS", "2000"))
CONNECTIONS = min(1900, REQUESTS // 5)


class Asker:
    """One connection that asks again and again, each time with an id of its own."""

    def __init__(self, port: int, bearer: str, ids: "asyncio.Queue[str]") -> None:
        self._port = port
        self._bearer = bearer
        self._ids = ids
        self.accepted: list[str] = []

    async def run(self) -> None:
        """Until the ids are used up, or the connection breaks."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return  # killed already
        try:
            while not self._ids.empty():
                identity = self._ids.get_nowait()
                body = f'{{"type": "ORDER_PAID", "id": "{identity}", "data": {{"id": "{identity}"}}}}'.encode()
                head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._bearer}\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                status = int(answer[9:12])
                await reader.readexactly(int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                if status == 202:
                    self.accepted.append(identity)
                elif status != 503:
                    raise AssertionError(answer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # killed: whatever was not answered may be there or not
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def burst(setting: Setting, endpoint: Endpoint, requests: int, failpoint: str) -> int:
    """Kill it in the middle; how many had been accepted by then. Each of these must come, once an id at least."""
    config = setting.configure({"paid": trigger(setting, "ORDER_PAID", order="none")}, server={"listen": "127.0.0.1:0"})
    daemon = Daemon(config, failpoints=failpoint)
    await daemon.start()
    await daemon.ready()
    accepted: set[str] = set()
    async with connected(daemon, setting.project) as client:
        ids: asyncio.Queue[str] = asyncio.Queue()
        for number in range(requests):
            ids.put_nowait(f"{number:06d}")
        askers = [Asker(client.port, token(role="app"), ids) for _ in range(CONNECTIONS)]
        await asyncio.gather(*(asker.run() for asker in askers))
        accepted.update(identity for asker in askers for identity in asker.accepted)
    assert await daemon.wait() == -9
    daemon.failpoints = ""
    async with daemon:
        await endpoint.wait_until(lambda e: accepted <= {request.event["data"]["id"] for request in e.requests}, 120)
        await setting.until("SELECT count(*) FROM cdcd.queued", 0)
    delivered = {request.event["data"]["id"]: request.id for request in endpoint.requests}
    assert all(delivered[request.event["data"]["id"]] == request.id for request in endpoint.requests)  # one honest id
    return len(accepted)


@pytest.mark.parametrize("failpoint", ["server.committed=8", "server.before_commit=8"])
async def test_what_was_answered_202_survives_kill_9(failpoint: str, tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        assert await burst(setting, endpoint, REQUESTS, failpoint) > 0
