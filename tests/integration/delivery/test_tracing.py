"""Traces, as a receiver of OTLP over HTTP gets them: the spans of a delivery, and the `traceparent` that its webhook sees."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from aiohttp import web

from tests.acceptance.setting import Setting
from tests.daemon import Daemon
from tests.endpoint import Answer, Endpoint
from tests.integration.server.talking import connected, trigger
from tests.postgres import Database

messages = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="the extra otel is missing")

FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Receiver:
    """An OTLP/HTTP endpoint (https://opentelemetry.io/docs/specs/otlp/#otlphttp) that keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.headers: list[Any] = []
        self.resource: dict[str, str] = {}
        self._came = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._take))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1/traces"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.headers["Content-Type"] == "application/x-protobuf"
        found = messages.ExportTraceServiceRequest.FromString(await request.read())
        self.headers.append(request.headers.copy())
        for group in found.resource_spans:
            self.resource = {each.key: each.value.string_value for each in group.resource.attributes}
            self.spans += [span for scope in group.scope_spans for span in scope.spans]
        async with self._came:
            self._came.notify_all()
        return web.Response(body=messages.ExportTraceServiceResponse().SerializeToString())

    async def until(self, wanted: Callable[[list[Any]], bool]) -> None:
        """Wait for spans."""
        async with asyncio.timeout(30), self._came:
            await self._came.wait_for(lambda: wanted(self.spans))

    def of(self, trace: str) -> dict[str, Any]:
        """The spans of a trace by name."""
        return {span.name: span for span in self.spans if span.trace_id.hex() == trace}


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


async def test_a_delivery_is_a_trace(tmp_path: Path, database: Database) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    async with Endpoint() as endpoint, Receiver() as receiver:
        setting = Setting(tmp_path, database, endpoint)
        triggers = {"t": setting.trigger("/t", table="t"), "paid": trigger(setting, "ORDER_PAID", "/paid")}
        more: dict[str, Any] = {"tracing": {"endpoint": receiver.url, "headers": {"X-Tenant": "shop"}}}
        config = setting.configure(triggers, server={"listen": "127.0.0.1:0"}, **more)
        async with Daemon(config, {"OTEL_BSP_SCHEDULE_DELAY": "100"}) as daemon, connected(daemon, setting.project) as client:
            endpoint.script(Answer(500), path="/t")
            database.execute("INSERT INTO t VALUES (1)")
            await endpoint.wait_for(2)
            first, second = (FORM.fullmatch(request.headers["traceparent"]) for request in endpoint.requests)
            assert first is not None
            assert second is not None
            assert first[1] == second[1] == endpoint.requests[0].id.replace("-", "")
            assert first[2] != second[2]
            assert first[3] == "01"
            await receiver.until(lambda spans: any(span.name == "cdcd t" for span in spans))
            spans = receiver.of(first[1])
            assert spans.keys() == {"cdcd t", "match", "attempt 1", "attempt 2", "record"}
            root = spans["cdcd t"]
            assert not root.parent_span_id
            assert {span.parent_span_id for span in spans.values() if span is not root} == {root.span_id}
            assert (spans["attempt 1"].span_id.hex(), spans["attempt 2"].span_id.hex()) == (first[2], second[2])
            assert attributes(spans["attempt 1"])["http.response.status_code"] == 500
            assert spans["attempt 1"].status.code == 2  # error
            assert attributes(root)["cdcd.attempts"] == 2
            order = [root.start_time_unix_nano, *(spans[name].start_time_unix_nano for name in ("attempt 1", "attempt 2"))]
            assert order == sorted(order)
            assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans.values())
            assert spans["record"].end_time_unix_nano <= root.end_time_unix_nano
            assert receiver.headers[0]["X-Tenant"] == "shop"
            assert receiver.resource["service.name"] == "cdcd"
            # One that began elsewhere goes on: by the header, by the event's attribute; not sampled there, not sampled here.
            outside = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
            assert (await client.ask("POST", "/v1/events", {"type": "ORDER_PAID"}, traceparent=outside)).status == 202
            await receiver.until(lambda spans: any(span.name == "cdcd paid" for span in spans))
            paid = receiver.of("a" * 32)["cdcd paid"]
            assert paid.parent_span_id.hex() == "b" * 16
            quiet = {"specversion": "1.0", "id": "1", "source": "/x", "type": "ORDER_PAID", "traceparent": outside[:-2] + "00"}
            kind = {"Content-Type": "application/cloudevents+json"}
            assert (await client.ask("POST", "/v1/events", quiet, **kind)).status == 202
            await endpoint.wait_for(4)
            assert [request.headers["traceparent"][:36] for request in endpoint.to("/paid")] == [outside[:36]] * 2
            assert endpoint.to("/paid")[1].headers["traceparent"].endswith("-00")
            assert endpoint.to("/paid")[0].event["traceparent"] == outside
            count = len(receiver.of("a" * 32))
        assert len(receiver.of("a" * 32)) == count  # the stop has sent all that there was


async def test_without_it_there_is_nothing(tmp_path: Path, database: Database) -> None:
    """No header; and an endpoint for traces that is away holds up nothing, and is told."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    async with Endpoint() as endpoint:
        setting = Setting(tmp_path, database, endpoint)
        triggers = {"t": setting.trigger("/t", table="t")}
        async with setting.daemon(triggers):
            database.execute("INSERT INTO t VALUES (1)")
            await endpoint.wait_for(1)
            assert "traceparent" not in endpoint.requests[0].headers
        config = setting.configure(triggers, tracing="http://127.0.0.1:1/v1/traces")
        async with Daemon(config, {"OTEL_BSP_SCHEDULE_DELAY": "50"}) as daemon:
            database.execute("INSERT INTO t VALUES (2)")
            await endpoint.wait_for(2)
            assert "traceparent" in endpoint.requests[1].headers
            await daemon.wait_log("tracing.unsent")
        await setting.processed(2)
