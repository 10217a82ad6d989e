"""The shape of the request, through `cdcd run`: payload, headers, URL and claims by expressions, the same after a restart."""

from pathlib import Path
from typing import Any

import jwt
from standardwebhooks.webhooks import Webhook

from tests.acceptance.setting import SECRET, Setting
from tests.endpoint import Answer, Endpoint
from tests.postgres import Database

TABLE = "CREATE TABLE orders (id int PRIMARY KEY, total numeric, tenant text, note text)"
TEMPLATE: dict[str, Any] = {
    "payload": {
        "order": "${ new.id }",
        "total": "${ new.total }",
        "text": "${ new.tenant }: ${ new.total }",
        "event": "${ event.id }",
    },
    "claims": {"tenant": "${ new.tenant }"},
}


async def test_every_part_by_expressions_and_the_same_again_after_a_restart(tmp_path: Path, database: Database) -> None:
    """The retry, made by another process of the stored event, has the same bytes; what fails is recorded, and the rest goes on."""
    database.execute(TABLE)
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        trigger = setting.trigger("", table="orders", type=("DB_INSERT",))
        trigger["webhook"] = {
            "url": endpoint.url("/orders/${ new.id }?tenant=${ new.tenant }"),
            "method": "PUT",
            "headers": {"X-Tenant": "t-${ new.tenant }", "X-Note": "${ new.note }"},
        }
        endpoint.always(Answer(503), path="/orders/1")
        daemon = setting.daemon(
            {"t": {**trigger, **TEMPLATE}, "h": setting.trigger("/hasura", table="orders", format="hasura")}
        )
        async with daemon:
            await setting.ask(
                "INSERT INTO orders VALUES (1, 12345678901234567890.10, 'a b&c', 'n'), (2, 5, 'x', NULL), (3, 7, 'y', '')"
            )
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'failed'", 1)
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", 4)
            await daemon.kill()
            before = [request for request in endpoint.requests if request.path == "/orders/1"]
            endpoint.always(Answer(), path="/orders/1")
            await daemon.start()
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", 5)
        requests = [request for request in endpoint.requests if request.path == "/orders/1"]
        assert len(requests) > len(before) > 0
        assert {request.body for request in requests} == {
            f'{{"order":1,"total":12345678901234567890.10,"text":"a b&c: 12345678901234567890.10","event":"{requests[0].id}"}}'.encode()
        }
        for request in requests:
            assert request.method == "PUT"
            assert (request.path, request.query) == ("/orders/1", "tenant=a b%26c")
            assert (request.headers["X-Tenant"], request.headers["X-Note"]) == ("t-a b&c", "n")
            Webhook(SECRET).verify(request.body, dict(request.headers.items()))
            token = request.headers["X-SC-Token"].removeprefix("Bearer ")
            key = Webhook(SECRET)._whsecret
            claims = jwt.decode(token, key, algorithms=["HS256"], audience=endpoint.url(""), issuer=f"cdcd/{setting.project}")
            assert (claims["tenant"], claims["sub"]) == ("a b&c", "t")
        ((remark, number, status),) = await setting.ask(
            "SELECT e.remark, i.number, i.status_code FROM cdcd.event_logs e JOIN cdcd.invocation_logs i ON i.event_id = e.id"
            " WHERE e.status = 'failed'"
        )
        assert "`new.note` gave null, which has no text" in remark
        assert (number, status) == (1, 0)
        hasura = [request.event for request in endpoint.requests if request.path == "/hasura"]
        assert [event["event"]["data"]["new"]["id"] for event in hasura] == [1, 2, 3]
        assert {event["event"]["op"] for event in hasura} == {"INSERT"}


async def test_custom_events_have_shapes_too(tmp_path: Path, database: Database) -> None:
    """What was queued in SQL: its data alone, as a CloudEvent in binary mode with a payload, and as a request without a body."""
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        hooks: dict[str, Any] = {
            "raw": {"webhook": endpoint.url("/raw"), "format": "raw"},
            "binary": {"webhook": endpoint.url("/binary"), "format": "cloudevents-binary", "payload": {"n": "${ data.n }"}},
            "gone": {"webhook": {"url": endpoint.url("/gone/${ data.to }"), "method": "DELETE"}},
        }
        async with setting.daemon({name: {"type": "PAID", **hook} for name, hook in hooks.items()}):
            await setting.ask("""SELECT cdcd.queue('PAID', '{"n": 1.50, "to": "a/b"}')""")
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", 3)
        raw, binary = (next(r for r in endpoint.requests if r.path == f"/{name}") for name in ("raw", "binary"))
        (gone,) = (request for request in endpoint.requests if request.method == "DELETE")
        assert raw.event == {"n": 1.5, "to": "a/b"}
        assert (binary.body, binary.headers["ce-type"], binary.headers["ce-id"]) == (b'{"n":1.50}', "PAID", binary.id)
        assert (gone.path, gone.body) in (("/gone/a/b", b""), ("/gone/a%2Fb", b""))
