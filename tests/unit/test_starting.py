"""What a daemon does not import when it starts: that takes time and memory, and many are started."""

import subprocess
import sys

import pytest

UNNEEDED = ("prompt_toolkit", "jinja2", "cdcd.server.api", "opentelemetry")


@pytest.fixture(scope="module")
def imported() -> set[str]:
    told = subprocess.run(
        [sys.executable, "-c", "import sys, cdcd.cli.run; print(*sys.modules)"], check=True, capture_output=True, text=True
    )
    return set(told.stdout.split())


@pytest.mark.parametrize("name", UNNEEDED)
def test_it_is_imported_when_it_is_needed(imported: set[str], name: str) -> None:
    assert name not in imported


def test_cel_is_whole_afterwards() -> None:
    """Its command line can still be imported by whoever wants it."""
    program = (
        "import sys; from cdcd.triggers.celib import cel; assert 'cel.cli' not in sys.modules; import cel.cli; cel.cli.app"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
