"""The shape of the request, through the real sender at a real endpoint: what others' code makes of each format, and of templates."""

import base64
import importlib
import importlib.util
import json
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook

from cdcd.config.model import Format, Kind, Limits, Retries, TriggerConfig, Webhook
from cdcd.delivery.redaction import REDACTED
from cdcd.event import Attempt, Delivery, Event
from cdcd.triggers.trigger import Trigger, compile_trigger
from tests.endpoint import Answer, Endpoint, Request
from tests.integration.delivery.endpoints import KEY, sender

ID = "018bcfe5-6800-8000-8000-000000000001"
ROW = (
    '{"db":"main","schema":"public","col":"orders","find":{"id":7},'
    '"doc":{"id":7,"total":9.50,"huge":123456789012345678901234567890,"name":"Änne","token":"row-token-1","note":null,"half":"\\ud800"},'
    '"before":{"id":7,"total":8.25},"beforeKind":"full","changed":["total"],"unchanged":[],"txid":7345,"lsn":"1/100"}'
).encode()


def row(kind: str = "DB_UPDATE", data: bytes = ROW, attempts: int = 0) -> Delivery:
    return Delivery(
        ID, "t", Event(kind, "cdcd/shop/main", "public.orders/7", "7", 1_700_000_000_123_456, data), None, attempts=attempts
    )


def trigger(endpoint: Endpoint, path: str = "/hook", **more: Any) -> Trigger:
    """A trigger for orders; `headers` and `method` are the webhook's."""
    origin = endpoint.url("")
    names = ("headers", "method", "url")
    hook = replace(Webhook(endpoint.url(path), origin), **{name: more.pop(name) for name in names if name in more})
    config = TriggerConfig("t", frozenset({"DB_UPDATE"}), "main", ("public.orders",), hook)
    return compile_trigger(replace(config, **more))


async def attempt(hook: Trigger, delivery: Delivery, limits: Limits | None = None) -> Attempt:
    async with sender(hook, limits=limits) as part:
        return await part.send(delivery, hook)


async def sent(endpoint: Endpoint, hook: Trigger, delivery: Delivery | None = None) -> Request:
    """The request that arrived for the delivery; its signature fits its bytes."""
    made = await attempt(hook, delivery or row())
    assert (made.status, made.error) == (200, "")
    request = endpoint.requests[-1]
    headers = dict(request.headers.items())
    standard = StandardWebhook(base64.b64encode(KEY).decode())
    if request.body:
        standard.verify(request.body, headers)
    else:
        assert headers["webhook-signature"] == standard.sign(
            ID, datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC), ""
        )
    assert request.id == ID
    return request


def claims_of(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    token = request.headers["X-SC-Token"].removeprefix("Bearer ")
    found: dict[str, Any] = jwt.decode(token, KEY, algorithms=["HS256"], audience=endpoint.url(""), issuer="cdcd/shop")
    return found


# Formats


async def test_the_official_cloudevents_library_parses_the_binary_mode() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own, at import
        name = "cloudevents.v1.http" if importlib.util.find_spec("cloudevents.v1") else "cloudevents.http"  # 2.x, 1.x
        from_http = importlib.import_module(name).from_http
        async with Endpoint() as endpoint:
            delivery = row()
            delivery.event.extensions = {"causationid": 'a "b" 100%', "hops": 3}
            delivery.event.subject = "public.orders/Änne b"
            request = await sent(endpoint, trigger(endpoint, format=Format.CLOUDEVENTS_BINARY), delivery)
        plain = json.dumps(json.loads(request.body))  # it refuses lone surrogates in bytes
        event = from_http({name: value for name, value in request.headers.items() if name != "Host"}, plain)
    assert request.headers["Content-Type"] == "application/json"
    assert request.body == ROW
    assert (event["specversion"], event["id"], event["type"], event["source"]) == ("1.0", ID, "DB_UPDATE", "cdcd/shop/main")
    assert event["time"] == "2023-11-14T22:13:20.123456Z"
    assert event.data["doc"]["total"] == 9.5
    # the library leaves values as they are encoded (HTTP binding, 3.1.3.2)
    assert request.headers["ce-subject"] == "public.orders/%C3%84nne%20b"
    assert request.headers["ce-causationid"] == "a%20%22b%22%20100%25"
    assert request.headers["ce-hops"] == "3"


def hasura_handler(body: dict[str, Any]) -> str:
    """As Hasura's documentation writes handlers."""
    match body:
        case {
            "event": {"op": op, "data": {"old": old, "new": new}, "session_variables": None, "trace_context": None},
            "created_at": str(created),
            "id": str(event),
            "delivery_info": {"max_retries": int(most), "current_retry": int(current)},
            "trigger": {"name": str(name)},
            "table": {"schema": str(schema), "name": str(table)},
        } if set(body) == {"event", "created_at", "id", "delivery_info", "trigger", "table"}:
            name_of = (new or old)["id"]
            return f"{op} {schema}.{table} {name_of} {name} {event} {created} {current}/{most} {old is None} {new is None}"
    raise AssertionError(body)


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("DB_INSERT", b'{"schema":"public","col":"orders","doc":{"id":7}}', "INSERT public.orders 7 t {} {} 0/3 True False"),
        ("DB_UPDATE", ROW, "UPDATE public.orders 7 t {} {} 0/3 False False"),
        ("DB_DELETE", b'{"schema":"public","col":"orders","before":{"id":7}}', "DELETE public.orders 7 t {} {} 0/3 False True"),
    ],
)
async def test_a_handler_of_hasura_reads_its_format(kind: str, data: bytes, expected: str) -> None:
    async with Endpoint() as endpoint:
        request = await sent(endpoint, trigger(endpoint, format=Format.HASURA), row(kind, data))
    assert request.headers["Content-Type"] == "application/json"
    assert hasura_handler(request.event) == expected.format(ID, "2023-11-14T22:13:20.123456Z")


async def test_hasuras_format_counts_retries_and_keeps_digits() -> None:
    async with Endpoint() as endpoint:
        hook = trigger(endpoint, format=Format.HASURA, retries=Retries(max=5))
        request = await sent(endpoint, hook, row(attempts=2))
    assert request.event["delivery_info"] == {"current_retry": 2, "max_retries": 5}
    assert b'"total":9.50,"huge":123456789012345678901234567890,' in request.body.replace(b": ", b":").replace(b", ", b",")


async def test_raw_is_the_data_alone() -> None:
    async with Endpoint() as endpoint:
        request = await sent(endpoint, trigger(endpoint, format=Format.RAW))
    assert request.body == ROW
    assert request.headers["Content-Type"] == "application/json"
    assert not [name for name in request.headers if name.lower().startswith("ce-")]


# Methods


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST"])
async def test_methods_with_a_body(method: str) -> None:
    async with Endpoint() as endpoint:
        request = await sent(endpoint, trigger(endpoint, method=method))
    assert (request.method, request.event["id"]) == (method, ID)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_methods_without_one(method: str) -> None:
    async with Endpoint() as endpoint:
        hook = trigger(endpoint, method=method, format=Format.CLOUDEVENTS_BINARY)
        request = await sent(endpoint, hook)
    assert (request.method, request.body) == (method, b"")
    assert "Content-Type" not in request.headers
    assert request.headers.get("Content-Length", "0") == "0"
    assert request.headers["ce-type"] == "DB_UPDATE"


async def test_a_delete_may_have_a_payload() -> None:
    async with Endpoint() as endpoint:
        request = await sent(endpoint, trigger(endpoint, method="DELETE", payload={"id": "${ old.id }"}))
    assert (request.method, request.body) == ("DELETE", b'{"id":7}')
    assert request.headers["Content-Type"] == "application/json"


# Templates

EVERYTHING: dict[str, Any] = {
    "headers": (("X-Order", "o-${ new.id }"), ("X-Plain", "$${ x }"), ("Accept", "${ 'a' + '/b' }")),
    "payload": {
        "order": "${ new.id }",
        "total": "${ new.total }",
        "huge": "${ new.huge }",
        "text": "${ new.name } of ${ type }",
    },
    "claims": {"tenant": "${ new.name }", "order": {"id": "${ new.id }"}, "fixed": [1, None]},
}


async def test_every_part_of_a_request_may_be_made_by_expressions() -> None:
    async with Endpoint() as endpoint:
        hook = trigger(endpoint, "/orders/${ new.id }/${ new.name }?total=${ new.total }&t=$${t}", **EVERYTHING)
        first = await sent(endpoint, hook)
        again = await sent(endpoint, hook, row(attempts=1))
        claims = claims_of(endpoint, first)
    assert first.body == '{"order":7,"total":9.50,"huge":123456789012345678901234567890,"text":"Änne of DB_UPDATE"}'.encode()
    assert again.body == first.body
    assert first.path in ("/orders/7/Änne", "/orders/7/%C3%84nne")
    assert first.query in ("total=9.50&t=${t}", "total=9.50&t=$%7Bt%7D")
    assert (first.headers["X-Order"], first.headers["X-Plain"], first.headers["Accept"]) == ("o-7", "${ x }", "a/b")
    assert first.headers["Host"] == endpoint.url("").removeprefix("http://")
    assert (claims["tenant"], claims["order"], claims["fixed"]) == ("Änne", {"id": 7}, [1, None])
    assert (claims["role"], claims["sub"]) == ("SpaceCloud", "t")


async def test_claims_are_those_of_the_event_that_is_sent() -> None:
    async with Endpoint() as endpoint:
        hook = trigger(endpoint, claims={"order": "${ new.id }"})
        for number in (1, 2):
            request = await sent(endpoint, hook, row(data=b'{"doc":{"id":%d}}' % number))
            assert claims_of(endpoint, request)["order"] == number
        fixed = trigger(endpoint, claims={"tenant": "a"})
        async with sender(fixed) as part:
            for _ in range(2):
                assert (await part.send(row(), fixed)).status == 200
        assert endpoint.requests[-1].headers["X-SC-Token"] == endpoint.requests[-2].headers["X-SC-Token"]
        assert claims_of(endpoint, endpoint.requests[-1])["tenant"] == "a"


async def test_a_payload_in_binary_mode_is_the_data() -> None:
    async with Endpoint() as endpoint:
        hook = trigger(endpoint, format=Format.CLOUDEVENTS_BINARY, payload={"id": "${ new.id }"})
        request = await sent(endpoint, hook)
    assert (request.body, request.headers["ce-id"]) == (b'{"id":7}', ID)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"payload": "${ new.nothing }"}, "new.nothing is not in this DB_UPDATE"),
        ({"payload": "${ new.huge + 1 }"}, "holds a whole number beyond 64 bits"),
        ({"headers": (("X-A", "${ new.note }"),)}, "`new.note` gave null, which has no text"),
        ({"headers": (("X-A", "${ new.half }"),)}, "webhook.headers.X-A has half a character"),
        ({"claims": {"a": "${ new.note + 'x' }"}}, "new.note is null"),
        ({"format": Format.HASURA}, ""),
    ],
)
async def test_what_fails_is_told_in_words_and_never_tried_again(more: dict[str, Any], words: str) -> None:
    async with Endpoint() as endpoint:
        made = await attempt(trigger(endpoint, **more), row())
        if not words:  # lone surrogates in JSON are passed on
            assert rb'"half":"\ud800"' in endpoint.requests[0].body.replace(b": ", b":")
            return
        assert endpoint.requests == []
    assert made.refused
    assert (made.number, made.status) == (1, 0)
    assert made.error.startswith("trigger t: ")
    assert words in made.error
    assert "\n  fix: " in made.error


async def test_a_made_body_has_the_same_limit_as_data() -> None:
    async with Endpoint() as endpoint:
        hook = trigger(endpoint, payload=["${ new }"] * 10)
        made = await attempt(hook, row(), Limits(payload=1024))
    assert made.refused
    assert "over limits.payload (1024)" in made.error


async def test_what_an_endpoint_echoes_of_made_values_is_redacted() -> None:
    hidden = ("row-token-1", "part-of-a-header", "q-row-token-1", "from-the-environment", "o-7-long")
    async with Endpoint() as endpoint:
        hook = trigger(
            endpoint,
            "/hook?key=q-${ new.token }",
            headers=(
                ("Authorization", "Bearer ${ new.token }"),
                ("X-Part", "part-of-a-header ${ new.id }"),
                ("X-Id", "o-${ new.id }-long"),
            ),
            payload={"secret": "from-the-environment", "id": "${ new.id }"},
            put_in=frozenset({"from-the-environment"}),
        )
        endpoint.script(Answer(500, body=f"I got {', '.join(hidden)} for 7".encode()))
        made = await attempt(hook, row())
        away = endpoint.url("/else?key=q-row-token-1")
        endpoint.script(Answer(307, headers={"Location": away}))
        moved = await attempt(hook, row())
    for text in (made.response, made.error, moved.error):
        for secret in hidden:
            assert secret not in text
    assert made.response.endswith(f"{REDACTED} for 7")
    assert "redirects are not followed" in moved.error


async def test_a_failing_template_leaves_other_deliveries_alone() -> None:
    async with Endpoint() as endpoint:
        hook = trigger(endpoint, payload="${ new.extra.value }", kind=Kind.DATABASE)
        async with sender(hook) as part:
            bad, good = row(), row(data=b'{"doc":{"id":1,"extra":{"value":[1.10]}}}')
            assert (await part.send(bad, hook)).refused
            assert (await part.send(good, hook)).status == 200
        assert [request.body for request in endpoint.requests] == [b"[1.10]"]
