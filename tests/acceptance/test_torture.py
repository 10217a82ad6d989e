"""The torture test: one short seed in the normal suite; marked `torture`, twenty of 30 s. `make torture` prints an account of each."""

from pathlib import Path

import pytest

from tests.postgres import Servers, chosen_majors
from tests.torture.run import torture


def _run(servers: Servers, directory: Path, seed: int, seconds: float, drain: float, capture: str = "replication") -> None:
    outcome = torture(seed, seconds, directory, major=chosen_majors()[-1], drain=drain, servers=servers, capture=capture)
    assert not outcome.faults, f"{outcome.line}\n{outcome.faults}\n{directory}"


def test_torture_in_short(servers: Servers, tmp_path: Path) -> None:
    """Four seconds of trouble, then the account."""
    _run(servers, tmp_path, 1, 4.0, 90.0)


def test_torture_of_the_change_log_in_short(servers: Servers, tmp_path: Path) -> None:
    """The same trouble, captured by triggers."""
    _run(servers, tmp_path, 2, 4.0, 90.0, "triggers")


def test_reloads_under_load_in_short(servers: Servers, tmp_path: Path) -> None:
    """Five reloads, valid and invalid ones, and nothing else the matter: nothing is lost, and nothing comes twice."""
    outcome = torture(*(3, 1.0, tmp_path), major=chosen_majors()[-1], drain=60.0, servers=servers, reloads=5, calm=True)
    assert not outcome.faults, f"{outcome.line}\n{outcome.faults}\n{tmp_path}"


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize("capture", ["replication", "triggers"])
@pytest.mark.parametrize("calm", [True, False])
def test_reloads(servers: Servers, tmp_path: Path, capture: str, calm: bool) -> None:
    """Fifty reloads, with and without other trouble among them."""
    major = chosen_majors()[-1]
    outcome = torture(5, 60.0, tmp_path, major=major, drain=300.0, servers=servers, capture=capture, reloads=50, calm=calm)
    assert not outcome.faults, f"{outcome.line}\n{outcome.faults}\n{tmp_path}"


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(1, 21))
def test_torture(servers: Servers, tmp_path: Path, seed: int) -> None:
    """Thirty seconds of trouble, then the account."""
    _run(servers, tmp_path, seed, 30.0, 300.0)


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(1, 21))
def test_torture_of_the_change_log(servers: Servers, tmp_path: Path, seed: int) -> None:
    """The same, captured by triggers."""
    _run(servers, tmp_path, seed, 30.0, 300.0, "triggers")
