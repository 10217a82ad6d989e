"""What the engine says aloud: deliveries that failed for good, endpoints that go down and come back.

A dead endpoint can fail a million deliveries, and a log that drowns tells nothing. So of each trigger at most `MOST` lines are
written in `WINDOW` seconds; what was left out is counted in the next line. Every delivery is in `event_logs` in any case.
"""

import structlog

from cdcd.delivery.circuit import State
from cdcd.delivery.following import MOST_TOLD, Trouble
from cdcd.delivery.queues import Endpoint
from cdcd.event import Record

log = structlog.get_logger()

MOST = 10
WINDOW = 10.0  # seconds


class Teller:
    """One for an engine. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._told: dict[str, int] = {}
        self._left_out: dict[str, int] = {}
        self.down: set[str] = set()

    def failed(self, record: Record, now: float) -> None:
        """Tell of a delivery that failed for good."""
        delivery = record.delivery
        if self._may_tell(delivery.trigger, now):
            log.warning(
                "delivery.failed",
                trigger=delivery.trigger,
                id=delivery.id,
                attempts=delivery.attempts,
                reason=record.reason,
                left_out=self._left_out.pop(delivery.trigger, 0),
            )

    def not_followed(self, record: Record, trouble: Trouble, now: float) -> None:
        """Tell of events that an answer carries, or a last resort, and that are not queued."""
        delivery = record.delivery
        if not self._may_tell(delivery.trigger, now):
            return
        left_out = self._left_out.pop(delivery.trigger, 0)
        if trouble.loop:
            log.error(
                "chain.stopped",
                trigger=delivery.trigger,
                id=delivery.id,
                depth=trouble.loop,
                left_out=left_out,
                hint="each answer queues the next event: break the loop in the endpoint, or raise limits.max_chain if it ends",
            )
        else:
            log.warning(
                "answer.not_queued",
                trigger=delivery.trigger,
                id=delivery.id,
                reasons=trouble.reasons[:MOST_TOLD],
                left_out=left_out,
                hint="the endpoint's answer has events in it that cannot be queued; the delivery itself is processed",
            )

    @staticmethod
    def feeding_itself(trigger: str, times: int) -> None:
        """Tell that its webhook seems to write what fires the trigger (at most once a minute, see `feeding`)."""
        log.warning(
            "trigger.feeding_itself",
            trigger=trigger,
            times=times,
            hint="each event was committed while the delivery before it was under way: does the webhook write to this trigger's "
            "table? let it write elsewhere, or let `when` or `columns` leave its own changes out",
        )

    def _may_tell(self, trigger: str, now: float) -> bool:
        if now - self._since.get(trigger, -WINDOW) >= WINDOW:
            self._since[trigger] = now
            self._told[trigger] = 0
        self._told[trigger] += 1
        if self._told[trigger] <= MOST:
            return True
        self._left_out[trigger] = self._left_out.get(trigger, 0) + 1
        return False

    def endpoint(self, endpoint: Endpoint, error: str) -> None:
        """Tell when the endpoint has gone down, or has come back. Where the trigger is gone there is none."""
        if not endpoint.origin:
            return
        if endpoint.circuit.state is State.CLOSED:
            if endpoint.origin in self.down:
                self.down.remove(endpoint.origin)
                log.info("endpoint.up", endpoint=endpoint.origin)
        elif endpoint.origin not in self.down:
            self.down.add(endpoint.origin)
            log.warning(
                "endpoint.down",
                endpoint=endpoint.origin,
                error=error,
                hint="its deliveries are staged, and tried again one at a time until it answers",
            )
