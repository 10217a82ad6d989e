"""What others' libraries and frameworks make of our requests, each with its defaults."""

import asyncio
import base64
import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import fastapi
import flask
import jwt
import pytest
import uvicorn
from standardwebhooks.webhooks import Webhook as StandardWebhook
from standardwebhooks.webhooks import WebhookVerificationError

from cdcd.config.model import Format, Secret
from tests.integration.delivery.endpoints import KEY, SECRETS, Endpoint, delivery, endpoint, sender, trigger
from tests.integration.delivery.test_sender import answering

ROOT = Path(__file__).parents[3]
PARSED = {"id": 1, "name": "Änne"}


def parts(request: bytes) -> tuple[dict[str, str], bytes]:
    """Headers (as sent) and body of a request as it came."""
    head, _, body = request.partition(b"\r\n\r\n")
    return dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:]), body


async def one_request(
    format: Format = Format.JSON, secrets: tuple[Secret, ...] = SECRETS
) -> tuple[Endpoint, dict[str, str], bytes]:
    """Send one delivery to a real endpoint; where, and what arrived."""
    async with endpoint(answering) as here:
        hook = trigger(here.origin, format=format)
        async with sender(hook, secrets=secrets) as part:
            assert (await part.send(delivery(), hook)).status == 200
    return here, *parts(here.requests[0])


async def test_the_official_standard_webhooks_library_verifies() -> None:
    _, headers, body = await one_request()
    event: Any = StandardWebhook("whsec_" + base64.b64encode(KEY).decode()).verify(body, headers)
    assert event["id"] == headers["webhook-id"] == delivery().id
    with pytest.raises(WebhookVerificationError):
        StandardWebhook("whsec_" + base64.b64encode(KEY).decode()).verify(body + b" ", headers)


async def test_it_verifies_with_either_secret_while_they_rotate() -> None:
    new, old = Secret(b"n" * 32, "new"), Secret(b"o" * 24, "old")
    _, headers, body = await one_request(secrets=(new, old))
    for secret in (new, old):
        StandardWebhook(base64.b64encode(secret.value).decode()).verify(body, headers)


async def test_pyjwt_verifies_the_token_for_this_endpoint() -> None:
    here, headers, _ = await one_request()
    scheme, token = headers["X-SC-Token"].split(" ")
    assert scheme == "Bearer"
    assert jwt.get_unverified_header(token)["kid"] == "k1"
    claims = jwt.decode(token, KEY, algorithms=["HS256"], audience=here.origin, issuer="cdcd/shop")
    assert (claims["id"], claims["role"], claims["sub"]) == ("cdcd-test", "SpaceCloud", "welcome")
    assert 0 < claims["exp"] - claims["iat"] <= 300


async def test_the_official_cloudevents_library_parses_the_strict_format() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own, at import
        name = "cloudevents.v1.http" if importlib.util.find_spec("cloudevents.v1") else "cloudevents.http"  # 2.x, 1.x
        from_http = importlib.import_module(name).from_http
        _, headers, body = await one_request(Format.CLOUDEVENTS)
        event = from_http(headers, body)
    assert headers["Content-Type"] == "application/cloudevents+json"
    assert event["specversion"] == "1.0"
    assert event["id"] == delivery().id
    assert event["type"] == "DB_INSERT"
    assert event["source"] == "cdcd/shop/main"
    assert event["subject"] == "public.users/1"
    assert event["time"] == "2023-11-14T22:13:20.123456Z"
    assert event["datacontenttype"] == "application/json"
    assert event.data["doc"] == PARSED


async def test_both_formats_have_the_same_body() -> None:
    _, headers, body = await one_request()
    assert headers["Content-Type"] == "application/json"
    assert body == (await one_request(Format.CLOUDEVENTS))[2]


async def deliver_to(origin: str) -> str:
    """Send one default delivery there; the response's text."""
    async with sender(hook := trigger(origin)) as part:
        attempt = await part.send(delivery(), hook)
    assert (attempt.status, attempt.error) == (200, "")
    return attempt.response


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def flask_origin() -> Iterator[str]:
    app = flask.Flask("endpoint")

    @app.post("/hook")
    def hook() -> Any:
        event = flask.request.get_json()
        return {"id": event["id"], "doc": event["data"]["doc"]}

    with make_server("127.0.0.1", 0, app, handler_class=_Silent) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_a_bare_flask_handler_reads_the_default_format(flask_origin: str) -> None:
    assert json.loads(await deliver_to(flask_origin)) == {"id": delivery().id, "doc": PARSED}


@contextlib.asynccontextmanager
async def fastapi_origin() -> AsyncIterator[str]:
    app = fastapi.FastAPI()

    @app.post("/hook")
    async def hook(event: dict[str, Any]) -> dict[str, Any]:
        return {"id": event["id"], "doc": event["data"]["doc"]}

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await serving


async def test_a_bare_fastapi_handler_reads_the_default_format() -> None:
    async with fastapi_origin() as origin:
        assert json.loads(await deliver_to(origin)) == {"id": delivery().id, "doc": PARSED}


@pytest.fixture(scope="module")
def express_folder() -> Path:
    """A folder with Express in it, kept between runs."""
    folder = ROOT / ".cache" / "express"
    if not shutil.which("node"):
        pytest.skip("needs node")
    if not (folder / "node_modules" / "express").is_dir():
        if not shutil.which("npm"):
            pytest.skip("needs npm, to install express")
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", str(folder), "express@5"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, timeout=120)
        if done.returncode:
            pytest.skip(f"npm could not install express: {done.stderr.strip()[-300:]}")
    return folder


async def test_a_bare_express_handler_reads_the_default_format(express_folder: Path) -> None:
    script = Path(__file__).with_name("express.mjs")
    process = await asyncio.create_subprocess_exec(
        *("node", str(script), str(express_folder)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_ENV": "production"},
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        assert json.loads(await deliver_to(f"http://127.0.0.1:{port}")) == {"id": delivery().id}
        assert json.loads(await process.stdout.readline())["data"]["doc"] == PARSED
    finally:
        process.terminate()
        await process.wait()
