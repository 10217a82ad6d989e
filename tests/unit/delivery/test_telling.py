"""The log tells of what failed and of endpoints that go down, and never drowns in it."""

import pytest
from structlog.testing import capture_logs

from cdcd.delivery.circuit import THRESHOLD
from cdcd.delivery.queues import Endpoint
from cdcd.delivery.telling import MOST, WINDOW, Teller
from cdcd.event import Delivery, Event, Record, Status


def failed(trigger: str) -> Record:
    event = Event("DB_INSERT", "cdcd/shop/main", "public.users/1", "1", 0, b"{}")
    return Record(Delivery("id", trigger, event, "1", attempts=4), Status.FAILED, True, reason="answered 500")


def test_of_each_trigger_only_so_many_lines_are_told_and_the_rest_is_counted() -> None:
    teller = Teller()
    with capture_logs() as logs:
        for _ in range(MOST + 7):
            teller.failed(failed("a"), 1.0)
        teller.failed(failed("b"), 1.0)
        teller.failed(failed("a"), 1.0 + WINDOW)
    told = [(line["trigger"], line["left_out"]) for line in logs]
    assert told == [("a", 0)] * MOST + [("b", 0), ("a", 7)]
    assert logs[0] == {
        "event": "delivery.failed",
        "log_level": "warning",
        "trigger": "a",
        "id": "id",
        "attempts": 4,
        "reason": "answered 500",
        "left_out": 0,
    }


@pytest.mark.parametrize("again", [1, 2])
def test_an_endpoint_is_told_once_when_it_goes_down_and_once_when_it_is_back(again: int) -> None:
    teller, endpoint = Teller(), Endpoint("http://a:80", 4)
    with capture_logs() as logs:
        for _ in range(again):
            for _ in range(THRESHOLD + 3):
                endpoint.circuit.failed(0.0)
                teller.endpoint(endpoint, "connection refused")
            assert endpoint.circuit.ready(1e9)
            endpoint.circuit.succeeded()
            teller.endpoint(endpoint, "")
    assert [line["event"] for line in logs] == ["endpoint.down", "endpoint.up"] * again
    assert logs[0]["error"] == "connection refused"
