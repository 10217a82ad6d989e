"""The rules of the circuit: when it opens, whom it lets through, how it grows back."""

from cdcd.delivery.circuit import LONGEST, SHORTEST, THRESHOLD, Circuit, State


def opened(most: int = 8, at: float = 100.0) -> Circuit:
    """A circuit that has just been opened by failures in a row."""
    circuit = Circuit(most)
    assert [circuit.failed(at) for _ in range(THRESHOLD)] == [False] * (THRESHOLD - 1) + [True]
    return circuit


def test_failures_in_a_row_open_it_and_nothing_is_ready() -> None:
    circuit = opened()
    assert circuit.state is State.OPEN
    assert not circuit.ready(100.0 + SHORTEST - 0.001)


def test_a_success_between_begins_the_count_again() -> None:
    circuit = Circuit(8)
    for _ in range(3):
        for _ in range(THRESHOLD - 1):
            assert not circuit.failed(1.0)
        circuit.succeeded()
    assert circuit.state is State.CLOSED
    assert circuit.allowed == 8


def test_after_the_wait_one_probe_may_go() -> None:
    circuit = opened()
    assert circuit.ready(100.0 + SHORTEST)
    assert (circuit.state, circuit.allowed) == (State.PROBING, 1)
    assert circuit.ready(100.0 + SHORTEST)


def test_a_failed_probe_doubles_the_wait_up_to_the_longest() -> None:
    circuit, now, waits = opened(), 100.0, []
    for _ in range(8):
        waits.append(circuit.open_until - now)
        now = circuit.open_until
        assert circuit.ready(now)
        assert circuit.failed(now)
    assert waits == [min(SHORTEST * 2**n, LONGEST) for n in range(8)]


def test_concurrency_grows_back_doubling_and_never_over_the_most() -> None:
    circuit = opened(most=6)
    assert circuit.ready(200.0)
    seen = []
    for _ in range(4):
        circuit.succeeded()
        seen.append((circuit.state, circuit.allowed))
    assert seen == [(State.CLOSED, allowed) for allowed in (2, 4, 6, 6)]


def test_a_late_success_closes_an_open_circuit_but_not_at_full_concurrency() -> None:
    circuit = opened(most=64)
    circuit.succeeded()
    assert (circuit.state, circuit.allowed) == (State.CLOSED, 2)


def test_late_failures_do_not_prolong_an_open_circuit() -> None:
    circuit = opened()
    until = circuit.open_until
    assert not circuit.failed(100.5)
    assert circuit.open_until == until


def test_after_a_success_the_wait_is_short_again() -> None:
    circuit = opened()
    assert circuit.ready(200.0)
    assert circuit.failed(200.0)
    assert circuit.ready(300.0)
    circuit.succeeded()
    for _ in range(THRESHOLD):
        circuit.failed(400.0)
    assert circuit.open_until == 400.0 + SHORTEST


def test_a_single_slot_works_too() -> None:
    circuit = opened(most=1)
    assert circuit.ready(200.0)
    circuit.succeeded()
    assert (circuit.state, circuit.allowed) == (State.CLOSED, 1)
