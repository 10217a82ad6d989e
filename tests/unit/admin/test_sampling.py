"""How fast the WAL that is held grows, and what of databases is trouble."""

import pytest

from cdcd.admin.sampling import SlotSample, growth
from cdcd.admin.snapshot import CanaryState, DatabaseState, Durations, EndpointState, FilesState, Rates, TriggerState
from cdcd.admin.troubles import of_canary, of_databases, of_endpoints, of_files, of_triggers

GIB = 2**30


def held(at: float, size: int) -> SlotSample:
    return SlotSample(at, size, size, 10 * GIB, "reserved", True)


def database(slot: str = "reserved", held: int = 0, budget: int | None = 10 * GIB, left: float | None = None) -> DatabaseState:
    return DatabaseState("main", "replication", True, "", 1, 1, 1, None, 0, 0, held, budget, 0.0, left, slot)


def test_growth() -> None:
    assert growth([]) is None
    assert growth([held(1.0, 5)]) is None
    assert growth([held(0.0, GIB), held(30.0, 2 * GIB), held(60.0, 4 * GIB)]) == 3 * GIB / 60
    assert growth([held(0.0, GIB), held(10.0, 0)]) == -GIB / 10


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (database(), None),
        (database("lost"), "slot.lost"),
        (database("missing"), "slot.missing"),
        (database("unreserved"), "slot.unreserved"),
        (database(held=9 * GIB), "wal.budget"),
        (database(held=7 * GIB), None),
        (database(held=2 * GIB, left=600.0), "wal.budget"),
        (database(held=GIB // 2, left=600.0), None),  # a burst that has only begun
        (database(held=99 * GIB, budget=None), None),
    ],
)
def test_slots(state: DatabaseState, code: str | None) -> None:
    assert [trouble.code for trouble in of_databases([state], 100.0)] == ([code] if code else [])


def trigger(**more: object) -> TriggerState:
    values: dict[str, object] = {
        **{"name": "t", "endpoint": "http://x", "delivered": 0, "failed": 0, "retried": 0, "rates": Rates()},
        **{"in_flight": 0, "waiting": 0, "backlog": 3, "oldest": None, "last_error": "answered 500", "latency": Durations()},
        **{"latency_count": 0, "latency_sum": 0.0, "failed_lately": 0, **more},
    }
    return TriggerState(**values)  # type: ignore[arg-type]


def test_triggers() -> None:
    def codes(of: TriggerState, *down: str) -> list[str]:
        return [trouble.code for trouble in of_triggers([of], frozenset(down), 10_000.0)]

    assert codes(trigger()) == []
    assert codes(trigger(failed_lately=2)) == ["trigger.failing"]
    assert codes(trigger(oldest=9_500.0)) == []
    assert codes(trigger(oldest=8_000.0)) == ["trigger.behind"]
    assert codes(trigger(oldest=8_000.0), "http://x") == []  # its endpoint is down: that is told
    assert codes(trigger(oldest=8_000.0, paused=True)) == []
    assert codes(trigger(oldest=8_000.0, endpoint="")) == []  # it is gone, and what it is owed waits as it should
    assert codes(trigger(name="cdcd.canary", failed_lately=1)) == []


def test_endpoints_files_and_the_canary() -> None:
    up = EndpointState("http://x", "closed", None, None, 1, 64, 0, ["t"], {}, Durations(), [], 0.0)
    down = EndpointState("http://y", "open", 2.0, 1.0, 0, 1, 41, ["t"], {}, Durations(), [], 0.0)
    (told,) = of_endpoints([up, down], {"http://y": "answered 503"})
    assert (told.code, told.where, told.since) == ("endpoint.down", "endpoint http://y", 1.0)
    assert "answered 503; 41 wait" in told.what
    files = [FilesState("a", "/a", "", 1, 1), FilesState("b", "/b", "it is not there", 0, 0)]
    assert [trouble.where for trouble in of_files(files, 1.0)] == ["storage b"]
    assert [*of_canary(None, 1.0), *of_canary(CanaryState("main", 30.0, 0.1, 1.0, None, 2, 2), 1.0)] == []
    assert [trouble.code for trouble in of_canary(CanaryState("main", 30.0, None, None, 5.0, 2, 0), 9.0)] == ["canary.late"]
