"""The receiver checks, keeps and answers as told; what the sender signs, it verifies."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest

from cdcd.config.model import Secret
from cdcd.demo.receiver import Behaviour, Received, Receiver
from tests.integration.delivery.endpoints import KEY, SECRETS, delivery, sender, trigger


async def test_verifies_what_the_sender_signs_and_saves_it(tmp_path: Path) -> None:
    saved = tmp_path / "saved.jsonl"
    receiver = Receiver(keys=(b"z" * 32, KEY), save=saved)
    await receiver.start()
    async with sender(hook := trigger(receiver.url)) as part:
        before = time.time()
        assert (await part.send(delivery(), hook)).status == 200
    await receiver.stop()
    (line,) = [json.loads(line) for line in saved.read_text().splitlines()]
    assert line["verdict"] == "verified"
    assert (line["id"], line["status"], line["path"]) == (delivery().id, 200, "/hook")
    assert line["headers"]["webhook-id"] == line["id"]
    assert json.loads(line["body"])["id"] == line["id"]
    assert before <= line["arrived_at"] <= time.time()


@pytest.mark.parametrize("key", [b"another key of thirty-two bytes.", b"a short key 16 b"])
async def test_another_secret_is_answered_401(key: bytes) -> None:
    got: list[Received] = []
    receiver = Receiver(keys=(KEY,), on_received=got.append)
    await receiver.start()
    async with sender(hook := trigger(receiver.url), secrets=(Secret(key, "x"),)) as part:
        assert (await part.send(delivery(), hook)).status == 401
    await receiver.stop()
    assert got[0].verdict == "token: no key fits; signature: no key fits"


async def test_a_body_that_was_changed_and_an_old_timestamp_are_noticed() -> None:
    got: list[Received] = []
    receiver = Receiver(keys=(KEY,), on_received=got.append)
    await receiver.start()
    async with sender(hook := trigger(receiver.url)) as part:
        await part.send(delivery(), hook)
    await receiver.stop()
    assert receiver._verifier is not None
    headers, body, now = got[0].request.headers, got[0].request.body, got[0].arrived_at
    assert receiver._verifier.verdict(headers, body + b" ", now) == "signature: no key fits"
    assert "s off" in receiver._verifier.verdict(headers, body, now + 301)
    assert receiver._verifier.verdict({**headers, "host": "elsewhere"}, body, now).startswith("token: ")
    assert receiver._verifier.verdict({}, body, now).startswith("token: missing; signature: ")


async def test_fails_the_first_of_each_event_then_accepts() -> None:
    receiver = Receiver(Behaviour(fail_first=2))
    await receiver.start()
    async with sender(hook := trigger(receiver.url)) as part:
        for number in (1, 2):
            statuses = [(await part.send(delivery(number), hook)).status for _ in range(4)]
            assert statuses == [503, 503, 200, 200]
    await receiver.stop()
    assert receiver.count == 8


async def test_fails_a_share_repeatably() -> None:
    runs = []
    for _ in range(2):
        receiver = Receiver(Behaviour(fail_rate=0.5), seed=7)
        await receiver.start()
        async with sender(hook := trigger(receiver.url)) as part:
            runs.append([(await part.send(delivery(), hook)).status for _ in range(20)])
        await receiver.stop()
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 503}


async def test_behaviour_may_change_while_it_runs_and_the_port_stays_over_a_restart() -> None:
    receiver = Receiver(Behaviour(status=204))
    await receiver.start()
    async with sender(hook := trigger(receiver.url)) as part:
        assert (await part.send(delivery(), hook)).status == 204
        receiver.behaviour.status = 500
        assert (await part.send(delivery(), hook)).status == 500
        port = receiver.port
        await receiver.stop()
        assert (await part.send(delivery(), hook)).error == "connection refused"
        receiver.behaviour.status = 200
        await receiver.start()
        assert receiver.port == port
        assert (await part.send(delivery(), hook)).status == 200
    await receiver.stop()


async def test_a_reply_is_the_body_of_a_success() -> None:
    receiver = Receiver(Behaviour(fail_first=1, reply=lambda request: request.path.encode()))
    await receiver.start()
    async with sender(hook := trigger(receiver.url)) as part:
        assert (await part.send(delivery(), hook)).response == ""
        assert (await part.send(delivery(), hook)).response == "/hook"
        receiver.behaviour.delay = 0.01
        assert (await part.send(delivery(), hook)).response == "/hook"
    await receiver.stop()


async def test_delays_and_answers_pipelined_requests_in_order() -> None:
    receiver = Receiver(Behaviour(delay=0.05, fail_first=1))
    await receiver.start()
    reader, writer = await asyncio.open_connection(receiver.host, receiver.port)
    one = b"POST /%d HTTP/1.1\r\nwebhook-id: a\r\nContent-Length: 2\r\n\r\nok"
    began = time.monotonic()
    writer.write(one % 1 + one % 2)
    for status in (b"503", b"200"):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.split(b" ")[1] == status
    assert time.monotonic() - began >= 0.1
    writer.close()
    await receiver.stop()


async def test_hangs_until_the_client_gives_up() -> None:
    receiver = Receiver(Behaviour(hang=True))
    await receiver.start()
    reader, writer = await asyncio.open_connection(receiver.host, receiver.port)
    writer.write(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    writer.close()
    await receiver.stop()


async def test_closes_when_asked_and_refuses_what_it_does_not_understand() -> None:
    receiver = Receiver()
    await receiver.start()
    for request, status in (
        (b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", b"200"),
        (b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n", b"400"),
    ):
        reader, writer = await asyncio.open_connection(receiver.host, receiver.port)
        writer.write(request)
        answer = await reader.read()
        assert answer.split(b" ")[1] == status
        assert b"Connection: close" in answer
        writer.close()
    await receiver.stop()


async def test_the_command_prints_json_lines_with_a_verdict() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cdcd.cli.receive", "--port", "0", "--json", "--secret", KEY.decode()),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    url = (await process.stderr.readline()).decode().split()[-1]
    async with sender(hook := trigger(url), secrets=SECRETS) as part:
        assert (await part.send(delivery(), hook)).status == 200
    assert json.loads(await process.stdout.readline())["verdict"] == "verified"
    process.terminate()
    assert await process.wait() == 0


async def test_the_command_shows_a_line_an_event() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cdcd.cli.receive", "--port", "0", "--status", "500"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    url = (await process.stderr.readline()).decode().split()[-1]
    async with sender(hook := trigger(url)) as part:
        assert (await part.send(delivery(), hook)).status == 500
    line = (await process.stdout.readline()).decode()
    for part_of_it in ("500", "DB_INSERT", "public.users/1", delivery().id, "not checked"):
        assert part_of_it in line
    process.terminate()
    await process.wait()
