"""A daemon that serves https alone: events are queued through the lane, the certificate is renewed by a reload, http is not answered."""

import asyncio
import os
import signal
import ssl
from pathlib import Path

import aiohttp

from tests.acceptance.setting import Setting
from tests.endpoint import Answer, Endpoint
from tests.integration.delivery.certificates import Authority
from tests.integration.server.talking import token, trigger
from tests.postgres import Database


async def test_https_from_the_first_byte(tmp_path: Path, database: Database) -> None:
    authority = Authority(tmp_path)
    names = [authority.issue(name) for name in ("first", "second")]
    cert, key = tmp_path / "server.pem", tmp_path / "server.key"
    for target, source in zip((cert, key), names[0], strict=True):
        target.write_bytes(source.read_bytes())
    trusting = ssl.create_default_context(cafile=authority.certificate)
    async with Endpoint() as endpoint:
        endpoint.always(Answer())
        setting = Setting(tmp_path, database, endpoint)
        server = {"listen": "127.0.0.1:0", "tls": {"cert": "server.pem", "key": "server.key"}}
        async with setting.daemon({"paid": trigger(setting, "PAID")}, server=server) as daemon:
            line = await daemon.wait_log("server.listening")
            assert line["url"] == f"https://127.0.0.1:{line['port']}"
            headers = {"Authorization": f"Bearer {token(role='queue', aud=f'cdcd/{setting.project}')}"}

            async def shown() -> str:
                _, writer = await asyncio.open_connection("127.0.0.1", line["port"], ssl=trusting)
                found = str(writer.get_extra_info("peercert")["subject"][0][0][1])
                writer.close()
                return found

            async with aiohttp.ClientSession(headers=headers) as session:
                for number in range(5):  # the same head again and again: the lane's
                    body = {"type": "PAID", "data": {"id": number}}
                    async with session.post(f"{line['url']}/v1/events", json=body, ssl=trusting) as answer:
                        assert answer.status == 202
            await endpoint.wait_for(5)

            reader, writer = await asyncio.open_connection("127.0.0.1", line["port"])
            writer.write(b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" not in await reader.read()
            writer.close()

            assert await shown() == "first"
            for target, source in zip((cert, key), names[1], strict=True):
                target.write_bytes(source.read_bytes())
            os.kill(daemon.pid, signal.SIGHUP)
            await daemon.wait_log("reload.taken")
            assert await shown() == "second"
            cert.write_text("none")
            os.kill(daemon.pid, signal.SIGHUP)
            refused = await daemon.wait_log("reload.refused")
            assert "server.tls" in refused["mistakes"][0]
            assert await shown() == "second"
