"""OpenTelemetry traces of deliveries, and the `traceparent` that goes with each attempt (W3C Trace Context, 2.2).

The rules:
- spans are made when what they tell is over, of what is known then anyway: nothing is kept meanwhile, and without `tracing:` there is
  nothing of this at all;
- the ids are made of the delivery's id and the attempt's number, so every life of the daemon goes on with the same trace;
- an event that came with a `traceparent` (CloudEvents' Distributed Tracing extension) stays in its trace, sampled as it was there;
- spans are sent by a thread of the SDK's; what cannot be sent is dropped, and told.
"""

import asyncio
import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import structlog

from cdcd import __version__
from cdcd.config.model import Tracing as Options
from cdcd.errors import ConfigError
from cdcd.event import Attempt, Delivery, Record, Status
from cdcd.triggers.trigger import Trigger

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

log = structlog.get_logger()

PARENT = "traceparent"
FLUSH_WITHIN = 3.0  # seconds that a stop waits for what is not sent yet
TOLD_EVERY = 60.0  # seconds
_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.{,200})?")
_SHARES = 16**14


class Parent:
    """Where a delivery's spans belong: trace, the span that its own hangs below (0: none), whether they are sent."""

    __slots__ = ("sampled", "span", "trace")

    def __init__(self, trace: str, span: int, sampled: bool) -> None:
        self.trace = trace
        self.span = span
        self.sampled = sampled


class Tracing:
    """A part. `instance` names this life of the daemon."""

    name = "tracing"

    def __init__(self, options: Options, project: str, instance: str, where: str) -> None:
        """Raises ConfigError where OpenTelemetry is not installed."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import ReadableSpan
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
            from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
        except ImportError as error:
            raise ConfigError([f"{where}: tracing: OpenTelemetry is not installed"], hint="pip install 'cdcd[otel]'") from error
        self._sample = options.sample
        resource = Resource.create(
            {"service.name": "cdcd", "service.version": __version__, "service.instance.id": instance, "cdcd.project": project}
        )
        exporter = OTLPSpanExporter(endpoint=options.endpoint, headers=dict(options.headers), timeout=10)
        self._processor: Any = BatchSpanProcessor(exporter)
        scope = InstrumentationScope("cdcd", __version__)
        self._telling = _Telling()
        flags = TraceFlags(TraceFlags.SAMPLED)

        def context(trace: str, span: int, *, remote: bool = False) -> SpanContext:
            return SpanContext(int(trace, 16), span, remote, flags)

        def emit(
            name: str,
            of: "SpanContext",
            parent: "SpanContext | None",
            begun: float,
            ended: float,
            attributes: Mapping[str, Any],
            *,
            client: bool = False,
            error: str = "",
        ) -> None:
            self._processor.on_end(
                ReadableSpan(
                    name,
                    context=of,
                    parent=parent,
                    resource=resource,
                    attributes=attributes,
                    kind=SpanKind.CLIENT if client else SpanKind.INTERNAL,
                    status=Status(StatusCode.ERROR, error) if error else Status(StatusCode.OK),
                    start_time=int(begun * 1e9),
                    end_time=int(max(begun, ended) * 1e9),
                    instrumentation_scope=scope,
                )
            )

        self._context: Callable[..., SpanContext] = context
        self._emit: Callable[..., None] = emit

    async def start(self) -> None:
        """What the SDK says of sending goes to the log."""
        self._telling.install()

    async def stop(self) -> None:
        """Send what is not sent yet."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            self._processor.shutdown()
            with contextlib.suppress(RuntimeError):  # nobody waited so long: the loop is closed
                loop.call_soon_threadsafe(done.set)

        # The SDK tries for longer than a stop may take, whatever it is told; so it does that where nobody needs to wait for it.
        threading.Thread(target=end, name="tracing.end", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_WITHIN):
                await done.wait()
        self._telling.remove()

    def parent(self, delivery: Delivery) -> Parent:
        """Where its spans belong."""
        given = (delivery.event.extensions or {}).get(PARENT)
        if isinstance(given, str) and (found := _PARENT.fullmatch(given)) is not None:
            return Parent(found[1], int(found[2], 16), bool(int(found[3], 16) & 1))
        trace = delivery.id.replace("-", "")
        return Parent(trace, 0, int(trace[-14:], 16) < self._sample * _SHARES)

    def header(self, delivery: Delivery, number: int) -> str:
        """The `traceparent` of an attempt."""
        parent = self.parent(delivery)
        return f"00-{parent.trace}-{_span(delivery.id, f'attempt {number}'):016x}-{parent.sampled:02x}"

    def attempted(self, delivery: Delivery, trigger: Trigger, attempt: Attempt) -> None:
        """An attempt has ended."""
        parent = self.parent(delivery)
        if not parent.sampled:
            return
        own = self._context(parent.trace, _span(delivery.id, ""))
        if attempt.number == 1 and not delivery.since:
            matched = time.time() - (time.monotonic() - delivery.taken_at)
            self._emit(
                "match", self._context(parent.trace, _span(delivery.id, "match")), own, delivery.event.time / 1e6, matched, {}
            )
        webhook = trigger.config.webhook
        attributes: dict[str, Any] = {"http.request.method": webhook.method, "server.address": webhook.endpoint}
        if attempt.status:
            attributes["http.response.status_code"] = attempt.status
        if attempt.error:
            attributes["error.type"] = str(attempt.status) if attempt.status else "refused" if attempt.refused else "no answer"
        name = f"attempt {attempt.number}"
        self._emit(
            *(name, self._context(parent.trace, _span(delivery.id, name)), own),
            *(attempt.started_at, attempt.started_at + attempt.duration, attributes),
            client=True,
            error=attempt.error,
        )

    def recorded(self, records: Iterable[Record]) -> None:
        """These are durable."""
        now = time.time()
        for record in records:
            delivery, attempt = record.delivery, record.attempt
            parent = self.parent(delivery)
            if not parent.sampled:
                continue
            own = self._context(parent.trace, _span(delivery.id, ""))
            if attempt is not None:
                name = f"record {attempt.number}"
                of = self._context(parent.trace, _span(delivery.id, name))
                self._emit("record", of, own, attempt.started_at + attempt.duration, now, {"cdcd.status": record.status.value})
            if record.status is not Status.STAGED:
                event = delivery.event
                above = self._context(parent.trace, parent.span, remote=True) if parent.span else None
                attributes = {
                    "cdcd.trigger": delivery.trigger,
                    "cdcd.delivery.id": delivery.id,
                    "cdcd.event.type": event.type,
                    "cdcd.event.source": event.source,
                    "cdcd.event.subject": event.subject,
                    "cdcd.status": record.status.value,
                    "cdcd.attempts": delivery.attempts,
                }
                failed = record.reason if record.status is Status.FAILED else ""
                self._emit(f"cdcd {delivery.trigger}", own, above, event.time / 1e6, now, attributes, error=failed)


def _span(identity: str, what: str) -> int:
    return int.from_bytes(sha256(f"{identity} {what}".encode()).digest()[:8], "big") or 1


class _Telling(logging.Handler):
    """What the SDK logs, as events of ours, now and then."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told_at = -TOLD_EVERY
        self._propagated = True

    def install(self) -> None:
        sdk = logging.getLogger("opentelemetry")
        self._propagated, sdk.propagate = sdk.propagate, False
        sdk.addHandler(self)

    def remove(self) -> None:
        sdk = logging.getLogger("opentelemetry")
        sdk.removeHandler(self)
        sdk.propagate = self._propagated

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now - self._told_at >= TOLD_EVERY:
            self._told_at = now
            log.warning(
                "tracing.unsent", error=record.getMessage()[:300], hint="see tracing.endpoint; deliveries go on without"
            )
